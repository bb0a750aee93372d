//! Interfaces that come and go while they are watched, and which of several that see the same packets is watched.
//!
//! Needs root and the eBPF object. VLAN devices and bonds are in `cargo xtask test-vm`; here are veth, bridge, macvlan.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use netspectra_agent::source::Source;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketSource};
use netspectra_agent::source::xdp::{AttachMode, XdpConfig, XdpError, XdpSource, list_links};
use netspectra_common::abi::Direction;
use support::count::{Sum, object};
use support::lab::Lab;
use support::packet_socket;
use support::send::datagrams;

fn config(interfaces: &[&str]) -> XdpConfig {
    XdpConfig { interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(), ..XdpConfig::default() }
}

fn names(source: &XdpSource) -> Vec<String> {
    source.attached().into_iter().map(|a| a.iface).collect()
}

/// Bytes of `datagrams(_, _, 10)`.
const FRAME: u64 = 52;

/// Adds generations until these interfaces are watched.
fn settle(sum: &mut Sum, source: &mut XdpSource, expected: &[&str]) {
    sum.take_until(source, &format!("{expected:?} watched"), |_, source| names(source) == expected);
}

#[test]
fn an_interface_that_goes_and_comes_back_counts_exactly() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let mut sum = Sum::default();
        let mut source = XdpSource::open(&object(), &config(&["mon0"])).unwrap();
        let mut expected = 0;
        for round in 1..=5u64 {
            // Before it goes, nothing that it counted was read.
            lab.inside("peer", || packet_socket::raw("peer0", &datagrams(10 * round as usize, 9, 10)));
            packet_socket::raw("mon0", &datagrams(3, 9, 10));
            expected += 10 * round;
            lab.ip("mon", "link del mon0");
            settle(&mut sum, &mut source, &[]);
            assert_eq!(sum.at("mon0", Direction::Ingress), (expected, expected * FRAME, expected * 38));
            assert_eq!(sum.at("mon0", Direction::Egress).0, 3 * round);
            lab.veth("mon", "mon0", "peer", "peer0");
            settle(&mut sum, &mut source, &["mon0"]);
        }
        assert_eq!(sum.seen.packets, expected + 15);
    });
}

#[test]
fn a_glob_waits_for_its_first_match_and_a_name_does_not() {
    let lab = Lab::new(&["mon", "peer"]);
    lab.inside("mon", || {
        assert!(matches!(XdpSource::open(&object(), &config(&["mon0"])), Err(XdpError::NoInterface { .. })));
        let mut source = XdpSource::open(&object(), &config(&["mon*"])).unwrap();
        let mut sum = Sum::default();
        settle(&mut sum, &mut source, &[]);
        lab.veth("mon", "mon0", "peer", "peer0");
        settle(&mut sum, &mut source, &["mon0"]);
        lab.inside("peer", || packet_socket::raw("peer0", &datagrams(12, 9, 10)));
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= 12);
        assert_eq!(sum.at("mon0", Direction::Ingress), (12, 12 * FRAME, 12 * 38));
    });
}

#[test]
fn packets_before_and_after_a_rename_have_the_name_of_their_time() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let mut source = XdpSource::open(&object(), &config(&["mon*"])).unwrap();
        let mut sum = Sum::default();
        lab.inside("peer", || packet_socket::raw("peer0", &datagrams(5, 9, 10)));
        sum.take_until(&mut source, "the first frames", |s, _| s.seen.packets >= 5);
        lab.ip("mon", "link set mon0 down");
        lab.ip("mon", "link set mon0 name mon7");
        lab.ip("mon", "link set mon7 up");
        lab.wait_running("mon", "mon7");
        lab.wait_running("peer", "peer0");
        settle(&mut sum, &mut source, &["mon7"]);
        lab.inside("peer", || packet_socket::raw("peer0", &datagrams(8, 9, 10)));
        sum.take_until(&mut source, "the other frames", |s, _| s.seen.packets >= 13);
        assert_eq!((sum.at("mon0", Direction::Ingress).0, sum.at("mon7", Direction::Ingress).0), (5, 8));
        lab.ip("mon", "link set mon7 down");
        lab.ip("mon", "link set mon7 name gone0");
        settle(&mut sum, &mut source, &[]);
        assert!(list_links().unwrap().iter().all(|l| l.xdp.is_none()), "let go of by its new name");
    });
}

