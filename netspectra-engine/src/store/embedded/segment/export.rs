use super::write::properties;
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::rows::Record;
use netspectra_common::model::FlowRecord;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use std::io::Write;

/// Why flow records were not written.
#[derive(Debug, thiserror::Error)]
#[error("flow records cannot be written as Parquet: {0}")]
pub struct ExportError(String);

impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        Self(error.to_string())
    }
}

/// Writes flow records as one Parquet file, with the columns of the store's segments, in the order in which they come.
///
/// Memory: one row group, at most 32 MiB encoded. Cost: 1-2 us a record.
pub struct FlowsFile<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> FlowsFile<W> {
    /// Begins a file in `out`, which need not be seekable.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn create(out: W) -> Result<Self, ExportError> {
        let schema = FlowRecord::encode(&[]).map_err(ParquetError::from)?.schema();
        let properties =
            properties(Dataset::Flows, &schema, FlowRecord::ROW_GROUP).map_err(|e| ExportError(e.to_string()))?;
        let options = ArrowWriterOptions::new().with_properties(properties);
        Ok(Self { writer: ArrowWriter::try_new_with_options(out, schema, options)? })
    }

    /// Adds `records`.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&mut self, records: &[FlowRecord]) -> Result<(), ExportError> {
        for chunk in records.chunks(FlowRecord::BATCH) {
            let rows: Vec<&FlowRecord> = chunk.iter().collect();
            self.writer.write(&FlowRecord::encode(&rows).map_err(ParquetError::from)?)?;
        }
        Ok(())
    }

    /// Writes what is missing and the footer, without which the file is none.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> Result<W, ExportError> {
        Ok(self.writer.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::embedded::tests::sample;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::fs::File;

    #[test]
    fn records_come_back_in_their_order() {
        let records: Vec<FlowRecord> = (0..200).flat_map(|n| sample::batch(n).flows).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.parquet");
        let mut file = FlowsFile::create(File::create(&path).unwrap()).unwrap();
        for part in records.chunks(7) {
            file.write(part).unwrap();
        }
        file.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let (mut decoder, mut back) = (<FlowRecord as Record>::Decoder::default(), Vec::new());
        for batch in reader {
            FlowRecord::decode(&mut decoder, &batch.unwrap(), &mut |r| back.push(r)).unwrap();
        }
        assert_eq!(back, records);
    }
}
