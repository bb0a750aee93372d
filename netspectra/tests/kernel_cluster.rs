//! A live agent that writes to Kafka and is killed again and again under traffic, as are the engine, the connections and, for a
//! while, the way to the brokers: every packet of the wire is in the answer, once.
//!
//! Needs root, a BPF file system and the variables that `cargo xtask cluster up` prints. `NETSPECTRA_KILLS` says how many kills, 12
//! unless told, and
//! `NETSPECTRA_OUTAGE` for how many seconds the brokers are away in the other test, 8 unless told.
#![cfg(feature = "cluster")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;
use support::cluster::{BINARY, Cluster, Part, ask, ledger, server, wait_for_all};
use support::kill::{Cleanup, Traffic, random};
use support::net::{MON, Pair};
use support::proxy::Proxy;

/// Longest life of an agent after it watches, in milliseconds: more than a generation.
const LIFE: u64 = 1500;

fn agent(pair: &Pair, cluster: &Cluster, kafka: &str, node: &str, more: &[&str]) -> Part {
    let ns = format!("--net=/run/netns/{}", pair.mon);
    let mut args = vec![&*ns, BINARY, "agent", "--config", &cluster.config, "--kafka", kafka, "--iface", MON];
    args.extend(["--mode", "native", "--node", node, "--listen", "127.0.0.1:0"]);
    args.extend(more);
    let part = Part::by("nsenter", &args);
    part.wait_for("writing to Kafka");
    part
}

fn number(v: &Value, field: &str) -> u64 {
    v[field].as_u64().unwrap_or_else(|| panic!("`{field}` in {v}"))
}

#[test]
fn whatever_dies_between_the_wire_and_the_answer_every_packet_is_there_once() {
    let kills: u64 = std::env::var("NETSPECTRA_KILLS").map_or(12, |n| n.parse().unwrap());
    let doors = server("NETSPECTRA_KAFKA_PROXIED");
    let (front, behind) = doors.split_once('=').unwrap();
    let node = format!("cluster{}-", std::process::id());
    let _cleanup = Cleanup(node.clone());
    let pair = Pair::new();
    // The agent's namespace has no other way out.
    let listener = pair.inside(&pair.mon, || TcpListener::bind(front).unwrap());
    let proxy = Proxy::new(listener, behind.parse().unwrap());
    let cluster = Cluster::new("live");
    let mut engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let mut live = agent(&pair, &cluster, front, &node, &[]);
    pair.up();
    let traffic = Traffic::start(&pair);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random(LIFE)));
        match kill % 4 {
            0 => {
                engine.kill();
                engine = cluster.engine(0);
            }
            1 => proxy.cut(4),
            2 => {
                // Generations wait in the kernel and in the agent meanwhile.
                proxy.set_away(true);
                std::thread::sleep(Duration::from_millis(2500));
            }
            _ => {}
        }
        live.kill();
        proxy.set_away(false);
        live = agent(&pair, &cluster, front, &node, &[]);
    }
    let sent = traffic.stop();
    assert_whole(&pair, &api, &cluster.token(), sent);
    live.stop();
}

/// Ends the link: every packet of it is in the answer, and in one record.
fn assert_whole(pair: &Pair, api: &str, token: &str, sent: u64) {
    pair.down();
    let peer = pair.peer_counters();
    // See `kernel_live`: with native XDP on the other end veth counts what was sent without the link header.
    let packets = peer.rx_packets + peer.tx_packets;
    let bytes = peer.rx_bytes + peer.tx_bytes + 14 * peer.tx_packets;
    wait_for_all(api, token, packets);
    let all = ledger(api, token);
    println!("{sent} datagrams; the peer's link: {packets} packets, {bytes} bytes; {} generations", all["generations"]);
    assert_eq!((number(&all["seen"], "packets"), number(&all["seen"], "bytes")), (packets, bytes), "{all:#}");
    assert_eq!(all["accounted"], all["seen"], "{all:#}");
    assert_eq!(number(&all, "chain_breaks"), 0, "{all:#}");
    assert!(packets >= sent && sent > 0, "{packets} {sent}");
    let (status, flows) = ask(api, token, "flows?limit=10000&from=2001-01-01T00:00:00Z&to=2100-01-01T00:00:00Z");
    assert_eq!(status, 200, "{flows}");
    let flows: Value = serde_json::from_str(&flows).unwrap();
    let (mut p, mut b) = (0, 0);
    let mut rows = BTreeSet::new();
    for f in flows["items"].as_array().unwrap() {
        p += number(f, "packets") + number(f, "reverse_packets");
        b += number(f, "bytes") + number(f, "reverse_bytes");
        assert!(rows.insert((f["flow_id"].to_string(), f["first_seen"].to_string())), "twice: {f:#}");
    }
    assert_eq!((p, b), (packets, bytes), "{} rows", rows.len());
}

