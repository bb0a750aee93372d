//! Questions to a day of flow records in ClickHouse.

use crate::support::cluster::server;
use netspectra_common::model::{BlockId, Counter, Nanos, Resolution, TimeRange, WindowState};
use netspectra_common::ports::{Store, StoreBatch};
use netspectra_common::query::{Metric, Plan, Quantity, Query, answer, keys, parse_filter};
use netspectra_common::schema::Dimension::{self, DstIp, DstPort, Node, Proto, SrcIp};
use netspectra_engine::store::clickhouse::{ClickHouseConfig, ClickHouseStore, Merged, Merging};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const TOPIC: &str = "bench";
/// A midnight.
const BEGIN: u64 = 1_700_006_400;
const DAY: u64 = 86_400;
const NODES: u64 = 16;
const CLIENTS: u64 = 200_000;
const SERVERS: u64 = 20_000;
/// Each question is asked this often, and not again after this time.
const ROUNDS: usize = 20;
const ENOUGH: Duration = Duration::from_secs(15);

/// `NETSPECTRA_BENCH_ROWS` says how many flow records, 10 M without it; each has two roll-ups, one a direction. 100 M take
/// ten minutes to make.
fn rows() -> u64 {
    std::env::var("NETSPECTRA_BENCH_ROWS").map_or(10_000_000, |n| n.parse().unwrap())
}

pub(crate) fn measure() {
    let url = server("NETSPECTRA_CLICKHOUSE");
    // A day takes ten minutes to make: one that is there may be asked again.
    let kept = std::env::var("NETSPECTRA_BENCH_DATABASE").ok();
    let database = kept.clone().unwrap_or_else(|| format!("bench_{}", std::process::id()));
    let config = ClickHouseConfig {
        url: url.clone(),
        database: database.clone(),
        retention_days: 10_000,
        window_retention_days: 10_000,
        ..ClickHouseConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let store = ClickHouseStore::new(&config, TOPIC).unwrap();
    runtime.block_on(store.migrate()).unwrap();
    let n = rows();
    println!("\n## Questions to {} M flow records of a day, {NODES} nodes\n", n / 1_000_000);
    if kept.is_none() {
        fill(&url, &database, n);
        runtime.block_on(windows(&store, n));
    }
    let began = Instant::now();
    let merged = runtime.block_on(merge(&store));
    println!(
        "- windows merged in {:.1} s: {} minutes, {} hours\n",
        began.elapsed().as_secs_f64(),
        merged.minutes,
        merged.hours
    );
    let parts = "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table";
    for line in sql(&url, &database, parts).lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let (rows, bytes): (f64, f64) = (cells[1].parse().unwrap(), cells[2].parse().unwrap());
        println!("- `{}`: {rows} rows, {:.1} bytes each on disk", cells[0], bytes / rows.max(1.0));
    }
    println!("\n| question | range | filter | p50 | p95 | longest |\n|---|---|---|---:|---:|---:|");
    // A day that begins and ends within an hour, as most do that are asked for.
    let end = Nanos::from_secs(BEGIN + DAY);
    let day = TimeRange { from: end.minus(Duration::from_secs(DAY - 1234)), to: end.minus(Duration::from_secs(567)) };
    let hour = TimeRange { from: end.minus(Duration::from_secs(3600)), to: end };
    for (name, range) in [("day", day), ("hour", hour)] {
        for (what, filter, query) in questions() {
            let plan = Plan { range, filter: parse_filter(filter).unwrap(), query };
            let first = Instant::now();
            let mut times: Vec<Duration> = (0..ROUNDS)
                .take_while(|round| *round < 3 || first.elapsed() < ENOUGH)
                .map(|_| {
                    let began = Instant::now();
                    let partial = runtime.block_on(store.query(&plan)).unwrap();
                    answer(&plan, partial).unwrap();
                    began.elapsed()
                })
                .collect();
            times.sort();
            let ms = |q: usize| times[(times.len() * q).div_ceil(100) - 1].as_millis();
            println!("| {what} | {name} | `{filter}` | {} ms | {} ms | {} ms |", ms(50), ms(95), ms(100));
        }
    }
    if kept.is_none() {
        sql(&url, "default", &format!("DROP DATABASE {database}"));
    }
}

