//! What happens between the parts: connections that are cut, and an engine that sleeps.

use super::support::cluster::{Cluster, PATIENCE, ask, server, wait_for_all};
use super::support::proxy::Proxy;
use super::traffic::{captures, reference};
use super::{agents, assert_whole, wait_for_agents};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cuts on the way to each server.
const CUTS: u64 = 40;

/// Longer than a session (6 s): nobody owns anything when the brokers are back.
const OUTAGE: Duration = Duration::from_secs(8);

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
    let agents = agents(&cluster, 0, &files);
    wait_for_agents(&agents);
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
    assert_whole(&[&api], &token, reference, packets);
}

#[test]
fn an_outage_of_the_brokers_ends_with_everything_there() {
    let (_alone, kafka) = before_kafka();
    let cluster = Cluster::over("away", &kafka.front().to_string(), &server("NETSPECTRA_CLICKHOUSE"), "");
    let files = captures(cluster.dir.path(), 4, 90, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let _engines = [cluster.engine(0), cluster.engine(1)];
    let agents = agents(&cluster, 0, &files);
    kafka.set_away(true);
    std::thread::sleep(OUTAGE);
    kafka.set_away(false);
    wait_for_agents(&agents);
    let (_api, api) = cluster.api();
    assert_whole(&[&api], &cluster.token(), reference, packets);
}

#[test]
fn an_engine_that_starts_again_has_its_partitions_back_and_its_former_self_ends() {
    let cluster = Cluster::new("named");
    let files = captures(cluster.dir.path(), 2, 60, 100);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let mut first = cluster.named_engine(0);
    first.wait_for("took the partition over");
    let agents = agents(&cluster, 0, &files);
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
    wait_for_agents(&agents);
    let (_api, api) = cluster.api();
    assert_whole(&[&api], &cluster.token(), reference, packets);
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
    let agents_before = agents(&cluster, 0, first);
    engines[0].signal(libc::SIGSTOP);
    wait_for_agents(&agents_before);
    engines[1].wait_for("took the partition over");
    // It wakes in the middle of a block, as the owner of partitions that are somebody else's.
    let agents_after = agents(&cluster, first.len(), second);
    engines[0].signal(libc::SIGCONT);
    wait_for_agents(&agents_after);
    let (_api, api) = cluster.api();
    assert_whole(&[&api], &cluster.token(), reference, packets);
}
