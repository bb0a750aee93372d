//! The seam between packets and application protocols.
//!
//! Whoever has packets puts each flow's payload in order and asks an [`Opener`] for a [`Session`]; the session is fed
//! and says what it saw. A [`Dissector`] is one protocol: it recognises the protocol and opens sessions for it. First
//! bytes from the kernel programs and whole streams from files go through the same sessions.

mod recent;

pub use recent::{Place, Recent};

use crate::model::{FlowKey, Nanos, Observation};

/// Which end of a flow speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The source of the key that the session was opened with: the initiator, as far as that is known.
    Forward = 0,
    /// The other end.
    Reverse = 1,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

/// Whether a session wants to see more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    More,
    /// Nothing that follows on this flow is of interest: it is not fed any more.
    Done,
}

/// Whether a payload is of a dissector's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is not, whatever follows.
    No,
    /// Too few bytes to say. Of a datagram this is a refusal.
    NeedMore,
    /// It is.
    Yes,
}

/// One application protocol. A plug-in, see [`crate::registry`].
pub trait Dissector: Send + Sync {
    /// Whether `first`, the first bytes of a stream's direction or of a datagram with the key `key`, is of this protocol.
    ///
    /// For streams the answer must be final once it is not [`Claim::NeedMore`]: more bytes do not change it. At most
    /// [`PROBE_BYTES`] bytes are given.
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim;

    /// A session for the flow whose [`Side::Forward`] is `key`.
    fn open(&self, key: &FlowKey) -> Box<dyn Session>;
}

/// Bytes of a stream's direction that dissectors may ask for before they must decide.
pub const PROBE_BYTES: usize = 2048;

/// One flow, as one dissector sees it.
///
/// The bytes come from the network: any are possible. A session never panics and holds a bounded amount of memory.
/// What it says of a stream does not depend on how the stream was cut into calls, as long as there is no gap.
pub trait Session: Send {
    /// The next bytes that `side` sent, without gap.
    fn stream(&mut self, side: Side, bytes: &[u8], at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let _ = (side, bytes, at, say);
        Next::Done
    }

    /// `missing` bytes of `side`'s stream were not seen; 0 before its first bytes, when the stream began unseen.
    fn gap(&mut self, side: Side, missing: u64) -> Next {
        let _ = (side, missing);
        Next::Done
    }

    /// `missing` bytes of `side`'s stream were left out because a message does not seem to begin in them; else as
    /// [`Session::gap`].
    fn left_out(&mut self, side: Side, missing: u64) -> Next {
        self.gap(side, missing)
    }

    /// A datagram of `len` bytes, of which `bytes` were captured.
    fn datagram(&mut self, side: Side, bytes: &[u8], len: u32, at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let _ = (side, bytes, len, at, say);
        Next::Done
    }

    /// `side` sends no more.
    fn end(&mut self, side: Side, say: &mut dyn FnMut(Observation)) {
        let _ = (side, say);
    }
}

/// Opens a session for any flow, whatever its protocol turns out to be.
pub trait Opener: Send + Sync {
    /// A session for the flow whose [`Side::Forward`] is `key`; `None` when nothing wants such flows.
    fn open(&self, key: &FlowKey) -> Option<Box<dyn Session>>;
}

/// The key of the other direction.
pub fn reversed(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, src_port: key.dst_port, dst_port: key.src_port, ..*key }
}

/// The flow that `key` belongs to, the same for both directions and at all observation points, and whether `key` is the
/// flow's own direction.
pub fn flow_of(key: &FlowKey) -> (FlowKey, bool) {
    let key = FlowKey { obs: 0, ..*key };
    let other = reversed(&key);
    if key <= other { (key, true) } else { (other, false) }
}
