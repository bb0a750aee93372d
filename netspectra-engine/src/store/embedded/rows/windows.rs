use super::build::Columns;
use super::read::{Bytes, Numbers, TextDecoder, Times, mistyped};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, ListArray, RecordBatch, StructArray, UInt8Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt8Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{Counter, Nanos, Resolution, TimeRange, WindowSketches, WindowState};
use netspectra_common::ports::StoreBatch;
use netspectra_common::schema::SKETCHES;
use netspectra_common::sketch::{Hll, PairSample, Quantiles, SketchError, TopK};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The bytes of each sketch, in the order of [`SKETCHES`].
fn sketch_bytes(s: &WindowSketches) -> [Vec<u8>; SKETCHES.len()] {
    [
        s.src_ips.to_bytes(),
        s.dst_ips.to_bytes(),
        s.ips.to_bytes(),
        s.dst_ports.to_bytes(),
        s.pairs.to_bytes(),
        s.flows.to_bytes(),
        s.top_src_bytes.to_bytes(),
        s.top_dst_bytes.to_bytes(),
        s.top_src_packets.to_bytes(),
        s.top_dst_packets.to_bytes(),
        s.top_dst_port_bytes.to_bytes(),
        s.packet_size.to_bytes(),
        s.flow_duration.to_bytes(),
        s.server_rtt.to_bytes(),
        s.client_rtt.to_bytes(),
        s.dns_latency.to_bytes(),
        s.peers.to_bytes(),
    ]
}

/// Which windows to decode.
#[derive(Default)]
pub(in crate::store::embedded) struct WindowDecoder {
    only: Option<Resolution>,
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
}

impl WindowDecoder {
    /// Skips windows of other lengths before their sketches are decoded; `None` takes all.
    pub(in crate::store::embedded) fn only(only: Option<Resolution>) -> Self {
        Self { only, ..Self::default() }
    }
}

impl Record for WindowState {
    const DATASET: Dataset = Dataset::Windows;
    const TIME: TimeColumns = TimeColumns { lower: "start", upper: "start", length: Resolution::S60.duration() };
    // The sketches of one busy window take up to 1.3 MB.
    const BATCH: usize = 16;
    const ROW_GROUP: usize = 512;
    type Decoder = WindowDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        let mut columns = Columns::of(rows)
            .text("node", |r| &r.node)
            .u32("resolution_seconds", |r| r.resolution.secs())
            .time("start", |r| r.start)
            .u64("packets", |r| r.total.packets)
            .u64("bytes", |r| r.total.bytes)
            .u64("new_flows", |r| r.new_flows);
        let (field, array) = protocols_column(rows)?;
        columns = columns.push(field, array);
        let sketches: Vec<Option<[Vec<u8>; SKETCHES.len()]>> =
            rows.iter().map(|r| r.sketches.as_deref().map(sketch_bytes)).collect();
        for (place, name) in SKETCHES.into_iter().enumerate() {
            let mut cells = BinaryBuilder::new();
            for sketch in &sketches {
                cells.append_option(sketch.as_ref().map(|s| &s[place]));
            }
            columns = columns.push(Field::new(name, DataType::Binary, true), Arc::new(cells.finish()));
        }
        columns.finish()
    }

    fn decode(d: &mut WindowDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let only = d.only;
        let mut node = d.node.bind(batch, "node")?;
        let seconds = Numbers::<UInt32Type>::bind(batch, "resolution_seconds")?;
        let start = Times::bind(batch, "start")?;
        let packets = Numbers::<UInt64Type>::bind(batch, "packets")?;
        let bytes = Numbers::<UInt64Type>::bind(batch, "bytes")?;
        let new_flows = Numbers::<UInt64Type>::bind(batch, "new_flows")?;
        let protocols = batch.column_by_name(PROTOCOLS);
        let sketches = SKETCHES.into_iter().map(|name| Bytes::bind(batch, name)).collect::<Result<Vec<_>, _>>()?;
        for i in 0..batch.num_rows() {
            let seconds = seconds.or_zero(i);
            let resolution = Resolution::from_secs(seconds).ok_or_else(|| DecodeError::Value {
                column: "resolution_seconds",
                found: seconds.to_string(),
                expected: "1, 10 or 60",
            })?;
            if only.is_some_and(|only| only != resolution) {
                continue;
            }
            each(Self {
                node: node.required(i, &d.unread)?,
                resolution,
                start: start.at(i),
                total: Counter::new(packets.or_zero(i), bytes.or_zero(i)),
                new_flows: new_flows.or_zero(i),
                protocols: protocols.map_or_else(|| Ok(BTreeMap::new()), |column| protocols_at(column, i))?,
                sketches: sketches_at(&sketches, i)?,
            });
        }
        Ok(())
    }

    fn span(&self) -> TimeRange {
        TimeRange { from: self.start, to: self.start.plus(self.resolution.duration()) }
    }

    fn row_group(&self) -> u32 {
        self.resolution.secs()
    }

    fn order(&self) -> (u64, u64) {
        let Nanos(start) = self.start;
        (u64::from(self.resolution.secs()), start)
    }

    fn of(batch: &StoreBatch) -> &[Self] {
        &batch.windows
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.windows
    }
}

