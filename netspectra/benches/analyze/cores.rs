//! What the engine and the sketches take by themselves, on one core.

use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Family, FlowDelta, FlowKey, FlowStats, GenerationId, Interface, Ledger, Manifest,
    Nanos, Sampling, SizeHistogram, WindowSketches,
};
use netspectra_common::query::keys::{five_tuple, pair, port};
use netspectra_common::sketch::hash64;
use netspectra_engine::{Engine, EngineConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// Deltas of a second, of as many flows that stay.
const DELTAS: u64 = 50_000;
const SECONDS: u64 = 65;
/// Roll-up rows of a window, which make all sketches of it go over to their approximate forms.
const ROWS: u64 = 20_000;

fn address(n: u64) -> [u8; 16] {
    let mut address = [0; 16];
    address[10..12].fill(0xff);
    address[12..].copy_from_slice(&(0x0a00_0000 | (n as u32 & 0xff_ffff)).to_be_bytes());
    address
}

/// Few are frequent, many are rare.
fn skewed(n: u64) -> u64 {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 44).wrapping_mul(mixed >> 20 & 0xfffff) >> 22
}

/// Adds row `n` of a window to its sketches, as the engine does when the window closes.
fn add(s: &mut WindowSketches, n: u64) {
    let (src, dst) = (address(skewed(n)), address(0x80_0000 | skewed(n + 77)));
    let (to_port, weight) = (port(6, skewed(n) as u16), 60 + n % 1400);
    s.src_ips.insert(&src);
    s.dst_ips.insert(&dst);
    s.ips.insert(&src);
    s.ips.insert(&dst);
    s.dst_ports.insert(&to_port);
    let of_pair = pair(&src, &dst);
    let hash = hash64(&of_pair);
    s.pairs.insert_hash(hash);
    s.peers.insert_hashed(hash, &of_pair);
    s.flows.insert(&five_tuple(&src, &dst, 6, n as u16, 443));
    s.top_src_bytes.add(&src, weight);
    s.top_dst_bytes.add(&dst, weight);
    s.top_src_packets.add(&src, 1 + n % 7);
    s.top_dst_packets.add(&dst, 1 + n % 7);
    s.top_dst_port_bytes.add(&to_port, weight);
}

/// Insertions that [`add`] makes.
const INSERTS: u64 = 13;

fn merge(into: &mut WindowSketches, other: &WindowSketches) {
    into.src_ips.merge(&other.src_ips);
    into.dst_ips.merge(&other.dst_ips);
    into.ips.merge(&other.ips);
    into.dst_ports.merge(&other.dst_ports);
    into.pairs.merge(&other.pairs);
    into.flows.merge(&other.flows);
    into.top_src_bytes.merge(&other.top_src_bytes);
    into.top_dst_bytes.merge(&other.top_dst_bytes);
    into.top_src_packets.merge(&other.top_src_packets);
    into.top_dst_packets.merge(&other.top_dst_packets);
    into.top_dst_port_bytes.merge(&other.top_dst_port_bytes);
    into.packet_size.merge(&other.packet_size);
    into.flow_duration.merge(&other.flow_duration);
    into.server_rtt.merge(&other.server_rtt);
    into.client_rtt.merge(&other.client_rtt);
    into.dns_latency.merge(&other.dns_latency);
    into.peers.merge(&other.peers);
}

fn delta(flow: u64, second: u64) -> FlowDelta {
    let mut key = FlowKey { proto: 6, family: Family::V4 as u8, dst_port: 443, ..FlowKey::default() };
    key.src_port = 1024 + (flow % 60_000) as u16;
    key.src[..4].copy_from_slice(&(0x0a00_0000 | flow as u32).to_be_bytes());
    key.dst[..4].copy_from_slice(&(0xac10_0000 | skewed(flow) as u32 & 0xffff).to_be_bytes());
    let at = Nanos::from_secs(1_700_000_040 + second).0 + flow;
    let packets = 1 + flow % 7;
    let (bytes, l3_bytes) = (packets * 700, packets * 686);
    let times = FlowStats { first_seen: at, last_seen: at + 1000, ..FlowStats::default() };
    FlowDelta { key, stats: FlowStats { packets, bytes, l3_bytes, tcp_flags: 0x10, ..times }, sampling: Sampling::ALL }
}

fn generation(number: u64) -> [BusMessage; 2] {
    let id = GenerationId { node: "n".into(), epoch: 1, generation: number };
    let deltas = (0..DELTAS).map(|flow| delta(flow, number)).collect();
    let start = Nanos::from_secs(1_700_000_040 + number);
    let chunk = Chunk { id: ChunkId { generation: id.clone(), chunk: 0 }, deltas };
    let manifest = Manifest {
        id,
        chunks: 1,
        start,
        end: start.plus(Duration::from_secs(1)),
        ledger: Ledger::default(),
        sizes: SizeHistogram((60..1500).map(|n| (n, 100)).collect()),
        interfaces: vec![Interface { slot: 0, ifindex: 1, name: "eth0".into() }],
        nics: Vec::new(),
        previous: None,
        last: false,
    };
    [BusMessage::Chunk(Arc::new(chunk)), BusMessage::Manifest(Arc::new(manifest))]
}

/// Deltas a second, all windows and sketches included, without the time that making the messages takes.
fn engine() -> f64 {
    let mut engine = Engine::new(EngineConfig::default());
    let mut spent = Duration::ZERO;
    for number in 0..SECONDS {
        let messages = generation(number);
        let began = Instant::now();
        for message in &messages {
            std::hint::black_box(engine.apply(message));
        }
        spent += began.elapsed();
    }
    (DELTAS * SECONDS) as f64 / spent.as_secs_f64()
}

fn window(from: u64) -> (WindowSketches, f64) {
    let mut sketches = WindowSketches::default();
    let began = Instant::now();
    (from..from + ROWS).for_each(|n| add(&mut sketches, n));
    (sketches, began.elapsed().as_secs_f64() * 1e9 / (ROWS * INSERTS) as f64)
}

pub(crate) fn main() {
    let (mut deltas, mut inserts, mut merges) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        deltas.push(engine());
        let (mut mine, insert) = window(0);
        let (theirs, _) = window(ROWS);
        inserts.push(insert);
        let began = Instant::now();
        merge(&mut mine, &theirs);
        merges.push(began.elapsed().as_secs_f64() * 1e6);
        std::hint::black_box(mine);
    }
    println!();
    println!("| one core, medians of {ROUNDS}                                         |       | aim        |");
    println!("|-----------------------------------------------------------------|------:|------------|");
    let row = |what: &str, is: String, aim: &str| println!("| {what:<63} | {is:>5} | {aim:<10} |");
    let mid = super::median;
    row("engine, M deltas/s, 50,000 flows that stay, all sketches", format!("{:.2}", mid(deltas) / 1e6), ">= 1");
    row("ns an insertion, mean over the sketches of a window", format!("{:.1}", mid(inserts)), "<= 20");
    row("µs to merge the sketches of two windows, all approximate", format!("{:.0}", mid(merges)), "<= 100");
}
