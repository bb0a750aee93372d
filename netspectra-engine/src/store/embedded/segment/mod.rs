//! Parquet files: written once, never changed, unlinked when nobody needs them any more.

mod export;
mod merge;
mod read;
mod write;

pub use export::{ExportError, FlowsFile};
pub(super) use merge::merge;
pub(super) use read::{Keep, RowGroups};
pub(super) use write::{SegmentWriter, write_rows};

use super::disk;
use super::error::StoreError;
use super::manifest::SegmentMeta;
use netspectra_common::model::TimeRange;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A live segment. Queries hold it while they read; a retired one is unlinked when the last of them lets go.
pub(super) struct Segment {
    pub(super) meta: SegmentMeta,
    pub(super) path: PathBuf,
    /// Its footer, once a query wanted it.
    footer: OnceLock<ArrowReaderMetadata>,
    retired: AtomicBool,
}

impl Segment {
    pub(super) fn new(dir: &Path, meta: SegmentMeta) -> Self {
        let path = dir.join(&meta.file);
        Self { meta, path, footer: OnceLock::new(), retired: AtomicBool::new(false) }
    }

    /// Unlinks the file once the last holder drops it. The manifest must not list it any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// The time its rows cover.
    pub(super) fn span(&self) -> TimeRange {
        TimeRange { from: self.meta.from, to: self.meta.to }
    }

    /// The error of a file that does not hold what it should.
    pub(super) fn damaged(&self, reason: impl ToString) -> StoreError {
        StoreError::Segment { path: self.path.clone(), reason: reason.to_string() }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if *self.retired.get_mut() {
            disk::remove(&self.path);
        }
    }
}