#[test]
fn of_a_bridge_its_ports_are_watched_and_a_packet_to_the_host_counts_once() {
    let lab = Lab::new(&["mon", "peer"]);
    lab.veth("mon", "port0", "peer", "peer0");
    lab.veth("mon", "port1", "peer", "peer1");
    lab.ip("mon", "link add br0 type bridge");
    lab.ip("mon", "link add mac0 link br0 type macvlan");
    for dev in ["br0", "mac0"] {
        lab.ip("mon", &format!("link set {dev} up"));
    }
    lab.inside("mon", || {
        let mut source = XdpSource::open(&object(), &config(&["br*", "mac*", "port*"])).unwrap();
        let mut sum = Sum::default();
        // Without ports nothing is below the bridge.
        settle(&mut sum, &mut source, &["port0", "port1", "br0"]);
        lab.ip("mon", "link set port0 master br0");
        lab.ip("mon", "link set port1 master br0");
        settle(&mut sum, &mut source, &["port0", "port1"]);
        ["br0", "port0", "port1"].iter().for_each(|dev| lab.wait_running("mon", dev));
        let before = sum.seen.packets;
        lab.inside("peer", || packet_socket::raw("peer0", &datagrams(30, 9, 10)));
        // To all: received at one port, sent at the other, and taken by the bridge and the macvlan above.
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= before + 60);
        assert_eq!(sum.at("port0", Direction::Ingress).0, 30);
        assert_eq!(sum.at("port1", Direction::Egress).0, 30);
        assert_eq!((sum.at("br0", Direction::Ingress).0, sum.seen.packets), (0, before + 60));
        let both = XdpSource::open(&object(), &config(&["br0", "port0"]));
        assert!(matches!(both, Err(XdpError::Overlap { .. })));
    });
}

#[test]
fn more_interfaces_than_slots_count_for_one_that_is_called_other() {
    let lab = Lab::new(&["mon"]);
    let pairs: String = (0..129).map(|n| format!("link add v{n} type veth peer name w{n}\n")).collect();
    std::fs::write(format!("/tmp/{}.batch", lab.path("many")), &pairs).unwrap();
    lab.ip("mon", &format!("-batch /tmp/{}.batch", lab.path("many")));
    std::fs::remove_file(format!("/tmp/{}.batch", lab.path("many"))).unwrap();
    lab.inside("mon", || {
        let config = XdpConfig { mode: AttachMode::Tc, ..config(&["v*"]) };
        let mut source = XdpSource::open(&object(), &config).unwrap();
        assert_eq!(source.attached().len(), 129);
        for n in [0, 127, 128] {
            lab.ip("mon", &format!("link set w{n} up"));
            lab.ip("mon", &format!("link set v{n} up"));
            lab.wait_running("mon", &format!("v{n}"));
            lab.wait_running("mon", &format!("w{n}"));
            packet_socket::raw(&format!("w{n}"), &datagrams(n + 1, 9, 10));
        }
        let mut sum = Sum::default();
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= 258);
        assert_eq!((sum.at("v0", Direction::Ingress).0, sum.at("other", Direction::Ingress).0), (1, 128 + 129));
        // Two leave: their slots are for those that have none.
        lab.ip("mon", "link del v1");
        lab.ip("mon", "link del v2");
        sum.take_until(&mut source, "two left", |_, source| source.attached().len() == 127);
        sum.take(&mut source);
        packet_socket::raw("w128", &datagrams(7, 9, 10));
        sum.take_until(&mut source, "the frames after", |s, _| s.seen.packets >= 265);
        assert_eq!(sum.at("v128", Direction::Ingress).0, 7);
    });
}

