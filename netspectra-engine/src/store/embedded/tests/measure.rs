//! Size and speed on traffic as it is: few clients, many servers with a long tail, mostly TLS and DNS.
//!
//! Run in release with `NETSPECTRA_TEST_ROWS=5000000` and `--nocapture` for figures; by default few rows and only their
//! size, which does not depend on the machine.

use super::sample::{Rng, T0};
use super::{append, rows_in, run};
use crate::store::embedded::scan::{self, Accumulate};
use crate::store::embedded::wanted::Wanted;
use crate::store::embedded::{Config, EmbeddedStore};
use netspectra_common::model::{Direction, EndReason, FlowRecord, FlowState, InitiatorBy, Nanos, Rollup, TimeRange};
use netspectra_common::ports::{Store, StoreBatch};
use netspectra_common::query::{Answer, CmpOp, Filter, Metric, Plan, Predicate, Query, Value, answer};
use netspectra_common::schema::Dimension;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const PER_SECOND: u64 = 5000;

struct Traffic {
    rng: Rng,
    node: Arc<str>,
    iface: Arc<str>,
}

impl Traffic {
    /// Towards 0, as popularity is.
    fn skewed(&mut self, n: u64) -> u64 {
        let unit = self.rng.below(1 << 32) as f64 / (1u64 << 32) as f64;
        ((n as f64).powf(unit) - 1.0) as u64
    }

    fn flow(&mut self, n: u64) -> FlowRecord {
        let ns = 1_000_000_000 / PER_SECOND;
        let last_seen = Nanos(T0.0 + n * ns + self.rng.below(1_000_000_000));
        let (dst_port, proto) = [(443, 6), (443, 6), (443, 17), (53, 17), (53, 17), (80, 6), (22, 6), (123, 17)]
            [self.rng.below(8) as usize];
        let dns = dst_port == 53;
        let packets = if dns { 1 } else { 4 + self.skewed(2000) };
        let bytes = if dns { 70 + self.rng.below(40) } else { packets * 54 + self.skewed(200_000) };
        let reverse_packets = if dns { 1 } else { 3 + packets * 3 / 2 };
        let reverse_bytes = if dns { 90 + self.rng.below(300) } else { reverse_packets * 54 + self.skewed(5_000_000) };
        let length = if dns { self.rng.below(40_000_000) } else { self.skewed(60_000_000_000) };
        let first_seen = Nanos(last_seen.0 - length);
        let server = if dns { 0x0808_0808 } else { 0x1700_0000 + self.skewed(20_000) as u32 * 7919 };
        FlowRecord {
            node: Arc::clone(&self.node),
            iface: Arc::clone(&self.iface),
            src_ip: Some(IpAddr::V4(Ipv4Addr::from(0x0a00_0100 + self.skewed(400) as u32))),
            dst_ip: Some(IpAddr::V4(Ipv4Addr::from(server))),
            src_port: 32_768 + self.rng.below(28_000) as u16,
            dst_port,
            proto,
            ether_type: 0x0800,
            icmp_type: None,
            icmp_code: None,
            vlan: None,
            inner_vlan: None,
            tunnel: None,
            tunnel_id: None,
            src_place: Default::default(),
            dst_place: Default::default(),
            service: None,
            sampling: 1,
            packets,
            bytes,
            l3_bytes: bytes - packets * 14,
            reverse_packets,
            reverse_bytes,
            reverse_l3_bytes: reverse_bytes - reverse_packets * 14,
            tcp_flags: if proto == 6 { 0x1b } else { 0 },
            reverse_tcp_flags: if proto == 6 { 0x1b } else { 0 },
            retransmitted: self.skewed(50),
            reverse_retransmitted: 0,
            out_of_order: 0,
            reverse_out_of_order: 0,
            zero_windows: 0,
            reverse_zero_windows: 0,
            server_rtt_us: None,
            client_rtt_us: None,
            first_seen,
            last_seen,
            flow_start: first_seen,
            state: if proto == 6 { FlowState::Closed } else { FlowState::TimedOut },
            end_reason: if proto == 6 { EndReason::Fin } else { EndReason::IdleTimeout },
            initiator_by: if proto == 6 { InitiatorBy::Syn } else { InitiatorBy::FirstPacket },
            flow_id: self.rng.next(),
        }
    }
}