/// What follows in the line of `/proc/ID/status` that begins so.
fn status_of(id: u32, of: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(of)).unwrap().trim().to_owned()
}

/// `nobody`.
const NOBODY: &str = "65534";

#[test]
fn an_agent_that_goes_on_as_another_user_writes_everything() {
    let doors = server("NETSPECTRA_KAFKA_PROXIED");
    let (front, behind) = doors.split_once('=').unwrap();
    let node = format!("user{}-", std::process::id());
    let _cleanup = Cleanup(node.clone());
    let pair = Pair::new();
    let listener = pair.inside(&pair.mon, || TcpListener::bind(front).unwrap());
    let _proxy = Proxy::new(listener, behind.parse().unwrap());
    let cluster = Cluster::new("user");
    let _engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let live = agent(&pair, &cluster, front, &node, &["--user", NOBODY]);
    let users = [NOBODY; 4].join("\t");
    assert_eq!((status_of(live.id(), "Uid:"), status_of(live.id(), "Groups:")), (users, String::new()));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status_of(live.id(), set), "0000000000000000", "{set}");
    }
    pair.up();
    let traffic = Traffic::start(&pair);
    std::thread::sleep(Duration::from_secs(4));
    let sent = traffic.stop();
    assert_whole(&pair, &api, &cluster.token(), sent);
    live.stop();
}

/// Resident memory of a process and its children, KiB.
fn memory(id: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let all = children.split_whitespace().map(|child| child.parse().unwrap()).chain([id]);
    all.map(|id| status_of(id, "VmRSS:").trim_end_matches(" kB").parse::<u64>().unwrap()).sum()
}

/// Some 5,000 packets a second: an outage may be long.
const OUTAGE_PAUSE: Duration = Duration::from_millis(9);

/// What an agent may gain while it waits, KiB: allocators keep what other threads used.
const SLACK: u64 = 8 * 1024;

#[test]
fn an_outage_of_the_brokers_loses_nothing_and_costs_no_memory() {
    let seconds: u64 = std::env::var("NETSPECTRA_OUTAGE").map_or(8, |n| n.parse().unwrap());
    let doors = server("NETSPECTRA_KAFKA_PROXIED");
    let (front, behind) = doors.split_once('=').unwrap();
    let node = format!("outage{}-", std::process::id());
    let _cleanup = Cleanup(node.clone());
    let pair = Pair::new();
    let listener = pair.inside(&pair.mon, || TcpListener::bind(front).unwrap());
    let proxy = Proxy::new(listener, behind.parse().unwrap());
    let cluster = Cluster::new("outage");
    let _engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let live = agent(&pair, &cluster, front, &node, &[]);
    pair.up();
    let traffic = Traffic::paced(&pair, OUTAGE_PAUSE);
    std::thread::sleep(Duration::from_secs(4));
    let before = memory(live.id());
    proxy.set_away(true);
    let mut highest = Vec::new();
    for second in 1..=seconds {
        std::thread::sleep(Duration::from_secs(1));
        highest.push(memory(live.id()));
        if second % 60 == 0 {
            println!("away for {second} s; the agent has {} KiB", highest[highest.len() - 1]);
        }
    }
    proxy.set_away(false);
    // The first half may end what had begun; the second half must not grow.
    let half = highest.split_off(highest.len() / 2);
    let [first, second] = [&highest, &half].map(|list| *list.iter().max().unwrap());
    println!("away for {seconds} s: {before} KiB before, at most {first} and {second} KiB in its halves");
    assert!(first <= before + SLACK && second <= first + SLACK, "{before} {first} {second}");
    std::thread::sleep(Duration::from_secs(2));
    let sent = traffic.stop();
    assert_whole(&pair, &api, &cluster.token(), sent);
    live.stop();
}
