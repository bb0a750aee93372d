use crate::abi::FlowKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How long a first fragment is remembered: the reassembly timeout of RFC 8200 section 4.5.
pub const FRAGMENT_TIMEOUT_NS: u64 = 60_000_000_000;

/// What the fragments of one datagram have in common (RFC 791 section 3.2, RFC 8200 section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FragmentKey {
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Identification.
    pub id: u32,
    /// Protocol for IPv4; 0 for IPv6, where only the first fragment's counts.
    pub proto: u8,
    /// A [`crate::abi::Family`].
    pub family: u8,
    /// The observation point: the same datagram may pass several.
    pub obs: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

impl FragmentKey {
    /// The key of fragment `id` of the packet with `key`.
    #[inline(always)]
    pub fn of(key: &FlowKey, id: u32) -> Self {
        let v4 = key.family == 4;
        Self {
            src: key.src,
            dst: key.dst,
            id,
            proto: if v4 { key.proto } else { 0 },
            family: key.family,
            obs: key.obs,
            reserved: 0,
        }
    }
}

/// What later fragments take from the first one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FragmentValue {
    /// When the first fragment was seen; nanoseconds of the table's clock.
    pub seen_at: u64,
    /// As in [`FlowKey`].
    pub src_port: u16,
    /// As in [`FlowKey`].
    pub dst_port: u16,
    /// Protocol after extension headers.
    pub proto: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<FragmentValue>() == 16);

impl FragmentValue {
    /// What the first fragment with `key` leaves behind at `now`.
    #[inline(always)]
    pub fn of(key: &FlowKey, now: u64) -> Self {
        Self { seen_at: now, src_port: key.src_port, dst_port: key.dst_port, proto: key.proto, reserved: [0; 3] }
    }
}

/// Where first fragments are remembered: an LRU map in the kernel, a bounded table in user space.
pub trait Fragments {
    /// Remembers a first fragment; may forget the oldest one.
    fn remember(&mut self, key: &FragmentKey, value: &FragmentValue);
    /// What was remembered.
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue>;
}
