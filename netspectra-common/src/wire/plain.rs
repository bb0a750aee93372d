use super::{Bytes, Head, Packet, ethertype, l4, proto};
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
    let Some(Head { link, middle, src, dst, ports }) = frame.head() else { return false };
    let [e0, e1, version, _, l0, l1, _, _] = link;
    let [f0, f1, _, proto] = middle;
    let l3_len = u32::from(u16::from_be_bytes([l0, l1]));
    if u16::from_be_bytes([e0, e1]) != ethertype::IPV4
        || version != 0x45
        || l3_len < WITH_PORTS
        // More fragments, or an offset.
        || u16::from_be_bytes([f0, f1]) & 0x3fff != 0
        || (proto != proto::TCP && proto != proto::UDP)
    {
        return false;
    }
    packet.key.family = Family::V4 as u8;
    packet.key.proto = proto;
    packet.key.src[..4].copy_from_slice(&src);
    packet.key.dst[..4].copy_from_slice(&dst);
    packet.key.set_ports(ports);
    packet.l4_offset = L4;
    packet.l3_len = l3_len;
    packet.l3_end = L3 + l3_len;
    if proto == proto::TCP {
        l4::flags(frame, L4, L3 + l3_len, packet);
    }
    true
}
