//! How many flow deltas a second one core takes, with all windows and sketches.
//!
//! `cargo run --release -p netspectra-engine --example throughput`: each line is a shape of traffic, ten seconds and
//! more of log, without the time that making the messages takes.
#![allow(clippy::print_stdout, reason = "this is its output")]

use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Family, FlowDelta, FlowKey, FlowStats, GenerationId, Interface, Ledger, Manifest,
    Nanos, Sampling, SizeHistogram,
};
use netspectra_engine::{Engine, EngineConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: u64 = Nanos::PER_SECOND;
const T0: u64 = 1_700_000_040 * SECOND;
const GENERATIONS: u64 = 65;

fn delta(flow: u64, second: u64) -> FlowDelta {
    // Both directions of a flow follow each other; half of the flows go to few servers.
    let (flow, back) = (flow / 2, flow % 2 == 1);
    let mixed = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let client = ((mixed >> 40) as u32 & 0xffff).to_be_bytes();
    let server = if flow % 2 == 0 { [10, 1, 0, (mixed >> 32) as u8] } else { ((mixed >> 20) as u32).to_be_bytes() };
    let ports = (1024 + (mixed >> 8) as u16 % 60_000, 443);
    let mut key = FlowKey { proto: 6, family: Family::V4 as u8, obs: u8::from(back), ..FlowKey::default() };
    let (src, dst) = if back { (server, client) } else { (client, server) };
    (key.src_port, key.dst_port) = if back { (ports.1, ports.0) } else { ports };
    key.src[..4].copy_from_slice(&src);
    key.dst[..4].copy_from_slice(&dst);
    let at = T0 + second * SECOND + flow % SECOND;
    let packets = 1 + mixed % 7;
    let bytes = packets * 700;
    FlowDelta {
        key,
        stats: FlowStats {
            packets,
            bytes,
            l3_bytes: bytes,
            first_seen: at,
            last_seen: at + 1000,
            tcp_flags: 0x10,
            ..FlowStats::default()
        },
        sampling: Sampling::ALL,
    }
}

fn generation(number: u64, flows: std::ops::Range<u64>) -> Vec<BusMessage> {
    let id = GenerationId { node: "n".into(), epoch: 1, generation: number };
    let deltas: Vec<_> = flows.map(|f| delta(f, number)).collect();
    let mut messages = Vec::new();
    for (n, deltas) in deltas.chunks(4096).enumerate() {
        let id = ChunkId { generation: id.clone(), chunk: n as u32 };
        messages.push(BusMessage::Chunk(Arc::new(Chunk { id, deltas: deltas.to_vec() })));
    }
    let start = Nanos(T0 + number * SECOND);
    messages.push(BusMessage::Manifest(Arc::new(Manifest {
        id,
        chunks: messages.len() as u32,
        start,
        end: start.plus(Duration::from_secs(1)),
        ledger: Ledger::default(),
        sizes: SizeHistogram((60..1500).map(|n| (n, 100)).collect()),
        interfaces: vec![Interface { slot: 0, ifindex: 1, name: "eth0".into() }],
        nics: Vec::new(),
        previous: None,
        last: false,
    })));
    messages
}

/// `per_second` deltas a second; the next second's flows begin `step` after this one's.
fn run(name: &str, per_second: u64, step: u64) {
    let mut engine = Engine::new(EngineConfig::default());
    let (mut spent, mut records, mut slowest) = (Duration::ZERO, 0, Duration::ZERO);
    for number in 0..GENERATIONS {
        let messages = generation(number, number * step..number * step + per_second);
        let began = Instant::now();
        for message in &messages {
            records += engine.apply(message).map_or(0, |batch| batch.flows.len());
        }
        spent += began.elapsed();
        slowest = slowest.max(began.elapsed());
    }
    let deltas = per_second * GENERATIONS;
    println!(
        "{name}: {:.2} M deltas/s, slowest generation {} ms for {per_second} deltas, {records} records, {} flows live",
        deltas as f64 / spent.as_secs_f64() / 1e6,
        slowest.as_millis(),
        engine.stats().active_flows,
    );
}

fn main() {
    run("20 k flows that stay", 40_000, 0);
    run("200 k flows that stay", 400_000, 0);
    run("10 % of 50 k flows new each second", 100_000, 10_000);
    run("all of 50 k flows new each second", 100_000, 100_000);
}
