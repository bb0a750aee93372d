//! Logs for tests: packets of named hosts, cut into generations.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{Engine, EngineConfig};
use netspectra_common::abi::{FLAG_SYN_ACK_SEEN, FLAG_SYN_SEEN, Obs};
use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Counter, Direction, DnsKind, DnsMessage, Family, FlowDelta, FlowKey, FlowRecord,
    FlowStats, GenerationId, Interface, Ledger, Manifest, ManifestHash, Nanos, Rollup, Sampling, SizeHistogram,
    TimeRange, WindowState,
};
use netspectra_common::ports::StoreBatch;
use std::sync::Arc;

pub(crate) const SECOND: u64 = Nanos::PER_SECOND;
/// A minute's begin, so that windows have round numbers.
pub(crate) const T0: u64 = 1_700_000_040 * SECOND;

pub(crate) const FIN: u16 = 0x11;
pub(crate) const RST: u16 = 0x04;
pub(crate) const ACK: u16 = 0x10;
pub(crate) const SYN: u16 = 0x02 | FLAG_SYN_SEEN;
pub(crate) const SYN_ACK: u16 = 0x12 | FLAG_SYN_ACK_SEEN;

/// `seconds` after [`T0`].
pub(crate) fn at(seconds: f64) -> u64 {
    T0 + (seconds * 1000.0) as u64 * (SECOND / 1000)
}

/// Ten packets of 1000 bytes from `10.0.0.src:src_port` to `10.0.0.dst:dst_port`, received, between two times.
pub(crate) fn delta(proto: u8, (src, src_port): (u8, u16), (dst, dst_port): (u8, u16), seen: (f64, f64)) -> FlowDelta {
    let mut key = FlowKey { proto, src_port, dst_port, family: Family::V4 as u8, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&[10, 0, 0, src]);
    key.dst[..4].copy_from_slice(&[10, 0, 0, dst]);
    let stats = FlowStats {
        packets: 10,
        bytes: 1000,
        l3_bytes: 860,
        first_seen: at(seen.0),
        last_seen: at(seen.1),
        ..FlowStats::default()
    };
    FlowDelta { key, stats, sampling: Sampling::ALL }
}

/// A DNS message without names.
pub(crate) fn dns(kind: DnsKind, response: bool) -> DnsMessage {
    DnsMessage {
        kind,
        id: 1,
        response,
        opcode: 0,
        rcode: 0,
        truncated: false,
        question: None,
        questions: 0,
        answers: 0,
        records: Vec::new(),
        udp_size: None,
        complete: true,
        repeated: false,
        latency: None,
    }
}

/// A TCP delta with `flags`. Host 1 is on the far side of the wire: what comes from it is received.
pub(crate) fn tcp(src: (u8, u16), dst: (u8, u16), flags: u16, seen: (f64, f64)) -> FlowDelta {
    let mut delta = delta(6, src, dst, seen);
    delta.stats.tcp_flags = flags;
    let direction = if src.0 == 1 { Direction::Ingress } else { Direction::Egress };
    delta.key.obs = Obs::new(0, direction).0;
    delta
}

/// Makes the messages of generations.
pub(crate) struct Agent {
    pub(crate) node: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) next: u64,
    pub(crate) ifindex: u32,
    pub(crate) previous: Option<ManifestHash>,
}

