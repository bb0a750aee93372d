//! The live board against a real Redis, which `NETSPECTRA_REDIS` names; `cargo xtask test` and `cargo xtask cluster up` start
//! one. For TLS a relay
//! of the test's stands before it. Clusters and sentinels: `redis_kinds`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; what is not tried is said")]

mod support;

use netspectra_common::model::{Counter, Nanos, Resolution, WindowSketches, WindowState};
use netspectra_common::ports::StoreBatch;
use netspectra_engine::EngineStats;
use netspectra_engine::redis_board::{BoardConfig, BoardStats, LiveBoard, PartitionBoard};
use redis::AsyncCommands as _;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// For anything that Redis is to do on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const START: Nanos = Nanos::from_secs(1_700_000_040);

fn url() -> Option<String> {
    let url = std::env::var("NETSPECTRA_REDIS").ok();
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "`NETSPECTRA_REDIS` must be set on CI");
        eprintln!("not tried: set `NETSPECTRA_REDIS`, or run `cargo xtask test`");
    }
    url
}

/// A closed window of `node` in which each of `senders` sent 1000 bytes, and how many flows there are.
fn closed(node: &str, senders: std::ops::Range<u8>, active_flows: usize) -> (StoreBatch, EngineStats) {
    let mut sketches = WindowSketches::default();
    let count = u64::from(senders.end - senders.start);
    for sender in senders {
        let address = std::net::Ipv4Addr::new(10, 0, 0, sender).to_ipv6_mapped().octets();
        sketches.ips.insert(&address);
        sketches.top_src_bytes.add(&address, 1000);
    }
    let window = WindowState {
        node: node.into(),
        resolution: Resolution::S10,
        start: START,
        total: Counter::new(count * 10, count * 1000),
        new_flows: count,
        protocols: BTreeMap::new(),
        sketches: Some(Box::new(sketches)),
    };
    let stats = EngineStats { active_flows, nodes: 1, ..EngineStats::default() };
    (StoreBatch { windows: vec![window], ..StoreBatch::default() }, stats)
}

fn publish(board: &mut PartitionBoard, (batch, stats): (StoreBatch, EngineStats)) {
    board.publish(&batch, &stats);
}

/// A block that closed no window.
fn quiet(active_flows: usize) -> (StoreBatch, EngineStats) {
    (StoreBatch::default(), EngineStats { active_flows, nodes: 1, ..EngineStats::default() })
}

