//! One flow: what it carried since its last record, and what decides its life.

use super::BiKey;
use super::agenda::Listed;
use super::key::{ICMP, ICMPV6};
use super::tcp::TcpSide;
use crate::engine::{Ends, EngineConfig, Points};
use crate::window::RowKey;
use netspectra_common::abi::{FLAG_SYN_ACK_SEEN, FLAG_SYN_SEEN, Family, ICMP_UNKNOWN, TCP_FLAGS_MASK, VLAN_PRESENT};
use netspectra_common::model::{EndReason, FlowRecord, FlowState, FlowStats, InitiatorBy, Nanos, Sampling};
use netspectra_common::wire::Tunnel;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const FIN: u16 = 0x01;
const RST: u16 = 0x04;
/// Seed of flow identities: "nsflowid". They are stored, so it never changes.
const FLOW_ID_SEED: u64 = u64::from_be_bytes(*b"nsflowid");
/// Bits of [`Flow::bits`]: round-trip times that were reported.
const SERVER_RTT: u8 = 1;
const CLIENT_RTT: u8 = 2;
const BOTH_RTTS: u8 = SERVER_RTT | CLIENT_RTT;
/// A [`Direction`](netspectra_common::model::Direction) of the packets of each side; the last one when it is not always the same.
const DIRECTIONS: [u8; 2] = [4, 8];
/// The initiator is end 1, once that is settled.
const SETTLED_END: u8 = 16;
/// [`Side::first_seen`] of a side that sent nothing yet.
const NEVER: u64 = u64::MAX;

/// What one end sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Side {
    /// Since the last record.
    packets: u64,
    bytes: u64,
    l3_bytes: u64,
    /// In the whole flow.
    first_seen: u64,
    tcp: TcpSide,
}

const SILENT: Side = Side { packets: 0, bytes: 0, l3_bytes: 0, first_seen: NEVER, tcp: TcpSide::NOTHING };

/// A flow being watched. Times are Unix nanoseconds. 256 bytes, because there are many.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) key: BiKey,
    pub(crate) node: u32,
    sides: [Side; 2],
    pub(crate) start: u64,
    pub(crate) last_seen: u64,
    /// First packet since the last record; [`NEVER`] when there was none.
    part_start: u64,
    /// Fixed at the end of the generation that first saw the flow; 0 before.
    pub(crate) id: u64,
    /// Set by the first record, with [`SETTLED_END`]: a later one must not turn the flow around.
    settled: Option<InitiatorBy>,
    /// The highest of its packets'.
    sampling: Sampling,
    bits: u8,
    /// When it may be due.
    pub(super) listed: Listed,
}

const _: () = assert!(size_of::<Option<Flow>>() == 256);

impl Flow {
    /// A flow whose first packets `side` sent.
    pub(crate) fn new(
        key: BiKey,
        node: u32,
        side: usize,
        direction: u8,
        (stats, sampling): (&FlowStats, Sampling),
    ) -> Self {
        let mut flow = Self {
            key,
            node,
            sides: [SILENT; 2],
            start: stats.first_seen,
            last_seen: stats.first_seen,
            part_start: NEVER,
            id: 0,
            settled: None,
            sampling,
            bits: 0,
            listed: Listed::NOT,
        };
        flow.add(side, direction, (stats, sampling));
        flow
    }

    /// Adds what `side` sent. Counters wrap at 2^64. Returns whether the deadline may have come nearer.
    pub(crate) fn add(&mut self, side: usize, direction: u8, (stats, sampling): (&FlowStats, Sampling)) -> bool {
        self.sampling = self.sampling.max(sampling);
        let before = (self.part_start, self.closed_by());
        let way = DIRECTIONS[side];
        self.bits = if direction & 1 == 0 { self.bits & !way } else { self.bits | way };
        let s = &mut self.sides[side];
        s.packets = s.packets.wrapping_add(stats.packets);
        s.bytes = s.bytes.wrapping_add(stats.bytes);
        s.l3_bytes = s.l3_bytes.wrapping_add(stats.l3_bytes);
        s.first_seen = s.first_seen.min(stats.first_seen);
        s.tcp.add(direction, stats);
        self.part_start = self.part_start.min(stats.first_seen);
        self.last_seen = self.last_seen.max(stats.last_seen).max(stats.first_seen);
        if self.settled.is_none() {
            self.start = self.start.min(stats.first_seen);
        }
        before != (self.part_start, self.closed_by())
    }

