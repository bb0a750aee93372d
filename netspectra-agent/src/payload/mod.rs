//! Payloads of packets in user space, put in order for dissectors: streams of TCP, datagrams of UDP, also from
//! fragments and from inside tunnels.
//!
//! What dissectors say is collected until it is drained: hints, on which no count of packets depends. Memory is bounded
//! by [`PayloadLimits`]; what does not fit is counted in [`PayloadStats`].

mod connection;
mod defrag;
mod stream;
#[cfg(test)]
mod tests;

use crate::hint::Hint;
use connection::{Connection, Tcp};
use defrag::Defrag;
use netspectra_common::dissect::{Opener, Place, Recent, flow_of, reversed};
use netspectra_common::model::{FlowKey, Nanos, Observation, Observed};
use netspectra_common::wire::{self, Fragment, Packet, proto};
use std::sync::Arc;

const SYN: u16 = 0x02;
/// Fragmented tunnels in fragmented tunnels that are put together.
const MAX_DEPTH: u32 = 3;

/// Bounds on what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Flows with a session at the same time, TCP and UDP together; beyond it one that was silent for long is ended.
    pub flows: usize,
    /// Bytes of one TCP direction that came early and wait for what is missing before them.
    pub held_per_direction: usize,
    /// The same of all directions together.
    pub held: usize,
    /// Messages kept between two drains; beyond it they are counted and dropped.
    pub observed: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { flows: 65_536, held_per_direction: 1 << 20, held: 64 << 20, observed: 500_000 }
    }
}

impl PayloadLimits {
    /// For first bytes of live traffic: less, because nothing is put in order.
    pub fn live() -> Self {
        Self { flows: 32_768, held_per_direction: 0, held: 0, observed: 100_000 }
    }
}

/// What happened to payloads so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadStats {
    /// TCP payload bytes that came again.
    pub repeated_bytes: u64,
    /// TCP payload bytes that were missing in a stream that a dissector read.
    pub missing_bytes: u64,
    /// Flows whose session was ended for want of room.
    pub evicted_flows: u64,
    /// Messages dropped because too many waited for the drain.
    pub dropped_messages: u64,
}

/// Puts payloads in order and feeds them to sessions.
pub struct Payloads {
    opener: Arc<dyn Opener>,
    flows: Recent<FlowKey, Connection>,
    defrag: Defrag,
    sink: Sink,
}

/// What is known of the flow of a packet since an earlier packet with the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    #[default]
    Nothing,
    /// Where its connection is, and whether the key is the flow's own direction.
    At(Place, bool),
    /// Nothing on it is of interest any more, unless another connection begins.
    Over,
}

impl Known {
    /// Whether `packet`, the next one, changes nothing.
    #[inline(always)]
    pub(crate) fn passes_over(self, packet: &Packet) -> bool {
        self == Self::Over && packet.key.proto == proto::TCP && packet.tcp_flags & SYN == 0
    }

    fn of(connection: &Connection, place: Place, own: bool) -> Self {
        if connection.is_over() { Self::Over } else { Self::At(place, own) }
    }
}

/// Where messages are collected, and what is counted of all flows together.
struct Sink {
    observed: Vec<Observed>,
    limits: PayloadLimits,
    /// Bytes that wait in all streams.
    held: usize,
    stats: PayloadStats,
}

impl Sink {
    /// Keeps what was said at `at` by the sender of `key`.
    fn say(&mut self, at: Nanos, key: &FlowKey, what: Observation) {
        if self.observed.len() >= self.limits.observed {
            self.stats.dropped_messages += 1;
        } else {
            self.observed.push(Observed { at, key: *key, what });
        }
    }

    /// Gives a datagram of `len` bytes to `connection`.
    fn datagram(&mut self, connection: &mut Connection, own: bool, bytes: &[u8], len: u32, at: Nanos) {
        connection.datagram(own, bytes, len, at, &mut |key, at, what| self.say(at, key, what));
    }

    /// Gives a TCP segment to `connection`.
    fn segment(&mut self, connection: &mut Connection, own: bool, segment: &Tcp<'_>) {
        // Nothing waits for what is left out: it does not come.
        let room = if connection.is_pieces() {
            0
        } else {
            self.limits.held.saturating_sub(self.held).min(self.limits.held_per_direction)
        };
        let before = connection.held_bytes();
        let pushed = connection.segment(own, segment, room, &mut |key, at, what| self.say(at, key, what));
        self.held = (self.held + connection.held_bytes()).saturating_sub(before);
        self.stats.repeated_bytes += pushed.repeated;
        self.stats.missing_bytes += pushed.missing;
    }

