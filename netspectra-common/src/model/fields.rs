//! Flow records field by field, for bytes between processes. What people read is [`FlowRecord`]'s own serialization.

use super::{EndReason, FlowRecord, FlowState, InitiatorBy, Nanos, Place};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A record as the plain sequence of its fields. No names are written: both ends must be of the same build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowFields(#[serde(with = "Fields")] pub FlowRecord);

/// The fields of [`FlowRecord`], in their order.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FlowRecord")]
struct Fields {
    node: Arc<str>,
    iface: Arc<str>,
    src_ip: Option<IpAddr>,
    dst_ip: Option<IpAddr>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ether_type: u16,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    vlan: Option<u16>,
    inner_vlan: Option<u16>,
    tunnel: Option<Arc<str>>,
    tunnel_id: Option<u32>,
    src_place: Place,
    dst_place: Place,
    service: Option<Arc<str>>,
    sampling: u32,
    packets: u64,
    bytes: u64,
    l3_bytes: u64,
    reverse_packets: u64,
    reverse_bytes: u64,
    reverse_l3_bytes: u64,
    tcp_flags: u16,
    reverse_tcp_flags: u16,
    retransmitted: u64,
    reverse_retransmitted: u64,
    out_of_order: u64,
    reverse_out_of_order: u64,
    zero_windows: u64,
    reverse_zero_windows: u64,
    server_rtt_us: Option<u32>,
    client_rtt_us: Option<u32>,
    first_seen: Nanos,
    last_seen: Nanos,
    flow_start: Nanos,
    state: FlowState,
    end_reason: EndReason,
    initiator_by: InitiatorBy,
    flow_id: u64,
}
