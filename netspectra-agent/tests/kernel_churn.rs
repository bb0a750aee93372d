//! Namespaces that come and go while their interfaces are watched leave nothing behind.
//!
//! A test program of its own, because descriptors belong to the process. Needs root and the eBPF object.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use netspectra_agent::source::xdp::{EgressChoice, XdpConfig, XdpSource};
use netspectra_common::abi::Direction;
use std::sync::Mutex;
use support::count::{Sum, object};
use support::lab::{Lab, sh};
use support::packet_socket;
use support::send::datagrams;

static ONE: Mutex<()> = Mutex::new(());

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Numbers of the programs, links and maps that this process holds. A map in a map has none: the number of its outer
/// one's entries does not change.
fn objects() -> [usize; 3] {
    let held: Vec<String> = std::fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|e| std::fs::read_to_string(e.ok()?.path()).ok())
        .collect();
    ["prog_id:", "link_id:", "map_id:"]
        .map(|what| held.iter().filter(|t| t.lines().any(|l| l.starts_with(what))).count())
}

/// Namespaces with one end of a veth pair come and go, `rounds` times.
fn come_and_go(rounds: usize, egress: EgressChoice) {
    // Descriptors are those of the process: one test at a time.
    let _one = ONE.lock().unwrap();
    let lab = Lab::new(&["mon"]);
    lab.inside("mon", || {
        let config = XdpConfig { interfaces: vec!["pod*".into()], egress, ..XdpConfig::default() };
        let mut source = XdpSource::open(&object(), &config).unwrap();
        let mut sum = Sum::default();
        sum.take(&mut source);
        let before = (descriptors(), objects());
        let ns = lab.path("pod");
        for round in 0..rounds {
            sh(&format!("ip netns add {ns}"));
            sh(&format!("ip link add pod{round} type veth peer name eth0 netns {ns}"));
            lab.ip("mon", &format!("link set pod{round} up"));
            lab.ip("pod", "link set eth0 up");
            sum.take_until(&mut source, "it is watched", |_, source| source.attached().len() == 1);
            lab.wait_running("mon", &format!("pod{round}"));
            packet_socket::raw(&format!("pod{round}"), &datagrams(2, 9, 10));
            sh(&format!("ip netns del {ns}"));
            sum.take_until(&mut source, "it is let go", |_, source| source.attached().is_empty());
        }
        let sent: u64 = (0..rounds).map(|n| sum.at(&format!("pod{n}"), Direction::Egress).0).sum();
        let noise: u64 =
            sum.flows.iter().filter(|((_, d, _), _)| *d == Direction::Ingress).map(|(_, s)| s.packets).sum();
        assert_eq!((sent, sum.seen.packets), (2 * rounds as u64, 2 * rounds as u64 + noise));
        sum.take(&mut source);
        assert_eq!((descriptors(), objects()), before, "nothing leaked");
        drop(source);
        assert_eq!(objects(), [0; 3]);
    });
}

#[test]
fn two_hundred_namespaces_that_come_and_go_leave_nothing_behind() {
    come_and_go(200, EgressChoice::Auto);
}

#[test]
fn without_tcx_they_leave_nothing_behind_either() {
    come_and_go(20, EgressChoice::Clsact);
}

/// The same for longer.
#[test]
#[ignore = "takes minutes"]
fn a_thousand_namespaces_that_come_and_go_leave_nothing_behind() {
    come_and_go(1000, EgressChoice::Auto);
}
