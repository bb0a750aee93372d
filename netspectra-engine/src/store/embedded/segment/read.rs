use super::Segment;
use crate::store::embedded::error::StoreError;
use crate::store::embedded::rows::{Record, SKETCHES, TimeColumns};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use netspectra_common::model::{Nanos, TimeRange};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::sync::Arc;

/// The column with the length of a window.
const LENGTH: &str = "resolution_seconds";

/// A segment's row groups, and a way to read them.
pub(in crate::store::embedded) struct RowGroups<'s> {
    segment: &'s Segment,
    footer: &'s ArrowReaderMetadata,
}

impl<'s> RowGroups<'s> {
    /// Reads the footer, unless it was read before.
    pub(in crate::store::embedded) fn of(segment: &'s Segment) -> Result<Self, StoreError> {
        let footer = match segment.footer.get() {
            Some(footer) => footer,
            None => {
                let footer = load(segment)?;
                segment.footer.get_or_init(|| footer)
            }
        };
        Ok(Self { segment, footer })
    }

    /// Those that may hold rows inside `range`, and, of windows, rows of `seconds` length.
    pub(in crate::store::embedded) fn matching<R: Record>(&self, range: TimeRange, seconds: Option<u32>) -> Vec<usize> {
        let groups = self.footer.metadata().row_groups();
        (0..groups.len())
            .filter(|i| overlaps(&groups[*i], &R::TIME, range))
            .filter(|i| seconds.is_none_or(|s| may_hold(&groups[*i], LENGTH, s)))
            .collect()
    }

    /// All of them with the length of the windows inside, which is 0 where rows are no windows.
    pub(in crate::store::embedded) fn with_length(&self) -> Vec<(i64, usize)> {
        let groups = self.footer.metadata().row_groups();
        let length = |group| bounds(group, LENGTH).map_or(0, |(min, _)| min);
        groups.iter().enumerate().map(|(i, group)| (length(group), i)).collect()
    }

    /// Calls `each` with the columns of `groups`, until it says no.
    pub(in crate::store::embedded) fn read<R: Record>(
        &self,
        groups: Vec<usize>,
        with_sketches: bool,
        each: &mut dyn FnMut(RecordBatch) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let file = open(self.segment)?;
        let schema = self.footer.parquet_schema();
        let columns = (0..schema.num_columns()).filter(|i| {
            with_sketches || !SKETCHES.contains(&schema.column(*i).path().parts().first().map_or("", String::as_str))
        });
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.footer.clone())
            .with_batch_size(R::BATCH)
            .with_row_groups(groups)
            .with_projection(ProjectionMask::leaves(schema, columns))
            .build()
            .map_err(|e| self.segment.damaged(e))?;
        for columns in reader {
            if !each(columns.map_err(|e| self.segment.damaged(e))?)? {
                break;
            }
        }
        Ok(())
    }
}

fn open(segment: &Segment) -> Result<File, StoreError> {
    File::open(&segment.path).map_err(|e| segment.damaged(e))
}

/// Asks for dictionaries of text: values are parsed once, not once a row.
fn load(segment: &Segment) -> Result<ArrowReaderMetadata, StoreError> {
    let file = open(segment)?;
    let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|e| segment.damaged(e))?;
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields: Vec<Arc<Field>> = plain
        .schema()
        .fields()
        .iter()
        .map(|f| match f.data_type() == &DataType::Utf8 {
            true => Arc::new(f.as_ref().clone().with_data_type(text.clone())),
            false => Arc::clone(f),
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), ArrowReaderOptions::new().with_schema(schema))
        .map_err(|e| segment.damaged(e))
}

/// The smallest and largest value of a column in a row group, when the file says so.
fn bounds(group: &RowGroupMetaData, name: &str) -> Option<(i64, i64)> {
    let column = group.columns().iter().find(|c| c.column_path().parts() == [name])?;
    match column.statistics()? {
        Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
        Statistics::Int32(s) => Some((i64::from(*s.min_opt()?), i64::from(*s.max_opt()?))),
        Statistics::Boolean(_)
        | Statistics::Int96(_)
        | Statistics::Float(_)
        | Statistics::Double(_)
        | Statistics::ByteArray(_)
        | Statistics::FixedLenByteArray(_) => None,
    }
}

fn overlaps(group: &RowGroupMetaData, time: &TimeColumns, range: TimeRange) -> bool {
    // A negative bound is a time beyond 2262, see `Columns::time`: the order is not that of the times then.
    let at = |name| bounds(group, name).filter(|(min, _)| *min >= 0);
    let (Some((lower, lower_max)), Some((upper_min, upper))) = (at(time.lower), at(time.upper)) else {
        return true;
    };
    // Rows whose last time is before their first one are rare, and legal: both columns bound both ends.
    let from = Nanos(lower.min(upper_min) as u64);
    let to = Nanos(upper.max(lower_max) as u64).plus(time.length);
    from < range.to && range.from < to
}

fn may_hold(group: &RowGroupMetaData, name: &str, value: u32) -> bool {
    bounds(group, name).is_none_or(|(min, max)| (min..=max).contains(&i64::from(value)))
}
