//! The stages of an analysis, one after the other or ahead of each other in threads of their own.
//!
//! A stage is an iterator over the one before it. A thread runs a stage ahead of the next one over a bounded channel, which
//! keeps the order: what comes out does not depend on the number of threads.

use anyhow::Context;
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::PcapSource;
use netspectra_common::model::BusMessage;
use netspectra_common::ports::StoreBatch;
use netspectra_engine::Engine;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, Scope};

/// Steps that may wait between two threads; the first of them waits when there are more. A step is a second of capture.
const WAITING: usize = 16;

/// What a stage hands to the next: `T` for each generation, then the source at its end.
pub(super) enum Step<T> {
    Generation(Generation<T>),
    End(Box<PcapSource>, T),
}

/// What a stage made of a generation, and how far the files were read then.
pub(super) struct Generation<T> {
    pub(super) is: T,
    pub(super) bytes_read: u64,
    pub(super) frames: u64,
}

type Steps<'a, T> = Box<dyn Iterator<Item = anyhow::Result<Step<T>>> + Send + 'a>;

/// Reads `source` through `engine`: its batches, in order. Of `threads` one reads and folds, a second one takes what
/// comes out, where the engine runs as well unless there is a third one for it.
///
/// # Errors
/// No thread could be started. Errors of the source are the last step.
pub(super) fn batches<'scope>(
    scope: &'scope Scope<'scope, '_>,
    threads: u16,
    (source, drain): (PcapSource, Drain),
    engine: Engine,
) -> anyhow::Result<Steps<'scope, Vec<StoreBatch>>> {
    let mut steps: Steps<'scope, Vec<BusMessage>> = Box::new(read(source, drain));
    if threads >= 2 {
        steps = ahead(scope, "read", steps)?;
    }
    let steps: Steps<'scope, Vec<StoreBatch>> = Box::new(count(steps, engine));
    if threads >= 3 { ahead(scope, "engine", steps) } else { Ok(steps) }
}

/// The generations of `source` as messages.
fn read(source: PcapSource, mut drain: Drain) -> impl Iterator<Item = anyhow::Result<Step<Vec<BusMessage>>>> + Send {
    let mut source = Some(source);
    std::iter::from_fn(move || {
        let mut reading = source.take()?;
        Some(match reading.generation().context("reading the capture") {
            Ok(Some(generation)) => {
                let (bytes_read, frames) = (reading.progress().0, reading.frames());
                source = Some(reading);
                Ok(Step::Generation(Generation { is: drain.cut(generation), bytes_read, frames }))
            }
            Ok(None) => Ok(Step::End(Box::new(reading), Vec::new())),
            Err(e) => Err(e),
        })
    })
}

/// What `engine` makes of `steps`; the last batch comes with the end.
fn count<'a>(
    steps: Steps<'a, Vec<BusMessage>>,
    mut engine: Engine,
) -> impl Iterator<Item = anyhow::Result<Step<Vec<StoreBatch>>>> + Send + 'a {
    steps.map(move |step| {
        Ok(match step? {
            Step::Generation(Generation { is: messages, bytes_read, frames }) => {
                let is = messages.iter().filter_map(|message| engine.apply(message)).collect();
                Step::Generation(Generation { is, bytes_read, frames })
            }
            Step::End(source, _) => Step::End(source, vec![engine.finish()]),
        })
    })
}

/// Runs `steps` in a thread called `name`, ahead of whoever takes them; it ends early when they are dropped.
fn ahead<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    mut steps: Steps<'scope, T>,
) -> anyhow::Result<Steps<'scope, T>> {
    let (send, waiting) = sync_channel(WAITING);
    let run = move || {
        let _receiver_gone = steps.try_for_each(|step| send.send(step));
    };
    Builder::new().name(name.to_owned()).spawn_scoped(scope, run).context("no thread can be started")?;
    Ok(Box::new(waiting.into_iter()))
}
