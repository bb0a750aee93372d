use super::{Bytes, Fragment, Packet, l4, proto};
use crate::abi::{Family, LossReason};

/// IPv6 extension headers that are followed.
const MAX_EXTENSIONS: u32 = 8;

/// Parses an IPv4 packet at `at`. Source: RFC 791; fragments RFC 791 section 3.2.
#[inline(always)]
pub(super) fn parse_v4<B: Bytes>(frame: &B, at: u32, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    let h: [u8; 20] = frame.array(at).ok_or(LossReason::TruncatedIp)?;
    let header_len = u32::from(h[0] & 0x0f) * 4;
    if h[0] >> 4 != 4 || header_len < 20 {
        return Err(LossReason::MalformedIp);
    }
    let stated = u32::from(u16::from_be_bytes([h[2], h[3]]));
    // 0 is what a segmentation-offloading sender leaves in its own captures: the frame's length is the truth then.
    let l3_len = if stated == 0 { wire_len.saturating_sub(at) } else { stated };
    if l3_len < header_len {
        return Err(LossReason::MalformedIp);
    }
    packet.key.family = Family::V4 as u8;
    packet.key.proto = h[9];
    packet.key.src[..4].copy_from_slice(&[h[12], h[13], h[14], h[15]]);
    packet.key.dst[..4].copy_from_slice(&[h[16], h[17], h[18], h[19]]);

    let fragmentation = u16::from_be_bytes([h[6], h[7]]);
    let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
    packet.fragment = match (fragmentation & 0x1fff, fragmentation & 0x2000) {
        (0, 0) => Fragment::No,
        (0, _) => Fragment::First(id),
        _ => Fragment::Later(id),
    };
    packet.l3_len = l3_len;
    let (mut offset, end) = (at + header_len, at + l3_len);
    if packet.key.proto == proto::AH && !matches!(packet.fragment, Fragment::Later(_)) && offset + 8 <= end {
        // One authentication header (RFC 4302); what it cannot be read from stays protocol 51.
        if let Some([next, units]) = frame.array::<2>(offset) {
            packet.key.proto = next;
            offset += (u32::from(units) + 2) * 4;
        }
    }
    l4::parse(frame, B::rejoin(offset), end, packet);
    Ok(())
}

/// Parses an IPv6 packet at `at`. Source: RFC 8200 section 4; AH RFC 4302.
///
/// Mobility, HIP, Shim6 and ESP headers end the chain: they are the protocol.
#[inline(always)]
pub(super) fn parse_v6<B: Bytes>(frame: &B, at: u32, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    let h: [u8; 8] = frame.array(at).ok_or(LossReason::TruncatedIp)?;
    if h[0] >> 4 != 6 {
        return Err(LossReason::MalformedIp);
    }
    packet.key.src = frame.array(at + 8).ok_or(LossReason::TruncatedIp)?;
    packet.key.dst = frame.array(at + 24).ok_or(LossReason::TruncatedIp)?;
    packet.key.family = Family::V6 as u8;

    let payload = u32::from(u16::from_be_bytes([h[4], h[5]]));
    // 0 with more bytes behind it: a jumbogram (RFC 2675) or segmentation offload.
    let l3_len = if payload == 0 { wire_len.saturating_sub(at).max(40) } else { 40 + payload };
    let end = at + l3_len;
    packet.l3_len = l3_len;
    packet.l3_end = end;

    let mut next = h[6];
    let mut offset = at + 40;
    let mut left = if is_extension(next) { MAX_EXTENSIONS } else { 0 };
    // The condition stands at the end: Linux 6.1 wants a loop to begin anew by a jump.
    while left > 0 {
        offset = B::rejoin(offset);
        let header = if offset + 8 <= end { frame.array::<8>(offset) } else { None };
        let Some(h) = header else {
            // The capture or the packet ends inside the chain: the last header that could be read is the protocol.
            packet.key.proto = next;
            return Ok(());
        };
        let units = u32::from(h[1]);
        offset += match next {
            proto::FRAGMENT => 8,
            proto::AH => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if next == proto::FRAGMENT {
            let field = u16::from_be_bytes([h[2], h[3]]);
            let id = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
            // An atomic fragment (RFC 6946) is a whole packet.
            if field & 0xfff8 != 0 {
                // What follows is the middle of a datagram: no header to read there.
                packet.fragment = Fragment::Later(id);
                packet.key.proto = h[0];
                return Ok(());
            }
            if field & 1 != 0 {
                packet.fragment = Fragment::First(id);
            }
        }
        next = h[0];
        if !is_extension(next) {
            break;
        }
        left -= 1;
        if left == 0 {
            return Err(LossReason::TooDeep);
        }
    }
    packet.key.proto = next;
    l4::parse(frame, B::rejoin(offset), end, packet);
    Ok(())
}

/// Whether `next` is a header that has another one behind it.
#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION | proto::AH | proto::FRAGMENT)
}
