use super::error::StoreError;
use super::segment::{RowGroups, Segment};
use super::shared::Snapshot;
use super::wanted::{Scan, Wanted};
use netspectra_common::model::{Alert, AppMessage, FlowRecord, LedgerEntry, Nanos, Rollup, TimeRange, WindowState};
use netspectra_common::query::{Partial, Plan, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What rows are folded into.
pub(super) trait Accumulate<R>: Send {
    /// Takes a row.
    fn fold(&mut self, row: &R);

    /// Rows of an older time are not needed any more.
    fn floor(&self) -> Option<Nanos> {
        None
    }
}

/// Answers `plan` from `snapshot` with up to `threads` threads; gives up when `cancelled`.
pub(super) fn run(
    plan: &Plan,
    snapshot: &Snapshot,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<Partial, StoreError> {
    let wanted = Wanted::of(plan);
    // An illegal plan is refused before anything is read.
    let new = || Ok::<_, StoreError>(Folding { plan, partial: Partial::new(plan)? });
    let Folding { mut partial, .. } = new()?;
    let parts = match plan.source() {
        Source::Flows => scan::<FlowRecord, _>(snapshot, &wanted, threads, cancelled, new),
        Source::Rollups => scan::<Rollup, _>(snapshot, &wanted, threads, cancelled, new),
        Source::Windows(_) => scan::<WindowState, _>(snapshot, &wanted, threads, cancelled, new),
        Source::Ledger => scan::<LedgerEntry, _>(snapshot, &wanted, threads, cancelled, new),
        Source::Alerts => scan::<Alert, _>(snapshot, &wanted, threads, cancelled, new),
        Source::Messages => scan::<AppMessage, _>(snapshot, &wanted, threads, cancelled, new),
    }?;
    for part in parts {
        partial.merge(part.partial);
    }
    Ok(partial)
}

/// Folds every wanted row into one of the accumulators that `new` makes, one a thread.
///
/// Which accumulator gets which row, and in which order, follows from the snapshot and `threads` alone: sketches that
/// are merged in another order are equally good, but not equal.
pub(super) fn scan<R: Scan, A: Accumulate<R>>(
    snapshot: &Snapshot,
    wanted: &Wanted,
    threads: usize,
    cancelled: &AtomicBool,
    new: impl Fn() -> Result<A, StoreError>,
) -> Result<Vec<A>, StoreError> {
    let units = units::<R>(snapshot, wanted)?;
    let workers = threads.min(units.len()).max(1);
    let failed = AtomicBool::new(false);
    let work = |worker: usize, acc: &mut A| -> Result<(), StoreError> {
        let mut decoder = R::decoder(wanted);
        for unit in units.iter().skip(worker).step_by(workers) {
            if failed.load(Ordering::Relaxed) || cancelled.load(Ordering::Relaxed) {
                break;
            }
            let floor = acc.floor();
            if floor.is_some_and(|floor| unit.newest < floor) {
                break;
            }
            unit.read(wanted, floor, &mut decoder, cancelled, acc)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let mut accumulators = (0..workers).map(|_| new()).collect::<Result<Vec<A>, _>>()?;
    std::thread::scope(|scope| {
        let work = &work;
        let mut accs = accumulators.iter_mut().enumerate();
        let mine = accs.next();
        let handles: Vec<_> = accs.map(|(worker, acc)| scope.spawn(move || work(worker, acc))).collect();
        let mut result = mine.map_or(Ok(()), |(worker, acc)| {
            for row in snapshot.memory.rows_of::<R>().filter(|row| row.is_wanted(wanted)) {
                acc.fold(row);
            }
            work(worker, acc)
        });
        for handle in handles {
            let theirs = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(theirs);
        }
        result
    })?;
    Ok(accumulators)
}

struct Folding<'p> {
    plan: &'p Plan,
    partial: Partial,
}

impl Accumulate<FlowRecord> for Folding<'_> {
    fn fold(&mut self, row: &FlowRecord) {
        self.partial.fold_flow(self.plan, row);
    }

    fn floor(&self) -> Option<Nanos> {
        self.partial.page_floor()
    }
}

impl Accumulate<Rollup> for Folding<'_> {
    fn fold(&mut self, row: &Rollup) {
        self.partial.fold_rollup(self.plan, row);
    }
}

impl Accumulate<WindowState> for Folding<'_> {
    fn fold(&mut self, row: &WindowState) {
        self.partial.fold_window(self.plan, row);
    }
}

impl Accumulate<LedgerEntry> for Folding<'_> {
    fn fold(&mut self, row: &LedgerEntry) {
        self.partial.fold_ledger(self.plan, row);
    }
}

impl Accumulate<Alert> for Folding<'_> {
    fn fold(&mut self, row: &Alert) {
        self.partial.fold_alert(self.plan, row);
    }

    fn floor(&self) -> Option<Nanos> {
        self.partial.page_floor()
    }
}

impl Accumulate<AppMessage> for Folding<'_> {
    fn fold(&mut self, row: &AppMessage) {
        self.partial.fold_message(self.plan, row);
    }

    fn floor(&self) -> Option<Nanos> {
        self.partial.page_floor()
    }
}

/// A row group to be read.
struct Unit<'s> {
    segment: &'s Arc<Segment>,
    group: usize,
    /// No row of it is newer.
    newest: Nanos,
}

/// What is to be read, newest first.
fn units<'s, R: Scan>(snapshot: &'s Snapshot, wanted: &Wanted) -> Result<Vec<Unit<'s>>, StoreError> {
    let mut units = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| s.meta.dataset == R::DATASET) {
        if overlap(segment.span(), wanted.range) {
            let groups = RowGroups::of(segment)?;
            let matching = groups.matching::<R>(wanted.range, wanted.resolution.map(|r| r.secs()));
            units.extend(matching.into_iter().map(|(group, newest)| Unit { segment, group, newest }));
        }
    }
    units.sort_by(|a, b| (b.newest, &b.segment.meta.file, b.group).cmp(&(a.newest, &a.segment.meta.file, a.group)));
    Ok(units)
}

impl Unit<'_> {
    fn read<R: Scan, A: Accumulate<R>>(
        &self,
        wanted: &Wanted,
        floor: Option<Nanos>,
        decoder: &mut R::Decoder,
        cancelled: &AtomicBool,
        acc: &mut A,
    ) -> Result<(), StoreError> {
        let keep = R::keep(wanted, floor);
        RowGroups::of(self.segment)?.read::<R>(self.group, wanted.columns.as_deref(), keep, &mut |columns| {
            R::decode(decoder, &columns, &mut |row| acc.fold(&row)).map_err(|e| self.segment.damaged(e))?;
            Ok(!cancelled.load(Ordering::Relaxed))
        })
    }
}

fn overlap(a: TimeRange, b: TimeRange) -> bool {
    a.from < b.to && b.from < a.to
}