fn questions() -> Vec<(&'static str, &'static str, Query)> {
    let top = |by: &[Dimension]| Query::Top { by: by.to_vec(), metric: Metric::Bytes, limit: 10, exact: false };
    let series = |by: &[Dimension]| Query::Series { step: Duration::from_secs(60), by: by.to_vec() };
    vec![
        ("top senders", "", top(&[SrcIp])),
        ("top services", "", top(&[Proto, DstPort])),
        ("senders with most peers", "", Query::Top { by: vec![SrcIp], metric: Metric::Peers, limit: 10, exact: false }),
        ("series", "", series(&[])),
        ("series by protocol", "", series(&[Proto])),
        ("distinct senders", "", Query::Cardinality { of: vec![SrcIp] }),
        ("distinct flows", "", Query::Cardinality { of: vec![SrcIp, DstIp, Dimension::SrcPort, DstPort, Proto] }),
        ("quantiles of durations", "", Query::Quantiles { of: Quantity::FlowDuration, q: vec![0.5, 0.99] }),
        ("top peers of a host", "src_ip = 10.0.1.7", top(&[DstIp])),
        ("top senders to a service", "dst_port = 443", top(&[SrcIp])),
        ("series of a host", "ip = 10.0.1.7", series(&[])),
        ("series by node", "", series(&[Node])),
        ("flows of a host", "ip = 10.0.1.7", Query::Flows { limit: 100, after: None }),
        (
            "flows of a network and a port",
            "src_ip in 10.0.1.0/28 and dst_port = 443",
            Query::Flows { limit: 100, after: None },
        ),
        ("newest flows", "", Query::Flows { limit: 100, after: None }),
        ("flows that are not there", "src_ip = 192.0.2.1", Query::Flows { limit: 100, after: None }),
    ]
}

fn sql(url: &str, database: &str, text: &str) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.post(format!("{url}/?database={database}")).send(text).unwrap();
    let body = response.body_mut().with_config().limit(1 << 20).read_to_string().unwrap();
    assert!(response.status().is_success(), "{text}: {body}");
    body
}

/// Flow records and roll-ups, made by the server.
fn fill(url: &str, database: &str, n: u64) {
    const STEP: u64 = 5_000_000;
    let ns = DAY * 1_000_000_000 / n;
    let places = "'bench' AS log_topic, toUInt32(number % 16) AS log_partition, intDiv(number, 1000000) AS block_first, intDiv(number, 1000000) AS block_last";
    let who = format!(
        "concat('node', toString(number % {NODES})) AS node, 'eth0' AS iface, \
         toIPv6(toIPv4(toUInt32(167772160 + h % {CLIENTS}))) AS client, \
         toIPv6(toIPv4(toUInt32(180879360 + intDiv((h2 % {SERVERS}) * (bitShiftRight(h2, 20) % {SERVERS}), {SERVERS})))) AS server, \
         toUInt16(1024 + bitShiftRight(h, 32) % 60000) AS client_port, toUInt16([443, 443, 443, 80, 53, 22, 8080, 5432][1 + h2 % 8]) AS server_port, \
         toUInt8(if(server_port = 53, 17, 6)) AS proto, toUInt64(1 + h % 40) AS packets, packets * (60 + h2 % 1400) AS bytes"
    );
    for first in (0..n).step_by(STEP as usize) {
        let count = STEP.min(n - first);
        let from = format!("FROM numbers({first}, {count})");
        let hashes = "WITH cityHash64(number) AS h, cityHash64(number, 7) AS h2, ";
        let at = format!("fromUnixTimestamp64Nano(toInt64({} + number * {ns}))", BEGIN * 1_000_000_000);
        sql(
            url,
            database,
            &format!(
                "INSERT INTO flows (log_topic, log_partition, block_first, block_last, node, iface, src_ip, dst_ip, src_port, dst_port, \
                   proto, ether_type, packets, bytes, l3_bytes, reverse_packets, reverse_bytes, tcp_flags, server_rtt_us, first_seen, \
                   last_seen, flow_start, state, end_reason, initiator_by, flow_id) \
                 {hashes} {who}, {at} AS last, subtractMicroseconds(last, h % 5000000) AS first \
                 SELECT {places}, node, iface, client, server, client_port, server_port, proto, 2048, packets, bytes, bytes - packets * 14, \
                   packets, bytes * 2, 27, toUInt32(h % 90000), first, last, first, 'closed', 'fin', 'syn', h {from}",
            ),
        );
        for (src, dst, sport, dport, way) in [
            ("client", "server", "client_port", "server_port", "egress"),
            ("server", "client", "server_port", "client_port", "ingress"),
        ] {
            sql(
                url,
                database,
                &format!(
                    "INSERT INTO rollups (log_topic, log_partition, block_first, block_last, window, node, iface, direction, src_ip, dst_ip, \
                       src_port, dst_port, proto, ether_type, packets, bytes, l3_bytes, new_flows) \
                     {hashes} {who}, {at} AS last \
                     SELECT {places}, fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(last), 10000000000) * 10000000000), node, iface, \
                       '{way}', {src}, {dst}, {sport}, {dport}, proto, 2048, packets, bytes, bytes, {new} {from}",
                    new = u8::from(way == "egress"),
                ),
            );
        }
        eprintln!("{} M of {} M", (first + count) / 1_000_000, n / 1_000_000);
    }
    sql(
        url,
        database,
        "INSERT INTO blocks (log_topic, log_partition, block_first, block_last, flows, rollups, windows, generations) \
         SELECT 'bench', toUInt32(number), 0, 1000000000, 0, 0, 0, 0 FROM numbers(17)",
    );
}

