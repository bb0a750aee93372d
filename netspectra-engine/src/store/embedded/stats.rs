use std::sync::atomic::{AtomicU64, Ordering};

/// What the store holds and has done, for metrics. Counts begin at 0 when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live segments.
    pub segments: u64,
    /// Their rows.
    pub segment_rows: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Log files.
    pub logs: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Rows in memory: those that are in no segment yet.
    pub memory_rows: u64,
    /// Batches appended and acknowledged.
    pub appended_batches: u64,
    /// Their rows.
    pub appended_rows: u64,
    /// Batches refused.
    pub append_failures: u64,
    /// Times the log was flushed to disk; fewer than batches where several shared one.
    pub log_syncs: u64,
    /// Times the open segment was sealed.
    pub seals: u64,
    /// Times that failed. The rows stay in the log.
    pub seal_failures: u64,
    /// Merges of small segments.
    pub merges: u64,
    /// Merges that failed. The segments stay as they are.
    pub merge_failures: u64,
    /// Segments that retention unlinked.
    pub retired_segments: u64,
    /// Their rows.
    pub retired_rows: u64,
    /// Their bytes.
    pub retired_bytes: u64,
    /// Batches that the log gave back at the start.
    pub recovered_batches: u64,
    /// Bytes of torn tails cut off at the start; they were never acknowledged.
    pub torn_bytes: u64,
    /// Damaged stretches of the log, found at the start; the bytes are in `quarantine`.
    pub damaged_frames: u64,
    /// Segments that were missing or had another length at the start; what there was of them is in `quarantine`.
    pub damaged_segments: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The part of [`Stats`] that only grows.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* ..Stats::default() }
            }
        }
    };
}
counters!(
    appended_batches,
    appended_rows,
    append_failures,
    log_syncs,
    seals,
    seal_failures,
    merges,
    merge_failures,
    retired_segments,
    retired_rows,
    retired_bytes,
    recovered_batches,
    torn_bytes,
    damaged_frames,
    damaged_segments,
);

/// Adds `n` to a counter.
pub(super) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
