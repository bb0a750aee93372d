use super::FlowKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Payload bytes an event carries at most.
pub const PREFIX_LEN: usize = 256;

/// What a prefix event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// UDP payload from or to port 53.
    Dns = 1,
}

impl EventKind {
    /// The kind of `raw`, when this version knows it.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Dns),
            _ => None,
        }
    }
}

/// The first bytes of a payload, sent through the ring buffer. A hint: no count depends on it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PrefixEvent {
    /// The packet's flow.
    pub key: FlowKey,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub seen_at: u64,
    /// Payload length in the packet, bytes.
    pub payload_len: u32,
    /// Valid bytes of `prefix`, at most [`PREFIX_LEN`].
    pub prefix_len: u16,
    /// An [`EventKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// The payload's first bytes.
    pub prefix: [u8; PREFIX_LEN],
}

const _: () = assert!(size_of::<PrefixEvent>() == 48 + 16 + PREFIX_LEN);
