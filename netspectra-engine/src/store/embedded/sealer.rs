use super::dataset::Dataset;
use super::disk;
use super::error::StoreError;
use super::log;
use super::manifest::{Manifest, SegmentMeta};
use super::rows::with_record;
use super::segment::{self, Segment, write_rows};
use super::shared::{Memory, Shared};
use super::stats::count;
use super::writer::note_failure;
use netspectra_common::model::{LedgerEntry, Nanos};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Neighbouring segments of one level that are merged at once.
const MERGE_FAN_IN: usize = 8;
/// Time that a merged segment covers at most: retention forgets whole segments.
const MERGE_SPAN: Duration = Duration::from_secs(24 * 3600);

/// What the sealing thread is asked for.
pub(super) enum Job {
    /// Seal what the view says is being sealed; logs below `log_floor` are superfluous then.
    Seal { log_floor: u64, reply: Option<oneshot::Sender<Result<bool, StoreError>>> },
    /// Forget what is too old or too much.
    Retain { now: Nanos, reply: oneshot::Sender<Result<Forgotten, StoreError>> },
}

/// What retention unlinked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Segments.
    pub segments: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The thread that owns the manifest: the only one that makes segments live or forgets them.
pub(super) struct Sealer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    pub(super) manifest: Manifest,
}