#[test]
fn flows_take_few_bytes() {
    let total: u64 = std::env::var("NETSPECTRA_TEST_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(40_000);
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), Config { retention_bytes: 0, ..Config::default() }).unwrap();
    let mut traffic = Traffic { rng: Rng(5), node: "edge-1".into(), iface: "eth0".into() };
    let mut appending = Duration::ZERO;
    let began = Instant::now();
    for first in (0..total).step_by(PER_SECOND as usize) {
        let flows = (first..(first + PER_SECOND).min(total)).map(|n| traffic.flow(n)).collect();
        let batch = StoreBatch { flows, ..StoreBatch::default() };
        let start = Instant::now();
        append(&store, &batch).unwrap();
        appending += start.elapsed();
    }
    run(store.seal()).unwrap();
    let written = began.elapsed();
    let stats = store.stats();
    let per_row = stats.segment_bytes as f64 / stats.segment_rows as f64;
    let mut out = std::io::stdout();
    let rate = |d: Duration| total as f64 / d.as_secs_f64() / 1e6;
    writeln!(
        out,
        "{total} flows: {per_row:.1} B/row, append {:.2} M rows/s, with sealing {:.2} M rows/s, {} segments, {} merges",
        rate(appending),
        rate(written),
        stats.segments,
        stats.merges
    )
    .unwrap();
    for (name, bytes) in column_bytes(&store) {
        write!(out, "{name} {:.2}, ", bytes as f64 / stats.segment_rows as f64).unwrap();
    }
    writeln!(out, "B/row").unwrap();
    for threads in [1, 2] {
        let start = Instant::now();
        let top = top_sources(&store, threads);
        writeln!(out, "top 10 sources to port 443 by rows: {:?}, {threads} threads", start.elapsed()).unwrap();
        assert_eq!(top.len(), 10);
    }
    let to_https =
        Filter::Is(Predicate { any_of: vec![Dimension::DstPort], op: CmpOp::Eq, values: vec![Value::Number(443)] });
    for filter in [Filter::ALL, to_https.clone()] {
        let plan = Plan { range: TimeRange::ALL, filter, query: Query::Flows { limit: 100, after: None } };
        let start = Instant::now();
        run(store.query(&plan)).unwrap();
        writeln!(out, "newest 100 flows where `{}`: {:?}", plan.filter, start.elapsed()).unwrap();
    }
    let minute = TimeRange { from: T0, to: T0.plus(Duration::from_secs(2)) };
    let start = Instant::now();
    let found = rows_in::<FlowRecord>(&store, minute, None).len();
    writeln!(out, "two seconds of flows: {found} rows read in {:?}", start.elapsed()).unwrap();
    assert!(per_row < 45.0, "{per_row} B/row");
}

/// What each column takes, where it is more than nothing.
fn column_bytes(store: &EmbeddedStore) -> Vec<(String, i64)> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for segment in store.shared.snapshot().segments {
        let file = std::fs::File::open(&segment.path).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                *sums.entry(column.column_path().string()).or_default() += column.compressed_size();
            }
        }
    }
    let mut all: Vec<_> =
        sums.into_iter().filter(|(_, bytes)| *bytes as u64 * 20 > store.stats().segment_rows).collect();
    all.sort_by_key(|(_, bytes)| -bytes);
    all
}

struct BySource(HashMap<IpAddr, u64>);

impl Accumulate<FlowRecord> for BySource {
    fn fold(&mut self, row: &FlowRecord) {
        if row.dst_port == 443
            && let Some(ip) = row.src_ip
        {
            *self.0.entry(ip).or_default() += row.bytes;
        }
    }
}

