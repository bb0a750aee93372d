use super::{Counter, Nanos, TimeRange};
use crate::sketch::keys::{five_tuple, pair, port};
use crate::sketch::{Hll, PairSample, Quantiles, TopK, hash64};
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

/// Packets of one kind in a window, for its sketches.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Sender, as [`address`](crate::sketch::keys::address) has it.
    pub src: [u8; 16],
    /// Receiver.
    pub dst: [u8; 16],
    /// IANA protocol number.
    pub proto: u8,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Packets, at least one.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
}

/// With all hashes, of which some go into several sketches.
struct Hashed {
    sent: Sent,
    to_port: [u8; 3],
    src: u64,
    dst: u64,
    port: u64,
    pair: u64,
    flow: u64,
}

impl Hashed {
    fn new(sent: Sent) -> Self {
        let to_port = port(sent.proto, sent.dst_port);
        Self {
            to_port,
            src: hash64(&sent.src),
            dst: hash64(&sent.dst),
            port: hash64(&to_port),
            pair: hash64(&pair(&sent.src, &sent.dst)),
            flow: hash64(&five_tuple(&sent.src, &sent.dst, sent.proto, sent.src_port, sent.dst_port)),
            sent,
        }
    }
}

impl WindowSketches {
    /// What goes into one sketch before the next one is begun, so that both fit into the processor's caches.
    const BLOCK: usize = 256;

    /// Adds packets, to all sketches but those of sizes and times. Cost: about a third of a microsecond each.
    pub fn add(&mut self, sent: impl IntoIterator<Item = Sent>) {
        let mut sent = sent.into_iter();
        let mut block = Vec::with_capacity(Self::BLOCK);
        loop {
            block.extend(sent.by_ref().take(Self::BLOCK).map(Hashed::new));
            if block.is_empty() {
                return;
            }
            self.add_block(&block);
            block.clear();
        }
    }

    fn add_block(&mut self, block: &[Hashed]) {
        let insert = |hll: &mut Hll, hash: fn(&Hashed) -> u64| block.iter().for_each(|b| hll.insert_hash(hash(b)));
        insert(&mut self.src_ips, |b| b.src);
        insert(&mut self.dst_ips, |b| b.dst);
        insert(&mut self.ips, |b| b.src);
        insert(&mut self.ips, |b| b.dst);
        insert(&mut self.dst_ports, |b| b.port);
        insert(&mut self.pairs, |b| b.pair);
        insert(&mut self.flows, |b| b.flow);
        block.iter().for_each(|b| self.peers.insert_hashed(b.pair, &pair(&b.sent.src, &b.sent.dst)));
        block.iter().for_each(|b| self.top_src_bytes.add_hashed(b.src, &b.sent.src, b.sent.bytes));
        block.iter().for_each(|b| self.top_src_packets.add_hashed(b.src, &b.sent.src, b.sent.packets));
        block.iter().for_each(|b| self.top_dst_bytes.add_hashed(b.dst, &b.sent.dst, b.sent.bytes));
        block.iter().for_each(|b| self.top_dst_packets.add_hashed(b.dst, &b.sent.dst, b.sent.packets));
        block.iter().for_each(|b| self.top_dst_port_bytes.add_hashed(b.port, &b.to_port, b.sent.bytes));
    }

    /// Adds what another part of the traffic left in its sketches.
    pub fn merge(&mut self, other: &Self) {
        self.src_ips.merge(&other.src_ips);
        self.dst_ips.merge(&other.dst_ips);
        self.ips.merge(&other.ips);
        self.dst_ports.merge(&other.dst_ports);
        self.pairs.merge(&other.pairs);
        self.flows.merge(&other.flows);
        self.top_src_bytes.merge(&other.top_src_bytes);
        self.top_dst_bytes.merge(&other.top_dst_bytes);
        self.top_src_packets.merge(&other.top_src_packets);
        self.top_dst_packets.merge(&other.top_dst_packets);
        self.top_dst_port_bytes.merge(&other.top_dst_port_bytes);
        self.packet_size.merge(&other.packet_size);
        self.flow_duration.merge(&other.flow_duration);
        self.server_rtt.merge(&other.server_rtt);
        self.client_rtt.merge(&other.client_rtt);
        self.dns_latency.merge(&other.dns_latency);
        self.peers.merge(&other.peers);
    }
}
