use super::error::StoreError;
use super::rows::{Record, WindowDecoder};
use super::segment::{RowGroups, Segment};
use super::shared::Snapshot;
use netspectra_common::model::{FlowRecord, LedgerEntry, Resolution, Rollup, TimeRange, WindowState};
use netspectra_common::query::{Partial, Plan, Query, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a scan may leave out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Rows outside may be left out.
    pub(super) range: TimeRange,
    /// Windows of other lengths are left out.
    pub(super) resolution: Option<Resolution>,
    /// Whether windows need their sketches.
    pub(super) sketches: bool,
}

impl Wanted {
    /// What `plan` needs. Folding decides about every row; this only has to contain what it takes.
    fn of(plan: &Plan, resolution: Option<Resolution>) -> Self {
        // Answers begin and end with whole windows and whole points.
        let mut slack = Resolution::S60.duration();
        let mut sketches = true;
        match &plan.query {
            Query::Series { step, .. } => {
                slack = slack.max(*step);
                sketches = false;
            }
            Query::Flows { .. }
            | Query::Top { .. }
            | Query::Cardinality { .. }
            | Query::Quantiles { .. }
            | Query::Ledger => {}
        }
        let range = TimeRange { from: plan.range.from.minus(slack), to: plan.range.to.plus(slack) };
        Self { range, resolution, sketches }
    }
}

/// Answers `plan` from `snapshot` with up to `threads` threads; gives up when `cancelled`.
pub(super) fn run(
    plan: &Plan,
    snapshot: &Snapshot,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<Partial, StoreError> {
    let resolution = match plan.source() {
        Source::Windows(resolution) => Some(resolution),
        Source::Flows | Source::Rollups | Source::Ledger => None,
    };
    let wanted = Wanted::of(plan, resolution);
    // An illegal plan is refused before anything is read.
    let mut partial = Partial::new(plan)?;
    let new = || Partial::new(plan);
    let parts = match plan.source() {
        Source::Flows => scan(snapshot, wanted, threads, cancelled, new, |p, row: &FlowRecord| p.fold_flow(plan, row)),
        Source::Rollups => scan(snapshot, wanted, threads, cancelled, new, |p, row: &Rollup| p.fold_rollup(plan, row)),
        Source::Windows(_) => {
            scan(snapshot, wanted, threads, cancelled, new, |p, row: &WindowState| p.fold_window(plan, row))
        }
        Source::Ledger => {
            scan(snapshot, wanted, threads, cancelled, new, |p, row: &LedgerEntry| p.fold_ledger(plan, row))
        }
    }?;
    for part in parts {
        partial.merge(part);
    }
    Ok(partial)
}

/// Folds every wanted row into one of the accumulators that `new` makes, one a thread.
pub(super) fn scan<R, A, E>(
    snapshot: &Snapshot,
    wanted: Wanted,
    threads: usize,
    cancelled: &AtomicBool,
    new: impl Fn() -> Result<A, E>,
    fold: impl Fn(&mut A, &R) + Sync,
) -> Result<Vec<A>, StoreError>
where
    R: Scan,
    A: Send,
    StoreError: From<E>,
{
    let mut units = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| s.meta.dataset == R::DATASET) {
        if overlap(segment.span(), wanted.range) {
            let groups = RowGroups::of(segment)?;
            let seconds = wanted.resolution.map(Resolution::secs);
            units.extend(groups.matching::<R>(wanted.range, seconds).into_iter().map(|group| (segment, group)));
        }
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = |acc: &mut A| -> Result<(), StoreError> {
        let mut decoder = R::decoder(wanted);
        while let Some((segment, group)) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) || cancelled.load(Ordering::Relaxed) {
                break;
            }
            let read = read_unit(segment, *group, wanted, &mut decoder, cancelled, &mut |row: R| fold(acc, &row));
            read.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let helpers = threads.min(units.len()).saturating_sub(1);
    let mut accumulators = (0..=helpers).map(|_| new()).collect::<Result<Vec<A>, E>>()?;
    std::thread::scope(|scope| {
        let mut accs = accumulators.iter_mut();
        let mine = accs.next();
        let handles: Vec<_> = accs.map(|acc| scope.spawn(|| work(acc))).collect();
        let mut result = mine.map_or(Ok(()), |acc| {
            for row in snapshot.memory.rows_of::<R>().filter(|row| row.is_wanted(&wanted)) {
                fold(acc, row);
            }
            work(acc)
        });
        for handle in handles {
            let theirs = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(theirs);
        }
        result
    })?;
    Ok(accumulators)
}

fn read_unit<R: Scan>(
    segment: &Arc<Segment>,
    group: usize,
    wanted: Wanted,
    decoder: &mut R::Decoder,
    cancelled: &AtomicBool,
    each: &mut dyn FnMut(R),
) -> Result<(), StoreError> {
    RowGroups::of(segment)?.read::<R>(vec![group], wanted.sketches, &mut |columns| {
        R::decode(decoder, &columns, each).map_err(|e| segment.damaged(e))?;
        Ok(!cancelled.load(Ordering::Relaxed))
    })
}

fn overlap(a: TimeRange, b: TimeRange) -> bool {
    a.from < b.to && b.from < a.to
}

/// What scanning needs to know of a row beyond [`Record`].
pub(super) trait Scan: Record {
    /// A decoder that skips what is not wanted.
    fn decoder(_wanted: Wanted) -> Self::Decoder {
        Self::Decoder::default()
    }

    /// Whether a row in memory is wanted.
    fn is_wanted(&self, wanted: &Wanted) -> bool {
        overlap(self.span(), wanted.range)
    }
}

impl Scan for FlowRecord {}
impl Scan for Rollup {}
impl Scan for LedgerEntry {}
impl Scan for WindowState {
    fn decoder(wanted: Wanted) -> WindowDecoder {
        WindowDecoder::only(wanted.resolution)
    }

    fn is_wanted(&self, wanted: &Wanted) -> bool {
        overlap(self.span(), wanted.range) && wanted.resolution.is_none_or(|r| r == self.resolution)
    }
}
