//! The frames in a block of a TPACKET_V3 ring: a checked view over the bytes that the kernel wrote.
//!
//! Source: `include/uapi/linux/if_packet.h` (`tpacket_block_desc`, `tpacket3_hdr`, `sockaddr_ll`), `include/uapi/linux/
//! virtio_net.h`. Integers are in host byte order.

/// Where a block says whose it is.
pub(super) const STATUS_AT: usize = 8;
/// Bit of the status: the block is user space's.
pub(super) const STATUS_USER: u32 = 1;

const NUM_PACKETS_AT: usize = 12;
const FIRST_PACKET_AT: usize = 16;

/// `sizeof(struct tpacket3_hdr)`: the link-layer address follows it.
const HEADER: usize = 48;
/// `sizeof(struct virtio_net_hdr)`: in front of the frame.
const VNET_HEADER: usize = 10;

const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;
const DOT1Q: u16 = 0x8100;
const PACKET_OUTGOING: u8 = 4;

/// One frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Captured bytes from the link header on.
    pub(super) data: &'a [u8],
    /// Length in memory, bytes, without the tag of `vlan`.
    pub(super) len: u32,
    /// Length of the link header; the network header follows it.
    pub(super) link_len: u32,
    /// Unix time, nanoseconds.
    pub(super) at: u64,
    /// Sent by this host.
    pub(super) outgoing: bool,
    /// TPID and TCI of the tag that is kept beside the frame.
    pub(super) vlan: Option<(u16, u16)>,
    /// How the frame is to be segmented.
    pub(super) offload: Offload,
}

/// `struct virtio_net_hdr`, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offload {
    /// Payload bytes of a segment; 0 for a frame that is no super-packet.
    pub(super) gso_size: u16,
    /// `VIRTIO_NET_HDR_GSO_*` without the ECN bit.
    pub(super) gso_type: u8,
    /// Offset of the innermost transport header, when the checksum is still to be filled in.
    pub(super) transport_at: Option<u16>,
}

/// Frames that the kernel says are in `block`.
pub(super) fn announced(block: &[u8]) -> u32 {
    u32_at(block, NUM_PACKETS_AT).unwrap_or(0)
}

/// The frames of `block`. Ends early when a length leads out of the block, which a sound kernel never does.
pub(super) fn frames(block: &[u8]) -> Frames<'_> {
    let at = u32_at(block, FIRST_PACKET_AT).unwrap_or(0) as usize;
    Frames { block, at, left: announced(block) }
}

pub(super) struct Frames<'a> {
    block: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        self.left = self.left.checked_sub(1)?;
        let packet = self.block.get(self.at..)?;
        let next = u32_at(packet, 0)? as usize;
        self.at = self.at.saturating_add(next);
        frame(packet)
    }
}

fn frame(packet: &[u8]) -> Option<Frame<'_>> {
    let (seconds, nanos) = (u32_at(packet, 4)?, u32_at(packet, 8)?);
    let (captured, len, status) = (u32_at(packet, 12)?, u32_at(packet, 16)?, u32_at(packet, 20)?);
    let (mac, net) = (usize::from(u16_at(packet, 24)?), usize::from(u16_at(packet, 26)?));
    let (tci, tpid) = (u32_at(packet, 32)?, u16_at(packet, 36)?);
    let vlan =
        (status & VLAN_VALID != 0).then_some((if status & VLAN_TPID_VALID != 0 { tpid } else { DOT1Q }, tci as u16));
    Some(Frame {
        data: packet.get(mac..mac.checked_add(captured as usize)?)?,
        len,
        link_len: net.saturating_sub(mac) as u32,
        at: u64::from(seconds) * 1_000_000_000 + u64::from(nanos),
        outgoing: *packet.get(HEADER + 10)? == PACKET_OUTGOING,
        vlan,
        offload: offload(packet.get(mac.checked_sub(VNET_HEADER)?..mac)?)?,
    })
}

fn offload(header: &[u8]) -> Option<Offload> {
    const NEEDS_CSUM: u8 = 1;
    const ECN: u8 = 0x80;
    let (flags, kind) = (*header.first()?, *header.get(1)?);
    let transport_at = if flags & NEEDS_CSUM != 0 { Some(u16_at(header, 6)?) } else { None };
    let gso_size = if kind == 0 { 0 } else { u16_at(header, 4)? };
    Some(Offload { gso_size, gso_type: kind & !ECN, transport_at })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A block with two frames as the kernel lays them out.
    fn block() -> Vec<u8> {
        let mut b = vec![0; 512];
        put(&mut b, NUM_PACKETS_AT, &2u32.to_ne_bytes());
        put(&mut b, FIRST_PACKET_AT, &48u32.to_ne_bytes());
        for (at, next, kind) in [(48, 160u32, PACKET_OUTGOING), (208, 0, 0)] {
            put(&mut b, at, &next.to_ne_bytes());
            put(&mut b, at + 4, &7u32.to_ne_bytes());
            put(&mut b, at + 8, &9u32.to_ne_bytes());
            put(&mut b, at + 12, &20u32.to_ne_bytes());
            put(&mut b, at + 16, &3000u32.to_ne_bytes());
            put(&mut b, at + 24, &92u16.to_ne_bytes());
            put(&mut b, at + 26, &106u16.to_ne_bytes());
            put(&mut b, at + HEADER + 10, &[kind]);
            put(&mut b, at + 92, &[kind + 1; 20]);
        }
        put(&mut b, 48 + 20, &(1 | VLAN_VALID | VLAN_TPID_VALID).to_ne_bytes());
        put(&mut b, 48 + 32, &0x2064u32.to_ne_bytes());
        put(&mut b, 48 + 36, &0x88a8u16.to_ne_bytes());
        put(&mut b, 48 + 82, &[1, 0x81, 0, 0]);
        put(&mut b, 48 + 86, &1448u16.to_ne_bytes());
        put(&mut b, 48 + 88, &34u16.to_ne_bytes());
        b
    }

    #[test]
    fn every_field_of_every_frame_is_read() {
        let b = block();
        let frames: Vec<Frame<'_>> = frames(&b).collect();
        let second = Frame {
            data: &[1; 20],
            len: 3000,
            link_len: 14,
            at: 7_000_000_009,
            outgoing: false,
            vlan: None,
            offload: Offload::default(),
        };
        let first = Frame {
            data: &[5; 20],
            outgoing: true,
            vlan: Some((0x88a8, 0x2064)),
            offload: Offload { gso_size: 1448, gso_type: 1, transport_at: Some(34) },
            ..second
        };
        assert_eq!(frames, [first, second]);
    }

    proptest! {
        /// No length that the kernel might write leads out of the block or on without end.
        #[test]
        fn any_bytes_are_read_without_panic(
            edits in proptest::collection::vec((0usize..512, any::<u8>()), 0..40), cut in 0usize..=512
        ) {
            let mut b = block();
            for (at, value) in edits {
                b[at] = value;
            }
            let b = &b[..cut];
            let count = frames(b).take(1 << 20).count();
            prop_assert!(count as u64 <= u64::from(announced(b)));
        }
    }
}
