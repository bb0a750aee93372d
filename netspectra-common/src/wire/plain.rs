use super::{Bytes, Packet, ethertype, l4, proto};
use crate::abi::Family;

/// Where the IP header of a plain frame begins, and its transport header.
const L3: u32 = 14;
const L4: u32 = 34;
/// Shortest IPv4 packet that has both ports.
const WITH_PORTS: u32 = 24;

/// Parses what most frames are, Ethernet, IPv4 without options, no fragment, TCP or UDP with its ports, in one look into
/// `packet`, which must be fresh.
///
/// False says that it is another frame, for [`super::parse_ethernet`]: `packet` is as it was then. Where it is true, that
/// gives the same packet.
#[inline(always)]
pub fn parse_plain<B: Bytes>(frame: &B, packet: &mut Packet) -> bool {
    let Some(h) = frame.pairs::<13>(12) else { return false };
    let l3_len = u32::from(u16::from_be(h[2]));
    let proto = u16::from_be(h[5]) as u8;
    if u16::from_be(h[0]) != ethertype::IPV4
        || u16::from_be(h[1]) >> 8 != 0x45
        || l3_len < WITH_PORTS
        // More fragments, or an offset.
        || u16::from_be(h[4]) & 0x3fff != 0
        || (proto != proto::TCP && proto != proto::UDP)
    {
        return false;
    }
    let address = |[a, b]: [u16; 2]| {
        let ([a, b], [c, d]) = (a.to_ne_bytes(), b.to_ne_bytes());
        [a, b, c, d]
    };
    packet.key.family = Family::V4 as u8;
    packet.key.proto = proto;
    packet.key.src[..4].copy_from_slice(&address([h[7], h[8]]));
    packet.key.dst[..4].copy_from_slice(&address([h[9], h[10]]));
    packet.key.src_port = u16::from_be(h[11]);
    packet.key.dst_port = u16::from_be(h[12]);
    packet.l4_offset = L4;
    packet.l3_len = l3_len;
    packet.l3_end = L3 + l3_len;
    if proto == proto::TCP {
        l4::flags(frame, L4, L3 + l3_len, packet);
    }
    true
}
