use super::error::StoreError;
use super::log::LogFile;
use super::rows;
use super::sealer::Job;
use super::shared::{Memory, Shared, View};
use super::stats::count;
use netspectra_common::model::Nanos;
use netspectra_common::ports::StoreBatch;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::sync::{mpsc, oneshot};

/// Bytes of frames written at once at most.
const GROUP_BYTES: usize = 16 << 20;
/// Times the seal thresholds that memory may hold, while sealing is slower than appending or fails.
const MEMORY_LIMIT: u64 = 4;

/// What the log thread is asked for.
pub(super) enum Command {
    /// Store a batch; the answer comes when it is on disk.
    Append { batch: Arc<StoreBatch>, reply: oneshot::Sender<Result<(), StoreError>> },
    /// Seal the open segment, if it is old enough at the time given. The answer comes when it is sealed: whether it was.
    Seal { if_old_at: Option<Nanos>, reply: oneshot::Sender<Result<bool, StoreError>> },
}

type Append = (Arc<StoreBatch>, oneshot::Sender<Result<(), StoreError>>);

/// The thread that owns the log: the only one that writes to it, so that batches have one order.
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    sealer: Sender<Job>,
    log: LogFile,
    /// The number of the next log: never used twice, also when creating one fails half-way.
    next_log: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        sealer: Sender<Job>,
        log: LogFile,
    ) -> Self {
        let next_log = log.seq() + 1;
        Self { shared, commands, sealer, log, next_log }
    }

    /// Runs until every handle is gone. `seal_now`: what was recovered is to be sealed at once.
    pub(super) fn run(mut self, seal_now: bool) {
        if seal_now {
            let _ = self.seal(None);
        }
        self.seal_when_due();
        while let Some(command) = self.commands.blocking_recv() {
            self.handle(command);
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Append { batch, reply } => {
                let mut group = vec![(batch, reply)];
                let mut other = None;
                while group.len() < self.shared.config.append_queue.max(1) {
                    match self.commands.try_recv() {
                        Ok(Command::Append { batch, reply }) => group.push((batch, reply)),
                        Ok(seal @ Command::Seal { .. }) => {
                            other = Some(seal);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                self.append(group);
                self.seal_when_due();
                if let Some(command) = other {
                    self.handle(command);
                }
            }
            Command::Seal { if_old_at, reply } => self.seal_on_demand(if_old_at, reply),
        }
    }

    /// Stores each batch of `group` or says why not; they share an `fdatasync`.
    fn append(&mut self, group: Vec<Append>) {
        let mut frames = Vec::new();
        let mut waiting: Vec<(Append, usize)> = Vec::new();
        for (batch, reply) in group {
            let ready = self.wait_for_room().and_then(|()| self.renew_broken_log());
            match ready.and_then(|()| self.log.encode(&batch)) {
                Ok(frame) => {
                    frames.extend_from_slice(&frame);
                    waiting.push(((batch, reply), frame.len()));
                }
                Err(error) => {
                    count(&self.shared.counters.append_failures, 1);
                    let _ = reply.send(Err(error));
                }
            }
            if frames.len() >= GROUP_BYTES {
                self.write(std::mem::take(&mut frames), std::mem::take(&mut waiting));
            }
        }
        self.write(frames, waiting);
    }

    fn write(&mut self, frames: Vec<u8>, waiting: Vec<(Append, usize)>) {
        if waiting.is_empty() {
            return;
        }
        let mut result = self.log.append(&frames);
        count(&self.shared.counters.log_syncs, 1);
        let several = waiting.len() > 1;
        let mut at = 0;
        for ((batch, reply), len) in waiting {
            let frame = &frames[at..at + len];
            at += len;
            if several && result.is_err() {
                // A smaller one may still fit where the group did not.
                let alone = self.renew_broken_log().and_then(|()| self.log.append(frame));
                count(&self.shared.counters.log_syncs, 1);
                self.acknowledge(batch, reply, len, alone);
            } else {
                let one = std::mem::replace(&mut result, Ok(()));
                self.acknowledge(batch, reply, len, one);
            }
        }
    }

    fn acknowledge(
        &mut self,
        batch: Arc<StoreBatch>,
        reply: oneshot::Sender<Result<(), StoreError>>,
        len: usize,
        result: Result<(), StoreError>,
    ) {
        let counters = &self.shared.counters;
        if result.is_ok() {
            count(&counters.appended_batches, 1);
            count(&counters.appended_rows, rows::rows_of(&batch));
            let mut view = self.shared.view();
            view.generations.note(&batch.ledger);
            view.open.push(batch, len as u64);
            view.logs.insert(self.log.seq(), self.log.len());
        } else {
            count(&counters.append_failures, 1);
        }
        // Whoever asked may have given up; the batch is stored all the same.
        let _ = reply.send(result);
    }

    /// Bounds memory: waits for the sealing that goes on, and refuses when that does not help.
    fn wait_for_room(&mut self) -> Result<(), StoreError> {
        let mut view = self.shared.view();
        if !self.is_over(&view, MEMORY_LIMIT) {
            return Ok(());
        }
        view = self.shared.wait_for_seal(view);
        if !self.is_over(&view, MEMORY_LIMIT) {
            return Ok(());
        }
        // Nothing was tried since the limit was passed, or it failed: try, so that a remedy takes effect at once.
        drop(view);
        self.seal(None)?;
        view = self.shared.wait_for_seal(self.shared.view());
        if !self.is_over(&view, MEMORY_LIMIT) {
            return Ok(());
        }
        let reason = view.backoff.as_ref().map_or_else(|| "sealing is too slow".to_owned(), |(why, _)| why.clone());
        Err(StoreError::Behind { dir: self.shared.dir.clone(), rows: view.rows_in_memory(), reason })
    }

    fn is_over(&self, view: &View, times: u64) -> bool {
        let config = &self.shared.config;
        view.rows_in_memory() >= config.segment_rows.max(1).saturating_mul(times)
            || view.bytes_in_memory() >= config.segment_bytes.max(1).saturating_mul(times)
    }

    fn renew_broken_log(&mut self) -> Result<(), StoreError> {
        if self.log.is_broken() { self.begin_log() } else { Ok(()) }
    }

    fn begin_log(&mut self) -> Result<(), StoreError> {
        let seq = self.next_log;
        self.next_log += 1;
        self.log = LogFile::create(&self.shared.dir, seq)?;
        self.shared.view().logs.insert(seq, self.log.len());
        Ok(())
    }

    fn seal_when_due(&mut self) {
        let view = self.shared.view();
        let due = view.sealing.is_none()
            && self.is_over(&view, 1)
            && view.backoff.as_ref().is_none_or(|(_, rows)| view.rows_in_memory() >= *rows);
        drop(view);
        if due {
            // What went wrong is counted and logged there; the rows stay in the log and in memory.
            let _ = self.seal(None);
        }
    }

    fn seal_on_demand(&mut self, if_old_at: Option<Nanos>, reply: oneshot::Sender<Result<bool, StoreError>>) {
        let mut view = self.shared.view();
        let due = match if_old_at {
            None => true,
            Some(_) if view.open.rows == 0 => false,
            Some(now) => {
                let since = *view.open_since.get_or_insert(now);
                now.since(since) >= self.shared.config.segment_age || view.backoff.is_some()
            }
        };
        if !due {
            let _ = reply.send(Ok(false));
            return;
        }
        // Only one sealing at a time; appends wait behind this one for the moment that takes.
        drop(self.shared.wait_for_seal(view));
        let _ = self.seal(Some(reply));
    }

    /// Begins a new log and hands what the older ones hold to the sealer. Nothing may be being sealed.
    fn seal(&mut self, reply: Option<oneshot::Sender<Result<bool, StoreError>>>) -> Result<(), StoreError> {
        if self.shared.view().open.batches.is_empty() {
            if let Some(reply) = reply {
                let _ = reply.send(Ok(false));
            }
            return Ok(());
        }
        let rotated = if self.log.is_empty() && !self.log.is_broken() { Ok(()) } else { self.begin_log() };
        if let Err(error) = rotated {
            count(&self.shared.counters.seal_failures, 1);
            tracing::error!(dir = %self.shared.dir.display(), %error, "cannot begin a new log in order to seal");
            let mut view = self.shared.view();
            note_failure(&mut view, &self.shared, &error);
            drop(view);
            if let Some(reply) = reply {
                let _ = reply.send(Err(error));
            }
            return Ok(());
        }
        let mut view = self.shared.view();
        view.open_since = None;
        let memory: Memory = std::mem::take(&mut view.open);
        view.sealing = Some(memory);
        drop(view);
        self.sealer.send(Job::Seal { log_floor: self.log.seq(), reply }).map_err(|_| {
            self.shared.view().put_back();
            StoreError::Stopped("sealing thread")
        })
    }
}

/// Remembers that sealing failed, and puts the next try off until a quarter of a segment more is there.
pub(super) fn note_failure(view: &mut View, shared: &Shared, error: &StoreError) {
    let again = view.rows_in_memory() + (shared.config.segment_rows / 4).max(1);
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    view.backoff = Some((reason, again));
}
