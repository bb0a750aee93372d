use super::build::Columns;
use super::places::PlacesDecoder;
use super::read::{FromText, Numbers, TextDecoder, Times};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{EndReason, FlowRecord, FlowState, InitiatorBy, TimeRange};
use netspectra_common::ports::StoreBatch;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

macro_rules! word {
    ($kind:ty, $expected:literal) => {
        impl FromText for $kind {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|v| v.name() == text)
            }
        }
    };
}
pub(super) use word;
word!(FlowState, "a flow state (active, closed, timed_out)");
word!(EndReason, "an end reason (idle_timeout, fin ...)");
word!(InitiatorBy, "how the initiator was found (syn, first_packet, port)");

#[derive(Default)]
pub(in crate::store::embedded) struct FlowDecoder {
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
    iface: TextDecoder<Arc<str>>,
    src_ip: TextDecoder<IpAddr>,
    dst_ip: TextDecoder<IpAddr>,
    tunnel: TextDecoder<Arc<str>>,
    places: PlacesDecoder,
    service: TextDecoder<Arc<str>>,
    state: TextDecoder<FlowState>,
    end_reason: TextDecoder<EndReason>,
    initiator_by: TextDecoder<InitiatorBy>,
}

impl Record for FlowRecord {
    const DATASET: Dataset = Dataset::Flows;
    const TIME: TimeColumns = TimeColumns { lower: "first_seen", upper: "last_seen", length: Duration::from_nanos(1) };
    const BATCH: usize = 8192;
    const ROW_GROUP: usize = 131_072;
    type Decoder = FlowDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        Columns::of(rows)
            .text("node", |r| &r.node)
            .text("iface", |r| &r.iface)
            .address("src_ip", |r| r.src_ip)
            .address("dst_ip", |r| r.dst_ip)
            .u16("src_port", |r| r.src_port)
            .u16("dst_port", |r| r.dst_port)
            .u8("proto", |r| r.proto)
            .u16("ether_type", |r| r.ether_type)
            .opt_u8("icmp_type", |r| r.icmp_type)
            .opt_u8("icmp_code", |r| r.icmp_code)
            .opt_u16("vlan", |r| r.vlan)
            .opt_u16("inner_vlan", |r| r.inner_vlan)
            .opt_text("tunnel", |r| r.tunnel.as_deref())
            .opt_u32("tunnel_id", |r| r.tunnel_id)
            .places(|r| &r.src_place, |r| &r.dst_place)
            .opt_text("service", |r| r.service.as_deref())
            .u32("sampling", |r| r.sampling)
            .u64("packets", |r| r.packets)
            .u64("bytes", |r| r.bytes)
            .u64("l3_bytes", |r| r.l3_bytes)
            .u64("reverse_packets", |r| r.reverse_packets)
            .u64("reverse_bytes", |r| r.reverse_bytes)
            .u64("reverse_l3_bytes", |r| r.reverse_l3_bytes)
            .u16("tcp_flags", |r| r.tcp_flags)
            .u16("reverse_tcp_flags", |r| r.reverse_tcp_flags)
            .u64("retransmitted", |r| r.retransmitted)
            .u64("reverse_retransmitted", |r| r.reverse_retransmitted)
            .u64("out_of_order", |r| r.out_of_order)
            .u64("reverse_out_of_order", |r| r.reverse_out_of_order)
            .u64("zero_windows", |r| r.zero_windows)
            .u64("reverse_zero_windows", |r| r.reverse_zero_windows)
            .opt_u32("server_rtt_us", |r| r.server_rtt_us)
            .opt_u32("client_rtt_us", |r| r.client_rtt_us)
            .time("first_seen", |r| r.first_seen)
            .time("last_seen", |r| r.last_seen)
            // Nothing where the record begins the flow, as most do: a time of its own would take 5 bytes a row.
            .opt_time("flow_start", |r| (r.flow_start != r.first_seen).then_some(r.flow_start))
            .text("state", |r| r.state.name())
            .text("end_reason", |r| r.end_reason.name())
            .text("initiator_by", |r| r.initiator_by.name())
            .u64("flow_id", |r| r.flow_id)
            .finish()
    }

    fn decode(d: &mut FlowDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let mut node = d.node.bind(batch, "node")?;
        let mut iface = d.iface.bind(batch, "iface")?;
        let mut src_ip = d.src_ip.bind(batch, "src_ip")?;
        let mut dst_ip = d.dst_ip.bind(batch, "dst_ip")?;
        let src_port = Numbers::<UInt16Type>::bind(batch, "src_port")?;
        let dst_port = Numbers::<UInt16Type>::bind(batch, "dst_port")?;
        let proto = Numbers::<UInt8Type>::bind(batch, "proto")?;
        let ether_type = Numbers::<UInt16Type>::bind(batch, "ether_type")?;
        let icmp_type = Numbers::<UInt8Type>::bind(batch, "icmp_type")?;
        let icmp_code = Numbers::<UInt8Type>::bind(batch, "icmp_code")?;
        let vlan = Numbers::<UInt16Type>::bind(batch, "vlan")?;
        let inner_vlan = Numbers::<UInt16Type>::bind(batch, "inner_vlan")?;
        let mut tunnel = d.tunnel.bind(batch, "tunnel")?;
        let tunnel_id = Numbers::<UInt32Type>::bind(batch, "tunnel_id")?;
        let mut places = d.places.bind(batch)?;
        let mut service = d.service.bind(batch, "service")?;
        let sampling = Numbers::<UInt32Type>::bind(batch, "sampling")?;
        let packets = Numbers::<UInt64Type>::bind(batch, "packets")?;
        let bytes = Numbers::<UInt64Type>::bind(batch, "bytes")?;
        let l3_bytes = Numbers::<UInt64Type>::bind(batch, "l3_bytes")?;
        let reverse_packets = Numbers::<UInt64Type>::bind(batch, "reverse_packets")?;
        let reverse_bytes = Numbers::<UInt64Type>::bind(batch, "reverse_bytes")?;
        let reverse_l3_bytes = Numbers::<UInt64Type>::bind(batch, "reverse_l3_bytes")?;
        let tcp_flags = Numbers::<UInt16Type>::bind(batch, "tcp_flags")?;
        let reverse_tcp_flags = Numbers::<UInt16Type>::bind(batch, "reverse_tcp_flags")?;
        let retransmitted = Numbers::<UInt64Type>::bind(batch, "retransmitted")?;
        let reverse_retransmitted = Numbers::<UInt64Type>::bind(batch, "reverse_retransmitted")?;
        let out_of_order = Numbers::<UInt64Type>::bind(batch, "out_of_order")?;
        let reverse_out_of_order = Numbers::<UInt64Type>::bind(batch, "reverse_out_of_order")?;
        let zero_windows = Numbers::<UInt64Type>::bind(batch, "zero_windows")?;
        let reverse_zero_windows = Numbers::<UInt64Type>::bind(batch, "reverse_zero_windows")?;
        let server_rtt_us = Numbers::<UInt32Type>::bind(batch, "server_rtt_us")?;
        let client_rtt_us = Numbers::<UInt32Type>::bind(batch, "client_rtt_us")?;
        let first_seen = Times::bind(batch, "first_seen")?;
        let last_seen = Times::bind(batch, "last_seen")?;
        let flow_start = Times::bind_opt(batch, "flow_start")?;
        let mut state = d.state.bind(batch, "state")?;
        let mut end_reason = d.end_reason.bind(batch, "end_reason")?;
        let mut initiator_by = d.initiator_by.bind(batch, "initiator_by")?;
        let flow_id = Numbers::<UInt64Type>::bind(batch, "flow_id")?;
        for i in 0..batch.num_rows() {
            each(Self {
                node: node.required(i, &d.unread)?,
                iface: iface.required(i, &d.unread)?,
                src_ip: src_ip.at(i)?,
                dst_ip: dst_ip.at(i)?,
                src_port: src_port.or_zero(i),
                dst_port: dst_port.or_zero(i),
                proto: proto.or_zero(i),
                ether_type: ether_type.or_zero(i),
                icmp_type: icmp_type.at(i),
                icmp_code: icmp_code.at(i),
                vlan: vlan.at(i),
                inner_vlan: inner_vlan.at(i),
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
                reverse_packets: reverse_packets.or_zero(i),
                reverse_bytes: reverse_bytes.or_zero(i),
                reverse_l3_bytes: reverse_l3_bytes.or_zero(i),
                tcp_flags: tcp_flags.or_zero(i),
                reverse_tcp_flags: reverse_tcp_flags.or_zero(i),
                retransmitted: retransmitted.or_zero(i),
                reverse_retransmitted: reverse_retransmitted.or_zero(i),
                out_of_order: out_of_order.or_zero(i),
                reverse_out_of_order: reverse_out_of_order.or_zero(i),
                zero_windows: zero_windows.or_zero(i),
                reverse_zero_windows: reverse_zero_windows.or_zero(i),
                server_rtt_us: server_rtt_us.at(i),
                client_rtt_us: client_rtt_us.at(i),
                first_seen: first_seen.at(i),
                last_seen: last_seen.at(i),
                flow_start: flow_start.as_ref().and_then(|t| t.opt(i)).unwrap_or_else(|| first_seen.at(i)),
                state: state.required(i, &FlowState::Active)?,
                end_reason: end_reason.required(i, &EndReason::None)?,
                initiator_by: initiator_by.required(i, &InitiatorBy::Syn)?,
                flow_id: flow_id.or_zero(i),
            });
        }
        Ok(())
    }

    fn span(&self) -> TimeRange {
        let last = self.first_seen.max(self.last_seen);
        TimeRange { from: self.first_seen.min(self.last_seen), to: last.plus(Self::TIME.length) }
    }

    fn order(&self) -> (u64, u64) {
        (self.last_seen.0, self.flow_id)
    }

    fn of(batch: &StoreBatch) -> &[Self] {
        &batch.flows
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.flows
    }
}
