//! `netspectra run` sends time series: what a real Prometheus, which `NETSPECTRA_PROMETHEUS` names, has of a run is the run's ledger.
//!
//! Needs root. Does not prove: TLS to a real receiver.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::print_stderr, reason = "tests")]

mod support;

use serde_json::Value;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::time::{SystemTime, UNIX_EPOCH};
use support::instance::Instance;
use support::net::{MON, Pair};
use support::proxy::Proxy;
use support::traffic;

/// The sum of all samples of `metric` that `node` has.
fn sum(url: &str, metric: &str, node: &str) -> u64 {
    let query = format!("sum(sum_over_time({metric}{{node=\"{node}\"}}[1h]))");
    let mut answer = ureq::get(format!("{url}/api/v1/query")).query("query", query).call().unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    let value = answer["data"]["result"][0]["value"][1].as_str().unwrap_or_else(|| panic!("`{metric}` in {answer}"));
    value.parse().unwrap()
}

#[test]
fn prometheus_has_what_a_run_counted_when_it_has_ended() {
    let Ok(url) = std::env::var("NETSPECTRA_PROMETHEUS") else {
        assert!(std::env::var_os("CI").is_none(), "`NETSPECTRA_PROMETHEUS` must be set on CI");
        eprintln!("not tried: set `NETSPECTRA_PROMETHEUS`, or run `cargo xtask test`");
        return;
    };
    let pair = Pair::new();
    // From the monitored namespace nothing else can be reached.
    let front = pair.inside(&pair.mon, || TcpListener::bind("127.0.0.1:0").unwrap());
    let server = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let proxy = Proxy::new(front, server.to_socket_addrs().unwrap().next().unwrap());
    let data = tempfile::tempdir().unwrap();
    let config = format!("[remote_write]\nurl = \"http://{}/api/v1/write\"\nmax_delay_ms = 60000\n", proxy.front());
    std::fs::write(data.path().join("run.toml"), config).unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let node = format!("run-{}-{since}", std::process::id());
    let instance = Instance::start_as(&pair, &[], MON, "native", &node, data);
    pair.up();
    traffic::udp(&pair, false, 5000, 200, 100, 333);
    traffic::ping(&pair, true, 10, 900);
    traffic::http(&pair, false, 300_000);
    pair.down();
    let seen = instance.query("ledger", &["--from", "0"]);
    assert!(
        instance
            .wait_for_metric("netspectra_remote_write_queue_samples ", 0)
            .contains("netspectra_remote_write_samples_total")
    );
    // All that waits is sent at the end, the last windows among it.
    let (status, log) = instance.stop();
    assert!(status.success(), "{log}");
    let ledger = log.lines().find_map(|line| line.split_once("ledger: seen ")).unwrap_or_else(|| panic!("{log}")).1;
    let mut numbers = ledger.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
    let (packets, bytes) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(packets >= seen["seen"]["packets"].as_u64().unwrap() && packets > 400, "{ledger}");
    assert_eq!(sum(&url, "netspectra_ledger_seen_packets", &node), packets);
    assert_eq!(sum(&url, "netspectra_ledger_seen_bytes", &node), bytes);
    assert_eq!(sum(&url, "netspectra_ledger_packets", &node), packets, "nothing is unaccounted for");
    assert_eq!(sum(&url, "netspectra_window_packets", &node), packets, "and all of it is in windows");
    assert_eq!(sum(&url, "netspectra_window_bytes", &node), bytes);
}