    /// Whether a round-trip time is known that was not reported.
    pub(crate) fn has_new_rtt(&self) -> bool {
        if self.bits & BOTH_RTTS == BOTH_RTTS
            || (self.sides[0].tcp.all_flags | self.sides[1].tcp.all_flags) & FLAG_SYN_ACK_SEEN == 0
        {
            return false;
        }
        let (server, client) = self.rtts_us();
        (server.is_some() && self.bits & SERVER_RTT == 0) || (client.is_some() && self.bits & CLIENT_RTT == 0)
    }

    /// The round-trip times that were not reported, microseconds: the server's, the client's. Each comes once, as it is
    /// when it comes: a handshake that turns out to be of no use later (Karn's rule) does not take it back.
    pub(crate) fn take_rtts(&mut self) -> (Option<u32>, Option<u32>) {
        let (server, client) = self.rtts_us();
        let server = server.filter(|_| self.bits & SERVER_RTT == 0);
        let client = client.filter(|_| self.bits & CLIENT_RTT == 0);
        self.bits |= u8::from(server.is_some()) * SERVER_RTT;
        self.bits |= u8::from(client.is_some()) * CLIENT_RTT;
        (server, client)
    }

    fn rtts_us(&self) -> (Option<u32>, Option<u32>) {
        let (from, _) = self.initiator();
        let (there, back) = (&self.sides[from].tcp, &self.sides[1 - from].tcp);
        (there.server_rtt_us(back), there.client_rtt_us(back))
    }

    /// Whether it is the flow of `node` that its agenda has `under` this.
    pub(super) fn is_listed(&self, node: u32, under: Listed) -> bool {
        self.node == node && self.listed == under
    }

    /// How the protocol ended the flow, when it did.
    pub(crate) fn closed_by(&self) -> Option<EndReason> {
        let [a, b] = [self.sides[0].tcp.all_flags, self.sides[1].tcp.all_flags];
        if a & b & FIN != 0 {
            Some(EndReason::Fin)
        } else if (a | b) & RST != 0 {
            Some(EndReason::Rst)
        } else {
            None
        }
    }

    /// The reason for which the flow is over at log time `now`, or must be cut.
    pub(crate) fn due(&self, now: u64, config: &EngineConfig) -> Option<EndReason> {
        if later(self.last_seen, self.patience(config)) <= now {
            return Some(self.closed_by().unwrap_or(EndReason::IdleTimeout));
        }
        (later(self.part_start, config.active_timeout) <= now).then_some(EndReason::ActiveTimeout)
    }

    /// The earliest log time at which [`due`](Self::due) has something to say, if nothing more is seen.
    pub(crate) fn deadline(&self, config: &EngineConfig) -> u64 {
        later(self.last_seen, self.patience(config)).min(later(self.part_start, config.active_timeout))
    }

    /// How long a silence ends the flow.
    fn patience(&self, config: &EngineConfig) -> Duration {
        match self.closed_by() {
            Some(_) => config.closed_linger.min(config.idle_timeout),
            None => config.idle_timeout,
        }
    }

    /// Whether `stats` are the first packets of another flow with the same key.
    pub(crate) fn is_followed_by(&self, stats: &FlowStats, config: &EngineConfig) -> bool {
        if stats.first_seen <= self.last_seen {
            return false;
        }
        let reused = stats.tcp_flags & FLAG_SYN_SEEN != 0 && self.closed_by().is_some();
        reused || stats.first_seen >= later(self.last_seen, config.idle_timeout)
    }

