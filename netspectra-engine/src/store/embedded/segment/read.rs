use super::Segment;
use crate::store::embedded::error::StoreError;
use crate::store::embedded::rows::{Record, TimeColumns};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use netspectra_common::model::{Nanos, TimeRange};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
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

    /// Those that may hold rows inside `range`, and, of windows, rows of `seconds` length; with the newest time of
    /// their column [`TimeColumns::upper`].
    pub(in crate::store::embedded) fn matching<R: Record>(
        &self,
        range: TimeRange,
        seconds: Option<u32>,
    ) -> Vec<(usize, Nanos)> {
        let groups = self.footer.metadata().row_groups().iter().enumerate();
        groups
            .filter(|(_, group)| overlaps(group, &R::TIME, range))
            .filter(|(_, group)| seconds.is_none_or(|s| may_hold(group, LENGTH, s)))
            .map(|(i, group)| {
                let upper = time_bounds(group, R::TIME.upper);
                (i, upper.map_or(Nanos(u64::MAX), |(_, newest)| newest))
            })
            .collect()
    }

    /// All of them with the length of the windows inside, which is 0 where rows are no windows.
    pub(in crate::store::embedded) fn with_length(&self) -> Vec<(i64, usize)> {
        let groups = self.footer.metadata().row_groups();
        let length = |group| bounds(group, LENGTH).map_or(0, |(min, _)| min);
        groups.iter().enumerate().map(|(i, group)| (length(group), i)).collect()
    }

    /// Calls `each` with the columns of row group `group`, until it says no. Reads `columns` only, where given, and of
    /// the other columns than the condition's only rows that `keep` holds for.
    pub(in crate::store::embedded) fn read<R: Record>(
        &self,
        group: usize,
        columns: Option<&[&'static str]>,
        keep: Option<Keep>,
        each: &mut dyn FnMut(RecordBatch) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(open(self.segment)?, self.footer.clone())
            .with_batch_size(R::BATCH)
            .with_row_groups(vec![group]);
        if let Some(columns) = columns {
            reader = reader.with_projection(self.mask(columns));
        }
        if let Some(keep) = keep {
            let condition = ArrowPredicateFn::new(self.mask(&keep.columns), keep.condition);
            reader = reader.with_row_filter(RowFilter::new(vec![Box::new(condition)]));
        }
        for columns in reader.build().map_err(|e| self.segment.damaged(e))? {
            if !each(columns.map_err(|e| self.segment.damaged(e))?)? {
                break;
            }
        }
        Ok(())
    }

    /// The columns called `names`; those that the file lacks are left out.
    fn mask(&self, names: &[&'static str]) -> ProjectionMask {
        let schema = self.footer.parquet_schema();
        let is_named =
            |i: &usize| schema.column(*i).path().parts().first().is_some_and(|name| names.contains(&name.as_str()));
        ProjectionMask::leaves(schema, (0..schema.num_columns()).filter(is_named))
    }
}

/// A condition on rows, and the columns it looks at.
pub(in crate::store::embedded) struct Keep {
    pub(in crate::store::embedded) columns: Vec<&'static str>,
    pub(in crate::store::embedded) condition: Condition,
}

type Condition = Box<dyn FnMut(RecordBatch) -> Result<BooleanArray, ArrowError> + Send>;

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

/// The first and the last time of a column in a row group, when the file says so.
fn time_bounds(group: &RowGroupMetaData, name: &str) -> Option<(Nanos, Nanos)> {
    // A negative bound is a time beyond 2262, see `Columns::time`: the order is not that of the times then.
    bounds(group, name).filter(|(min, _)| *min >= 0).map(|(min, max)| (Nanos(min as u64), Nanos(max as u64)))
}

fn overlaps(group: &RowGroupMetaData, time: &TimeColumns, range: TimeRange) -> bool {
    let (Some(lower), Some(upper)) = (time_bounds(group, time.lower), time_bounds(group, time.upper)) else {
        return true;
    };
    // Rows whose last time is before their first one are rare, and legal: both columns bound both ends.
    lower.0.min(upper.0) < range.to && range.from < lower.1.max(upper.1).plus(time.length)
}

fn may_hold(group: &RowGroupMetaData, name: &str, value: u32) -> bool {
    bounds(group, name).is_none_or(|(min, max)| (min..=max).contains(&i64::from(value)))
}
