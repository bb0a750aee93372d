//! The parts of a cluster as a user starts them, through a real Kafka and a real ClickHouse: what several agents saw at once is
//! answered by every API as one process answers it, whatever was killed on the way.
//!
//! Needs the variables that `cargo xtask cluster up` prints. With `NETSPECTRA_CLUSTER_CTL` servers are killed too. Not proven
//! here: replicas of ClickHouse, TLS to it. Live capture into Kafka is in `kernel_cluster`.
#![cfg(feature = "cluster")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what a part of the cluster said is what explains a failure"
)]

mod ages;
mod brokers;
mod faults;
mod secure;
mod series;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_common::model::BusMessage;
use netspectra_common::ports::{BoxFuture, PortError, Publisher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::cluster::{Cluster, PATIENCE, Part, ask, ledger, wait_for_all};
use traffic::{QUESTIONS, TOKEN, captures, reference};

/// An agent for each of `files`, by names from `node{first}` on.
fn agents(cluster: &Cluster, first: usize, files: &[PathBuf]) -> Vec<Part> {
    let agent = |(n, file)| cluster.agent(&format!("node{}", first + n), std::slice::from_ref(file));
    files.iter().enumerate().map(agent).collect()
}

/// Waits until Kafka has all of what `agents` read.
fn wait_for_agents(agents: &[Part]) {
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
}

/// Waits until the API has the flows that one process has: whoever took a partition over says nothing of it before it has read
/// again what is not stored.
fn wait_for_the_same_flows(api: &str, token: &str, reference: SocketAddr) {
    let question = "flows?limit=10000&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z";
    let expected = ask(&reference.to_string(), TOKEN, question);
    let until = Instant::now() + PATIENCE;
    while ask(api, token, question) != expected {
        assert!(Instant::now() < until, "flows differ from those of one process");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// In the end the APIs have everything, and answer as one process.
fn assert_whole(apis: &[&str], token: &str, reference: SocketAddr, packets: u64) {
    for api in apis {
        wait_for_all(api, token, packets);
        wait_for_the_same_flows(api, token, reference);
    }
    assert_same_answers(apis, token, reference);
}

/// Every API answers as the one process does, byte for byte.
pub(crate) fn assert_same_answers(apis: &[&str], token: &str, reference: SocketAddr) {
    for question in QUESTIONS {
        let question = format!("{question}from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z");
        let (status, expected) = ask(&reference.to_string(), TOKEN, &question);
        assert_eq!(status, 200, "{question}: {expected}");
        for api in apis {
            let (status, found) = ask(api, token, &question);
            assert_eq!(status, 200, "{question}: {found}");
            assert!(found == expected, "{question}\n found    {found:.2000}\n expected {expected:.2000}");
        }
    }
}

/// The live board speaks of the latest window of this cluster's nodes.
fn assert_now(api: &str, token: &str) {
    let (status, text) = ask(api, token, "now?limit=3");
    assert_eq!(status, 200, "{text}");
    let now: serde_json::Value = serde_json::from_str(&text).unwrap();
    let count = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(count(&now["partitions"]) > 0 && now["unreadable"] == 0, "{text}");
    let window = &now["windows"][0];
    assert!(count(&window["nodes"]) > 0 && count(&window["packets"]) > 0, "{text}");
    assert!(window["top_senders"][0]["bytes"]["low"].as_f64().unwrap() > 0.0, "{text}");
}

#[test]
fn several_agents_engines_and_apis_answer_as_one_process() {
    let cluster = Cluster::new("several");
    let files = captures(cluster.dir.path(), 6, 150, 60);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let engines = [cluster.engine(0), cluster.engine(1)];
    let ((_api, one), (_other_api, other)) = (cluster.api(), cluster.api());
    wait_for_agents(&agents(&cluster, 0, &files));
    let token = cluster.token();
    wait_for_all(&one, &token, packets);
    assert_same_answers(&[&one, &other], &token, reference);
    assert_now(&one, &token);
    // An engine that leaves gives its partitions to the other one.
    let [first, second] = engines;
    first.stop();
    second.wait_for("took the partition over");
    assert_whole(&[&one, &other], &token, reference, packets);
}

#[test]
fn one_engine_becomes_four_and_one_again_under_load() {
    let cluster = Cluster::new("scale");
    let files = captures(cluster.dir.path(), 6, 120, 60);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let last = cluster.engine(0);
    last.wait_for("took the partition over");
    let (_api, api) = cluster.api();
    let mut agents = agents(&cluster, 0, &files[..3]);
    // Four partitions: each of the four has one in the end.
    let more: Vec<Part> = (1..4).map(|number| cluster.engine(number)).collect();
    more.iter().for_each(|engine| drop(engine.wait_for("took the partition over")));
    agents.extend(self::agents(&cluster, 3, &files[3..]));
    more.into_iter().for_each(Part::stop);
    wait_for_agents(&agents);
    assert_whole(&[&api], &cluster.token(), reference, packets);
}

/// Rounds in which something is killed under load.
fn rounds() -> usize {
    std::env::var("NETSPECTRA_CLUSTER_KILLS").map_or(8, |n| n.parse().expect("`NETSPECTRA_CLUSTER_KILLS` is a number"))
}

/// Kills a server and starts it again, where that may be done.
fn kill_server(name: &str) -> bool {
    let Some(ctl) = std::env::var_os("NETSPECTRA_CLUSTER_CTL") else { return false };
    for verb in ["kill", "start"] {
        let done = Command::new(&ctl).args(["cluster", verb, name]).output().unwrap();
        assert!(done.status.success(), "{verb} {name}: {}", String::from_utf8_lossy(&done.stderr));
    }
    true
}

#[test]
fn whatever_is_killed_nothing_is_lost_and_nothing_comes_twice() {
    let cluster = Cluster::alone("killed");
    let files = captures(cluster.dir.path(), rounds().max(4), 90, 200);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let mut engines = [Some(cluster.engine(0)), Some(cluster.engine(1))];
    let (mut api, mut address) = cluster.api();
    let token = cluster.token();
    let mut agents = Vec::new();
    for (round, file) in files.iter().enumerate() {
        agents.push(cluster.agent(&format!("node{round}"), std::slice::from_ref(file)));
        match round % 5 {
            0 | 3 => {
                let number = round % 2;
                engines[number].take().unwrap().kill();
                engines[number] = Some(cluster.engine(number));
            }
            1 => {
                kill_server("clickhouse");
            }
            2 => {
                api.kill();
                (api, address) = cluster.api();
            }
            _ => {
                kill_server("kafka");
                kill_server("redis");
            }
        }
        let found = ledger(&address, &token);
        assert!(found["residual"]["packets"].as_i64().unwrap_or(0) == 0, "{found}");
        assert!(found["seen"]["packets"].as_u64().unwrap_or(0) <= packets, "more than there were: {found}");
    }
    wait_for_agents(&agents);
    assert_whole(&[&address], &token, reference, packets);
    drop(api);
}

/// Publishes messages as they are, so that a test can send any bytes.
struct Raw(netspectra_agent::bus::kafka::KafkaPublisher);

impl Publisher for Raw {
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
        self.0.publish(messages)
    }
}

#[test]
fn a_message_that_nobody_can_read_is_put_aside_and_the_rest_goes_on() {
    let cluster = Cluster::new("poison");
    let files = captures(cluster.dir.path(), 1, 20, 20);
    let text = std::fs::read_to_string(&cluster.config).unwrap();
    let settings: toml::Table = toml::from_str(&text).unwrap();
    let kafka: netspectra_common::kafka::KafkaConfig = settings["kafka"].clone().try_into().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The same messages in bytes of nobody's.
    let garbage =
        Raw(netspectra_agent::bus::kafka::KafkaPublisher::new(&kafka, |_| b"\xff\xfe nonsense".to_vec()).unwrap());
    let mut source = PcapSource::open(&files, &PcapConfig::default()).unwrap();
    let mut drain = Drain::new("node0".into(), 7, 16_384);
    let messages = drain.cut(source.generation().unwrap().unwrap());
    let sent = messages.len();
    runtime.block_on(garbage.publish(messages)).unwrap();
    let engine = cluster.engine(0);
    let (_api, address) = cluster.api();
    cluster.agent("node0", &files).wait_for("Kafka has all of it");
    let token = cluster.token();
    wait_for_all(&address, &token, 20 * 20);
    for _ in 0..sent {
        engine.wait_for("it goes to the dead letters");
    }
    let metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", cluster.engines[0])).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    assert!(metrics.contains(&format!("netspectra_engine_dead_letters_total {sent}\n")), "{metrics}");
}
