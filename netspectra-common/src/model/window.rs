use super::{Counter, Nanos, TimeRange};
use crate::sketch::{Hll, PairSample, Quantiles, TopK};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Lengths of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resolution {
    /// One second: exact totals only.
    S1,
    /// Ten seconds: totals and sketches. Also the roll-up interval.
    S10,
    /// One minute: totals and sketches.
    S60,
}

impl Resolution {
    /// All resolutions, finest first.
    pub const ALL: [Self; 3] = [Self::S1, Self::S10, Self::S60];

    /// Length of a window.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.secs() as u64)
    }

    /// Length of a window in seconds.
    pub const fn secs(self) -> u32 {
        match self {
            Self::S1 => 1,
            Self::S10 => 10,
            Self::S60 => 60,
        }
    }

    /// The resolution of `secs`, when there is one.
    pub const fn from_secs(secs: u32) -> Option<Self> {
        match secs {
            1 => Some(Self::S1),
            10 => Some(Self::S10),
            60 => Some(Self::S60),
            _ => None,
        }
    }
}

/// What one node saw in one window: exact totals, and sketches where the resolution has them.
#[derive(Clone, Debug)]
pub struct WindowState {
    /// Node.
    pub node: Arc<str>,
    /// Length.
    pub resolution: Resolution,
    /// Begin, a multiple of the length.
    pub start: Nanos,
    /// Frames in records (IP and non-IP).
    pub total: Counter,
    /// Flows that began.
    pub new_flows: u64,
    /// Frames by IANA protocol number; non-IP under `None`.
    pub protocols: BTreeMap<Option<u8>, Counter>,
    /// Sketches; `None` at [`Resolution::S1`].
    pub sketches: Option<Box<WindowSketches>>,
}

impl WindowState {
    /// From its begin to its end.
    pub fn range(&self) -> TimeRange {
        TimeRange { from: self.start, to: self.start.plus(self.resolution.duration()) }
    }

    /// Whether it has IP packets and no sample of who sent them to whom: earlier builds stored none.
    pub fn lacks_peers(&self) -> bool {
        let ip = self.protocols.iter().any(|(proto, counter)| proto.is_some() && counter.packets > 0);
        ip && self.sketches.as_deref().is_none_or(|s| s.peers.is_empty())
    }
}

/// The sketches of a window. HLLs count distinct values, top-Ks weigh by bytes or packets of the sender's direction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WindowSketches {
    /// Distinct senders (16-byte addresses, IPv4 mapped).
    pub src_ips: Hll,
    /// Distinct receivers.
    pub dst_ips: Hll,
    /// Distinct addresses of either side.
    pub ips: Hll,
    /// Distinct destination ports (`proto`, port).
    pub dst_ports: Hll,
    /// Distinct sender-receiver pairs.
    pub pairs: Hll,
    /// Distinct five-tuples.
    pub flows: Hll,
    /// Bytes by sender.
    pub top_src_bytes: TopK,
    /// Bytes by receiver.
    pub top_dst_bytes: TopK,
    /// Packets by sender.
    pub top_src_packets: TopK,
    /// Packets by receiver.
    pub top_dst_packets: TopK,
    /// Bytes by destination port (`proto`, port).
    pub top_dst_port_bytes: TopK,
    /// Frame sizes in bytes.
    pub packet_size: Quantiles,
    /// Durations, in seconds, of flows that ended in this window.
    pub flow_duration: Quantiles,
    /// Seconds from SYN to SYN+ACK, of TCP flows whose time became known in this window; each flow once.
    pub server_rtt: Quantiles,
    /// Seconds from SYN+ACK to the initiator's ACK, likewise.
    pub client_rtt: Quantiles,
    /// Seconds from DNS query to response, of responses whose query was seen. Of hints: what was lost on the way is missing.
    pub dns_latency: Quantiles,
    /// A sample of the distinct sender-receiver pairs: who had how many counterparts.
    pub peers: PairSample,
}
