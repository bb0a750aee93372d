//! Folds parsed packets into flow counters, the same way in the kernel and in user space.

mod clock;
mod fragment;
mod overflow;
mod rules;
mod tcp;
#[cfg(test)]
mod tests;

pub use fragment::{FRAGMENT_TIMEOUT_NS, FragmentKey, FragmentValue, Fragments};
pub use overflow::{cell, mix64, prefix_hash, prefix_of, register, source_hash, spill};
pub use rules::{ADMITTED, EXCLUDED, RuleNets, SAMPLED_OUT, decide, net_key, sample_hash};

pub use clock::{At, Clock};

use crate::abi::{Family, FlowKey, FlowKey4, FlowStats, ICMP_UNKNOWN};
use crate::wire::{Fragment, Packet, proto};

/// What one frame, or one segmentation-offload super-packet, amounts to on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Packets on the wire.
    pub packets: u64,
    /// L2 bytes on the wire without FCS.
    pub bytes: u64,
}

impl Weight {
    /// One frame of `wire_len` bytes.
    #[inline(always)]
    pub const fn frame(wire_len: u32) -> Self {
        Self { packets: 1, bytes: wire_len as u64 }
    }

    /// L3 bytes of a packet: as its header states them, or, for a super-packet, the wire bytes less the link headers.
    #[inline(always)]
    fn l3_bytes(self, packet: &Packet) -> u64 {
        if self.packets == 1 {
            return packet.l3_len as u64;
        }
        let link = packet.l3_end.wrapping_sub(packet.l3_len) as u64;
        self.bytes.saturating_sub(self.packets.wrapping_mul(link))
    }
}

/// The counters of a flow's first packet; `now` is in nanoseconds of the table's clock.
#[inline(always)]
pub fn first(packet: &Packet, weight: Weight, now: u64) -> FlowStats {
    let mut stats = FlowStats {
        packets: weight.packets,
        bytes: weight.bytes,
        l3_bytes: weight.l3_bytes(packet),
        first_seen: now,
        last_seen: now,
        ..FlowStats::default()
    };
    tcp::open(&mut stats, packet);
    stats
}

/// Folds one more packet into `stats`.
///
/// The exact clock is read only for a packet whose time is part of a measurement. Captures may be out of order, so both
/// ends of the interval move. Counters wrap at 2^64. Cost: no allocation.
#[inline(always)]
pub fn fold<C: Clock>(stats: &mut FlowStats, packet: &Packet, weight: Weight, clock: &C) {
    stats.packets = stats.packets.wrapping_add(weight.packets);
    stats.bytes = stats.bytes.wrapping_add(weight.bytes);
    stats.l3_bytes = stats.l3_bytes.wrapping_add(weight.l3_bytes(packet));
    let now = tcp::fold(stats, packet, clock);
    if now > stats.last_seen {
        stats.last_seen = now;
    }
    if now < stats.first_seen && !C::COARSE_IS_EARLY {
        tcp::not_first(stats);
        stats.first_seen = now;
    }
}

/// Books a fragment to its datagram's flow: a first one is remembered, a later one gets the first one's ports.
///
/// Returns true for a later fragment whose first one is not known: it keeps ports 0 (an ICMP
/// one an unknown type) and is counted as an orphan.
#[inline(always)]
pub fn resolve_fragment<F: Fragments, C: Clock>(packet: &mut Packet, fragments: &mut F, clock: &C) -> bool {
    match packet.fragment {
        Fragment::No => false,
        Fragment::First(id) => {
            let value = FragmentValue::of(&packet.key, clock.exact());
            fragments.remember(&FragmentKey::of(&packet.key, id), &value);
            false
        }
        Fragment::Later(id) => match fragments.recall(&FragmentKey::of(&packet.key, id)) {
            Some(first) if clock.exact().saturating_sub(first.seen_at) <= FRAGMENT_TIMEOUT_NS => {
                packet.key.proto = first.proto;
                packet.key.src_port = first.src_port;
                packet.key.dst_port = first.dst_port;
                false
            }
            _ => {
                if matches!(packet.key.proto, proto::ICMP | proto::ICMPV6) {
                    packet.key.src_port = ICMP_UNKNOWN;
                }
                true
            }
        },
    }
}

#[inline(always)]
fn two(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The short form of `key`, when it has one: IPv4, at most one tag, no tunnel.
#[inline(always)]
pub fn short_key(key: &FlowKey) -> Option<FlowKey4> {
    if key.family != Family::V4 as u8 || key.inner_vlan != 0 || key.tunnel != 0 {
        return None;
    }
    let (halves, last) = (key.halves(), u32::from(key.vlan) | u32::from(key.proto) << 16 | u32::from(key.obs) << 24);
    Some(FlowKey4::from_words([two(halves[FlowKey::SRC], halves[FlowKey::DST]), two(halves[FlowKey::PORTS], last)]))
}