impl Agent {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.into(), epoch: 1, next: 0, ifindex: 7, previous: None }
    }

    /// A generation from `from` to `to`, seconds after [`T0`], in chunks of at most two deltas.
    pub(crate) fn generation(&mut self, (from, to): (f64, f64), deltas: &[FlowDelta]) -> Vec<BusMessage> {
        let id = GenerationId { node: self.node.clone(), epoch: self.epoch, generation: self.next };
        self.next += 1;
        let mut messages = Vec::new();
        let mut seen = Counter::default();
        deltas.iter().for_each(|d| seen.add(Counter::new(d.stats.packets, d.stats.bytes)));
        for (n, deltas) in deltas.chunks(2).enumerate() {
            let id = ChunkId { generation: id.clone(), chunk: n as u32 };
            messages.push(BusMessage::Chunk(Arc::new(Chunk { id, deltas: deltas.to_vec() })));
        }
        let manifest = Manifest {
            id,
            chunks: messages.len() as u32,
            start: Nanos(at(from)),
            end: Nanos(at(to)),
            ledger: Ledger { seen, flows: seen, ..Ledger::default() },
            sizes: SizeHistogram(vec![(100, seen.packets)]),
            interfaces: vec![Interface { slot: 0, ifindex: self.ifindex, name: "eth0".into() }],
            nics: Vec::new(),
            previous: self.previous,
            last: false,
        };
        self.previous = Some(manifest.hash());
        messages.push(BusMessage::Manifest(Arc::new(manifest)));
        messages
    }
}

/// An engine with one agent, and everything it wrote.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) agent: Agent,
    pub(crate) written: StoreBatch,
}

impl Bench {
    pub(crate) fn new(config: EngineConfig) -> Self {
        Self { engine: Engine::new(config), agent: Agent::new("n1"), written: StoreBatch::default() }
    }

    /// Applies a generation; returns its batch.
    pub(crate) fn feed(&mut self, span: (f64, f64), deltas: &[FlowDelta]) -> StoreBatch {
        let messages = self.agent.generation(span, deltas);
        self.apply(&messages)
    }

    /// Applies messages; returns their batches as one.
    pub(crate) fn apply(&mut self, messages: &[BusMessage]) -> StoreBatch {
        let mut all = StoreBatch::default();
        for batch in messages.iter().filter_map(|m| self.engine.apply(m)) {
            append(&mut all, &batch);
        }
        append(&mut self.written, &all);
        all
    }

    pub(crate) fn finish(&mut self) -> StoreBatch {
        let batch = self.engine.finish();
        append(&mut self.written, &batch);
        batch
    }

    pub(crate) fn live_flows(&self) -> Vec<FlowRecord> {
        let mut flows = Vec::new();
        self.engine.live_flows(TimeRange::ALL, |f| flows.push(f));
        flows
    }

    pub(crate) fn live_rollups(&self) -> Vec<Rollup> {
        let mut rows = Vec::new();
        self.engine.live_rollups(TimeRange::ALL, |r| rows.push(r));
        rows
    }

    pub(crate) fn live_windows(&self) -> Vec<WindowState> {
        let mut windows = Vec::new();
        self.engine.live_windows(TimeRange::ALL, true, |w| windows.push(w));
        windows
    }

    /// Written and live records.
    pub(crate) fn all_flows(&self) -> Vec<FlowRecord> {
        [self.written.flows.clone(), self.live_flows()].concat()
    }

    /// Written and live rows.
    pub(crate) fn all_rollups(&self) -> Vec<Rollup> {
        [self.written.rollups.clone(), self.live_rollups()].concat()
    }

    /// Written and live windows.
    pub(crate) fn all_windows(&self) -> Vec<WindowState> {
        [self.written.windows.clone(), self.live_windows()].concat()
    }
}

pub(crate) fn append(to: &mut StoreBatch, batch: &StoreBatch) {
    to.flows.extend(batch.flows.iter().cloned());
    to.rollups.extend(batch.rollups.iter().cloned());
    to.windows.extend(batch.windows.iter().cloned());
    to.ledger.extend(batch.ledger.iter().cloned());
}

/// Both directions' packets and bytes of records.
pub(crate) fn sum_flows(flows: &[FlowRecord]) -> Counter {
    let mut sum = Counter::default();
    for f in flows {
        sum.add(Counter::new(f.packets, f.bytes));
        sum.add(Counter::new(f.reverse_packets, f.reverse_bytes));
    }
    sum
}
