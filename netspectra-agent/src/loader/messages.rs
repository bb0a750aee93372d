//! What the two processes say to each other: nothing else can be asked for.

use crate::source::xdp::{Attached, Link};
use serde::{Deserialize, Serialize};

/// A question to the loader; each has one answer, but those that bring descriptors, which may have several.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Load the programs and make the maps, or open packet sockets, as the configuration says. Answer: [`Reply::Maps`]
    /// or [`Reply::Sockets`].
    Open,
    /// Open packet sockets in place of what was loaded, which the configuration must allow.
    Packets,
    /// Open packet sockets on an interface that has come, which the configuration means. Answer: [`Reply::Sockets`].
    Sockets {
        /// Name of the interface.
        iface: String,
        /// Its index.
        ifindex: u32,
        /// How many.
        count: usize,
        /// Blocks of each ring.
        blocks: usize,
    },
    /// Take away the hooks that were left on other interfaces than these.
    Retain(Vec<u32>),
    /// Attach to an interface that the configuration names. Answer: [`Reply::Attached`].
    Attach {
        /// Which one.
        link: Box<Link>,
        /// There are VLAN devices on it.
        has_vlan: bool,
    },
    /// Detach from an interface, or forget one that is gone.
    LetGo {
        /// Its index.
        index: u32,
        /// It is there.
        is_there: bool,
    },
    /// The source has begun: what is pinned stays, and privileges that only the start needs go.
    Keep,
    /// Detach from all for good.
    Detach,
    /// Remove what is pinned.
    Forget,
}

/// An answer of the loader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is done.
    Done,
    /// It is not.
    Refused(Refusal),
    /// It is attached.
    Attached(Attached),
    /// Maps, a descriptor for each name; `more` of them follow.
    Maps {
        /// Names.
        names: Vec<String>,
        /// They were left by a process before this one.
        adopted: bool,
        /// Not the last message.
        more: bool,
    },
    /// Packet sockets, a descriptor for each; `more` of them follow.
    Sockets {
        /// What is known of each.
        sockets: Vec<SocketFacts>,
        /// Why not eBPF, when that was wanted.
        refusal: Option<String>,
        /// Not the last message.
        more: bool,
    },
}

/// Why the loader did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What to show.
    pub text: String,
    /// The caller can mend it.
    pub is_misuse: bool,
    /// The kernel refuses eBPF as such, not one interface or program.
    pub is_kernel: bool,
}

impl Refusal {
    /// Bytes of a text at most: the verifier can say megabytes.
    const MOST: usize = 16 << 10;

    /// Of a text that is cut where it is too long.
    pub fn new(mut text: String, is_misuse: bool) -> Self {
        text.truncate(text.floor_char_boundary(Self::MOST));
        Self { text, is_misuse, is_kernel: false }
    }
}

/// A packet socket with a ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SocketFacts {
    /// Name of its interface.
    pub(crate) iface: String,
    /// Index of its interface.
    pub(crate) ifindex: u32,
    /// LINKTYPE for the parser.
    pub(crate) kind: u16,
    /// Frames have no link header.
    pub(crate) raw: bool,
    /// Each packet passes twice.
    pub(crate) loopback: bool,
    /// Blocks of the ring.
    pub(crate) blocks: usize,
}
