use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::disk::{self, TMP};
use crate::store::embedded::error::StoreError;
use crate::store::embedded::manifest::SegmentMeta;
use crate::store::embedded::rows::{self, Record};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use netspectra_common::model::TimeRange;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Version of the columns, in the file's metadata.
const SCHEMA_VERSION: &str = "1";
const ZSTD_LEVEL: i32 = 3;
/// Encoded bytes of a row group at most: what a merge keeps in memory when windows carry large sketches.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Writes one segment under a temporary name and publishes it when it is whole.
pub(in crate::store::embedded) struct SegmentWriter {
    dir: PathBuf,
    tmp: PathBuf,
    dataset: Dataset,
    number: u64,
    writer: Option<ArrowWriter<File>>,
    rows: u64,
}

impl SegmentWriter {
    pub(in crate::store::embedded) fn create(dir: &Path, dataset: Dataset, number: u64) -> Result<Self, StoreError> {
        let tmp = dir.join(format!("{}-{number:010}{TMP}", dataset.name()));
        let schema = rows::schema(dataset).map_err(|e| encode_error(dataset, &e))?;
        let row_group = rows::with_record!(dataset, R => R::ROW_GROUP);
        let file = File::create(&tmp).map_err(|e| StoreError::io(dir, "write", &tmp, e))?;
        let mut this = Self { dir: dir.to_owned(), tmp, dataset, number, writer: None, rows: 0 };
        let options = ArrowWriterOptions::new().with_properties(properties(dataset, &schema, row_group)?);
        let writer = ArrowWriter::try_new_with_options(file, schema, options);
        this.writer = Some(writer.map_err(|e| this.failed(e))?);
        Ok(this)
    }

    pub(in crate::store::embedded) fn write(&mut self, columns: &RecordBatch) -> Result<(), StoreError> {
        self.rows += columns.num_rows() as u64;
        let Some(writer) = &mut self.writer else { return Err(StoreError::Stopped("segment writer")) };
        writer.write(columns).map_err(|e| self.failed(e))
    }

    /// Begins a new row group.
    pub(in crate::store::embedded) fn cut(&mut self) -> Result<(), StoreError> {
        let Some(writer) = &mut self.writer else { return Err(StoreError::Stopped("segment writer")) };
        writer.flush().map_err(|e| self.failed(e))
    }

    /// Makes the segment durable under its name. It counts once the manifest lists it.
    pub(in crate::store::embedded) fn finish(mut self, span: TimeRange, level: u32) -> Result<SegmentMeta, StoreError> {
        let Some(mut writer) = self.writer.take() else { return Err(StoreError::Stopped("segment writer")) };
        writer.finish().map_err(|e| self.failed(e))?;
        let file = writer.inner();
        let bytes = file
            .sync_all()
            .and_then(|()| file.metadata())
            .map_err(|e| StoreError::io(&self.dir, "write", &self.tmp, e))?
            .len();
        let name = SegmentMeta::file_name(self.dataset, self.number, span.from, span.to);
        disk::publish(&self.dir, &self.tmp, &self.dir.join(&name))?;
        Ok(SegmentMeta {
            file: name,
            dataset: self.dataset,
            rows: self.rows,
            bytes,
            from: span.from,
            to: span.to,
            level,
        })
    }

    fn failed(&self, error: ParquetError) -> StoreError {
        // The file's own error is inside, as text at best: a full disk must be told from a fault of the program.
        if let ParquetError::External(cause) = error {
            return match cause.downcast::<std::io::Error>() {
                Ok(io) => StoreError::io(&self.dir, "write a segment", &self.tmp, *io),
                Err(other) => encode_error(self.dataset, &other),
            };
        }
        encode_error(self.dataset, &error)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        // Nothing is there after `finish`: the name has changed.
        disk::remove(&self.tmp);
    }
}

/// Writes `rows` as a segment; `None` when there are none. Cost: 1-2 us a row.
pub(in crate::store::embedded) fn write_rows<R: Record>(
    dir: &Path,
    number: u64,
    mut rows: Vec<&R>,
) -> Result<Option<SegmentMeta>, StoreError> {
    let Some(span) = rows::span_of(rows.iter().copied()) else {
        return Ok(None);
    };
    rows.sort_by_key(|r| r.order());
    let mut writer = SegmentWriter::create(dir, R::DATASET, number)?;
    for part in rows.chunk_by(|a, b| a.row_group() == b.row_group()) {
        for chunk in part.chunks(R::BATCH) {
            writer.write(&R::encode(chunk).map_err(|e| encode_error(R::DATASET, &e))?)?;
        }
        writer.cut()?;
    }
    writer.finish(span, 0).map(Some)
}

fn encode_error(dataset: Dataset, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Encode { dataset: dataset.name(), reason: error.to_string() }
}

pub(super) fn properties(
    dataset: Dataset,
    schema: &SchemaRef,
    row_group: usize,
) -> Result<WriterProperties, StoreError> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| encode_error(dataset, &e))?;
    let entry = |key: &str, value: &str| KeyValue::new(format!("netspectra.{key}"), value.to_owned());
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("netspectra ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![entry("dataset", dataset.name()), entry("schema", SCHEMA_VERSION)]))
        .set_max_row_group_row_count(Some(row_group))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_page_size_limit(4 << 20);
    for field in schema.fields() {
        let path = ColumnPath::from(field.name().as_str());
        let kind = field.data_type();
        if matches!(kind, DataType::Timestamp(..)) {
            // Neighbours in time differ little.
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if matches!(field.name().as_str(), "flow_id" | "message_id" | "alert_id") {
            // Hashes do not repeat.
            properties = properties.set_column_dictionary_enabled(path, false);
        } else if matches!(kind, DataType::Binary | DataType::LargeUtf8) {
            // Neither do sketches and details, and the largest one says nothing.
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}