    /// The initiator's end and how it was found: by SYN, by the first packet, by port.
    pub(crate) fn initiator(&self) -> (usize, InitiatorBy) {
        if let Some(by) = self.settled {
            return (usize::from(self.bits & SETTLED_END != 0), by);
        }
        if self.key.initiator_is_fixed() {
            return (0, InitiatorBy::FirstPacket);
        }
        let [a, b] = &self.sides;
        let asks = |mine: &Side, theirs: &Side| {
            mine.tcp.all_flags & FLAG_SYN_SEEN != 0 || theirs.tcp.all_flags & FLAG_SYN_ACK_SEEN != 0
        };
        match (asks(a, b), asks(b, a)) {
            (true, false) => (0, InitiatorBy::Syn),
            (false, true) => (1, InitiatorBy::Syn),
            // Neither, or a simultaneous open.
            (true, true) | (false, false) => match a.first_seen.cmp(&b.first_seen) {
                std::cmp::Ordering::Less => (0, InitiatorBy::FirstPacket),
                std::cmp::Ordering::Greater => (1, InitiatorBy::FirstPacket),
                std::cmp::Ordering::Equal => (usize::from(self.key.ports[1] > self.key.ports[0]), InitiatorBy::Port),
            },
        }
    }

    /// Gives the flow its identity: a hash of node, interface, key and start.
    pub(crate) fn identify(&mut self, points: &Points) {
        let key = &self.key;
        let mut bytes = [0; 64];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        // The interned number of the point depends on the order of arrival; the names do not.
        put(&points.name_hash(self.key.point).to_le_bytes());
        for address in &key.addresses {
            put(address);
        }
        for word in [key.ports[0], key.ports[1], key.vlan, key.inner_vlan] {
            put(&word.to_le_bytes());
        }
        put(&[key.proto, key.family, key.tunnel, key.fixed]);
        put(&key.tunnel_id.to_le_bytes());
        put(&self.start.to_le_bytes());
        self.id = xxh3_64_with_seed(&bytes, FLOW_ID_SEED).max(1);
    }

    /// The roll-up row of the initiator's packets, whether or not any was seen.
    pub(crate) fn opening_row(&self, points: &Points) -> RowKey {
        let (from, _) = self.initiator();
        let mine = &self.sides[from];
        // Who was not heard is on the other side of the observation point.
        let direction = if mine.first_seen == NEVER { self.direction(1 - from) ^ 1 } else { self.direction(from) };
        let key = &self.key;
        RowKey::new(
            [key.addresses[from], key.addresses[1 - from]],
            // The EtherType of a non-IP frame stays in the first place: its initiator is end 0.
            [key.ports[from], key.ports[1 - from]],
            (key.proto, key.family, key.vlan),
            (key.tunnel, key.tunnel_id),
            (key.point, points.direction(key.point, direction)),
        )
        .sampled(self.sampling)
    }

    fn direction(&self, side: usize) -> u8 {
        u8::from(self.bits & DIRECTIONS[side] != 0)
    }

    /// First and last packet since the last record; both the last packet's time when there was none.
    pub(crate) fn part(&self) -> (Nanos, Nanos) {
        (Nanos(self.part_start.min(self.last_seen)), Nanos(self.last_seen))
    }

