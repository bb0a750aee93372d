//! Captures made for a test, and what one process says of them.

use netspectra_agent::drain::Drain;
use netspectra_agent::payload::{PayloadLimits, Payloads};
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_api::{Auth, Check, Deps, Health, Limits};
use netspectra_common::model::{BusMessage, Nanos};
use netspectra_common::ports::{Clock, Store as _};
use netspectra_engine::dissect::{self, Dissectors};
use netspectra_engine::store::embedded::{Config as StoreConfig, EmbeddedStore};
use netspectra_engine::{Engine, EngineConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `count` capture files with traffic of `seconds`, each of other hosts. Times are of long ago, on a minute.
pub(crate) fn captures(dir: &Path, count: usize, seconds: u32, per_second: u32) -> Vec<PathBuf> {
    captures_from(1_600_000_020, dir, count, seconds, per_second)
}

/// [`captures`] that begin at `begin`, seconds since 1970.
pub(crate) fn captures_from(begin: u32, dir: &Path, count: usize, seconds: u32, per_second: u32) -> Vec<PathBuf> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % below
    };
    let file = |n: usize| {
        let mut out = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        for second in 0..seconds {
            for i in 0..per_second {
                let (client, server) = (random(40) as u8, 200 + random(10) as u8);
                let port = 20_000 + random(30) as u16;
                let there = random(2) == 0;
                let (src, dst) = if there { (client, server) } else { (server, client) };
                let (sport, dport) = if there { (port, 443) } else { (443, port) };
                let udp = random(4) == 0;
                let dns = udp && random(4) == 0;
                let said = if dns { message(there, random(30)) } else { vec![7; random(900) as usize] };
                let payload = said.len() as u16;
                let (sport, dport) = if dns { if there { (port, 53) } else { (53, port) } } else { (sport, dport) };
                let mut frame = vec![0u8; 12];
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((if udp { 28 } else { 40 } + payload).to_be_bytes());
                frame.extend([0, 0, 0, 0, 64, if udp { 17 } else { 6 }, 0, 0]);
                frame.extend([10, n as u8, 0, src, 10, n as u8, 0, dst]);
                frame.extend(sport.to_be_bytes());
                frame.extend(dport.to_be_bytes());
                if udp {
                    frame.extend((8 + payload).to_be_bytes());
                    frame.extend([0, 0]);
                } else {
                    let flags = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04][random(6) as usize];
                    frame.extend(random(u32::MAX).to_be_bytes());
                    frame.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
                }
                frame.extend(said);
                let micros = i * (1_000_000 / per_second);
                for word in [begin + second, micros, frame.len() as u32, frame.len() as u32] {
                    out.extend(word.to_le_bytes());
                }
                out.extend(frame);
            }
        }
        let path = dir.join(format!("{n}.pcap"));
        std::fs::write(&path, out).unwrap();
        path
    };
    (0..count).map(file).collect()
}

/// A DNS query for a name, or the answer that there is none.
fn message(query: bool, name: u32) -> Vec<u8> {
    let name = format!("h{name}");
    let flags = if query { [0x01, 0x00] } else { [0x81, 0x83] };
    let mut out = [&[0, 7], &flags[..], &[0, 1, 0, 0, 0, 0, 0, 0], &[name.len() as u8], name.as_bytes()].concat();
    out.extend(b"\x07example\0\0\x01\0\x01");
    out
}

pub(crate) const TOKEN: &str = "a-token-for-the-reference";

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Nanos {
        Nanos(1_700_000_000_000_000_000)
    }
}

impl Health for Fixed {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// One process: an engine that sees everything, and the embedded store behind the same API. Returns its address and packets.
pub(crate) fn reference(dir: &Path, files: &[PathBuf]) -> (tokio::runtime::Runtime, SocketAddr, u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir, StoreConfig::keeping_everything()).unwrap());
    let mut packets = 0;
    let mut engine = Engine::new(EngineConfig::default());
    for (n, file) in files.iter().enumerate() {
        let source = PcapSource::open(std::slice::from_ref(file), &PcapConfig::default()).unwrap();
        let dissectors = Arc::new(Dissectors::new(dissect::builtin()));
        let mut source = source.reading_payloads(Payloads::new(dissectors, PayloadLimits::default()));
        let mut drain = Drain::new(format!("node{n}").into(), 1, 16_384);
        while let Some(generation) = source.generation().unwrap() {
            for message in drain.cut(generation) {
                if let BusMessage::Manifest(manifest) = &message {
                    packets += manifest.ledger.seen.packets;
                }
                if let Some(batch) = engine.apply(&message) {
                    runtime.block_on(store.append(&batch)).unwrap();
                }
            }
        }
    }
    runtime.block_on(store.append(&engine.finish())).unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let deps = Deps {
        store,
        live: None,
        board: None,
        clock: Arc::new(Fixed),
        auth: Auth::bearer([TOKEN]).unwrap(),
        health: Arc::new(Fixed),
        metrics: Default::default(),
        limits: Limits::default(),
    };
    runtime.spawn(netspectra_api::serve(listener, deps, std::future::pending()));
    (runtime, address, packets)
}

pub(crate) const QUESTIONS: [&str; 18] = [
    "ledger?",
    "flows?limit=10000&",
    "flows?limit=500&filter=proto%20%3D%20udp%20and%20ip%20in%2010.1.0.0%2F16&",
    "alerts?limit=10000&",
    "alerts?filter=severity%20%3D%20high&",
    "messages?limit=10000&",
    "messages?filter=message%20%3D%20response%20and%20name%20%3D%20h7.example&limit=100&",
    "top?by=src_ip&limit=50&",
    "top?by=src_ip,dst_ip&metric=packets&limit=200&",
    "top?by=node,proto,dst_port&metric=flows&limit=200&",
    "top?by=src_ip&limit=10&exact=true&filter=not%20dst_port%20%3D%20443&",
    "series?step=10s&",
    "series?step=1s&by=proto&",
    "series?step=60s&by=node,proto&filter=src_port%20%3D%20443&",
    "cardinality?of=src_ip&",
    "cardinality?of=src_ip,dst_ip,src_port,dst_port,proto&",
    "quantiles?of=packet_size&q=0.5,0.9,0.99&",
    "quantiles?of=flow_duration&q=0.5,0.9,0.99&",
];