    /// Gives out what waits in a connection that is over, and ends its session.
    fn close(&mut self, mut connection: Connection) {
        self.held = self.held.saturating_sub(connection.held_bytes());
        let pushed = connection.flush(&mut |key, at, what| self.say(at, key, what));
        self.stats.missing_bytes += pushed.missing;
    }
}

impl Payloads {
    /// Nothing seen yet; `opener` gives the sessions.
    pub fn new(opener: Arc<dyn Opener>, limits: PayloadLimits) -> Self {
        Self {
            opener,
            flows: Recent::new(limits.flows),
            defrag: Defrag::new(),
            sink: Sink { observed: Vec::new(), limits, held: 0, stats: PayloadStats::default() },
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> PayloadStats {
        self.sink.stats
    }

    /// Messages that wait for the next drain.
    pub fn waiting(&self) -> usize {
        self.sink.observed.len()
    }

    /// Takes what was said since the last call.
    pub fn drain(&mut self) -> Vec<Observed> {
        std::mem::take(&mut self.sink.observed)
    }

    /// Ends all sessions: nothing follows.
    pub fn finish(&mut self) {
        while let Some((_, connection)) = self.flows.evict() {
            self.sink.close(connection);
        }
    }

    /// Takes a parsed frame: `data` is what was captured of it, `wire_len` its length, `at` Unix nanoseconds.
    ///
    /// Cost: one hash look-up for a packet with payload, none for a bare acknowledgement.
    pub fn packet(&mut self, packet: &Packet, data: &[u8], wire_len: u32, at: u64) {
        self.packet_at_depth(packet, data, wire_len, at, 0, &mut Known::Nothing);
    }

    /// As [`Payloads::packet`] for a whole TCP or UDP packet, with what was `known` after the one before it with the same key.
    /// Cost: no look-up while that holds.
    pub(crate) fn packet_of(&mut self, packet: &Packet, data: &[u8], wire_len: u32, at: u64, known: &mut Known) {
        if packet.key.proto == proto::TCP {
            return self.tcp(packet, data, Nanos(at), known);
        }
        self.packet_at_depth(packet, data, wire_len, at, 0, known);
    }

    /// Takes the first bytes of a payload of which nothing else is known: what lies between two of them on a stream is a gap.
    pub fn hint(&mut self, hint: &Hint) {
        match hint.seq {
            None => self.datagram(&hint.key, &hint.prefix, hint.len, hint.at, &mut Known::Nothing),
            Some(seq) => self.piece(&hint.key, seq, &hint.prefix, hint.len, hint.at),
        }
    }

    fn packet_at_depth(&mut self, packet: &Packet, data: &[u8], wire_len: u32, at: u64, depth: u32, known: &mut Known) {
        let mut inner = *packet;
        if packet.fragment == Fragment::No {
            wire::innermost(&data, wire_len, &mut inner);
        }
        // It is of the flow that the packet is in, not of one inside.
        let known = if inner.key == packet.key { known } else { &mut Known::Nothing };
        let packet = &inner;
        if packet.fragment != Fragment::No {
            if depth < MAX_DEPTH
                && let Some(ip) = self.defrag.add(packet, data, at)
            {
                self.assembled(packet, &ip, at, depth + 1);
            }
            return;
        }
        match packet.key.proto {
            proto::TCP => self.tcp(packet, data, Nanos(at), known),
            proto::UDP => self.udp(packet, data, Nanos(at), known),
            _ => {}
        }
    }

    /// Takes a packet that was put together from fragments, the last of which was `fragment`.
    fn assembled(&mut self, fragment: &Packet, ip: &[u8], at: u64, depth: u32) {
        let (mut packet, len) = (Packet::default(), ip.len() as u32);
        if wire::link::parse(wire::link::RAW, &ip, len, &mut packet).is_ok() {
            let outer = &fragment.key;
            let (vlan, inner_vlan, obs) = (outer.vlan, outer.inner_vlan, outer.obs);
            packet.key =
                FlowKey { vlan, inner_vlan, obs, tunnel: outer.tunnel, tunnel_id: outer.tunnel_id, ..packet.key };
            self.packet_at_depth(&packet, ip, len, at, depth, &mut Known::Nothing);
        }
    }

    fn udp(&mut self, packet: &Packet, data: &[u8], at: Nanos, known: &mut Known) {
        let header = packet.l4_offset as usize;
        let Some(&[hi, lo]) = data.get(header + 4..).and_then(|d| d.first_chunk::<2>()) else { return };
        let from = header + 8;
        let room = (packet.l3_end as usize).saturating_sub(from);
        // 0 stands for a length that does not fit (RFC 2675) or that the sender leaves to its card.
        let len = match usize::from(u16::from_be_bytes([hi, lo])) {
            0 => room,
            stated => stated.saturating_sub(8).min(room),
        };
        let there = data.get(from..).unwrap_or_default();
        let bytes = there.get(..len).unwrap_or(there);
        self.datagram(&packet.key, bytes, len as u32, at, known);
    }

    fn datagram(&mut self, key: &FlowKey, bytes: &[u8], len: u32, at: Nanos, known: &mut Known) {
        let (place, own) = match *known {
            Known::Over => return,
            Known::At(place, own) if self.flows.at_mut(place).is_some() => (place, own),
            Known::At(..) | Known::Nothing => {
                let (flow, own) = flow_of(key);
                let place = self.flows.find(&flow).unwrap_or_else(|| {
                    let session = self.opener.open(key);
                    self.insert(flow, Connection::udp(session, *key, own))
                });
                (place, own)
            }
        };
        if let Some(connection) = self.flows.at_mut(place) {
            self.sink.datagram(connection, own, bytes, len, at);
            *known = Known::of(connection, place, own);
        }
    }

    /// A piece of a stream.
    fn piece(&mut self, key: &FlowKey, seq: u32, bytes: &[u8], len: u32, at: Nanos) {
        let (flow, own) = flow_of(key);
        let piece = Tcp::piece(seq, bytes, len, at);
        if let Some(connection) = self.flows.use_mut(&flow) {
            if !connection.is_far_behind(own, seq) {
                return self.sink.segment(connection, own, &piece);
            }
            if let Some(before) = self.flows.remove(&flow) {
                self.sink.close(before);
            }
        }
        let session = self.opener.open(key);
        let place = self.insert(flow, Connection::pieces(session, *key, own));
        if let Some(connection) = self.flows.at_mut(place) {
            self.sink.segment(connection, own, &piece);
        }
    }

    fn tcp(&mut self, packet: &Packet, data: &[u8], at: Nanos, known: &mut Known) {
        let Some(segment) = Tcp::parse(packet, data, at) else { return };
        if !segment.changes_anything() && self.sink.held == 0 {
            return;
        }
        let before = match *known {
            Known::Over if !segment.is_syn() => return,
            Known::At(place, own) if self.flows.at_mut(place).is_some() => Some((place, own)),
            Known::At(..) | Known::Over | Known::Nothing => None,
        };
        let flow = || flow_of(&packet.key);
        let (found, own) = match before {
            Some((place, own)) => (Some(place), own),
            None => {
                let (flow, own) = flow();
                (self.flows.find(&flow), own)
            }
        };
        if let Some(place) = found
            && let Some(connection) = self.flows.at_mut(place)
        {
            if !connection.is_replaced_by(own, &segment) {
                self.sink.segment(connection, own, &segment);
                *known = Known::of(connection, place, own);
                return;
            }
            if let Some(before) = self.flows.remove(&flow().0) {
                self.sink.close(before);
            }
        }
        *known = Known::Nothing;
        if !segment.changes_anything() || segment.is_reset() {
            return;
        }
        // The answer to a SYN that was not seen still says who asked.
        let from_responder = segment.is_syn_ack();
        let asker = if from_responder { reversed(&packet.key) } else { packet.key };
        let session = self.opener.open(&asker);
        let place = self.insert(flow().0, Connection::tcp(session, asker, own != from_responder));
        if let Some(connection) = self.flows.at_mut(place) {
            self.sink.segment(connection, own, &segment);
            *known = Known::of(connection, place, own);
        }
    }

    fn insert(&mut self, flow: FlowKey, connection: Connection) -> Place {
        let (place, gone) = self.flows.insert(flow, connection);
        if let Some((_, old)) = gone {
            self.sink.stats.evicted_flows += u64::from(!old.is_over());
            self.sink.close(old);
        }
        place
    }
}
