use super::build::Columns;
use super::places::PlacesDecoder;
use super::read::{FromText, Numbers, TextDecoder, Times};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{Direction, Resolution, Rollup, TimeRange};
use netspectra_common::ports::StoreBatch;
use netspectra_common::wire::Tunnel;
use std::net::IpAddr;
use std::sync::Arc;

const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";

impl FromText for Direction {
    const EXPECTED: &'static str = "ingress or egress";
    fn from_text(text: &str) -> Option<Self> {
        match text {
            INGRESS => Some(Self::Ingress),
            EGRESS => Some(Self::Egress),
            _ => None,
        }
    }
}

impl FromText for Tunnel {
    const EXPECTED: &'static str = "the name of a tunnel";
    fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text)
    }
}

#[derive(Default)]
pub(in crate::store::embedded) struct RollupDecoder {
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
    iface: TextDecoder<Arc<str>>,
    direction: TextDecoder<Direction>,
    src_ip: TextDecoder<IpAddr>,
    dst_ip: TextDecoder<IpAddr>,
    tunnel: TextDecoder<Tunnel>,
    places: PlacesDecoder,
    service: TextDecoder<Arc<str>>,
}

impl Record for Rollup {
    const DATASET: Dataset = Dataset::Rollups;
    const TIME: TimeColumns = TimeColumns { lower: "window", upper: "window", length: Resolution::S10.duration() };
    const BATCH: usize = 8192;
    const ROW_GROUP: usize = 131_072;
    type Decoder = RollupDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        Columns::of(rows)
            .time("window", |r| r.window)
            .text("node", |r| &r.node)
            .text("iface", |r| &r.iface)
            .opt_text("direction", |r| {
                r.direction.map(|d| match d {
                    Direction::Ingress => INGRESS,
                    Direction::Egress => EGRESS,
                })
            })
            .address("src_ip", |r| r.src_ip)
            .address("dst_ip", |r| r.dst_ip)
            .u16("src_port", |r| r.src_port)
            .u16("dst_port", |r| r.dst_port)
            .u8("proto", |r| r.proto)
            .u16("ether_type", |r| r.ether_type)
            .opt_u16("vlan", |r| r.vlan)
            .opt_text("tunnel", |r| r.tunnel.map(Tunnel::name))
            .opt_u32("tunnel_id", |r| r.tunnel_id)
            .places(|r| &r.src_place, |r| &r.dst_place)
            .opt_text("service", |r| r.service.as_deref())
            .u32("sampling", |r| r.sampling)
            .u64("packets", |r| r.packets)
            .u64("bytes", |r| r.bytes)
            .u64("l3_bytes", |r| r.l3_bytes)
            .u64("new_flows", |r| r.new_flows)
            .finish()
    }

    fn decode(d: &mut RollupDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let window = Times::bind(batch, "window")?;
        let mut node = d.node.bind(batch, "node")?;
        let mut iface = d.iface.bind(batch, "iface")?;
        let mut direction = d.direction.bind(batch, "direction")?;
        let mut src_ip = d.src_ip.bind(batch, "src_ip")?;
        let mut dst_ip = d.dst_ip.bind(batch, "dst_ip")?;
        let src_port = Numbers::<UInt16Type>::bind(batch, "src_port")?;
        let dst_port = Numbers::<UInt16Type>::bind(batch, "dst_port")?;
        let proto = Numbers::<UInt8Type>::bind(batch, "proto")?;
        let ether_type = Numbers::<UInt16Type>::bind(batch, "ether_type")?;
        let vlan = Numbers::<UInt16Type>::bind(batch, "vlan")?;
        let mut tunnel = d.tunnel.bind(batch, "tunnel")?;
        let tunnel_id = Numbers::<UInt32Type>::bind(batch, "tunnel_id")?;
        let mut places = d.places.bind(batch)?;
        let mut service = d.service.bind(batch, "service")?;
        let sampling = Numbers::<UInt32Type>::bind(batch, "sampling")?;
        let packets = Numbers::<UInt64Type>::bind(batch, "packets")?;
        let bytes = Numbers::<UInt64Type>::bind(batch, "bytes")?;
        let l3_bytes = Numbers::<UInt64Type>::bind(batch, "l3_bytes")?;
        let new_flows = Numbers::<UInt64Type>::bind(batch, "new_flows")?;
        for i in 0..batch.num_rows() {
            each(Self {
                window: window.at(i),
                node: node.required(i, &d.unread)?,
                iface: iface.required(i, &d.unread)?,
                direction: direction.at(i)?,
                src_ip: src_ip.at(i)?,
                dst_ip: dst_ip.at(i)?,
                src_port: src_port.or_zero(i),
                dst_port: dst_port.or_zero(i),
                proto: proto.or_zero(i),
                ether_type: ether_type.or_zero(i),
                vlan: vlan.at(i),
                tunnel: tunnel.at(i)?,
                tunnel_id: tunnel_id.at(i),
                src_place: places.src(i)?,
                dst_place: places.dst(i)?,
                service: service.at(i)?,
                // Rows of earlier builds are of every flow.
                sampling: sampling.at(i).unwrap_or(1),
                packets: packets.or_zero(i),
                bytes: bytes.or_zero(i),
                l3_bytes: l3_bytes.or_zero(i),
                new_flows: new_flows.or_zero(i),
            });
        }
        Ok(())
    }

    fn span(&self) -> TimeRange {
        TimeRange { from: self.window, to: self.window.plus(Self::TIME.length) }
    }

    fn order(&self) -> (u64, u64) {
        // Neighbouring rows of one window that differ little compress best.
        (self.window.0, (u64::from(self.dst_port) << 8) | u64::from(self.proto))
    }

    fn of(batch: &StoreBatch) -> &[Self] {
        &batch.rollups
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.rollups
    }
}
