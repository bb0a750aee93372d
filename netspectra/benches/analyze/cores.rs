//! What the engine and the sketches take by themselves, on one core.

use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Family, FlowDelta, FlowKey, FlowStats, GenerationId, Interface, Ledger, Manifest,
    Nanos, Sampling, Sent, SizeHistogram, WindowSketches,
};
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

/// Row `n` of a window, as the engine has it when the window closes.
fn row(n: u64) -> Sent {
    Sent {
        src: address(skewed(n)),
        dst: address(0x80_0000 | skewed(n + 77)),
        proto: 6,
        src_port: n as u16,
        dst_port: skewed(n) as u16,
        packets: 1 + n % 7,
        bytes: 60 + n % 1400,
    }
}

/// Insertions that each of them is: six distinct counts, one of them of both ends, five rankings, and the pairs.
const INSERTS: u64 = 13;

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
    sketches.add((from..from + ROWS).map(row));
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
        mine.merge(&theirs);
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
