use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, LargeStringArray, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use netspectra_common::model::Nanos;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Builds the columns of `rows` and their schema in one go, so that neither can miss what the other has.
pub(super) struct Columns<'r, R> {
    rows: &'r [&'r R],
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl<'r, R> Columns<'r, R> {
    pub(super) fn of(rows: &'r [&'r R]) -> Self {
        Self { rows, fields: Vec::new(), arrays: Vec::new() }
    }

    pub(super) fn push(mut self, field: Field, array: ArrayRef) -> Self {
        self.fields.push(field);
        self.arrays.push(array);
        self
    }

    pub(super) fn text(self, name: &str, of: impl Fn(&'r R) -> &'r str) -> Self {
        self.text_with(name, false, |r| Some(of(r)))
    }

    pub(super) fn opt_text(self, name: &str, of: impl Fn(&'r R) -> Option<&'r str>) -> Self {
        self.text_with(name, true, of)
    }

    fn text_with(self, name: &str, nullable: bool, of: impl Fn(&'r R) -> Option<&'r str>) -> Self {
        let mut b = StringBuilder::with_capacity(self.rows.len(), self.rows.len() * 8);
        for row in self.rows {
            b.append_option(of(row));
        }
        self.push(Field::new(name, DataType::Utf8, nullable), Arc::new(b.finish()))
    }

    /// Canonical text: other tools read it as it is, and a dictionary makes it as small as bytes.
    pub(super) fn address(self, name: &str, of: impl Fn(&R) -> Option<IpAddr>) -> Self {
        let mut b = StringBuilder::with_capacity(self.rows.len(), self.rows.len() * 16);
        for row in self.rows {
            match of(row) {
                // Writing to a builder in memory cannot fail.
                Some(ip) => {
                    let _ = write!(b, "{ip}");
                    b.append_value("");
                }
                None => b.append_null(),
            }
        }
        self.push(Field::new(name, DataType::Utf8, true), Arc::new(b.finish()))
    }

    pub(super) fn opt_time(self, name: &str, of: impl Fn(&R) -> Option<Nanos>) -> Self {
        let array: TimestampNanosecondArray = self.rows.iter().map(|r| of(r).map(|at| at.0 as i64)).collect();
        let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        self.push(Field::new(name, kind, true), Arc::new(array.with_timezone("UTC")))
    }

    /// `Nanos` beyond 2262 wrap into the sign bit: other tools show them before 1970, reading them back is exact.
    pub(super) fn time(self, name: &str, of: impl Fn(&R) -> Nanos) -> Self {
        let array = TimestampNanosecondArray::from_iter_values(self.rows.iter().map(|r| of(r).0 as i64));
        let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        self.push(Field::new(name, kind, false), Arc::new(array.with_timezone("UTC")))
    }

    pub(super) fn opt_bytes(self, name: &str, of: impl Fn(&R) -> Option<Vec<u8>>) -> Self {
        let array: BinaryArray = self.rows.iter().map(|r| of(r)).collect();
        self.push(Field::new(name, DataType::Binary, true), Arc::new(array))
    }

    pub(super) fn opt_u64(self, name: &str, of: impl Fn(&R) -> Option<u64>) -> Self {
        let array: UInt64Array = self.rows.iter().map(|r| of(r)).collect();
        self.push(Field::new(name, DataType::UInt64, true), Arc::new(array))
    }

    pub(super) fn f64(self, name: &str, of: impl Fn(&R) -> f64) -> Self {
        let array = Float64Array::from_iter_values(self.rows.iter().map(|r| of(r)));
        self.push(Field::new(name, DataType::Float64, false), Arc::new(array))
    }

    /// What has no column of its own, as JSON: in a type of its own, which marks text that does not repeat.
    pub(super) fn json<T: Serialize + 'r>(self, name: &str, of: impl Fn(&'r R) -> &'r T) -> Result<Self, ArrowError> {
        let text = |r: &&'r R| serde_json::to_string(of(r)).map(Some);
        let array: Result<LargeStringArray, serde_json::Error> = self.rows.iter().map(text).collect();
        let array = array.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        Ok(self.push(Field::new(name, DataType::LargeUtf8, false), Arc::new(array)))
    }

    pub(super) fn u64(self, name: &str, of: impl Fn(&R) -> u64) -> Self {
        let array = UInt64Array::from_iter_values(self.rows.iter().map(|r| of(r)));
        self.push(Field::new(name, DataType::UInt64, false), Arc::new(array))
    }

    pub(super) fn u32(self, name: &str, of: impl Fn(&R) -> u32) -> Self {
        let array = UInt32Array::from_iter_values(self.rows.iter().map(|r| of(r)));
        self.push(Field::new(name, DataType::UInt32, false), Arc::new(array))
    }

    pub(super) fn opt_u32(self, name: &str, of: impl Fn(&R) -> Option<u32>) -> Self {
        let array: UInt32Array = self.rows.iter().map(|r| of(r)).collect();
        self.push(Field::new(name, DataType::UInt32, true), Arc::new(array))
    }

    pub(super) fn u16(self, name: &str, of: impl Fn(&R) -> u16) -> Self {
        let array = UInt16Array::from_iter_values(self.rows.iter().map(|r| of(r)));
        self.push(Field::new(name, DataType::UInt16, false), Arc::new(array))
    }

    pub(super) fn opt_u16(self, name: &str, of: impl Fn(&R) -> Option<u16>) -> Self {
        let array: UInt16Array = self.rows.iter().map(|r| of(r)).collect();
        self.push(Field::new(name, DataType::UInt16, true), Arc::new(array))
    }

    pub(super) fn u8(self, name: &str, of: impl Fn(&R) -> u8) -> Self {
        let array = UInt8Array::from_iter_values(self.rows.iter().map(|r| of(r)));
        self.push(Field::new(name, DataType::UInt8, false), Arc::new(array))
    }

    pub(super) fn opt_u8(self, name: &str, of: impl Fn(&R) -> Option<u8>) -> Self {
        let array: UInt8Array = self.rows.iter().map(|r| of(r)).collect();
        self.push(Field::new(name, DataType::UInt8, true), Arc::new(array))
    }

    pub(super) fn finish(self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(self.fields)), self.arrays, &options)
    }
}