impl Sealer {
    /// Runs until the log thread ends. Merges while there is nothing else to do.
    pub(super) fn run(mut self) {
        let mut merging = true;
        loop {
            let job =
                if merging { self.jobs.try_recv() } else { self.jobs.recv().map_err(|_| TryRecvError::Disconnected) };
            match job {
                Ok(job) => {
                    self.handle(job);
                    merging = true;
                }
                Err(TryRecvError::Empty) => merging = self.merge_some(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Seal { log_floor, reply } => {
                let result = self.seal(log_floor);
                if let Some(reply) = reply {
                    let _ = reply.send(result.map(|()| true));
                }
            }
            Job::Retain { now, reply } => {
                let _ = reply.send(self.retain(now));
            }
        }
    }

    fn seal(&mut self, log_floor: u64) -> Result<(), StoreError> {
        let memory = self.shared.view().sealing.clone().unwrap_or_default();
        let result = self.write(&memory).and_then(|metas| {
            let mut next = Manifest { log_floor, ..self.with(&metas, &HashSet::new()) };
            next.generations.note(memory.rows_of::<LedgerEntry>());
            match next.save(&self.shared.dir) {
                Ok(durable) => {
                    self.manifest = next;
                    Ok((metas, durable))
                }
                Err(error) => {
                    self.discard(&metas);
                    Err(error)
                }
            }
        });
        let mut view = self.shared.view();
        let outcome = match result {
            Ok((metas, durable)) => {
                view.sealing = None;
                view.backoff = None;
                view.segments.extend(metas.into_iter().map(|meta| Arc::new(Segment::new(&self.shared.dir, meta))));
                let newer = view.logs.split_off(&log_floor);
                let superfluous = std::mem::replace(&mut view.logs, newer);
                drop(view);
                // Those that stay are below the floor: the next start removes them.
                for seq in superfluous.into_keys().filter(|_| durable) {
                    disk::remove(&log::path_of(&self.shared.dir, seq));
                }
                count(&self.shared.counters.seals, 1);
                Ok(())
            }
            Err(error) => {
                view.put_back();
                note_failure(&mut view, &self.shared, &error);
                drop(view);
                count(&self.shared.counters.seal_failures, 1);
                tracing::error!(dir = %self.shared.dir.display(), %error, rows = memory.rows,
                    "sealing failed; the rows stay in the log and will be tried again");
                Err(error)
            }
        };
        self.shared.sealed.notify_all();
        outcome
    }

    /// Writes what is in memory as segments, which do not count yet.
    fn write(&mut self, memory: &Memory) -> Result<Vec<SegmentMeta>, StoreError> {
        let mut metas = Vec::new();
        for dataset in Dataset::ALL {
            let number = self.next_number();
            let written =
                with_record!(dataset, R => write_rows::<R>(&self.shared.dir, number, memory.rows_of::<R>().collect()));
            match written {
                Ok(meta) => metas.extend(meta),
                Err(error) => {
                    self.discard(&metas);
                    return Err(error);
                }
            }
        }
        Ok(metas)
    }

    fn next_number(&mut self) -> u64 {
        let number = self.manifest.next_segment;
        self.manifest.next_segment += 1;
        number
    }

    /// Removes segments that never counted.
    fn discard(&self, metas: &[SegmentMeta]) {
        for meta in metas {
            disk::remove(&self.shared.dir.join(&meta.file));
        }
    }

    /// The manifest with `added` and without the files of `removed`.
    fn with(&self, added: &[SegmentMeta], removed: &HashSet<String>) -> Manifest {
        let mut next = self.manifest.clone();
        next.segments.retain(|s| !removed.contains(&s.file));
        next.segments.extend_from_slice(added);
        next
    }

    /// Replaces `old` by `new` in the manifest and in the view.
    fn swap(&mut self, old: &[Arc<Segment>], new: Vec<SegmentMeta>) -> Result<(), StoreError> {
        let gone: HashSet<String> = old.iter().map(|s| s.meta.file.clone()).collect();
        let next = self.with(&new, &gone);
        let durable = next.save(&self.shared.dir).inspect_err(|_| self.discard(&new))?;
        self.manifest = next;
        let mut view = self.shared.view();
        view.segments.retain(|s| !gone.contains(&s.meta.file));
        view.segments.extend(new.into_iter().map(|meta| Arc::new(Segment::new(&self.shared.dir, meta))));
        drop(view);
        if durable {
            old.iter().for_each(|s| s.retire());
        }
        Ok(())
    }

    fn retain(&mut self, now: Nanos) -> Result<Forgotten, StoreError> {
        let config = &self.shared.config;
        let view = self.shared.view();
        let mut segments = view.segments.clone();
        let mut total: u64 = view.logs.values().sum();
        drop(view);
        segments.sort_by_key(|s| s.meta.to);
        total += segments.iter().map(|s| s.meta.bytes).sum::<u64>();
        let oldest = match config.retention_age {
            Duration::ZERO => Nanos(0),
            age => now.minus(age),
        };
        let mut gone = Vec::new();
        for segment in segments {
            let too_old = segment.meta.to <= oldest;
            let too_much = config.retention_bytes > 0 && total > config.retention_bytes;
            if too_old || too_much {
                total -= segment.meta.bytes;
                gone.push((segment, too_old));
            }
        }
        if gone.is_empty() {
            return Ok(Forgotten::default());
        }
        let segments: Vec<_> = gone.iter().map(|(segment, _)| Arc::clone(segment)).collect();
        self.swap(&segments, Vec::new())?;
        let mut forgotten = Forgotten::default();
        for (Segment { meta, .. }, too_old) in gone.iter().map(|(s, old)| (s.as_ref(), *old)) {
            forgotten.segments += 1;
            forgotten.rows += meta.rows;
            forgotten.bytes += meta.bytes;
            let reason = if too_old { "retention_age" } else { "retention_bytes" };
            tracing::info!(segment = %meta.file, rows = meta.rows, bytes = meta.bytes, reason, "forgot a segment");
        }
        let counters = &self.shared.counters;
        count(&counters.retired_segments, forgotten.segments);
        count(&counters.retired_rows, forgotten.rows);
        count(&counters.retired_bytes, forgotten.bytes);
        Ok(forgotten)
    }

    /// Merges one run of small segments; whether there may be another one.
    pub(super) fn merge_some(&mut self) -> bool {
        let live = self.shared.view().segments.clone();
        let Some(run) = Dataset::ALL.into_iter().find_map(|d| run_to_merge(&live, d, self.shared.config.merge_rows))
        else {
            return false;
        };
        drop(live);
        let number = self.next_number();
        let merged =
            segment::merge(&self.shared.dir, number, &run).and_then(|meta| self.swap(&run, meta.into_iter().collect()));
        match merged {
            Ok(()) => {
                count(&self.shared.counters.merges, 1);
                true
            }
            Err(error) => {
                count(&self.shared.counters.merge_failures, 1);
                tracing::error!(dir = %self.shared.dir.display(), %error, "merging failed; the segments stay as they are");
                // Tried again after the next job, not at once.
                false
            }
        }
    }
}

impl Drop for Sealer {
    /// If this thread panicked while sealing: nobody waits for it for ever, and queries still see the rows.
    fn drop(&mut self) {
        self.shared.view().put_back();
        self.shared.sealed.notify_all();
    }
}

/// Neighbours in time of one level that together stay within the limits.
fn run_to_merge(live: &[Arc<Segment>], dataset: Dataset, merge_rows: u64) -> Option<Vec<Arc<Segment>>> {
    let mut candidates: Vec<_> = live.iter().filter(|s| s.meta.dataset == dataset).cloned().collect();
    candidates.sort_by_key(|s| (s.meta.level, s.meta.from, s.meta.file.clone()));
    candidates
        .windows(MERGE_FAN_IN)
        .find(|run| {
            let rows: u64 = run.iter().map(|s| s.meta.rows).sum();
            let from = run.iter().map(|s| s.meta.from).min().unwrap_or_default();
            let to = run.iter().map(|s| s.meta.to).max().unwrap_or_default();
            run.first().map(|s| s.meta.level) == run.last().map(|s| s.meta.level)
                && rows <= merge_rows
                && to.since(from) <= MERGE_SPAN
        })
        .map(<[_]>::to_vec)
}
