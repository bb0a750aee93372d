use super::FlowKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Payload bytes that an event carries at most: as many as dissectors may ask for before they decide.
pub const PREFIX_LEN: usize = 2048;

/// What a prefix event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// UDP payload.
    Datagram = 1,
    /// Payload of a TCP segment.
    Stream = 2,
}

impl EventKind {
    /// The kind of `raw`, when this version knows it.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Datagram),
            2 => Some(Self::Stream),
            _ => None,
        }
    }
}

/// What is sent through the ring buffer before the first bytes of a payload. A hint: no count depends on it.
///
/// A record is this and [`EventHead::prefix_len`] bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EventHead {
    /// The packet's flow.
    pub key: FlowKey,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub seen_at: u64,
    /// Payload length in the packet, bytes.
    pub payload_len: u32,
    /// Sequence number of the first byte; 0 of datagrams.
    pub seq: u32,
    /// Bytes that follow, at most [`PREFIX_LEN`].
    pub prefix_len: u16,
    /// An [`EventKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<EventHead>() == 72);

impl EventHead {
    /// The head of `record`, and the payload's first bytes; `None` when it is shorter than it says.
    pub fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = Self::read_from_prefix(record).ok()?;
        let len = usize::from(head.prefix_len);
        if len > PREFIX_LEN { None } else { Some((head, rest.get(..len)?)) }
    }
}
