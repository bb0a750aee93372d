//! What a frame of the ring amounts to on the wire.

use super::block::Frame;
use crate::on_wire::OnWire;
use netspectra_common::wire::{Packet, link, proto};

/// A tag's bytes in a frame.
const TAG: u32 = 4;
/// `VIRTIO_NET_HDR_GSO_*` (`include/uapi/linux/virtio_net.h`).
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

/// The size of `frame`, and whether it is exact: `false` for a super-packet whose headers could not be read, which is taken
/// for one frame then.
///
/// `link` is the frame's LINKTYPE; `skip` bytes at its begin are not part of it. A super-packet's segments repeat all
/// headers up to and with the innermost transport header, as the kernel's own `qdisc_pkt_len_init` has it.
pub(super) fn on_wire(frame: &Frame<'_>, link: u16, skip: u32) -> (OnWire, bool) {
    let tag = if frame.vlan.is_some() { TAG } else { 0 };
    let len = frame.len.saturating_sub(skip).saturating_add(tag);
    if frame.offload.gso_size == 0 {
        return (OnWire::frame(len), true);
    }
    match headers(frame, link, skip) {
        Some(headers) => (OnWire::segments(len, headers + tag, frame.offload.gso_size.into()), true),
        None => (OnWire::frame(len), false),
    }
}

/// Bytes in front of the payload of a super-packet, after the first `skip`.
fn headers(frame: &Frame<'_>, link: u16, skip: u32) -> Option<u32> {
    let data = frame.data.get(skip as usize..)?;
    let transport = match frame.offload.transport_at {
        Some(at) => u32::from(at).checked_sub(skip)?,
        // The checksum is complete, so the kernel does not say where: the outermost transport header.
        None => outermost(data, frame.len.saturating_sub(skip), link)?,
    };
    match frame.offload.gso_type {
        GSO_TCPV4 | GSO_TCPV6 => {
            let offset = *data.get(transport as usize + 12)? >> 4;
            (offset >= 5).then(|| transport + 4 * u32::from(offset))
        }
        GSO_UDP_L4 => Some(transport + 8),
        _ => None,
    }
}

/// Offset of the outermost transport header.
fn outermost(data: &[u8], len: u32, link: u16) -> Option<u32> {
    let mut packet = Packet::default();
    link::parse(link, &data, len, &mut packet).ok()?;
    let known = matches!(packet.key.proto, proto::TCP | proto::UDP) && packet.l4_offset != 0;
    known.then_some(packet.l4_offset)
}

/// Copies `data` into `room` with a tag after the addresses, where it is on the wire.
///
/// `data` shorter than the addresses is copied as it is: it is counted as truncated either way.
pub(super) fn with_tag<'a>(data: &[u8], (tpid, tci): (u16, u16), room: &'a mut Vec<u8>) -> &'a [u8] {
    let (addresses, rest) = data.split_at(data.len().min(12));
    room.clear();
    room.extend_from_slice(addresses);
    if addresses.len() == 12 {
        room.extend_from_slice(&tpid.to_be_bytes());
        room.extend_from_slice(&tci.to_be_bytes());
    }
    room.extend_from_slice(rest);
    room
}

#[cfg(test)]
mod tests {
    use super::super::block::Offload;
    use super::*;
    use netspectra_common::flow::Weight;

    /// Ethernet, IPv4, and the begin of a TCP segment with `options` words of options.
    fn tcp(options: u8) -> Vec<u8> {
        let mut f = vec![0; 12];
        f.extend([0x08, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, (5 + options) << 4, 0x10, 0, 0, 0, 0, 0, 0]);
        f.resize(f.len() + 4 * usize::from(options) + 40, 0);
        f
    }

    fn frame(data: &[u8], len: u32, gso_type: u8, transport_at: Option<u16>) -> Frame<'_> {
        let offload = Offload { gso_size: 1000, gso_type, transport_at };
        Frame { data, len, link_len: 14, at: 0, outgoing: true, vlan: None, offload }
    }

    #[test]
    fn tcp_segments_have_their_options_with_and_without_the_offset_from_the_kernel() {
        let data = tcp(3);
        for at in [Some(34), None] {
            let (size, exact) = on_wire(&frame(&data, 66 + 2500, GSO_TCPV4, at), link::ETHERNET, 0);
            assert!(exact);
            assert_eq!(size.weight, Weight { packets: 3, bytes: 2500 + 3 * 66 }, "{at:?}");
        }
    }

    #[test]
    fn a_tag_beside_the_frame_is_in_every_segment() {
        let data = tcp(0);
        let tagged = Frame { vlan: Some((0x8100, 7)), ..frame(&data, 54 + 1500, GSO_TCPV4, Some(34)) };
        let (size, _) = on_wire(&tagged, link::ETHERNET, 0);
        assert_eq!(size.weight, Weight { packets: 2, bytes: 1500 + 2 * 58 });
        assert_eq!(size.segment_len, 1058);
        let one = Frame { offload: Offload::default(), ..tagged };
        assert_eq!(on_wire(&one, link::ETHERNET, 0), (OnWire::frame(54 + 1500 + 4), true));
    }

    #[test]
    fn udp_segments_and_raw_ip() {
        let data = tcp(0);
        let (size, exact) = on_wire(&frame(&data, 14 + 28 + 2001, GSO_UDP_L4, Some(34)), link::RAW, 14);
        assert!(exact);
        assert_eq!(size.weight, Weight { packets: 3, bytes: 2001 + 3 * 28 });
    }

    #[test]
    fn unreadable_headers_are_one_frame_and_said_to_be_inexact() {
        let data = tcp(0);
        for f in [
            frame(&data[..40], 5000, GSO_TCPV4, Some(34)),
            frame(&data[..20], 5000, GSO_TCPV4, None),
            frame(&data, 5000, 3, Some(34)),
            frame(&[], 5000, GSO_UDP_L4, None),
        ] {
            assert_eq!(on_wire(&f, link::ETHERNET, 0), (OnWire::frame(5000), false));
        }
    }

    #[test]
    fn the_tag_is_put_where_it_is_on_the_wire() {
        let mut room = Vec::new();
        let data: Vec<u8> = (0..20).collect();
        let tagged = with_tag(&data, (0x88a8, 0x0064), &mut room).to_vec();
        assert_eq!(tagged, [&data[..12], &[0x88, 0xa8, 0, 100], &data[12..]].concat());
        assert_eq!(with_tag(&data[..5], (0x8100, 1), &mut room), &data[..5]);
    }
}