fn top_sources(store: &EmbeddedStore, threads: usize) -> Vec<(IpAddr, u64)> {
    let snapshot = store.shared.snapshot();
    let new = || Ok(BySource(HashMap::new()));
    // As a plan would have it.
    let filter =
        Filter::Is(Predicate { any_of: vec![Dimension::DstPort], op: CmpOp::Eq, values: vec![Value::Number(443)] });
    let columns = Some(vec!["first_seen", "last_seen", "src_ip", "dst_port", "bytes"]);
    let wanted = Wanted { columns, filter, ..Wanted::all() };
    let parts = scan::scan::<FlowRecord, _>(&snapshot, &wanted, threads, &AtomicBool::new(false), new).unwrap();
    let mut sums: HashMap<IpAddr, u64> = HashMap::new();
    for (ip, bytes) in parts.into_iter().flat_map(|part| part.0) {
        *sums.entry(ip).or_default() += bytes;
    }
    let mut top: Vec<_> = sums.into_iter().collect();
    top.sort_by_key(|(ip, bytes)| (std::cmp::Reverse(*bytes), *ip));
    top.truncate(10);
    top
}

#[test]
fn roll_ups_take_few_bytes() {
    let total: u64 = std::env::var("NETSPECTRA_TEST_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(40_000);
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), Config { retention_bytes: 0, ..Config::default() }).unwrap();
    let mut traffic = Traffic { rng: Rng(6), node: "edge-1".into(), iface: "eth0".into() };
    let per_window = 10 * PER_SECOND;
    for first in (0..total / 2).step_by(per_window as usize) {
        let rollups = (first..(first + per_window).min(total / 2)).flat_map(|n| rollups_of(&traffic.flow(n))).collect();
        append(&store, &StoreBatch { rollups, ..StoreBatch::default() }).unwrap();
    }
    run(store.seal()).unwrap();
    let stats = store.stats();
    let per_row = stats.segment_bytes as f64 / stats.segment_rows as f64;
    let mut out = std::io::stdout();
    writeln!(out, "{} roll-ups: {per_row:.1} B/row", stats.segment_rows).unwrap();
    let one = Value::Net([10, 0, 1, 0].into(), 32);
    for (d, value) in [(Dimension::DstPort, Value::Number(443)), (Dimension::SrcIp, one)] {
        let filter = Filter::Is(Predicate { any_of: vec![d], op: CmpOp::Eq, values: vec![value] });
        let query = Query::Top { by: vec![Dimension::DstIp], metric: Metric::Bytes, limit: 10, exact: true };
        let plan = Plan { range: TimeRange::ALL, filter, query };
        for threads in [1, 2] {
            let start = Instant::now();
            let partial = scan::run(&plan, &store.shared.snapshot(), threads, &AtomicBool::new(false)).unwrap();
            let took = start.elapsed();
            let Ok(Answer::Top(top)) = answer(&plan, partial) else { panic!("a top") };
            assert_eq!(top.items.len(), 10);
            writeln!(out, "top 10 receivers where `{}`: {took:?}, {threads} threads", plan.filter).unwrap();
        }
    }
    // 14 with millions of rows: dictionaries weigh more in small segments.
    assert!(per_row < 22.0, "{per_row} B/row");
}

/// Both directions of `flow` in the window where it ended.
fn rollups_of(flow: &FlowRecord) -> [Rollup; 2] {
    let there = Rollup {
        window: flow.last_seen.floor(Duration::from_secs(10)),
        node: Arc::clone(&flow.node),
        iface: Arc::clone(&flow.iface),
        direction: Some(Direction::Egress),
        src_ip: flow.src_ip,
        dst_ip: flow.dst_ip,
        src_port: flow.src_port,
        dst_port: flow.dst_port,
        proto: flow.proto,
        ether_type: flow.ether_type,
        vlan: None,
        tunnel: None,
        tunnel_id: None,
        src_place: Default::default(),
        dst_place: Default::default(),
        service: None,
        sampling: 1,
        packets: flow.packets,
        bytes: flow.bytes,
        l3_bytes: flow.l3_bytes,
        new_flows: 1,
    };
    let back = Rollup {
        direction: Some(Direction::Ingress),
        src_ip: flow.dst_ip,
        dst_ip: flow.src_ip,
        src_port: flow.dst_port,
        dst_port: flow.src_port,
        packets: flow.reverse_packets,
        bytes: flow.reverse_bytes,
        l3_bytes: flow.reverse_l3_bytes,
        new_flows: 0,
        ..there.clone()
    };
    [there, back]
}
