use super::{FlowKey, FlowStats, Ledger, ManifestHash, Nanos, NicDelta, Observed, Owner, Sampling};
use crate::abi::{SIZE_BINS, size_bin_range};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Names a generation: who counted it, in which run, and its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GenerationId {
    /// The agent's node name.
    pub node: Arc<str>,
    /// The agent's run: its start as Unix nanoseconds.
    pub epoch: u64,
    /// Counts from 0 inside the epoch.
    pub generation: u64,
}

/// Names a chunk. The same chunk sent again has the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkId {
    /// The generation.
    pub generation: GenerationId,
    /// Counts from 0 inside the generation.
    pub chunk: u32,
}

/// Names a block: a run of messages of one partition of a log. What an engine makes of a partition it writes in blocks
/// whose ends follow from the log alone, so that whoever applies the log again makes the same blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockId {
    /// The log's name: the topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Offset of the block's first message.
    pub first: u64,
    /// Offset of its last message.
    pub last: u64,
}

/// What one flow key gained in one generation. Times are Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowDelta {
    /// The key; `obs` refers to the manifest's interfaces.
    pub key: FlowKey,
    /// What was counted.
    pub stats: FlowStats,
    /// How many flows of its kind are counted.
    pub sampling: Sampling,
}

/// A part of a generation's flows. Inside one generation a key appears once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Identity, for deduplication.
    pub id: ChunkId,
    /// The flows.
    pub deltas: Vec<FlowDelta>,
}

/// An observed interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The slot that [`crate::abi::Obs`] carries.
    pub slot: u8,
    /// The kernel's index; 0 for a file.
    pub ifindex: u32,
    /// Name, or the file's name.
    pub name: Arc<str>,
}

/// Non-empty bins of the frame-size histogram: `(bin, frames)`, ascending, see [`crate::abi::size_bin`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeHistogram(pub Vec<(u32, u64)>);

impl SizeHistogram {
    /// Sums of `sizes` by bin.
    pub fn from_bins(sizes: &[u64; SIZE_BINS]) -> Self {
        Self(sizes.iter().enumerate().filter(|(_, n)| **n != 0).map(|(bin, n)| (bin as u32, *n)).collect())
    }

    /// `(representative length in bytes, frames)` of each bin: the length itself below 2048, the middle above.
    pub fn lengths(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0.iter().map(|(bin, n)| {
            let (low, high) = size_bin_range(*bin);
            let mid = if high == u32::MAX { f64::from(low) } else { (f64::from(low) + f64::from(high)) / 2.0 };
            (mid, *n)
        })
    }
}

/// Closes a generation: how many chunks it has, and where every frame of it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The generation.
    pub id: GenerationId,
    /// Chunks of the generation: `0..chunks`.
    pub chunks: u32,
    /// Begin, Unix time.
    pub start: Nanos,
    /// End, Unix time.
    pub end: Nanos,
    /// Where every frame went.
    pub ledger: Ledger,
    /// Frame sizes.
    pub sizes: SizeHistogram,
    /// The observed interfaces.
    pub interfaces: Vec<Interface>,
    /// What the devices of observed interfaces counted themselves; only those of which it is known.
    pub nics: Vec<NicDelta>,
    /// [`Manifest::hash`] of the run's manifest before this one; `None` in the first, number 0.
    pub previous: Option<ManifestHash>,
    /// This is the source's last generation.
    pub last: bool,
}

/// A datagram whose first bytes were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadSeen {
    /// When.
    pub at: Nanos,
    /// The packet's flow.
    pub key: FlowKey,
    /// The payload, as far as it was captured.
    pub prefix: Vec<u8>,
    /// Its length in the packet, bytes.
    pub len: u32,
}

/// A socket of the agent's host, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketSeen {
    /// IANA protocol number.
    pub proto: u8,
    /// The host's address and port.
    pub local: (IpAddr, u16),
    /// The peer's; `None` of a socket that has none: one that listens, or a datagram socket that is not connected.
    pub remote: Option<(IpAddr, u16)>,
    /// Whose it is.
    pub owner: Arc<Owner>,
}

/// What agents put on the bus. Of one node the order is: the chunks of a generation, its events, its manifest.
#[derive(Clone, Debug)]
pub enum BusMessage {
    /// Flows.
    Chunk(Arc<Chunk>),
    /// First bytes of datagrams, to be dissected: hints, never counts.
    Payload {
        /// The generation.
        of: GenerationId,
        /// What was seen.
        seen: Arc<Vec<PayloadSeen>>,
    },
    /// What was dissected where the packets were; hints as well.
    Observed {
        /// The generation.
        of: GenerationId,
        /// What was said.
        said: Arc<Vec<Observed>>,
    },
    /// Sockets of the host that are new, and from time to time all of them: hints as well.
    Sockets {
        /// The generation.
        of: GenerationId,
        /// What was seen.
        seen: Arc<Vec<SocketSeen>>,
    },
    /// End of a generation.
    Manifest(Arc<Manifest>),
}

/// What is in the log that agents and engines share.
#[derive(Clone, Debug)]
pub enum LogEntry {
    /// By an agent.
    Message(BusMessage),
    /// By an engine, where nobody wrote: that time goes on.
    Tick,
}

impl From<BusMessage> for LogEntry {
    fn from(message: BusMessage) -> Self {
        Self::Message(message)
    }
}

impl BusMessage {
    /// The node that it is of.
    pub fn node(&self) -> &Arc<str> {
        match self {
            Self::Chunk(chunk) => &chunk.id.generation.node,
            Self::Payload { of, .. } | Self::Observed { of, .. } | Self::Sockets { of, .. } => &of.node,
            Self::Manifest(manifest) => &manifest.id.node,
        }
    }
}
