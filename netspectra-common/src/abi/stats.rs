use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The TCP flag bits of [`FlowStats::tcp_flags`]: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE.
pub const TCP_FLAGS_MASK: u16 = 0x01ff;
/// In [`FlowStats::tcp_flags`]: [`FlowStats::mark`] is the sequence number of the first segment that takes any.
pub const FLAG_FIRST_SEQ: u16 = 0x0200;
/// In [`FlowStats::tcp_flags`]: sequence numbers jumped forward, last at [`FlowStats::gap_at`].
pub const FLAG_GAP: u16 = 0x0400;
/// In [`FlowStats::tcp_flags`]: [`FlowStats::next_seq`] is known.
pub const FLAG_FOLLOWED: u16 = 0x0800;
/// In [`FlowStats::tcp_flags`]: the first packet was a SYN, with or without ACK; [`FlowStats::mark`] is the ACK delay.
pub const FLAG_OPENS: u16 = 0x1000;
/// In [`FlowStats::tcp_flags`]: a SYN came more than once.
pub const FLAG_SYN_AGAIN: u16 = 0x2000;
/// In [`FlowStats::tcp_flags`]: a SYN without ACK was among the packets.
pub const FLAG_SYN_SEEN: u16 = 0x4000;
/// In [`FlowStats::tcp_flags`]: a SYN with ACK was among the packets.
pub const FLAG_SYN_ACK_SEEN: u16 = 0x8000;

/// What is counted of one [`super::FlowKey`] in one generation on one CPU.
///
/// 56 bytes: with the 48-byte header of a hash element and a 16-byte key the kernel's allocation stays in its 128-byte
/// class.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowStats {
    /// Packets on the wire. In the kernel's tables the generation's tag is in the highest 16 bits, see [`FlowStats::is_of`].
    pub packets: u64,
    /// L2 bytes on the wire without FCS.
    pub bytes: u64,
    /// L3 bytes: as the outermost IP header states them. In the kernel's tables the flow's [`Sampling`] is in the highest eight
    /// bits, see [`FlowStats::take_sampling`]: there is no other room in the allocation's class.
    pub l3_bytes: u64,
    /// Last packet; the clock of [`FlowStats::first_seen`]. In the kernel up to one tick (1 to 10 ms) early, never before `first_seen`.
    pub last_seen: u64,
    /// OR of TCP flags and of this module's `FLAG_` bits.
    pub tcp_flags: u16,
    /// TCP segments that repeat sequence numbers already seen. Stays at its highest value.
    pub retransmitted: u16,
    /// TCP segments that fill a gap in the sequence right after it appeared. Stays at its highest value.
    pub out_of_order: u16,
    /// TCP segments, without SYN, FIN, RST, that announce a window of 0. Stays at its highest value.
    pub zero_windows: u8,
    /// When the sequence last jumped forward, if [`FLAG_GAP`]: the clock in units of 2^20 ns, modulo 2^8.
    pub gap_at: u8,
    /// The sequence number after the highest one seen, if [`FLAG_FOLLOWED`].
    pub next_seq: u32,
    /// If [`FLAG_OPENS`]: microseconds, rounded up, from the SYN to the first ACK without SYN; 0 while there was none. If
    /// [`FLAG_FIRST_SEQ`]: the sequence number of the first segment that takes any. Else 0.
    pub mark: u32,
    /// First packet, exact; nanoseconds. `CLOCK_MONOTONIC` in the kernel, Unix time once the agent has converted it. At the end, because
    /// most packets do not touch it.
    pub first_seen: u64,
}

const _: () = assert!(size_of::<FlowStats>() == 56);

/// How many flows of its kind are counted: one in 2^n, by a hash of addresses and ports that is the same for both directions
/// and on every host. 0: all are.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Sampling(pub u8);

impl Sampling {
    /// Every flow.
    pub const ALL: Self = Self(0);
    /// The fewest: one in 65,536.
    pub const MAX: u8 = 16;

    /// One in `n`; `None` for anything but 2, 4, 8, ... 65,536.
    pub const fn one_of(n: u32) -> Option<Self> {
        if !n.is_power_of_two() || n < 2 || n.trailing_zeros() > Self::MAX as u32 {
            return None;
        }
        Some(Self(n.trailing_zeros() as u8))
    }

    /// The n of "one in n", at least 1. What a damaged message has beyond [`Sampling::MAX`] is that.
    pub const fn one_in(self) -> u32 {
        1 << (if self.0 > Self::MAX { Self::MAX } else { self.0 })
    }
}

/// Where [`FlowStats::l3_bytes`] of the kernel's tables has the sampling.
const SAMPLING_SHIFT: u32 = 56;

/// The bits of [`FlowStats::packets`] that count: no generation has more packets.
const PACKETS: u64 = (1 << 48) - 1;

/// Packets of a connection's direction of which the payload is wanted, whatever it is: handshakes, greetings, and first
/// messages are in them.
const OPENING_PACKETS: u64 = 8;

impl FlowStats {
    /// Whether the connection began in this generation, and a few packets ago.
    #[inline(always)]
    pub const fn is_opening(&self) -> bool {
        self.tcp_flags & FLAG_OPENS != 0 && self.packets & PACKETS <= OPENING_PACKETS
    }

    /// Whether the entry was counted in the generation with this tag ([`super::GenTotals::tag`]): an entry of an earlier one that
    /// was left in its place stands for nothing.
    #[inline(always)]
    pub const fn is_of(&self, tag: u64) -> bool {
        (self.packets ^ tag) & !PACKETS == 0
    }

    /// Puts a generation's tag where the kernel's tables keep it.
    #[inline(always)]
    pub const fn put_tag(&mut self, tag: u64) {
        self.packets |= tag & !PACKETS;
    }

    /// Takes it out again.
    pub const fn take_tag(&mut self) {
        self.packets &= PACKETS;
    }

    /// The tag after `tag`: 0 after the last one.
    pub const fn next_tag(tag: u64) -> u64 {
        (tag & !PACKETS).wrapping_add(PACKETS + 1)
    }

    /// Puts `sampling` where the kernel's tables keep it.
    #[inline(always)]
    pub const fn put_sampling(&mut self, sampling: u8) {
        self.l3_bytes |= (sampling as u64) << SAMPLING_SHIFT;
    }

    /// Takes it out again: a counter of the agent has bytes only.
    pub const fn take_sampling(&mut self) -> Sampling {
        let sampling = Sampling((self.l3_bytes >> SAMPLING_SHIFT) as u8);
        self.l3_bytes &= (1 << SAMPLING_SHIFT) - 1;
        sampling
    }

    /// Adds `other`, the same key counted on another CPU in the same generation. Commutative.
    pub fn merge(&mut self, other: &Self) {
        let order = |s: &Self| (s.first_seen, s.last_seen, s.next_seq, s.mark, s.tcp_flags);
        let (early, late) = if order(other) < order(self) { (*other, *self) } else { (*self, *other) };
        *self = Self {
            packets: early.packets.wrapping_add(late.packets),
            bytes: early.bytes.wrapping_add(late.bytes),
            l3_bytes: early.l3_bytes.wrapping_add(late.l3_bytes),
            last_seen: early.last_seen.max(late.last_seen),
            retransmitted: early.retransmitted.saturating_add(late.retransmitted),
            out_of_order: early.out_of_order.saturating_add(late.out_of_order),
            zero_windows: early.zero_windows.saturating_add(late.zero_windows),
            ..early
        };
        self.follow_on(&late, late.first_seen >= early.last_seen);
    }
}
