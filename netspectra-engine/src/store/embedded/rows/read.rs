use super::DecodeError;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Int32Array, LargeStringArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use netspectra_common::model::Nanos;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::Arc;

/// What a text stands for.
pub(super) trait FromText: Clone {
    const EXPECTED: &'static str;
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for Arc<str> {
    const EXPECTED: &'static str = "text";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl FromText for IpAddr {
    const EXPECTED: &'static str = "an address";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A text column's values, parsed once per distinct value and kept between batches that share a dictionary.
pub(super) struct TextDecoder<T> {
    dictionary: Option<ArrayRef>,
    parsed: Vec<Option<T>>,
    last: Option<(String, T)>,
}

impl<T> Default for TextDecoder<T> {
    fn default() -> Self {
        Self { dictionary: None, parsed: Vec::new(), last: None }
    }
}

impl<T: FromText> TextDecoder<T> {
    /// Column `name` of `batch`; a missing one reads as nulls.
    pub(super) fn bind<'a>(
        &'a mut self,
        batch: &'a RecordBatch,
        name: &'static str,
    ) -> Result<Text<'a, T>, DecodeError> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Text { name, cells: Cells::None, decoder: self });
        };
        if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
            let values = dictionary.values();
            let strings = values.as_string_opt::<i32>().ok_or_else(|| mistyped(name, column, "text"))?;
            if !self.dictionary.as_ref().is_some_and(|known| Arc::ptr_eq(known, values)) {
                self.dictionary = Some(Arc::clone(values));
                self.parsed.clear();
                self.parsed.resize(strings.len(), None);
            }
            return Ok(Text { name, cells: Cells::Dictionary(dictionary.keys(), strings), decoder: self });
        }
        let strings = column.as_string_opt::<i32>().ok_or_else(|| mistyped(name, column, "text"))?;
        Ok(Text { name, cells: Cells::Plain(strings), decoder: self })
    }
}

enum Cells<'a> {
    None,
    Plain(&'a StringArray),
    Dictionary(&'a Int32Array, &'a StringArray),
}

/// A text column of one batch.
pub(super) struct Text<'a, T> {
    name: &'static str,
    cells: Cells<'a>,
    decoder: &'a mut TextDecoder<T>,
}

impl<T: FromText> Text<'_, T> {
    /// The value of row `i`, when it has one.
    pub(super) fn at(&mut self, i: usize) -> Result<Option<T>, DecodeError> {
        let name = self.name;
        let parse = |text: &str| {
            T::from_text(text).ok_or_else(|| DecodeError::Value {
                column: name,
                found: format!("`{}`", text.chars().take(64).collect::<String>()),
                expected: T::EXPECTED,
            })
        };
        match self.cells {
            Cells::None => Ok(None),
            Cells::Plain(strings) => {
                if strings.is_null(i) {
                    return Ok(None);
                }
                let text = strings.value(i);
                if let Some((known, value)) = &self.decoder.last
                    && known == text
                {
                    return Ok(Some(value.clone()));
                }
                let value = parse(text)?;
                self.decoder.last = Some((text.to_owned(), value.clone()));
                Ok(Some(value))
            }
            Cells::Dictionary(keys, strings) => {
                if keys.is_null(i) {
                    return Ok(None);
                }
                let key = keys.value(i) as usize;
                if let Some(Some(value)) = self.decoder.parsed.get(key) {
                    return Ok(Some(value.clone()));
                }
                if key >= strings.len() || strings.is_null(key) {
                    return Ok(None);
                }
                let value = parse(strings.value(key))?;
                if let Some(cell) = self.decoder.parsed.get_mut(key) {
                    *cell = Some(value.clone());
                }
                Ok(Some(value))
            }
        }
    }

    /// The value of row `i`, which must have one; `unread` when the column was not asked for.
    pub(super) fn required(&mut self, i: usize, unread: &T) -> Result<T, DecodeError> {
        if matches!(self.cells, Cells::None) {
            return Ok(unread.clone());
        }
        let column = self.name;
        self.at(i)?.ok_or(DecodeError::Value { column, found: "nothing".to_owned(), expected: T::EXPECTED })
    }
}