/// Merges as an engine does, until there is nothing left.
async fn merge(store: &ClickHouseStore) -> Merged {
    let (mut merging, mut all) = (Merging::new(), Merged::default());
    // The last hours, the day before them, and the rest.
    for _ in 0..3 {
        all += merging.pass(store, Nanos::from_secs(BEGIN + DAY)).await.unwrap();
    }
    all
}

/// Windows of the day, with the sketches that the flows of each second would give.
async fn windows(store: &ClickHouseStore, n: u64) {
    let per_second = (n / DAY / NODES).max(1);
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    };
    for node in 0..NODES {
        let mut batch = StoreBatch::default();
        for resolution in Resolution::ALL {
            let length = resolution.duration().as_secs();
            // Shorter windows answer for shorter ranges.
            let first = if resolution == Resolution::S60 { BEGIN } else { BEGIN + DAY - 3600 };
            for start in (first..BEGIN + DAY).step_by(length as usize) {
                let flows = per_second * length;
                let counter = Counter::new(flows * 40, flows * 30_000);
                let mut window = WindowState {
                    node: format!("node{node}").into(),
                    resolution,
                    start: Nanos::from_secs(start),
                    total: counter,
                    new_flows: flows,
                    protocols: [(Some(6), counter)].into(),
                    sketches: (resolution != Resolution::S1).then(Box::default),
                };
                if let Some(s) = &mut window.sketches {
                    for _ in 0..flows {
                        let (client, server) =
                            (random() % CLIENTS, random() % SERVERS * (random() % SERVERS) / SERVERS);
                        let src = keys::address(Ipv4Addr::from(0x0a00_0000 + client as u32).into());
                        let dst = keys::address(Ipv4Addr::from(0x0ac8_0000 + server as u32).into());
                        let (port, bytes) = (keys::port(6, 443), 1 + random() % 60_000);
                        s.src_ips.insert(&src);
                        s.dst_ips.insert(&dst);
                        s.dst_ports.insert(&port);
                        s.pairs.insert(&keys::pair(&src, &dst));
                        s.peers.insert(&keys::pair(&src, &dst));
                        s.flows.insert(&keys::five_tuple(&src, &dst, 6, 1024 + (random() % 60_000) as u16, 443));
                        s.top_src_bytes.add(&src, bytes);
                        s.top_dst_bytes.add(&dst, bytes);
                        s.top_src_packets.add(&src, 1 + bytes / 700);
                        s.top_dst_packets.add(&dst, 1 + bytes / 700);
                        s.top_dst_port_bytes.add(&port, bytes);
                        s.packet_size.add(700.0, 40);
                        s.flow_duration.add(bytes as f64 / 1e4, 1);
                    }
                }
                batch.windows.push(window);
            }
        }
        batch.block = Some(BlockId { topic: TOPIC.into(), partition: node as u32, first: 1, last: 1_000_000 });
        store.append(&batch).await.unwrap();
        eprintln!("windows of {} of {NODES} nodes", node + 1);
    }
}
