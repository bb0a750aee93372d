//! Header parsers for the kernel and for user space, from one source.
//!
//! A parser reads through [`Bytes`], a bounds-checked accessor: packet pointers in the kernel, a slice in user space. It
//! returns a [`Packet`] or the [`LossReason`] under which the frame is counted; it never guesses.
//!
//! Sources: IEEE 802.1Q, 802.1ah; RFC 791, 8200, 4302, 9293, 768, 792, 4443, 9260; RFC 2516 (PPPoE), 3032 (MPLS).

mod bytes;
mod headers;
mod ip;
mod l2;
mod l4;
pub mod link;
mod message;
mod plain;
mod tunnel;

#[cfg(test)]
mod tests;

pub use bytes::{Bytes, Head, MAX_OFFSET};
pub use headers::headers;
pub use l2::ethertype;
pub use l4::{measure, proto};
pub use message::{Wanted, begins, wanted};
pub use plain::parse_plain;
pub use tunnel::{Inside, MAX_TUNNELS, Tunnel, enter, innermost, inside};

use crate::abi::{FlowKey, LossReason};

/// Length of a UDP header, bytes.
pub const UDP_HEADER: u32 = 8;

/// Whether a packet is a fragment of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// Whole.
    #[default]
    No,
    /// Offset 0 and more to come: has the ports.
    First(u32),
    /// Offset above 0: the ports are in another packet.
    Later(u32),
}

/// A TCP segment whose whole fixed header was captured, in a packet that is no fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Payload as the IP header states it, bytes.
    pub payload: u32,
    /// Window field, not scaled.
    pub window: u16,
}

/// What the headers of a frame say.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The flow it belongs to; `obs` is 0. A later fragment has ports 0 until its first fragment is asked for.
    pub key: FlowKey,
    /// L3 length as the IP header states it, bytes; 0 for non-IP.
    pub l3_len: u32,
    /// Offset of the transport header in the frame; 0 when there is none in this frame.
    pub l4_offset: u32,
    /// Offset after the IP packet, as its header states it.
    pub l3_end: u32,
    /// TCP flags (nine bits), 0 otherwise.
    pub tcp_flags: u16,
    /// Whether [`measure`] found a segment.
    pub is_segment: bool,
    /// The TCP segment, zeros when it cannot be measured. No `Option`: its empty case has bytes of no value, which the
    /// kernel's verifier takes for whatever is in the register.
    pub segment: Segment,
    /// Fragmentation.
    pub fragment: Fragment,
}

impl Packet {
    /// The TCP segment, when it can be measured.
    #[inline(always)]
    pub fn measured(&self) -> Option<&Segment> {
        if self.is_segment { Some(&self.segment) } else { None }
    }

    /// Makes it a packet of which nothing is known yet, as [`Packet::default`] is.
    ///
    /// Word by word and hidden from the compiler, which for the kernel makes byte-wise loops of copies and zeros. The same
    /// holds for [`Packet::copy_from`].
    #[inline(always)]
    pub fn clear(&mut self) {
        let zero = || core::hint::black_box(0u64);
        self.key = zerocopy::transmute!([zero(), zero(), zero(), zero(), zero(), zero()]);
        self.l3_len = core::hint::black_box(0);
        self.l4_offset = core::hint::black_box(0);
        self.l3_end = core::hint::black_box(0);
        self.tcp_flags = core::hint::black_box(0);
        self.is_segment = core::hint::black_box(false);
        self.segment.seq = core::hint::black_box(0);
        self.segment.payload = core::hint::black_box(0);
        self.segment.window = core::hint::black_box(0);
        self.fragment = Fragment::No;
    }

    /// Copies `from`.
    #[inline(always)]
    pub fn copy_from(&mut self, from: &Self) {
        let words: [u64; 6] = zerocopy::transmute!(from.key);
        self.key = zerocopy::transmute!(words.map(core::hint::black_box));
        self.l3_len = core::hint::black_box(from.l3_len);
        self.l4_offset = core::hint::black_box(from.l4_offset);
        self.l3_end = core::hint::black_box(from.l3_end);
        self.tcp_flags = core::hint::black_box(from.tcp_flags);
        self.is_segment = core::hint::black_box(from.is_segment);
        self.segment.seq = core::hint::black_box(from.segment.seq);
        self.segment.payload = core::hint::black_box(from.segment.payload);
        self.segment.window = core::hint::black_box(from.segment.window);
        self.fragment = from.fragment;
    }
}

/// Parses an Ethernet frame of `wire_len` bytes on the wire into `packet`, which must be fresh.
///
/// # Errors
/// The reason under which the frame is counted when it has no flow; `packet` is not meaningful then.
#[inline(always)]
pub fn parse_ethernet<B: Bytes>(frame: &B, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    let ether_type = frame.be16(12).ok_or(LossReason::TruncatedLink)?;
    l2::parse(frame, 14, ether_type, wire_len, packet)
}
