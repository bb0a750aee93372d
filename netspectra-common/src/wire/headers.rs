use super::{Bytes, Fragment, Packet, UDP_HEADER, proto};

const TCP: u32 = 20;
const SCTP: u32 = 12;

/// Offset after the transport header of `packet`: what each segment of a super-packet repeats.
///
/// `None` where there is no such header in the frame, or none that segments repeat: fragments, ESP, other protocols.
/// Sources: RFC 9293 section 3.1 (data offset), 768, 9260 section 3.
#[inline(always)]
pub fn headers<B: Bytes>(frame: &B, packet: &Packet) -> Option<u32> {
    let at = packet.l4_offset;
    if at == 0 || packet.fragment != Fragment::No {
        return None;
    }
    let len = match packet.key.proto {
        proto::TCP => u32::from(frame.u8(B::rejoin(at) + 12)? >> 4) * 4,
        proto::UDP | proto::UDP_LITE => UDP_HEADER,
        proto::SCTP => SCTP,
        _ => return None,
    };
    (packet.key.proto != proto::TCP || len >= TCP).then_some(at + len)
}
