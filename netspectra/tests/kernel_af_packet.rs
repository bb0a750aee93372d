//! `netspectra run` by packet sockets: with little privilege, as the last resort, and when its ring has no room.
//!
//! Needs root to make namespaces; the program under test has less. Does not prove: kernels without BTF.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use serde_json::Value;
use support::instance::Instance;
use support::net::{MON, PEER, Pair, sh};
use support::traffic::{self, MON_V4, PEER_V4};

fn number(v: &Value, field: &str) -> u64 {
    v[field].as_u64().unwrap_or_else(|| panic!("`{field}` in {v}"))
}

/// As `nobody`, with CAP_NET_RAW and nothing else.
const NET_RAW_ONLY: [&str; 8] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=-all,+net_raw",
    "--ambient-caps=-all,+net_raw",
    "--bounding-set=-all,+net_raw",
];

#[test]
fn with_the_capability_for_raw_sockets_alone_auto_mode_watches_by_them() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(data.path(), Some(65534), Some(65534)).unwrap();
    let instance = Instance::start_as(&pair, &NET_RAW_ONLY, MON, "auto", "test", data);
    let log = instance.start_log();
    assert!(log.contains("no eBPF here") && log.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), "{log}");
    assert!(log.contains("ingress=\"af-packet\""), "{log}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap();
    // It never had more than the one, and gave that up when its sockets were open.
    assert!(status.contains("CapBnd:\t0000000000002000") && status.contains("CapEff:\t0000000000000000"), "{status}");
    pair.up();
    traffic::udp(&pair, false, 5000, 40, 100, 333);
    pair.down();
    let sent = pair.peer_counters();
    let packets = sent.rx_packets + sent.tx_packets;
    let ledger = instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") >= packets);
    assert_eq!(number(&ledger["seen"], "packets"), packets, "{ledger:#} {sent:?}");
    assert_eq!(number(&ledger["seen"], "bytes"), sent.rx_bytes + sent.tx_bytes);
    let flows = instance.query("flows", &["--from", "0", "--filter", "dst_port = 5001"]);
    let f = &flows["items"][0];
    assert_eq!((f["src_ip"].as_str(), f["dst_ip"].as_str()), (Some(PEER_V4), Some(MON_V4)));
    assert_eq!((number(f, "bytes"), number(f, "reverse_bytes")), (40 * 142, 40 * 375));
    let ready = instance.ready();
    assert!(ready.contains("capture_mode") && ready.contains("af-packet, because"), "{ready}");
    assert!(instance.stop().0.success());
}

#[test]
fn what_the_ring_has_no_room_for_is_counted_packet_by_packet() {
    const FRAMES: u64 = 20_000;
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("run.toml"), "[capture]\nring_mib = 1\n").unwrap();
    let instance = Instance::start_with(&pair, MON, "af-packet", data);
    pair.up();
    // Nobody reads the ring while the burst arrives.
    let pid = libc::pid_t::try_from(instance.pid()).unwrap();
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    traffic::raw(&pair, PEER, &vec![traffic::udp_frame(9999, &[1; 1000]); FRAMES as usize]);
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    pair.down();
    let sent = pair.peer_counters();
    let packets = sent.rx_packets + sent.tx_packets;
    assert!(packets >= FRAMES);
    let ledger = instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") >= packets);
    assert_eq!(number(&ledger["seen"], "packets"), packets, "{ledger:#} {sent:?}");
    assert_eq!(ledger["accounted"], ledger["seen"]);
    let lost = &ledger["reasons"]["ring_full"];
    let (lost, bytes) = (number(lost, "packets"), number(lost, "bytes"));
    assert!(lost > FRAMES / 2, "a ring of 1 MiB took nearly all of the burst: {ledger:#}");
    assert_eq!(bytes, 0);
    let flows = instance
        .wait("flows", &["--from", "0", "--filter", "dst_port = 9999"], |f| !f["items"].as_array().unwrap().is_empty());
    let booked = number(&flows["items"][0], "packets");
    assert!(booked > 0 && booked + lost <= packets, "{booked} booked, {lost} lost, {packets} passed");
    assert_eq!(number(&flows["items"][0], "bytes"), booked * 1042);
    let answer = instance.query("top", &["--from", "0", "--by", "dst_port"]);
    assert_eq!(answer["completeness"]["complete"], false, "the answer says that packets are missing");
    let (status, log) = instance.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("without a flow, ring_full:") && log.contains("unaccounted 0 packets, 0 bytes"), "{log}");
}

#[test]
fn interfaces_that_come_are_watched_by_the_loaders_sockets() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let mut instance = Instance::start_with(&pair, "later*", "af-packet", data);
    let (mon, peer) = (&pair.mon, &pair.peer);
    sh("ip", &["link", "add", "later0", "netns", mon, "type", "veth", "peer", "name", "far0", "netns", peer]);
    sh("ip", &["-n", mon, "link", "set", "later0", "up"]);
    sh("ip", &["-n", peer, "link", "set", "far0", "up"]);
    let line = instance.wait_for_line("watching");
    assert!(line.contains("later0") && line.contains("af-packet"), "{line}");
    const FRAMES: usize = 500;
    traffic::raw(&pair, "far0", &vec![traffic::udp_frame(9999, &[1; 100]); FRAMES]);
    let flows = instance.wait("flows", &["--from", "0", "--filter", "dst_port = 9999"], |f| {
        f["items"].as_array().unwrap().iter().map(|f| number(f, "packets")).sum::<u64>() == FRAMES as u64
    });
    assert_eq!(
        (&flows["items"][0]["iface"], number(&flows["items"][0], "bytes")),
        (&"later0".into(), FRAMES as u64 * 142)
    );
    let (status, log) = instance.stop();
    assert!(status.success() && log.contains("unaccounted 0 packets, 0 bytes"), "{log}");
}