async fn until(board: &LiveBoard, what: &str, is_so: impl Fn(BoardStats) -> bool) {
    let started = Instant::now();
    while !is_so(board.stats()) {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}: {:?}", board.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs `cargo xtask cluster ACTION redis`; false when the server is not one that may be killed.
fn control(action: &str) -> bool {
    let Some(program) = std::env::var_os("NETSPECTRA_CLUSTER_CTL") else {
        eprintln!("not killed: `NETSPECTRA_CLUSTER_CTL` is not set");
        return false;
    };
    let output = Command::new(program).args(["cluster", action, "redis"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("it is left alone") {
        eprintln!("not killed: {said}");
        return false;
    }
    assert!(output.status.success(), "{said}");
    true
}

/// Held by tests that talk to the server, which one of them kills.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn partitions_are_read_as_one_and_the_next_block_heals_a_flush_and_a_crash() {
    let _alone = ALONE.lock().await;
    let Some(url) = url() else { return };
    let prefix = format!("test-merged-{}", std::process::id());
    let timeout = Duration::from_secs(5);
    let config = BoardConfig { url: url.clone(), prefix: prefix.clone(), timeout, ..BoardConfig::default() };
    let live = LiveBoard::new(config).unwrap();
    let empty = live.read().await.unwrap();
    assert_eq!((empty.partitions, empty.window().is_none()), (0, true));

    let (mut one, mut two) = (live.partition(0), live.partition(7));
    publish(&mut one, closed("n1", 1..6, 50));
    publish(&mut two, closed("n2", 4..9, 70));
    until(&live, "both are published", |stats| stats.published == 2).await;
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.nodes, answer.active_flows, answer.unreadable), (2, 2, 120, 0));
    let window = answer.window().unwrap();
    assert_eq!((window.start, window.nodes, window.packets, window.bytes), (START, 2, 100, 10_000));
    assert_eq!(window.active_addresses().estimate.round(), 8.0);
    let top = window.top_senders(3);
    assert_eq!(top.iter().map(|entry| entry.value.estimate).collect::<Vec<_>>(), [2000.0, 2000.0, 1000.0]);

    // What somebody removes is there again after the next block. Not FLUSHALL: the server may be somebody's.
    let mut direct = redis::Client::open(&*url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = direct.keys(format!("{{{prefix}}}*")).await.unwrap();
    assert_eq!(keys.len(), 3);
    for key in &keys {
        let left: i64 = direct.ttl(key).await.unwrap();
        assert!((1..=60).contains(&left), "`{key}` stays {left} s");
    }
    let _: () = direct.del(&keys).await.unwrap();
    assert_eq!(live.read().await.unwrap().partitions, 0);
    publish(&mut one, quiet(51));
    until(&live, "the first is published again", |stats| stats.published == 3).await;
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.active_flows, answer.window().unwrap().bytes), (1, 51, 5000));

    // Away: publishing goes on, reading says so.
    if !control("kill") {
        return;
    }
    publish(&mut one, quiet(52));
    publish(&mut two, quiet(72));
    until(&live, "both have failed", |stats| stats.failed == 2).await;
    assert!(live.read().await.unwrap_err().transient);
    assert!(control("start"));
    publish(&mut one, quiet(53));
    publish(&mut two, quiet(73));
    until(&live, "both are published again", |stats| stats.published == 5).await;
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.active_flows, answer.window().unwrap().bytes), (2, 126, 10_000));
}

#[tokio::test]
async fn what_redis_does_not_take_is_replaced_and_counted_and_nobody_waits() {
    // Accepts connections, by its backlog, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let live =
        LiveBoard::new(BoardConfig { url, timeout: Duration::from_millis(300), ..BoardConfig::default() }).unwrap();
    let mut board = live.partition(0);
    let (batch, stats) = closed("n1", 0..1, 1);
    // Nothing awaits in here, and there is one thread: all are published before one can be sent.
    for _ in 0..100 {
        board.publish(&batch, &stats);
    }
    assert_eq!(live.stats(), BoardStats { published: 0, failed: 0, replaced: 99 });
    until(&live, "the last one has failed", |stats| stats.failed == 1).await;
    assert_eq!(live.stats(), BoardStats { published: 0, failed: 1, replaced: 99 });
}

#[tokio::test]
async fn a_board_behind_tls_is_reached_by_who_trusts_its_authority() {
    let _alone = ALONE.lock().await;
    let Some(url) = url() else { return };
    let dir = tempfile::tempdir().unwrap();
    let behind = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let (port, ca_file) = support::with_tls(dir.path(), behind).await;
    let config = |ca_file| BoardConfig {
        url: format!("rediss://127.0.0.1:{port}"),
        ca_file,
        prefix: format!("test-tls-{}", std::process::id()),
        ..BoardConfig::default()
    };
    let live = LiveBoard::new(config(Some(ca_file.clone()))).unwrap();
    let mut board = live.partition(3);
    publish(&mut board, closed("n1", 1..4, 7));
    until(&live, "it is published", |stats| stats.published == 1).await;
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.active_flows), (1, 7));
    // The public authorities did not sign it, nor did another one.
    let other = tempfile::tempdir().unwrap();
    for ca_file in [None, Some(support::tls::certified(other.path()).0)] {
        let error = LiveBoard::new(config(ca_file)).unwrap().read().await.unwrap_err();
        let said = netspectra_common::report::chain(&error);
        assert!(error.transient && said.contains("invalid peer certificate"), "{said}");
    }
}
