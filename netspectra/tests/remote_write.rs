//! Remote write to a real Prometheus, which `NETSPECTRA_PROMETHEUS` names, and to a VictoriaMetrics of the test's own, whose program
//! `NETSPECTRA_VICTORIA_METRICS` names; `cargo xtask test` and `cargo xtask cluster up` see to both. What they answer is compared with
//! the engine's own roll-ups and ledger.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; what is not tried is said")]

use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_common::model::{Counter, Ledger, LedgerEntry, Nanos, Resolution};
use netspectra_common::ports::StoreBatch;
use netspectra_common::schema::protocol_name;
use netspectra_engine::remote_write::{RemoteWrite, RemoteWriteConfig};
use netspectra_engine::{Engine, EngineConfig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Values by labels, as JSON has them in their order, and time in milliseconds.
type Samples = BTreeMap<(String, i64), f64>;

fn prometheus() -> Option<String> {
    let url = std::env::var("NETSPECTRA_PROMETHEUS").ok();
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "`NETSPECTRA_PROMETHEUS` must be set on CI");
        eprintln!("not tried: set `NETSPECTRA_PROMETHEUS`, or run `cargo xtask test`");
    }
    url
}

/// Ends with the test.
struct VictoriaMetrics {
    url: String,
    child: Child,
    _data: tempfile::TempDir,
}

