//! Which two directions are one flow.

use netspectra_common::abi::ICMP_UNKNOWN;
use netspectra_common::model::{Family, FlowKey};
use zerocopy::{Immutable, IntoBytes};

/// IANA protocol numbers whose "ports" are message types.
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// Requests and their replies: `(protocol, request type, reply type)`. RFC 792, RFC 950, RFC 4443.
const PAIRS: [(u8, u8, u8); 5] = [(ICMP, 8, 0), (ICMP, 13, 14), (ICMP, 15, 16), (ICMP, 17, 18), (ICMPV6, 128, 129)];

/// A flow's identity whichever way a packet goes: the two ends in a fixed order, and where they were seen.
///
/// For symmetric protocols the ends are sorted. Where the message itself says who asks (ICMP pairs) or where nothing
/// answers (other ICMP messages, non-IP frames), end 0 is the one that asks or sends.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub(crate) struct BiKey {
    pub(crate) addresses: [[u8; 16]; 2],
    /// ICMP: `[0, type << 8 | code]` of end 0's messages, or `[ICMP_UNKNOWN, 0]`. Non-IP: `[EtherType, 0]`.
    pub(crate) ports: [u16; 2],
    pub(crate) vlan: u16,
    pub(crate) inner_vlan: u16,
    pub(crate) proto: u8,
    pub(crate) family: u8,
    pub(crate) tunnel: u8,
    pub(crate) fixed: u8,
    pub(crate) tunnel_id: u32,
    /// Interned node and interface.
    pub(crate) point: u32,
}

impl BiKey {
    /// Whether end 0 is the initiator by the nature of the messages.
    pub(crate) const fn initiator_is_fixed(&self) -> bool {
        self.fixed != 0
    }
}

/// The flow of `key` seen at `point`, and which end sent the packet (0 or 1). The direction of observation plays no
/// part. Cost: a comparison of 18 bytes, no allocation.
#[inline]
pub(crate) fn normalise(key: &FlowKey, point: u32) -> (BiKey, usize) {
    let (swap, fixed, ports) = if key.family == Family::NonIp as u8 {
        (false, true, [key.src_port, key.dst_port])
    } else if matches!(key.proto, ICMP | ICMPV6) && key.src_port == ICMP_UNKNOWN {
        (false, true, [ICMP_UNKNOWN, 0])
    } else if matches!(key.proto, ICMP | ICMPV6) {
        let (swap, message) = icmp(key.proto, key.dst_port);
        (swap, true, [0, message])
    } else {
        let swap = (key.dst, key.dst_port) < (key.src, key.src_port);
        (swap, false, if swap { [key.dst_port, key.src_port] } else { [key.src_port, key.dst_port] })
    };
    let addresses = if swap { [key.dst, key.src] } else { [key.src, key.dst] };
    let bikey = BiKey {
        addresses,
        ports,
        vlan: key.vlan,
        inner_vlan: key.inner_vlan,
        proto: key.proto,
        family: key.family,
        tunnel: key.tunnel,
        fixed: u8::from(fixed),
        tunnel_id: key.tunnel_id,
        point,
    };
    (bikey, usize::from(swap))
}

/// Whether `message` (type and code) is a reply, and the request's type and code.
fn icmp(proto: u8, message: u16) -> (bool, u16) {
    let [kind, code] = message.to_be_bytes();
    for (p, request, reply) in PAIRS {
        if p == proto && kind == reply {
            return (true, u16::from_be_bytes([request, code]));
        }
    }
    (false, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(proto: u8, src: u8, dst: u8, src_port: u16, dst_port: u16) -> FlowKey {
        let mut key = FlowKey { proto, src_port, dst_port, family: Family::V4 as u8, ..FlowKey::default() };
        key.src[0] = src;
        key.dst[0] = dst;
        key
    }

    #[test]
    fn both_directions_of_a_conversation_have_one_key_and_different_ends() {
        let (there, a) = normalise(&key(6, 9, 1, 40_000, 80), 3);
        let (back, b) = normalise(&FlowKey { obs: 1, ..key(6, 1, 9, 80, 40_000) }, 3);
        assert_eq!(there, back);
        assert_eq!((a, b), (1, 0));
        assert_ne!(normalise(&key(6, 9, 1, 40_000, 80), 4).0, there, "another interface is another flow");
        assert_ne!(normalise(&FlowKey { vlan: 0x8001, ..key(6, 9, 1, 40_000, 80) }, 3).0, there);
        assert_ne!(normalise(&FlowKey { tunnel_id: 1, ..key(6, 9, 1, 40_000, 80) }, 3).0, there);
    }

    #[test]
    fn the_same_address_on_both_sides_is_told_apart_by_port() {
        let (there, a) = normalise(&key(17, 1, 1, 5000, 53), 0);
        let (back, b) = normalise(&key(17, 1, 1, 53, 5000), 0);
        assert_eq!(there, back);
        assert_ne!(a, b);
    }

    #[test]
    fn icmp_requests_pair_with_their_replies_and_nothing_else() {
        for (proto, request, reply) in PAIRS {
            let (there, a) = normalise(&key(proto, 9, 1, 0, u16::from(request) << 8), 0);
            let (back, b) = normalise(&key(proto, 1, 9, 0, u16::from(reply) << 8), 0);
            assert_eq!(there, back, "proto {proto}, request {request}");
            assert_eq!((a, b), (0, 1));
            let (other_way, c) = normalise(&key(proto, 1, 9, 0, u16::from(request) << 8), 0);
            assert_ne!(there, other_way, "the peer's own request is another conversation");
            assert_eq!(c, 0);
        }
        let unreachable = normalise(&key(ICMP, 9, 1, 0, 0x0301), 0);
        assert_ne!(unreachable.0, normalise(&key(ICMP, 1, 9, 0, 0x0301), 0).0);
        assert_eq!(unreachable.1, 0);
    }

    #[test]
    fn an_icmp_message_of_unknown_type_is_a_flow_of_its_sender_and_no_reply() {
        let (unknown, side) = normalise(&key(ICMP, 9, 1, ICMP_UNKNOWN, 0), 0);
        assert_eq!((unknown.ports, side), ([ICMP_UNKNOWN, 0], 0));
        assert_ne!(unknown, normalise(&key(ICMP, 9, 1, 0, 0), 0).0);
    }

    #[test]
    fn non_ip_frames_are_one_way_and_keyed_by_ether_type() {
        let arp = FlowKey { src_port: 0x0806, ..FlowKey::default() };
        let egress = FlowKey { obs: 1, ..arp };
        assert_eq!(normalise(&arp, 0), normalise(&egress, 0));
        assert_ne!(normalise(&arp, 0).0, normalise(&FlowKey { src_port: 0x88cc, ..arp }, 0).0);
    }
}
