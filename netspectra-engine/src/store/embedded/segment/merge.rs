use super::{RowGroups, Segment, SegmentWriter};
use crate::store::embedded::error::StoreError;
use crate::store::embedded::manifest::SegmentMeta;
use crate::store::embedded::rows::{self, with_record};
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use netspectra_common::model::TimeRange;
use std::path::Path;
use std::sync::Arc;

/// Writes the rows of `segments`, which hold one dataset and follow each other in time, as one segment.
///
/// Row groups stay those of one input each as far as they are large, so that they stay narrow in time. Memory: one row
/// group. Cost: some 1 us a row.
pub(in crate::store::embedded) fn merge(
    dir: &Path,
    number: u64,
    segments: &[Arc<Segment>],
) -> Result<Option<SegmentMeta>, StoreError> {
    let Some(first) = segments.first() else { return Ok(None) };
    let dataset = first.meta.dataset;
    let fault = |e: &ArrowError| StoreError::Encode { dataset: dataset.name(), reason: e.to_string() };
    let schema = rows::schema(dataset).map_err(|e| fault(&e))?;
    let mut writer = SegmentWriter::create(dir, dataset, number)?;
    // Windows of one length are kept together, as `write_rows` does it.
    let mut parts = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        let groups = RowGroups::of(segment)?;
        parts.extend(groups.with_length().into_iter().map(|(seconds, group)| (seconds, place, group)));
    }
    parts.sort_unstable();
    for part in parts.chunk_by(|a, b| a.0 == b.0) {
        for (_, place, group) in part {
            let groups = RowGroups::of(&segments[*place])?;
            let mut copy = |columns: RecordBatch| {
                writer.write(&conform(&columns, &schema).map_err(|e| fault(&e))?)?;
                Ok(true)
            };
            with_record!(dataset, R => groups.read::<R>(*group, None, None, &mut copy))?;
        }
        writer.cut()?;
    }
    let span = segments
        .iter()
        .map(|s| s.span())
        .fold(first.span(), |a, b| TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) });
    let level = segments.iter().map(|s| s.meta.level).max().unwrap_or(0) + 1;
    writer.finish(span, level).map(Some)
}

/// `columns` as this build writes them: columns that are new here are filled with what reading would give.
fn conform(columns: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = columns.num_rows();
    let arrays = schema.fields().iter().map(|field| match columns.column_by_name(field.name()) {
        Some(array) => cast(array, field.data_type()),
        None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
        None => zeros(field.data_type(), rows),
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect::<Result<Vec<_>, _>>()?)
}

fn zeros(kind: &arrow::datatypes::DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
    cast(&arrow::array::UInt8Array::from_value(0, rows), kind)
}
