//! Folds parsed packets into flow counters, the same way in the kernel and in user space.

mod fragment;
mod overflow;
mod rules;

pub use fragment::{FRAGMENT_TIMEOUT_NS, FragmentKey, FragmentValue, Fragments};
pub use overflow::{cell, mix64, prefix_hash, prefix_of, register, source_hash, spill};
pub use rules::{RuleNets, admits, net_key};

use crate::abi::{FLAG_SYN_ACK_SEEN, FLAG_SYN_SEEN, Family, FlowKey, FlowKey4, FlowStats};
use crate::wire::{Fragment, Packet};

const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// The TCP part of [`FlowStats::tcp_flags`] that one packet with these flags contributes.
#[inline(always)]
pub fn flag_bits(tcp_flags: u16) -> u16 {
    match tcp_flags & (SYN | ACK) {
        SYN => tcp_flags | FLAG_SYN_SEEN,
        both if both == SYN | ACK => tcp_flags | FLAG_SYN_ACK_SEEN,
        _ => tcp_flags,
    }
}

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

    /// L3 bytes of `packet`: as its header states them, or, for a super-packet, the wire bytes less the link headers.
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
    FlowStats {
        packets: weight.packets,
        bytes: weight.bytes,
        l3_bytes: weight.l3_bytes(packet),
        first_seen: now,
        last_seen: now,
        tcp_flags: flag_bits(packet.tcp_flags),
        reserved: [0; 6],
    }
}

/// Folds one more packet into `stats`.
///
/// Captures may be out of order, so both ends of the interval move. Counters wrap at 2^64. Cost: no allocation.
#[inline(always)]
pub fn fold(stats: &mut FlowStats, packet: &Packet, weight: Weight, now: u64) {
    stats.packets = stats.packets.wrapping_add(weight.packets);
    stats.bytes = stats.bytes.wrapping_add(weight.bytes);
    stats.l3_bytes = stats.l3_bytes.wrapping_add(weight.l3_bytes(packet));
    if now > stats.last_seen {
        stats.last_seen = now;
    }
    if now < stats.first_seen {
        stats.first_seen = now;
    }
    stats.tcp_flags |= flag_bits(packet.tcp_flags);
}

/// Books a fragment to its datagram's flow: a first one is remembered, a later one gets the first one's ports.
///
/// Returns true for a later fragment whose first one is not known: it keeps ports 0 and is counted as an orphan.
#[inline(always)]
pub fn resolve_fragment<F: Fragments>(packet: &mut Packet, fragments: &mut F, now: u64) -> bool {
    match packet.fragment {
        Fragment::No => false,
        Fragment::First(id) => {
            let value = FragmentValue::of(&packet.key, now);
            fragments.remember(&FragmentKey::of(&packet.key, id), &value);
            false
        }
        Fragment::Later(id) => match fragments.recall(&FragmentKey::of(&packet.key, id)) {
            Some(first) if now.saturating_sub(first.seen_at) <= FRAGMENT_TIMEOUT_NS => {
                packet.key.proto = first.proto;
                packet.key.src_port = first.src_port;
                packet.key.dst_port = first.dst_port;
                false
            }
            _ => true,
        },
    }
}

/// The short form of `key`, when it has one: IPv4, at most one tag, no tunnel.
#[inline(always)]
pub fn short_key(key: &FlowKey) -> Option<FlowKey4> {
    if key.family != Family::V4 as u8 || key.inner_vlan != 0 || key.tunnel != 0 {
        return None;
    }
    Some(FlowKey4 {
        src: [key.src[0], key.src[1], key.src[2], key.src[3]],
        dst: [key.dst[0], key.dst[1], key.dst[2], key.dst[3]],
        src_port: key.src_port,
        dst_port: key.dst_port,
        vlan: key.vlan,
        proto: key.proto,
        obs: key.obs,
    })
}
