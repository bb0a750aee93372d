use std::time::Duration;

/// When the embedded store seals, merges and forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Rows (of all datasets together) in the open segment that make it be sealed. Rows of the open segment are in
    /// memory, some 300 bytes each. Default 262,144; at least 1.
    pub segment_rows: u64,
    /// Bytes of log that make the open segment be sealed. Bounds memory when windows carry large sketches, and the time
    /// a restart needs to replay. Default 64 MiB.
    pub segment_bytes: u64,
    /// Age of the open segment's first row, as [`maintain`](super::EmbeddedStore::maintain) sees it, that makes it be
    /// sealed. Default one hour; zero seals at every `maintain`.
    pub segment_age: Duration,
    /// Rows of a segment that no merge goes beyond. Small neighbouring segments are merged, so that files do not pile
    /// up; zero merges nothing. Default 4,194,304.
    pub merge_rows: u64,
    /// Segments whose newest row is older than this are unlinked. Default 30 days; zero keeps rows for ever.
    pub retention_age: Duration,
    /// Bytes of segments and log together above which the oldest segments are unlinked. Default 10 GiB; zero is no
    /// limit. Takes effect at `maintain`, so that up to [`segment_bytes`](Self::segment_bytes) more may be in use.
    pub retention_bytes: u64,
    /// Threads that one query may use. Default 0: as many as there are processors, at most 8.
    pub query_threads: usize,
    /// Batches that wait for the log at most; `append` waits when there are more. Those waiting share one `fdatasync`.
    /// Default 64; at least 1.
    pub append_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_rows: 262_144,
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(3600),
            merge_rows: 4_194_304,
            retention_age: Duration::from_secs(30 * 24 * 3600),
            retention_bytes: 10 << 30,
            query_threads: 0,
            append_queue: 64,
        }
    }
}

impl Config {
    /// The defaults, but nothing is forgotten: for what was saved to be kept.
    pub fn keeping_everything() -> Self {
        Self { retention_age: Duration::ZERO, retention_bytes: 0, ..Self::default() }
    }

    /// Threads for one query.
    pub(super) fn threads(&self) -> usize {
        if self.query_threads > 0 {
            return self.query_threads;
        }
        std::thread::available_parallelism().map_or(1, usize::from).min(8)
    }
}
