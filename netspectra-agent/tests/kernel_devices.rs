//! What devices count themselves, beside what the hooks see, on veth pairs in network namespaces.
//!
//! Needs root and the eBPF object. Does not prove what drivers of hardware count.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use netspectra_agent::source::Source;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketSource};
use netspectra_agent::source::xdp::{AttachMode, XdpConfig, XdpSource};
use netspectra_common::model::{NicCounters, NicDelta};
use std::time::{Duration, Instant};
use support::count::{Sum, object};
use support::lab::{Lab, sh};
use support::packet_socket;
use support::send::datagrams;

/// Frames received and sent, and their payload.
const RECEIVED: (usize, usize) = (300, 100);
const SENT: (usize, usize) = (70, 900);
/// Headers of Ethernet, IPv4 and UDP.
const HEADERS: u64 = 42;

/// Adds what `name` gained until it is what was sent, at most 20 s long; nothing more may come.
fn gains(source: &mut impl Source, name: &str, expected: NicCounters) {
    let mut sum = NicCounters::default();
    let end = Instant::now() + Duration::from_secs(20);
    while sum != expected {
        let generation = source.generation().unwrap().unwrap();
        source.recycle().unwrap();
        for NicDelta { iface, gained, reset, .. } in &generation.nics {
            assert_eq!((&**iface, *reset), (name, false));
            sum.add(*gained);
        }
        assert!(Instant::now() < end, "not within 20 s: {expected:?}, but {sum:?}");
        assert!(sum.rx_packets <= expected.rx_packets && sum.tx_packets <= expected.tx_packets, "{sum:?}");
    }
}

fn expected() -> NicCounters {
    let bytes = |(count, len): (usize, usize)| count as u64 * (HEADERS + len as u64);
    NicCounters {
        rx_packets: RECEIVED.0 as u64,
        rx_bytes: bytes(RECEIVED),
        tx_packets: SENT.0 as u64,
        tx_bytes: bytes(SENT),
        ..NicCounters::default()
    }
}

/// Sends over the pair of [`Lab::pair`], both ways.
fn traffic(lab: &Lab) {
    lab.inside("peer", || packet_socket::raw("peer0", &datagrams(RECEIVED.0, 9, RECEIVED.1)));
    lab.inside("mon", || packet_socket::raw("mon0", &datagrams(SENT.0, 9, SENT.1)));
}

#[test]
fn a_device_gains_what_was_sent_whatever_the_hook() {
    for mode in [AttachMode::Native, AttachMode::Generic, AttachMode::Tc] {
        let lab = Lab::pair();
        // What was before is not gained.
        traffic(&lab);
        lab.inside("mon", || {
            let config = XdpConfig { interfaces: vec!["mon0".into()], mode, ..XdpConfig::default() };
            let mut source = XdpSource::open(&object(), &config).unwrap();
            lab.wait_running("mon", "mon0");
            traffic(&lab);
            // In its XDP path veth counts a frame without its Ethernet header.
            let short = if mode == AttachMode::Native { 14 * RECEIVED.0 as u64 } else { 0 };
            let whole = expected();
            gains(&mut source, "mon0", NicCounters { rx_bytes: whole.rx_bytes - short, ..whole });
            source.detach();
            let last = source.generation().unwrap().unwrap();
            assert_eq!(last.nics[0].gained, NicCounters::default(), "{mode:?}");
        });
    }
}

#[test]
fn a_device_gains_what_was_sent_by_packet_sockets_too() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let config = AfPacketConfig { interfaces: vec!["mon0".into()], sockets: 1, ..AfPacketConfig::default() };
        let mut source = AfPacketSource::open(&config).unwrap();
        traffic(&lab);
        gains(&mut source, "mon0", expected());
    });
}

#[test]
fn a_device_that_comes_gains_from_then_on_and_one_that_begins_anew_never_less_than_nothing() {
    let lab = Lab::new(&["mon", "peer"]);
    lab.inside("mon", || {
        let config = XdpConfig { interfaces: vec!["mon*".into()], mode: AttachMode::Tc, ..XdpConfig::default() };
        let mut source = XdpSource::open(&object(), &config).unwrap();
        for round in 0..2 {
            // The second one has the name of the first, and counters that begin at 0.
            lab.veth("mon", "mon0", "peer", "peer0");
            let mut sum = Sum::default();
            sum.take_until(&mut source, "it is watched", |_, source| source.attached().len() == 1);
            traffic(&lab);
            gains(&mut source, "mon0", expected());
            sh(&format!("ip -n {} link del mon0", lab.path("mon")));
            sum.take_until(&mut source, "it is let go", |_, source| source.attached().is_empty());
            assert!(source.generation().unwrap().unwrap().nics.is_empty(), "round {round}");
            source.recycle().unwrap();
        }
    });
}