#[test]
fn the_descriptor_to_wait_for_becomes_readable_when_an_interface_comes() {
    let lab = Lab::new(&["mon", "peer"]);
    lab.inside("mon", || {
        let mut source = XdpSource::open(&object(), &config(&["mon*"])).unwrap();
        let wake = source.wake().unwrap();
        let readable = |timeout| {
            use std::os::fd::AsRawFd;
            let mut poll = libc::pollfd { fd: wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which outlives the call.
            unsafe { libc::poll(&raw mut poll, 1, timeout) == 1 }
        };
        assert!(!readable(0));
        lab.veth("mon", "mon0", "peer", "peer0");
        assert!(readable(20_000));
        Sum::default().take(&mut source);
        assert_eq!(names(&source), ["mon0"]);
    });
}

fn sockets(interfaces: &[&str]) -> AfPacketConfig {
    AfPacketConfig { interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(), ..AfPacketConfig::default() }
}

/// Adds generations until packet sockets watch these interfaces.
fn settle_sockets(sum: &mut Sum, source: &mut AfPacketSource, expected: &[&str]) {
    let watched =
        |source: &AfPacketSource| source.sockets().into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    sum.take_until(source, &format!("{expected:?} watched"), |_, source| watched(source) == expected);
}

#[test]
fn packet_sockets_follow_interfaces_that_go_and_come_back() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let mut sum = Sum::default();
        let mut source = AfPacketSource::open(&sockets(&["mon0"])).unwrap();
        let (mut received, mut sent) = (0, 0);
        for round in 1..=5u64 {
            lab.inside("peer", || packet_socket::raw("peer0", &datagrams(10 * round as usize, 9, 10)));
            packet_socket::raw("mon0", &datagrams(3, 9, 10));
            (received, sent) = (received + 10 * round, sent + 3);
            // What came is in the kernel's receive path for a moment.
            sum.take_until(&mut source, "what was received", |sum, _| sum.at("mon0", Direction::Ingress).0 == received);
            packet_socket::raw("mon0", &datagrams(4, 9, 10));
            sent += 4;
            // Before it goes, nothing of the last four was read.
            lab.ip("mon", "link del mon0");
            settle_sockets(&mut sum, &mut source, &[]);
            assert_eq!(sum.at("mon0", Direction::Egress).0, sent, "round {round}");
            lab.veth("mon", "mon0", "peer", "peer0");
            settle_sockets(&mut sum, &mut source, &["mon0"]);
        }
        assert_eq!(sum.at("mon0", Direction::Ingress), (received, received * FRAME, received * 38));
        source.detach();
        sum.take(&mut source);
        assert_eq!(sum.seen.packets, received + sent);
    });
}

#[test]
fn packet_sockets_by_glob_wait_for_their_first_match_and_take_the_next_one() {
    let lab = Lab::new(&["mon", "peer"]);
    lab.inside("mon", || {
        assert!(AfPacketSource::open(&sockets(&["mon0"])).is_err());
        let mut source = AfPacketSource::open(&sockets(&["mon*"])).unwrap();
        let mut sum = Sum::default();
        settle_sockets(&mut sum, &mut source, &[]);
        for (n, name) in ["mon0", "mon1", "mon2"].iter().enumerate() {
            lab.veth("mon", name, "peer", &format!("peer{n}"));
            settle_sockets(&mut sum, &mut source, &["mon0", "mon1", "mon2"][..=n]);
        }
        for n in 0..3 {
            lab.inside("peer", || packet_socket::raw(&format!("peer{n}"), &datagrams(12 + n, 9, 10)));
        }
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= 39);
        for n in 0..3u64 {
            let count = 12 + n;
            let expected = (count, count * FRAME, count * 38);
            assert_eq!(sum.at(&format!("mon{n}"), Direction::Ingress), expected);
        }
        // The one in the middle goes: its slot is free, and the others keep theirs.
        lab.ip("mon", "link del mon1");
        settle_sockets(&mut sum, &mut source, &["mon0", "mon2"]);
        lab.veth("mon", "mon9", "peer", "peer9");
        settle_sockets(&mut sum, &mut source, &["mon0", "mon2", "mon9"]);
        lab.inside("peer", || packet_socket::raw("peer9", &datagrams(5, 9, 10)));
        lab.inside("peer", || packet_socket::raw("peer2", &datagrams(6, 9, 10)));
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= 50);
        assert_eq!(sum.at("mon9", Direction::Ingress).0, 5);
        assert_eq!(sum.at("mon2", Direction::Ingress).0, 14 + 6);
    });
}