fn sketches_at(columns: &[Bytes<'_>], i: usize) -> Result<Option<Box<WindowSketches>>, DecodeError> {
    let cells: Vec<Option<&[u8]>> = columns.iter().map(|c| c.at(i)).collect();
    if cells.iter().all(Option::is_none) {
        return Ok(None);
    }
    // Each in the place that `SKETCHES` gives it; one that is missing (added later) is empty.
    fn read<S: Default>(
        cells: &[Option<&[u8]>],
        place: usize,
        from_bytes: impl Fn(&[u8]) -> Result<S, SketchError>,
    ) -> Result<S, DecodeError> {
        match cells.get(place).copied().flatten() {
            None => Ok(S::default()),
            Some(bytes) => from_bytes(bytes).map_err(|error| DecodeError::Value {
                column: SKETCHES[place],
                found: error.to_string(),
                expected: "a sketch",
            }),
        }
    }
    Ok(Some(Box::new(WindowSketches {
        src_ips: read(&cells, 0, Hll::from_bytes)?,
        dst_ips: read(&cells, 1, Hll::from_bytes)?,
        ips: read(&cells, 2, Hll::from_bytes)?,
        dst_ports: read(&cells, 3, Hll::from_bytes)?,
        pairs: read(&cells, 4, Hll::from_bytes)?,
        flows: read(&cells, 5, Hll::from_bytes)?,
        top_src_bytes: read(&cells, 6, TopK::from_bytes)?,
        top_dst_bytes: read(&cells, 7, TopK::from_bytes)?,
        top_src_packets: read(&cells, 8, TopK::from_bytes)?,
        top_dst_packets: read(&cells, 9, TopK::from_bytes)?,
        top_dst_port_bytes: read(&cells, 10, TopK::from_bytes)?,
        packet_size: read(&cells, 11, Quantiles::from_bytes)?,
        flow_duration: read(&cells, 12, Quantiles::from_bytes)?,
        server_rtt: read(&cells, 13, Quantiles::from_bytes)?,
        client_rtt: read(&cells, 14, Quantiles::from_bytes)?,
        dns_latency: read(&cells, 15, Quantiles::from_bytes)?,
        peers: read(&cells, 16, PairSample::from_bytes)?,
    })))
}

const PROTOCOLS: &str = "protocols";

/// A list of `{proto, packets, bytes}`; `proto` is null for non-IP.
fn protocols_column(rows: &[&WindowState]) -> Result<(Field, ArrayRef), ArrowError> {
    let entries = || rows.iter().flat_map(|r| &r.protocols);
    let fields: Fields = vec![
        Field::new("proto", DataType::UInt8, true),
        Field::new("packets", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, false),
    ]
    .into();
    let values = StructArray::try_new(
        fields.clone(),
        vec![
            Arc::new(entries().map(|(proto, _)| *proto).collect::<UInt8Array>()),
            Arc::new(UInt64Array::from_iter_values(entries().map(|(_, c)| c.packets))),
            Arc::new(UInt64Array::from_iter_values(entries().map(|(_, c)| c.bytes))),
        ],
        None,
    )?;
    let item = Arc::new(Field::new("item", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.protocols.len()));
    let list = ListArray::try_new(Arc::clone(&item), offsets, Arc::new(values), None)?;
    Ok((Field::new(PROTOCOLS, DataType::List(item), false), Arc::new(list)))
}

fn protocols_at(column: &ArrayRef, i: usize) -> Result<BTreeMap<Option<u8>, Counter>, DecodeError> {
    let list = column.as_list_opt::<i32>().ok_or_else(|| mistyped(PROTOCOLS, column, "a list"))?;
    let cell = list.value(i);
    let entries = cell.as_struct_opt().ok_or_else(|| mistyped(PROTOCOLS, column, "a list of structures"))?;
    let part = |name| entries.column_by_name(name).ok_or(DecodeError::Missing { column: name });
    let proto = part("proto")?;
    let proto = proto.as_primitive_opt::<UInt8Type>().ok_or_else(|| mistyped(PROTOCOLS, proto, "a number"))?;
    let packets = part("packets")?;
    let packets = packets.as_primitive_opt::<UInt64Type>().ok_or_else(|| mistyped(PROTOCOLS, packets, "a number"))?;
    let bytes = part("bytes")?;
    let bytes = bytes.as_primitive_opt::<UInt64Type>().ok_or_else(|| mistyped(PROTOCOLS, bytes, "a number"))?;
    Ok((0..entries.len())
        .map(|j| (proto.is_valid(j).then(|| proto.value(j)), Counter::new(packets.value(j), bytes.value(j))))
        .collect())
}
