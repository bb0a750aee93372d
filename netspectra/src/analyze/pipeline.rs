//! The stages of an analysis, one after the other, or shared by threads.
//!
//! Each stage is worked at by one thread at a time and its steps are in order, so what comes out does not depend on the number
//! of threads. With several each takes what is to be done next: what is furthest on first, and when there is nothing
//! else, the next block of a file.

use anyhow::{Context, anyhow};
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::capture_file::ReadAhead;
use netspectra_agent::source::pcap::PcapSource;
use netspectra_common::model::BusMessage;
use netspectra_common::ports::StoreBatch;
use netspectra_engine::Engine;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};

/// Steps that may wait between two stages. A step is a second of capture.
const WAITING: usize = 16;
/// Threads that find something to do: the stages are reading, parsing, the engine, and taking what comes out.
const MOST: u16 = 4;

/// What a stage hands to the next: `T` for each generation, then the source at its end.
pub(super) enum Step<T> {
    Generation(Generation<T>),
    End(Box<PcapSource>),
}

/// What a stage made of a generation, and how far the files were read then.
pub(super) struct Generation<T> {
    pub(super) is: T,
    pub(super) bytes_read: u64,
    pub(super) frames: u64,
}

type Steps<'a> = Box<dyn Iterator<Item = anyhow::Result<Step<Vec<StoreBatch>>>> + 'a>;
type Messages = anyhow::Result<Step<Vec<BusMessage>>>;
type Batches = anyhow::Result<Step<Vec<StoreBatch>>>;

/// Reads `source` through `engine`: its batches, in order. Who takes them is one of `threads`.
///
/// # Errors
/// No thread could be started. Errors of the source are the last step.
pub(super) fn batches<'scope>(
    scope: &'scope Scope<'scope, '_>,
    threads: u16,
    (mut source, drain): (PcapSource, Drain),
    mut engine: Engine,
) -> anyhow::Result<Steps<'scope>> {
    if threads < 2 {
        let mut reading = Some((source, drain));
        let mut waiting = None;
        return Ok(Box::new(std::iter::from_fn(move || {
            let step = waiting.take().or_else(|| {
                let (step, rest) = read(reading.take()?);
                reading = rest;
                Some(step)
            });
            let (batches, again) = count(&mut engine, step?);
            waiting = again;
            Some(batches)
        })));
    }
    let files = source.read_ahead();
    let shared = Arc::new(Shared {
        files,
        work: Mutex::new(Work {
            reading: Stage::Idle((source, drain)),
            read: VecDeque::new(),
            counting: Stage::Idle(engine),
            counted: VecDeque::new(),
            is_over: false,
        }),
        changed: Condvar::new(),
    });
    let steps = Shares { shared: shared.clone() };
    for n in 1..threads.min(MOST) {
        let shared = shared.clone();
        let run = move || {
            let leaving = Leaving(&shared);
            while shared.work(false).is_some() {}
            drop(leaving);
        };
        Builder::new().name(format!("share-{n}")).spawn_scoped(scope, run).context("no thread can be started")?;
    }
    Ok(Box::new(steps))
}

/// Reads a generation; without a rest there is nothing more.
fn read((mut source, mut drain): (PcapSource, Drain)) -> (Messages, Option<(PcapSource, Drain)>) {
    match source.generation().context("reading the capture") {
        Ok(Some(mut generation)) => {
            // The engine is told by the end itself, and then ends in pieces: a batch of the last generation would have all flows.
            generation.last = false;
            let (bytes_read, frames) = (source.progress().0, source.frames());
            let step = Step::Generation(Generation { is: drain.cut(generation), bytes_read, frames });
            (Ok(step), Some((source, drain)))
        }
        Ok(None) => (Ok(Step::End(Box::new(source))), None),
        Err(e) => (Err(e), None),
    }
}

