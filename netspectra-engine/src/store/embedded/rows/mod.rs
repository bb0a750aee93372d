//! Rows to columns and back: the one conversion that log and segments share.
//!
//! Columns carry the names of the API's fields. Reading goes by name: a column that a file lacks (it was added later)
//! reads as 0 or nothing, one that this build does not know is ignored.

mod alerts;
mod build;
mod flows;
mod ledger;
mod messages;
mod nics;
mod places;
mod read;
mod rollups;
mod windows;

use super::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use netspectra_common::model::TimeRange;
use netspectra_common::ports::StoreBatch;
use std::time::Duration;

pub(super) use windows::WindowDecoder;

/// Columns that are not rows of the dataset.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("column `{column}` is missing")]
    Missing { column: &'static str },
    #[error("column `{column}` has type {found}, expected {expected}")]
    Type { column: &'static str, found: String, expected: &'static str },
    #[error("column `{column}` holds {found}, expected {expected}")]
    Value { column: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// The columns that say when a row was: a row covers `[lower, upper + length)`.
pub(super) struct TimeColumns {
    pub(super) lower: &'static str,
    pub(super) upper: &'static str,
    pub(super) length: Duration,
}

/// A stored row.
pub(super) trait Record: Clone + Send + Sync + Sized + 'static {
    /// Where it is stored.
    const DATASET: Dataset;
    /// Its times, for pruning.
    const TIME: TimeColumns;
    /// Rows decoded at once; bounds memory.
    const BATCH: usize;
    /// Rows of a row group at most.
    const ROW_GROUP: usize;
    /// What decoding keeps between batches.
    type Decoder: Default + Send;

    /// Rows as columns; of no rows, the schema.
    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError>;

    /// Calls `each` with every row of `batch`.
    fn decode(decoder: &mut Self::Decoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError>;

    /// The time it covers.
    fn span(&self) -> TimeRange;

    /// Rows with different values go into different row groups, so that a query may skip them.
    fn row_group(&self) -> u32 {
        0
    }

    /// The order inside a segment; it begins with [`row_group`](Self::row_group) where that differs.
    fn order(&self) -> (u64, u64);

    /// Rows of a batch.
    fn of(batch: &StoreBatch) -> &[Self];

    /// Rows of a batch.
    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self>;
}

/// Runs `$body` with `$R` standing for the row type of `$dataset`.
macro_rules! with_record {
    ($dataset:expr, $R:ident => $body:expr) => {
        match $dataset {
            $crate::store::embedded::dataset::Dataset::Flows => {
                type $R = netspectra_common::model::FlowRecord;
                $body
            }
            $crate::store::embedded::dataset::Dataset::Rollups => {
                type $R = netspectra_common::model::Rollup;
                $body
            }
            $crate::store::embedded::dataset::Dataset::Windows => {
                type $R = netspectra_common::model::WindowState;
                $body
            }
            $crate::store::embedded::dataset::Dataset::Ledger => {
                type $R = netspectra_common::model::LedgerEntry;
                $body
            }
            $crate::store::embedded::dataset::Dataset::Alerts => {
                type $R = netspectra_common::model::Alert;
                $body
            }
            $crate::store::embedded::dataset::Dataset::Messages => {
                type $R = netspectra_common::model::AppMessage;
                $body
            }
        }
    };
}
pub(super) use with_record;

/// The columns of `dataset` as this build writes them.
pub(super) fn schema(dataset: Dataset) -> Result<SchemaRef, ArrowError> {
    with_record!(dataset, R => R::encode(&[]).map(|batch| batch.schema()))
}

/// The time that rows cover together; `None` of no rows.
pub(super) fn span_of<'a, R: Record>(rows: impl IntoIterator<Item = &'a R>) -> Option<TimeRange> {
    rows.into_iter().map(Record::span).reduce(|a, b| TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) })
}

/// Rows of all datasets in `batch`.
pub(super) fn rows_of(batch: &StoreBatch) -> u64 {
    let StoreBatch { block: _, closed_by: _, flows, rollups, windows, ledger, alerts, messages } = batch;
    [flows.len(), rollups.len(), windows.len(), ledger.len(), alerts.len(), messages.len()].iter().sum::<usize>() as u64
}