impl Drop for VictoriaMetrics {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn victoria_metrics() -> Option<VictoriaMetrics> {
    let Some(program) = std::env::var_os("NETSPECTRA_VICTORIA_METRICS") else {
        assert!(std::env::var_os("CI").is_none(), "`NETSPECTRA_VICTORIA_METRICS` must be set on CI");
        eprintln!("not tried: set `NETSPECTRA_VICTORIA_METRICS`, or run `cargo xtask test`");
        return None;
    };
    let data = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(program);
    command.arg(format!("-httpListenAddr={address}")).arg(format!("-storageDataPath={}", data.path().display()));
    // What comes twice is there once; what came is there at once.
    command.args(["-dedup.minScrapeInterval=1ms", "-search.latencyOffset=0s", "-loggerLevel=ERROR"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = VictoriaMetrics { url: format!("http://{address}"), child, _data: data };
    let until = Instant::now() + Duration::from_secs(60);
    while ureq::get(format!("{}/health", started.url)).call().is_err() {
        assert!(Instant::now() < until, "VictoriaMetrics does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(started)
}

fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("NETSPECTRA_CAPTURES");
    assert!(folder.is_some() || std::env::var_os("CI").is_none(), "CI must set NETSPECTRA_CAPTURES");
    folder.map(|folder| PathBuf::from(folder).join("basic"))
}

fn now() -> Nanos {
    Nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64)
}

/// A node's name that no other test and no other run has.
fn node(name: &str) -> Arc<str> {
    format!("{name}-{}-{}", std::process::id(), now().0).into()
}

fn start(url: &str) -> RemoteWrite {
    let config = RemoteWriteConfig {
        url: Some(format!("{url}/api/v1/write")),
        max_delay_ms: 10,
        flush_seconds: 120,
        labels: [("cluster".to_owned(), "test".to_owned())].into(),
        ..RemoteWriteConfig::default()
    };
    RemoteWrite::start(&config).unwrap().unwrap()
}

/// The batches that an engine makes of a capture, as if it had ended a minute ago; `None` for one that is too long for that.
fn batches(node: &Arc<str>, file: PathBuf) -> Option<Vec<StoreBatch>> {
    let mut source = PcapSource::open(&[file], &PcapConfig::default()).unwrap();
    let mut drain = Drain::new(node.clone(), 1, 4096);
    let mut engine = Engine::new(EngineConfig::default());
    let mut batches = Vec::new();
    while let Some(generation) = source.generation().unwrap() {
        batches.extend(drain.cut(generation).iter().filter_map(|message| engine.apply(message)));
    }
    batches.push(engine.finish());
    let (from, to) = source.span()?;
    if to.since(from) > Duration::from_secs(300) {
        return None;
    }
    // Whole windows.
    let ten = Resolution::S10.duration();
    let end = now().floor(ten).minus(Duration::from_secs(60)).0;
    let shift = |at: &mut Nanos| at.0 = at.0 + end - to.floor(ten).0;
    for batch in &mut batches {
        batch.rollups.iter_mut().for_each(|row| shift(&mut row.window));
        batch.windows.iter_mut().for_each(|window| shift(&mut window.start));
        for entry in &mut batch.ledger {
            shift(&mut entry.start);
            shift(&mut entry.end);
        }
    }
    Some(batches)
}

/// The samples that `metric` has of `node`.
async fn ask(url: &str, metric: &str, node: &str) -> Samples {
    let (url, metric, node) = (url.to_owned(), metric.to_owned(), node.to_owned());
    tokio::task::spawn_blocking(move || {
        // VictoriaMetrics shows what it got when it has written it; Prometheus knows no such address.
        let _ = ureq::get(format!("{url}/internal/force_flush")).call();
        let query = format!("{metric}{{node=\"{node}\"}}[1h]");
        let mut answer = ureq::get(format!("{url}/api/v1/query")).query("query", query).call().unwrap();
        let answer: Value = answer.body_mut().read_json().unwrap();
        let mut samples = Samples::new();
        for series in answer["data"]["result"].as_array().unwrap() {
            let mut labels = series["metric"].as_object().unwrap().clone();
            for (name, expected) in [("__name__", &metric), ("node", &node), ("cluster", &"test".to_owned())] {
                assert_eq!(labels.remove(name).unwrap(), **expected);
            }
            labels.sort_keys();
            for sample in series["values"].as_array().unwrap() {
                let at = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                let value = sample[1].as_str().unwrap().parse().unwrap();
                samples.insert((serde_json::to_string(&labels).unwrap(), at), value);
            }
        }
        samples
    })
    .await
    .unwrap()
}

/// What the roll-ups say, by the labels and the ends of windows that samples have.
fn rollups(batches: &[StoreBatch], of: impl Fn(&netspectra_common::model::Rollup) -> u64) -> Samples {
    let mut sums = Samples::new();
    for batch in batches {
        let log = batch.ledger.iter().map(|entry| entry.end).max();
        for row in &batch.rollups {
            let proto = match row.src_ip {
                None => "non_ip",
                Some(_) => protocol_name(row.proto)
                    .filter(|name| ["tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "esp"].contains(name))
                    .unwrap_or("other"),
            };
            let end = row.window.plus(Resolution::S10.duration());
            let at = log.map_or(end, |log| log.min(end)).0 / 1_000_000;
            let labels = format!("{{\"proto\":\"{proto}\"}}");
            *sums.entry((labels, at as i64)).or_default() += of(row) as f64;
        }
    }
    sums
}

#[tokio::test]
async fn prometheus_answers_what_the_engine_counted_of_a_capture_also_when_it_is_sent_twice() {
    let (Some(url), Some(folder)) = (prometheus(), captures()) else { return };
    answers_what_was_counted(&url, &folder).await;
}

#[tokio::test]
async fn victoria_metrics_answers_the_same() {
    let (Some(started), Some(folder)) = (victoria_metrics(), captures()) else { return };
    answers_what_was_counted(&started.url, &folder).await;
}

async fn answers_what_was_counted(url: &str, folder: &Path) {
    let mut tried = 0;
    for file in ["PcapPlusPlus-many-protocols.pcap", "zeek-ipv6.pcap", "zeek-merlinc2_Zeek_example.pcapng"] {
        let node = node(file);
        let Some(batches) = batches(&node, folder.join(file)) else { continue };
        tried += 1;
        let first = start(url);
        batches.iter().for_each(|batch| first.offer(batch));
        first.close().await;
        let stats = first.stats();
        assert_eq!((stats.rejected, stats.dropped), (0, 0), "{file}: {stats:?}");

        let mut expected = [Samples::new(), Samples::new(), Samples::new()];
        expected[0] = rollups(&batches, |row| row.packets);
        expected[1] = rollups(&batches, |row| row.bytes);
        expected[2] = rollups(&batches, |row| row.new_flows);
        assert!(expected.iter().all(|samples| !samples.is_empty()), "{file}");
        let compare = async |when: &str| {
            for (metric, expected) in ["packets", "bytes", "new_flows"].into_iter().zip(&expected) {
                let found = ask(url, &format!("netspectra_window_{metric}"), &node).await;
                assert_eq!(&found, expected, "{file}: {metric} {when}");
            }
            let mut whole = Ledger::default();
            batches.iter().flat_map(|batch| &batch.ledger).for_each(|entry| whole.merge(&entry.ledger));
            let sum = async |metric: &str| -> f64 { ask(url, metric, &node).await.values().sum() };
            assert_eq!(sum("netspectra_ledger_seen_packets").await, whole.seen.packets as f64, "{file} {when}");
            assert_eq!(sum("netspectra_ledger_bytes").await, whole.accounted().bytes as f64, "{file} {when}");
        };
        compare("sent once").await;
        // As an owner does that takes the partition over.
        let second = start(url);
        batches.iter().for_each(|batch| second.offer(batch));
        second.close().await;
        let again = second.stats();
        assert_eq!(again.sent + again.rejected, stats.sent, "{file}: {again:?}");
        assert_eq!(again.retries, 0, "{file}: {again:?}");
        compare("sent twice").await;
    }
    assert!(tried >= 2, "captures are too long: {tried}");
}

/// What one generation of `node` counted that ended at `end`.
fn generation(node: &Arc<str>, end: Nanos, packets: u64) -> StoreBatch {
    let seen = Counter::new(packets, packets * 100);
    let (start, ledger) = (end.minus(Duration::from_secs(1)), Ledger { seen, flows: seen, ..Ledger::default() });
    let (node, epoch) = (node.clone(), 1);
    let entry = LedgerEntry { node, epoch, generation: 0, start, end, ledger, nics: Vec::new(), chain_break: false };
    StoreBatch { ledger: vec![entry], ..StoreBatch::default() }
}

#[tokio::test]
async fn samples_that_prometheus_refuses_keep_no_others_away() {
    let Some(url) = prometheus() else { return };
    let (good, bad) = (node("good"), node("bad"));
    let end = now().floor(Duration::from_secs(1));
    let before = |seconds: u64| end.minus(Duration::from_secs(seconds));
    let remote = start(&url);
    // The newest time first: what is two hours older than that is refused, whatever the server allows.
    remote.offer(&generation(&bad, end, 1));
    remote.close().await;
    assert_eq!(remote.stats().sent, 4);

    let remote = start(&url);
    for n in 0..20 {
        remote.offer(&generation(&good, before(20 - n), n));
        // Another value for a time that there is, and times that are too old.
        remote.offer(&if n % 2 == 0 { generation(&bad, end, 2 + n) } else { generation(&bad, before(7200 - n), n) });
    }
    remote.close().await;
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.rejected, stats.dropped, stats.retries), (20 * 4, 20 * 4, 0, 0));
    let found: Vec<f64> = ask(&url, "netspectra_ledger_seen_packets", &good).await.into_values().collect();
    assert_eq!(found, (0..20).map(f64::from).collect::<Vec<_>>());
    let kept: Vec<f64> = ask(&url, "netspectra_ledger_seen_packets", &bad).await.into_values().collect();
    assert_eq!(kept, [1.0]);
}