/// What `engine` makes of a step, and the step itself if there will be more of it: at the end batches come one by one, because
/// all of them together are larger than everything before.
fn count(engine: &mut Engine, step: Messages) -> (Batches, Option<Messages>) {
    match step {
        Err(e) => (Err(e), None),
        Ok(Step::Generation(Generation { is: messages, bytes_read, frames })) => {
            // Each message goes once it is applied: what is in it is then the engine's alone.
            let is = messages.into_iter().filter_map(|message| engine.apply(&message)).collect();
            (Ok(Step::Generation(Generation { is, bytes_read, frames })), None)
        }
        Ok(Step::End(source)) => match engine.finish_some() {
            Some(batch) => {
                let (bytes_read, frames) = (source.progress().0, source.frames());
                let some = Generation { is: vec![batch], bytes_read, frames };
                (Ok(Step::Generation(some)), Some(Ok(Step::End(source))))
            }
            None => (Ok(Step::End(source)), None),
        },
    }
}

/// A stage: who works at it has taken it out.
enum Stage<T> {
    Idle(T),
    Taken,
    Over,
}

impl<T> Stage<T> {
    fn take(&mut self) -> Option<T> {
        match std::mem::replace(self, Self::Taken) {
            Self::Idle(stage) => Some(stage),
            other @ (Self::Taken | Self::Over) => {
                *self = other;
                None
            }
        }
    }
}

struct Work {
    reading: Stage<(PcapSource, Drain)>,
    read: VecDeque<Messages>,
    counting: Stage<Engine>,
    counted: VecDeque<Batches>,
    /// Nobody takes what comes out any more, or a thread has panicked.
    is_over: bool,
}

impl Work {
    /// Nothing will come out any more.
    fn is_done(&self) -> bool {
        self.is_over
            || (matches!(self.reading, Stage::Over) && self.read.is_empty() && matches!(self.counting, Stage::Idle(_)))
    }
}

struct Shared {
    files: Vec<Arc<ReadAhead>>,
    work: Mutex<Work>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is to be done next, or waits until there may be something; `None` when there is nothing more. Who `takes`
    /// what comes out is let go when there is some.
    fn work(&self, takes: bool) -> Option<()> {
        let mut may_help = true;
        let mut work = self.lock();
        loop {
            if takes && !work.counted.is_empty() {
                return Some(());
            }
            if work.is_done() {
                return None;
            }
            let Err(still) = self.advance(work) else { return Some(()) };
            work = if may_help {
                drop(still);
                if self.files.iter().any(|file| file.help()) {
                    return Some(());
                }
                // Once: what there was to do may have changed meanwhile.
                may_help = false;
                self.lock()
            } else {
                self.changed.wait(still).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Takes one stage a step further, the last one that can go, without the lock.
    ///
    /// # Errors
    /// None can: nothing was done.
    fn advance<'a>(&self, mut work: MutexGuard<'a, Work>) -> Result<(), MutexGuard<'a, Work>> {
        if work.counted.len() < WAITING
            && !work.read.is_empty()
            && let Some(mut engine) = work.counting.take()
            && let Some(step) = work.read.pop_front()
        {
            drop(work);
            let (step, again) = count(&mut engine, step);
            let mut work = self.lock();
            work.counted.push_back(step);
            if let Some(again) = again {
                work.read.push_front(again);
            }
            work.counting = Stage::Idle(engine);
        } else if work.read.len() < WAITING
            && let Some(reading) = work.reading.take()
        {
            drop(work);
            let (step, rest) = read(reading);
            let mut work = self.lock();
            work.read.push_back(step);
            work.reading = rest.map_or(Stage::Over, Stage::Idle);
        } else {
            return Err(work);
        }
        self.changed.notify_all();
        Ok(())
    }
}

/// Tells the others when a thread panics: they would wait for it.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_over = true;
            self.0.changed.notify_all();
        }
    }
}

/// What comes out, for the thread that takes it, which shares the work.
struct Shares {
    shared: Arc<Shared>,
}

impl Iterator for Shares {
    type Item = Batches;

    fn next(&mut self) -> Option<Batches> {
        loop {
            let mut work = self.shared.lock();
            if let Some(step) = work.counted.pop_front() {
                drop(work);
                self.shared.changed.notify_all();
                return Some(step);
            }
            let is_over = work.is_over;
            drop(work);
            if is_over {
                return Some(Err(anyhow!("a thread of the analysis ended early")));
            }
            self.shared.work(true)?;
        }
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}
