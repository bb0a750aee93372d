//! The column of what devices counted: a list of structures.

use super::DecodeError;
use super::read::mistyped;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{LedgerEntry, NicCounters, NicDelta};
use std::sync::Arc;

const NICS: &str = "nics";
/// The counters of [`NicCounters`], in the order of [`NicCounters::to_array`].
const COUNTERS: [&str; NicCounters::LEN] =
    ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "rx_missed", "rx_dropped", "rx_no_buffer"];

/// A list of `{iface, ifindex, <counters>, reset}` for each entry.
pub(super) fn column(rows: &[&LedgerEntry]) -> Result<(Field, ArrayRef), ArrowError> {
    let all: Vec<&NicDelta> = rows.iter().flat_map(|r| &r.nics).collect();
    let all = || all.iter();
    let mut fields = vec![Field::new("iface", DataType::Utf8, false), Field::new("ifindex", DataType::UInt32, false)];
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|n| &*n.iface))),
        Arc::new(UInt32Array::from_iter_values(all().map(|n| n.ifindex))),
    ];
    for (at, name) in COUNTERS.into_iter().enumerate() {
        fields.push(Field::new(name, DataType::UInt64, false));
        arrays.push(Arc::new(UInt64Array::from_iter_values(all().map(|n| n.gained.to_array()[at]))));
    }
    fields.push(Field::new("reset", DataType::Boolean, false));
    arrays.push(Arc::new(all().map(|n| Some(n.reset)).collect::<BooleanArray>()));
    let fields = Fields::from(fields);
    let values = StructArray::try_new(fields.clone(), arrays, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.nics.len()));
    let list = ListArray::try_new(Arc::clone(&item), offsets, Arc::new(values), None)?;
    Ok((Field::new(NICS, DataType::List(item), false), Arc::new(list)))
}

/// The column of one batch; a file that was written before there was one has none.
pub(super) struct Nics<'a>(Option<&'a ArrayRef>);

impl<'a> Nics<'a> {
    pub(super) fn bind(batch: &'a RecordBatch) -> Self {
        Self(batch.column_by_name(NICS))
    }

    /// What devices counted in entry `i`.
    pub(super) fn at(&self, i: usize) -> Result<Vec<NicDelta>, DecodeError> {
        let Some(column) = self.0 else { return Ok(Vec::new()) };
        let list = column.as_list_opt::<i32>().ok_or_else(|| mistyped(NICS, column, "a list"))?;
        let cell = list.value(i);
        let of = cell.as_struct_opt().ok_or_else(|| mistyped(NICS, column, "a list of structures"))?;
        let wrong = |expected| mistyped(NICS, column, expected);
        let part = |name| of.column_by_name(name);
        let names = part("iface").and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| wrong("text `iface`"))?;
        let index = part("ifindex").and_then(|c| c.as_primitive_opt::<UInt32Type>());
        let index = index.ok_or_else(|| wrong("a number `ifindex`"))?;
        let reset = part("reset").and_then(|c| c.as_boolean_opt()).ok_or_else(|| wrong("a flag `reset`"))?;
        let counters = COUNTERS.map(|name| part(name).and_then(|c| c.as_primitive_opt::<UInt64Type>()));
        let one = |n: usize| NicDelta {
            ifindex: index.value(n),
            iface: names.value(n).into(),
            // One that a later version leaves out is 0.
            gained: NicCounters::from_array(counters.map(|c| c.map_or(0, |c| c.value(n)))),
            reset: reset.value(n),
        };
        Ok((0..of.len()).map(one).collect())
    }
}