/// A column of numbers of one batch.
pub(super) struct Numbers<'a, P: ArrowPrimitiveType>(Option<&'a PrimitiveArray<P>>);

impl<'a, P: ArrowPrimitiveType> Numbers<'a, P> {
    /// Column `name` of `batch`; a missing one reads as nulls.
    pub(super) fn bind(batch: &'a RecordBatch, name: &'static str) -> Result<Self, DecodeError> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self(None));
        };
        let array = column.as_primitive_opt::<P>().ok_or_else(|| mistyped(name, column, "a number"))?;
        Ok(Self(Some(array)))
    }

    /// The value of row `i`, when it has one.
    pub(super) fn at(&self, i: usize) -> Option<P::Native> {
        self.0.filter(|array| array.is_valid(i)).map(|array| array.value(i))
    }

    /// The value of row `i`, or 0.
    pub(super) fn or_zero(&self, i: usize) -> P::Native {
        self.0.map_or_else(P::Native::default, |array| array.value(i))
    }
}

/// A time column of one batch.
pub(super) struct Times<'a>(&'a PrimitiveArray<TimestampNanosecondType>);

impl<'a> Times<'a> {
    /// Column `name` of `batch`, which must be there.
    pub(super) fn bind(batch: &'a RecordBatch, name: &'static str) -> Result<Self, DecodeError> {
        Self::bind_opt(batch, name)?.ok_or(DecodeError::Missing { column: name })
    }

    /// Column `name` of `batch`, if it is there.
    pub(super) fn bind_opt(batch: &'a RecordBatch, name: &'static str) -> Result<Option<Self>, DecodeError> {
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        let array = column
            .as_primitive_opt::<TimestampNanosecondType>()
            .ok_or_else(|| mistyped(name, column, "timestamp in nanoseconds"))?;
        Ok(Some(Self(array)))
    }

    pub(super) fn at(&self, i: usize) -> Nanos {
        Nanos(self.0.value(i) as u64)
    }

    /// The time of row `i`, when it has one.
    pub(super) fn opt(&self, i: usize) -> Option<Nanos> {
        self.0.is_valid(i).then(|| self.at(i))
    }
}

/// A column of bytes of one batch.
pub(super) struct Bytes<'a>(Option<&'a BinaryArray>);

impl<'a> Bytes<'a> {
    /// Column `name` of `batch`; a missing one reads as nulls.
    pub(super) fn bind(batch: &'a RecordBatch, name: &'static str) -> Result<Self, DecodeError> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self(None));
        };
        let array = column.as_binary_opt::<i32>().ok_or_else(|| mistyped(name, column, "bytes"))?;
        Ok(Self(Some(array)))
    }

    /// The value of row `i`, when it has one.
    pub(super) fn at(&self, i: usize) -> Option<&'a [u8]> {
        self.0.filter(|array| array.is_valid(i)).map(|array| array.value(i))
    }
}

/// A column of JSON of one batch.
pub(super) struct Json<'a>(&'static str, Option<&'a LargeStringArray>);

impl<'a> Json<'a> {
    /// Column `name` of `batch`; a missing one reads as nulls.
    pub(super) fn bind(batch: &'a RecordBatch, name: &'static str) -> Result<Self, DecodeError> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self(name, None));
        };
        let array = column.as_string_opt::<i64>().ok_or_else(|| mistyped(name, column, "JSON"))?;
        Ok(Self(name, Some(array)))
    }

    /// The value of row `i`, when it has one.
    pub(super) fn at<T: DeserializeOwned>(&self, i: usize) -> Result<Option<T>, DecodeError> {
        let Some(array) = self.1.filter(|array| array.is_valid(i)) else { return Ok(None) };
        serde_json::from_str(array.value(i)).map(Some).map_err(|error| DecodeError::Value {
            column: self.0,
            found: error.to_string(),
            expected: "JSON as this build or an earlier one wrote it",
        })
    }
}

pub(super) fn mistyped(column: &'static str, found: &ArrayRef, expected: &'static str) -> DecodeError {
    DecodeError::Type { column, found: found.data_type().to_string(), expected }
}
