//! What happens between the parts: connections that are cut, and an engine that sleeps.

use super::assert_same_answers;
use super::support::cluster::{Cluster, PATIENCE, Part, ask, server, wait_for_all};
use super::support::proxy::Proxy;
use super::traffic::{TOKEN, captures, reference};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cuts on the way to each server.
const CUTS: u64 = 40;

/// There is one address that leads to the relay.
static DOOR: Mutex<()> = Mutex::new(());

/// A relay before the Kafka of the cluster: its address for clients. One at a time.
fn before_kafka() -> (MutexGuard<'static, ()>, Proxy) {
    let alone = DOOR.lock().unwrap_or_else(PoisonError::into_inner);
    let doors = server("NETSPECTRA_KAFKA_PROXIED");
    let (front, behind) = doors.split_once('=').unwrap();
    (alone, Proxy::new(TcpListener::bind(front).unwrap(), behind.parse().unwrap()))
}

fn before_clickhouse() -> Proxy {
    let behind: SocketAddr = server("NETSPECTRA_CLICKHOUSE").trim_start_matches("http://").parse().unwrap();
    Proxy::new(TcpListener::bind("127.0.0.1:0").unwrap(), behind)
}

fn agents(cluster: &Cluster, files: &[PathBuf]) -> Vec<Part> {
    let agent = |(n, file)| cluster.agent(&format!("node{n}"), std::slice::from_ref(file));
    files.iter().enumerate().map(agent).collect()
}

/// Waits until the API has the flows that one process has.
fn wait_for_the_same_flows(api: &str, token: &str, reference: SocketAddr) {
    let question = "flows?limit=10000&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z";
    let expected = ask(&reference.to_string(), TOKEN, question);
    let until = Instant::now() + PATIENCE;
    while ask(api, token, question) != expected {
        assert!(Instant::now() < until, "flows differ from those of one process");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn connections_cut_before_a_request_and_before_its_answer_change_nothing() {
    let ((_alone, kafka), clickhouse) = (before_kafka(), before_clickhouse());
    let url = format!("http://{}", clickhouse.front());
    let cluster = Cluster::over("cut", &kafka.front().to_string(), &url, "");
    let files = captures(cluster.dir.path(), 6, 120, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    kafka.cut(CUTS);
    clickhouse.cut(CUTS);
    let _engines = [cluster.engine(0), cluster.engine(1)];
    let agents = agents(&cluster, &files);
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    // Questions go the same way, and may fail for now: 503.
    let (_api, api) = cluster.api();
    let token = cluster.token();
    wait_for_all(&api, &token, packets);
    for (name, proxy) in [("Kafka", &kafka), ("ClickHouse", &clickhouse)] {
        let until = Instant::now() + PATIENCE;
        while proxy.made().0 + proxy.made().1 < CUTS / 2 {
            assert!(Instant::now() < until, "too few cuts before {name}: {:?}", proxy.made());
            // Idle connections are asked now and then too.
            let _ = ask(&api, &token, "ledger?");
        }
        let (before, after) = proxy.made();
        println!("{name}: {before} cuts before a request, {after} before its answer");
        assert!(before > 0 && after > 0, "{name}");
        proxy.cut(0);
    }
    wait_for_the_same_flows(&api, &token, reference);
    assert_same_answers(&[&api], &token, reference);
}

#[test]
fn an_outage_of_the_brokers_ends_with_everything_there() {
    let (_alone, kafka) = before_kafka();
    let cluster = Cluster::over("away", &kafka.front().to_string(), &server("NETSPECTRA_CLICKHOUSE"), "");
    let files = captures(cluster.dir.path(), 4, 90, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let _engines = [cluster.engine(0), cluster.engine(1)];
    let agents = agents(&cluster, &files);
    kafka.set_away(true);
    // Longer than a session: nobody owns anything when the brokers are back.
    std::thread::sleep(Duration::from_secs(8));
    kafka.set_away(false);
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    let (_api, api) = cluster.api();
    let token = cluster.token();
    wait_for_all(&api, &token, packets);
    wait_for_the_same_flows(&api, &token, reference);
    assert_same_answers(&[&api], &token, reference);
}

#[test]
fn an_engine_that_starts_again_has_its_partitions_back_and_its_former_self_ends() {
    let cluster = Cluster::new("named");
    let files = captures(cluster.dir.path(), 2, 60, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let mut first = cluster.named_engine(0);
    first.wait_for("took the partition over");
    let agents = agents(&cluster, &files);
    first.kill();
    let second = cluster.named_engine(0);
    // Long before the brokers give up the one that was killed: nobody was told that it went.
    second.wait_for("took the partition over");
    let metrics =
        |port| ureq::get(format!("http://127.0.0.1:{port}/metrics")).call().unwrap().into_body().read_to_string();
    assert!(metrics(cluster.engines[0]).unwrap().contains("netspectra_engine_store_delay_seconds_bucket{le=\"+Inf\"}"));
    // Somebody else by the same name, at another address.
    let other = cluster.engine_as(1, "engine-0");
    second.wait_for("another engine joined with the same `kafka.instance`");
    other.wait_for("took the partition over");
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    let (_api, api) = cluster.api();
    let token = cluster.token();
    wait_for_all(&api, &token, packets);
    wait_for_the_same_flows(&api, &token, reference);
    assert_same_answers(&[&api], &token, reference);
}

#[test]
fn an_engine_that_slept_through_its_session_writes_nothing_twice() {
    let cluster = Cluster::new("slept");
    let files = captures(cluster.dir.path(), 6, 120, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let engines = [cluster.engine(0), cluster.engine(1)];
    for engine in &engines {
        engine.wait_for("took the partition over");
    }
    let (first, second) = files.split_at(3);
    let agents_before = agents(&cluster, first);
    engines[0].signal(libc::SIGSTOP);
    agents_before.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    engines[1].wait_for("took the partition over");
    // It wakes in the middle of a block, as the owner of partitions that are somebody else's.
    let named = second.iter().enumerate();
    let agents_after: Vec<Part> =
        named.map(|(n, file)| cluster.agent(&format!("node{}", n + 3), std::slice::from_ref(file))).collect();
    engines[0].signal(libc::SIGCONT);
    agents_after.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    let (_api, api) = cluster.api();
    let token = cluster.token();
    wait_for_all(&api, &token, packets);
    wait_for_the_same_flows(&api, &token, reference);
    assert_same_answers(&[&api], &token, reference);
}
