use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The TCP flag bits of [`FlowStats::tcp_flags`]: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE.
pub const TCP_FLAGS_MASK: u16 = 0x01ff;
/// In [`FlowStats::tcp_flags`]: a SYN without ACK was among the packets.
pub const FLAG_SYN_SEEN: u16 = 0x4000;
/// In [`FlowStats::tcp_flags`]: a SYN with ACK was among the packets.
pub const FLAG_SYN_ACK_SEEN: u16 = 0x8000;

/// What is counted of one [`super::FlowKey`] in one generation on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowStats {
    /// Packets on the wire.
    pub packets: u64,
    /// L2 bytes on the wire without FCS.
    pub bytes: u64,
    /// L3 bytes: as the outermost IP header states them.
    pub l3_bytes: u64,
    /// First packet; nanoseconds. `CLOCK_MONOTONIC` in the kernel, Unix time once the agent has converted it.
    pub first_seen: u64,
    /// Last packet; same clock.
    pub last_seen: u64,
    /// OR of TCP flags, [`FLAG_SYN_SEEN`], [`FLAG_SYN_ACK_SEEN`].
    pub tcp_flags: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<FlowStats>() == 48);

impl FlowStats {
    /// Adds `other`, the same key counted elsewhere (another CPU, another generation).
    pub fn merge(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.l3_bytes = self.l3_bytes.wrapping_add(other.l3_bytes);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.tcp_flags |= other.tcp_flags;
    }
}
