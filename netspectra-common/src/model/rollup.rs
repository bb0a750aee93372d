use super::{Direction, Nanos, Place};
use crate::wire::Tunnel;
use std::net::IpAddr;
use std::sync::Arc;

/// What one direction of a flow carried in one roll-up window. Exact; the base of every filtered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Begin of the window, a multiple of the roll-up interval.
    pub window: Nanos,
    /// Node that saw it.
    pub node: Arc<str>,
    /// Interface that saw it.
    pub iface: Arc<str>,
    /// `None` where the source knows no direction (files).
    pub direction: Option<Direction>,
    /// Sender; `None` for non-IP.
    pub src_ip: Option<IpAddr>,
    /// Receiver; `None` for non-IP.
    pub dst_ip: Option<IpAddr>,
    /// 0 where there are none (ICMP too).
    pub src_port: u16,
    /// 0 where there are none (ICMP too).
    pub dst_port: u16,
    /// IANA protocol number; 0 for non-IP.
    pub proto: u8,
    /// 0x0800, 0x86dd, or the EtherType of non-IP frames.
    pub ether_type: u16,
    /// Outer VLAN identifier.
    pub vlan: Option<u16>,
    /// Tunnel that the five-tuple is from inside of.
    pub tunnel: Option<Tunnel>,
    /// Its identifier, where it has one.
    pub tunnel_id: Option<u32>,
    /// Where the source is, as far as the engine knew.
    pub src_place: Place,
    /// Where the destination is.
    pub dst_place: Place,
    /// Service by protocol and port, as far as the engine has a name for it.
    pub service: Option<Arc<str>>,
    /// One in so many flows of its kind was counted; 1: all.
    pub sampling: u32,
    /// Packets.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
    /// L3 bytes.
    pub l3_bytes: u64,
    /// Flows that began in this window, with this row's sender as initiator.
    pub new_flows: u64,
}
