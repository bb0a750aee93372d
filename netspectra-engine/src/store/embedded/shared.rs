use super::config::Config;
use super::generations::Generations;
use super::rows::{self, Record};
use super::segment::Segment;
use super::stats::{Counters, Stats};
use netspectra_common::model::{Alert, AppMessage, FlowRecord, LedgerEntry, Nanos, Rollup, TimeRange, WindowState};
use netspectra_common::ports::StoreBatch;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What the handle and the two threads of a store share.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) config: Config,
    pub(super) counters: Counters,
    view: Mutex<View>,
    /// Told whenever sealing ends.
    pub(super) sealed: Condvar,
}

/// What a query sees: each row that was acknowledged is in exactly one place.
#[derive(Default)]
pub(super) struct View {
    /// In the log, not yet being sealed.
    pub(super) open: Memory,
    /// Being sealed.
    pub(super) sealing: Option<Memory>,
    /// Sealed.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Which generations are in the others.
    pub(super) generations: Generations,
    /// Logs by number, and their bytes.
    pub(super) logs: BTreeMap<u64, u64>,
    /// Why sealing failed the last time, and the rows in memory at which it is tried again.
    pub(super) backoff: Option<(String, u64)>,
    /// When `maintain` first saw that there is something to seal.
    pub(super) open_since: Option<Nanos>,
}

/// Batches in memory.
#[derive(Clone, Default)]
pub(super) struct Memory {
    pub(super) batches: Vec<Arc<StoreBatch>>,
    pub(super) rows: u64,
    /// Bytes of their frames in the log.
    pub(super) bytes: u64,
}

impl Memory {
    pub(super) fn push(&mut self, batch: Arc<StoreBatch>, bytes: u64) {
        self.rows += rows::rows_of(&batch);
        self.bytes += bytes;
        self.batches.push(batch);
    }

    /// Adds what came later.
    pub(super) fn extend(&mut self, later: Self) {
        self.batches.extend(later.batches);
        self.rows += later.rows;
        self.bytes += later.bytes;
    }

    /// All rows of one kind.
    pub(super) fn rows_of<R: Record>(&self) -> impl Iterator<Item = &R> {
        self.batches.iter().flat_map(|batch| R::of(batch))
    }

    fn span(&self) -> Option<TimeRange> {
        let spans = [
            rows::span_of(self.rows_of::<FlowRecord>()),
            rows::span_of(self.rows_of::<Rollup>()),
            rows::span_of(self.rows_of::<WindowState>()),
            rows::span_of(self.rows_of::<LedgerEntry>()),
            rows::span_of(self.rows_of::<Alert>()),
            rows::span_of(self.rows_of::<AppMessage>()),
        ];
        spans.into_iter().flatten().reduce(cover)
    }
}

/// Everything a query reads, held while it reads.
pub(super) struct Snapshot {
    pub(super) memory: Memory,
    pub(super) segments: Vec<Arc<Segment>>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, config: Config, counters: Counters, view: View) -> Self {
        Self { dir, config, counters, view: Mutex::new(view), sealed: Condvar::new() }
    }

    /// The view. Held for moments only: no I/O under it. Every change is complete before anything can panic, so that a
    /// poisoned lock still guards a sound view.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is being sealed.
    pub(super) fn wait_for_seal<'a>(&self, view: MutexGuard<'a, View>) -> MutexGuard<'a, View> {
        self.sealed.wait_while(view, |v| v.sealing.is_some()).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let view = self.view();
        let mut memory = view.sealing.clone().unwrap_or_default();
        memory.extend(view.open.clone());
        Snapshot { memory, segments: view.segments.clone() }
    }

    pub(super) fn stats(&self) -> Stats {
        let view = self.view();
        let sum = |of: fn(&Segment) -> u64| view.segments.iter().map(|s| of(s)).sum();
        Stats {
            segments: view.segments.len() as u64,
            segment_rows: sum(|s| s.meta.rows),
            segment_bytes: sum(|s| s.meta.bytes),
            logs: view.logs.len() as u64,
            log_bytes: view.logs.values().sum(),
            memory_rows: view.rows_in_memory(),
            ..self.counters.read()
        }
    }
}

impl View {
    /// What was being sealed is not: it is open again.
    pub(super) fn put_back(&mut self) {
        if let Some(mut back) = self.sealing.take() {
            back.extend(std::mem::take(&mut self.open));
            self.open = back;
        }
    }

    pub(super) fn rows_in_memory(&self) -> u64 {
        self.open.rows + self.sealing.as_ref().map_or(0, |m| m.rows)
    }

    pub(super) fn bytes_in_memory(&self) -> u64 {
        self.open.bytes + self.sealing.as_ref().map_or(0, |m| m.bytes)
    }
}

impl Snapshot {
    /// The time that all rows cover together.
    pub(super) fn span(&self) -> Option<TimeRange> {
        self.segments.iter().map(|s| s.span()).chain(self.memory.span()).reduce(cover)
    }
}

fn cover(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) }
}