    /// What was not exported yet, as a record. `state` follows from `reason`.
    pub(crate) fn record(&self, reason: EndReason, points: &Points) -> FlowRecord {
        let key = &self.key;
        let (from, initiator_by) = self.initiator();
        let (there, back) = (&self.sides[from], &self.sides[1 - from]);
        let (server_rtt_us, client_rtt_us) = self.rtts_us();
        let is_ip = key.family != Family::NonIp as u8;
        let is_icmp = is_ip && matches!(key.proto, ICMP | ICMPV6);
        let message = (is_icmp && key.ports[0] != ICMP_UNKNOWN).then(|| key.ports[1].to_be_bytes());
        let has_ports = is_ip && !is_icmp;
        let (node, iface) = points.names(key.point);
        let (first_seen, last_seen) = self.part();
        let (src_ip, dst_ip) =
            (address(key.family, &key.addresses[from]), address(key.family, &key.addresses[1 - from]));
        let ports = |end: usize| if has_ports { key.ports[end] } else { 0 };
        let ends = Ends {
            proto: key.proto,
            src: (src_ip, ports(from)),
            dst: (dst_ip, ports(1 - from)),
            span: (Nanos(self.start), last_seen),
            is_outer: key.tunnel == 0,
        };
        let known = points.known(key.point, &ends);
        FlowRecord {
            node,
            iface,
            src_ip,
            dst_ip,
            src_port: ports(from),
            dst_port: ports(1 - from),
            proto: key.proto,
            ether_type: ether_type(key.family, key.ports[0]),
            icmp_type: message.map(|[kind, _]| kind),
            icmp_code: message.map(|[_, code]| code),
            vlan: vlan(key.vlan),
            inner_vlan: vlan(key.inner_vlan),
            tunnel: Tunnel::from_raw(key.tunnel).map(|t| t.name().into()),
            tunnel_id: (key.tunnel != 0 && key.tunnel_id != 0).then_some(key.tunnel_id),
            src_place: known.src,
            dst_place: known.dst,
            service: known.service,
            sampling: self.sampling.one_in(),
            packets: there.packets,
            bytes: there.bytes,
            l3_bytes: there.l3_bytes,
            reverse_packets: back.packets,
            reverse_bytes: back.bytes,
            reverse_l3_bytes: back.l3_bytes,
            tcp_flags: there.tcp.flags & TCP_FLAGS_MASK,
            reverse_tcp_flags: back.tcp.flags & TCP_FLAGS_MASK,
            retransmitted: there.tcp.retransmitted.into(),
            reverse_retransmitted: back.tcp.retransmitted.into(),
            out_of_order: there.tcp.out_of_order.into(),
            reverse_out_of_order: back.tcp.out_of_order.into(),
            zero_windows: there.tcp.zero_windows.into(),
            reverse_zero_windows: back.tcp.zero_windows.into(),
            server_rtt_us,
            client_rtt_us,
            first_seen,
            last_seen,
            flow_start: Nanos(self.start),
            state: self.state(reason),
            end_reason: reason,
            initiator_by,
            flow_id: self.id,
        }
    }

    fn state(&self, reason: EndReason) -> FlowState {
        match reason {
            EndReason::Fin | EndReason::Rst => FlowState::Closed,
            EndReason::IdleTimeout => FlowState::TimedOut,
            EndReason::None if self.closed_by().is_some() => FlowState::Closed,
            EndReason::None | EndReason::ActiveTimeout | EndReason::EndOfInput | EndReason::LackOfResources => {
                FlowState::Active
            }
        }
    }

    /// Begins the next record: counts start again, identity and initiator stay.
    pub(crate) fn cut(&mut self) {
        let (end, by) = self.initiator();
        self.settled = Some(by);
        if end == 1 {
            self.bits |= SETTLED_END;
        }
        for side in &mut self.sides {
            *side = Side { packets: 0, bytes: 0, l3_bytes: 0, ..*side };
            side.tcp.cut();
        }
        self.part_start = NEVER;
    }
}

fn later(at: u64, by: Duration) -> u64 {
    Nanos(at).plus(by).0
}

/// The address that `bytes` hold in a key of `family`.
pub(crate) fn address(family: u8, bytes: &[u8; 16]) -> Option<IpAddr> {
    if family == Family::V4 as u8 {
        let [a, b, c, d, ..] = *bytes;
        Some(Ipv4Addr::new(a, b, c, d).into())
    } else if family == Family::V6 as u8 {
        Some(Ipv6Addr::from(*bytes).into())
    } else {
        None
    }
}

/// The EtherType of a key of `family`, whose first port is the EtherType of non-IP frames.
pub(crate) fn ether_type(family: u8, first_port: u16) -> u16 {
    match family {
        f if f == Family::V4 as u8 => 0x0800,
        f if f == Family::V6 as u8 => 0x86dd,
        _ => first_port,
    }
}

/// The VLAN identifier of a tag, when there is a tag.
pub(crate) fn vlan(tag: u16) -> Option<u16> {
    (tag & VLAN_PRESENT != 0).then_some(tag & 0x0fff)
}
