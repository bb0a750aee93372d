use super::{Bytes, Fragment, Packet, Segment};
use crate::abi::ICMP_UNKNOWN;

/// IANA protocol numbers that the parser knows.
pub mod proto {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 inside.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 inside.
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;

/// Fills in ports (or ICMP type and code) and TCP flags from the transport header at `at`; `end` is where the packet
/// ends by its IP header, so that Ethernet padding is never taken for a port.
#[inline(always)]
pub(super) fn parse<B: Bytes>(frame: &B, at: u32, end: u32, packet: &mut Packet) {
    packet.l3_end = end;
    if let Fragment::Later(_) = packet.fragment {
        return;
    }
    packet.l4_offset = at;
    match packet.key.proto {
        proto::TCP | proto::UDP | proto::SCTP | proto::UDP_LITE => {
            if at + 4 <= end
                && let Some(ports) = frame.array(at)
            {
                packet.key.set_ports(ports);
            }
            if packet.key.proto == proto::TCP {
                flags(frame, at, end, packet);
            }
        }
        proto::ICMP | proto::ICMPV6 => match frame.array::<2>(at) {
            Some(type_code) if at + 2 <= end => packet.key.dst_port = u16::from_be_bytes(type_code),
            _ => packet.key.src_port = ICMP_UNKNOWN,
        },
        _ => {}
    }
}

#[inline(always)]
pub(super) fn flags<B: Bytes>(frame: &B, at: u32, end: u32, packet: &mut Packet) {
    if at + 14 <= end
        && let Some([hi, lo]) = frame.array::<2>(at + 12)
    {
        packet.tcp_flags = u16::from_be_bytes([hi & 0x01, lo]);
    }
}

/// Reads the TCP segment of `packet`, if that is one, no fragment, and its header was captured as far as the window.
///
/// Apart from parsing, because only the packet that is counted needs it, and not each one around it. Source: RFC 9293
/// section 3.1.
#[inline(always)]
pub fn measure<B: Bytes>(frame: &B, packet: &mut Packet) {
    if packet.key.proto != proto::TCP || packet.l4_offset == 0 || !matches!(packet.fragment, Fragment::No) {
        return;
    }
    let (at, end) = (B::rejoin(packet.l4_offset), packet.l3_end);
    if at + TCP_HEADER > end {
        return;
    }
    let Some([s0, s1, s2, s3, _, _, _, _, offset, _, w0, w1]) = frame.array::<12>(at + 4) else { return };
    let header_len = u32::from(offset >> 4) * 4;
    if header_len < TCP_HEADER || at + header_len > end {
        return;
    }
    packet.is_segment = true;
    packet.segment = Segment {
        seq: u32::from_be_bytes([s0, s1, s2, s3]),
        payload: end - (at + header_len),
        window: u16::from_be_bytes([w0, w1]),
    };
}
