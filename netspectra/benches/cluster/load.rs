//! Agents that are not there: the messages that they would write.

use netspectra_agent::bus::kafka::KafkaPublisher;
use netspectra_common::kafka::KafkaConfig;
use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Counter, Family, FlowDelta, FlowKey, FlowStats, GenerationId, Interface, Ledger,
    Manifest, Nanos, Sampling, SizeHistogram,
};
use netspectra_common::proto;
use std::sync::Arc;
use std::time::Duration;

/// Flow deltas in a chunk, as an agent cuts them.
const CHUNK: usize = 16_384;

/// Traffic of one node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// Tells the nodes' addresses apart.
    pub(crate) number: u8,
    /// Flow deltas in a generation, two for each flow.
    pub(crate) deltas: u64,
    /// Flows that are new in each generation.
    pub(crate) fresh: u64,
    pub(crate) epoch: u64,
    previous: Option<netspectra_common::model::ManifestHash>,
    number_of_next: u64,
}

impl Node {
    pub(crate) fn new(number: u8, epoch: u64, deltas: u64, fresh: u64) -> Self {
        let name = format!("load{number}").into();
        Self { name, number, deltas, fresh, epoch, previous: None, number_of_next: 0 }
    }

    /// The next generation, of the second from `start`.
    pub(crate) fn generation(&mut self, start: Nanos) -> Vec<BusMessage> {
        let number = self.number_of_next;
        self.number_of_next += 1;
        let id = GenerationId { node: self.name.clone(), epoch: self.epoch, generation: number };
        let first = number * self.fresh * 2;
        let deltas: Vec<FlowDelta> = (first..first + self.deltas).map(|flow| self.delta(flow, start)).collect();
        let mut seen = Counter::default();
        deltas.iter().for_each(|d| seen.add(Counter::new(d.stats.packets, d.stats.bytes)));
        let mut messages: Vec<BusMessage> = Vec::new();
        for (chunk, deltas) in deltas.chunks(CHUNK).enumerate() {
            let id = ChunkId { generation: id.clone(), chunk: chunk as u32 };
            messages.push(BusMessage::Chunk(Arc::new(Chunk { id, deltas: deltas.to_vec() })));
        }
        let manifest = Manifest {
            id,
            chunks: messages.len() as u32,
            start,
            end: start.plus(Duration::from_secs(1)),
            ledger: Ledger { seen, flows: seen, ..Ledger::default() },
            sizes: SizeHistogram((60..1500).step_by(40).map(|size| (size, 100)).collect()),
            interfaces: vec![Interface { slot: 0, ifindex: 1, name: "eth0".into() }],
            nics: Vec::new(),
            previous: self.previous,
            last: false,
        };
        self.previous = Some(manifest.hash());
        messages.push(BusMessage::Manifest(Arc::new(manifest)));
        messages
    }

    fn delta(&self, flow: u64, start: Nanos) -> FlowDelta {
        // Both directions of a flow follow each other; half of the flows go to few servers.
        let (flow, back) = (flow / 2, flow % 2 == 1);
        let mixed = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let client = [10, self.number, (mixed >> 40) as u8, (mixed >> 48) as u8];
        let server =
            if flow % 2 == 0 { [10, 200, 0, (mixed >> 32) as u8] } else { ((mixed >> 20) as u32).to_be_bytes() };
        let ports = (1024 + (mixed >> 8) as u16 % 60_000, 443);
        let mut key = FlowKey { proto: 6, family: Family::V4 as u8, obs: u8::from(back), ..FlowKey::default() };
        let (src, dst) = if back { (server, client) } else { (client, server) };
        (key.src_port, key.dst_port) = if back { (ports.1, ports.0) } else { ports };
        key.src[..4].copy_from_slice(&src);
        key.dst[..4].copy_from_slice(&dst);
        let at = start.0 + flow % 900_000_000;
        let packets = 1 + mixed % 7;
        let bytes = packets * 700;
        let stats = FlowStats {
            packets,
            bytes,
            l3_bytes: bytes,
            first_seen: at,
            last_seen: at + 1000,
            tcp_flags: 0x10,
            ..FlowStats::default()
        };
        FlowDelta { key, stats, sampling: Sampling::ALL }
    }
}

/// The way to Kafka that the configuration in `file` names.
pub(crate) fn publisher(file: &str) -> KafkaPublisher {
    let settings: toml::Table = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let kafka: KafkaConfig = settings["kafka"].clone().try_into().unwrap();
    KafkaPublisher::new(&kafka, proto::encode).unwrap()
}

/// CPU seconds that process `id` has had.
pub(crate) fn cpu_seconds(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // SAFETY: asks for a constant.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / ticks
}

/// Most memory that process `id` had resident, MiB.
pub(crate) fn peak_mib(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}
