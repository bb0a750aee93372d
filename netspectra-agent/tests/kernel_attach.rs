//! The attach ladder on veth: every rung counts the same, foreign programs stay, nothing of ours stays.
//!
//! Needs root and the eBPF object. Does not prove: other drivers, tags that a NIC takes off (no virtual device does so).
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use netspectra_agent::source::xdp::{
    AttachMode, Attached, EgressChoice, EgressMode, IngressMode, XdpConfig, XdpError, XdpSource, list_links,
};
use netspectra_common::abi::Direction;
use support::count::{Sum, object};
use support::lab::Lab;
use support::packet_socket;
use support::send::{datagrams, ethernet, ipv4, ipv6, udp};

const RUNGS: [(AttachMode, EgressChoice, IngressMode, EgressMode); 4] = [
    (AttachMode::Native, EgressChoice::Auto, IngressMode::NativeXdp, EgressMode::Tcx),
    (AttachMode::Tc, EgressChoice::Auto, IngressMode::Tcx, EgressMode::Tcx),
    (AttachMode::Tc, EgressChoice::Clsact, IngressMode::Clsact, EgressMode::Clsact),
    (AttachMode::Generic, EgressChoice::Clsact, IngressMode::GenericXdp, EgressMode::Clsact),
];

fn config(mode: AttachMode, egress: EgressChoice) -> XdpConfig {
    XdpConfig { interfaces: vec!["mon0".into()], mode, egress, ..XdpConfig::default() }
}

fn open(mode: AttachMode, egress: EgressChoice) -> Result<XdpSource, XdpError> {
    XdpSource::open(&object(), &config(mode, egress))
}

/// Frames of all kinds, each number of times different.
fn frames() -> Vec<Vec<u8>> {
    let tcp = [&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x12, 1, 0, 0, 0, 0, 0][..], &[9; 30]].concat();
    let kinds = [
        ethernet(&[], 0x0800, &ipv4(17, 0, &udp(7, 100))),
        ethernet(&[], 0x0800, &ipv4(6, 0, &tcp)),
        ethernet(&[], 0x86dd, &ipv6(6, &tcp)),
        ethernet(&[(0x8100, 100)], 0x0800, &ipv4(17, 0, &udp(8, 60))),
        ethernet(&[(0x88a8, 200), (0x8100, 30)], 0x86dd, &ipv6(17, &udp(9, 61))),
        ethernet(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], 0x0800, &ipv4(17, 0, &udp(9, 62))),
        ethernet(&[], 0x0800, &ipv4(17, 0x2000, &udp(10, 64))),
        ethernet(&[], 0x0800, &ipv4(17, 0x0009, &[1; 80])),
        ethernet(&[], 0x0806, &[0; 46]),
        ethernet(&[], 0x0800, &[0x41; 46]),
        ethernet(&[], 0x0800, &ipv4(1, 0, &[8, 0, 0, 0, 1, 1, 0, 1])),
        [ethernet(&[], 0x0800, &ipv4(17, 0, &udp(11, 2))), vec![0; 16]].concat(),
    ];
    kinds.into_iter().enumerate().flat_map(|(n, f)| vec![f; n + 1]).collect()
}

fn counted_at(rung: (AttachMode, EgressChoice, IngressMode, EgressMode)) -> Sum {
    let (mode, choice, ingress, egress) = rung;
    let lab = Lab::pair();
    let frames = frames();
    lab.inside("mon", || {
        let mut source = open(mode, choice).unwrap();
        let attached = source.attached();
        assert!(matches!(&attached[..], [a] if (a.ingress, a.egress) == (ingress, egress)), "{attached:?}");
        lab.inside("peer", || packet_socket::raw("peer0", &frames));
        packet_socket::raw("mon0", &frames);
        let mut sum = Sum::default();
        let expected = 2 * frames.len() as u64;
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= expected);
        assert_eq!(sum.seen.packets, expected);
        assert_eq!(sum.seen.bytes, 2 * frames.iter().map(|f| f.len() as u64).sum::<u64>());
        sum
    })
}

#[test]
fn each_rung_counts_the_same() {
    let native = counted_at(RUNGS[0]);
    let of =
        |s: &Sum, way| s.flows.iter().filter(|((_, d, _), _)| *d == way).map(|(k, v)| (k.2, *v)).collect::<Vec<_>>();
    assert_eq!(of(&native, Direction::Ingress), of(&native, Direction::Egress), "both ways saw the same frames");
    assert_eq!((native.flows.len(), native.reasons.iter().map(|r| r.packets).sum::<u64>()), (20, 20), "{native:#?}");
    for rung in &RUNGS[1..] {
        let here = counted_at(*rung);
        for (key, stats) in &here.flows {
            assert_eq!(native.flows.get(key), Some(stats), "{rung:?}: {key:?}");
        }
        assert_eq!(here, native, "{rung:?}");
    }
}

fn one(source: &XdpSource) -> Attached {
    let [attached] = &source.attached()[..] else { panic!("{:?}", source.attached()) };
    attached.clone()
}

#[test]
fn a_foreign_xdp_program_stays_and_auto_sees_ingress_at_tc() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let program = || list_links().unwrap().iter().find(|l| l.name == "mon0").unwrap().xdp;
        let mut first = open(AttachMode::Auto, EgressChoice::Auto).unwrap();
        let foreign = program();
        assert!(foreign.is_some_and(|p| p.program != 0 && !p.generic), "{foreign:?}");
        assert!(matches!(open(AttachMode::Native, EgressChoice::Auto), Err(XdpError::Foreign { .. })));
        let mut second = open(AttachMode::Auto, EgressChoice::Auto).unwrap();
        let attached = one(&second);
        assert_eq!(attached.ingress, IngressMode::Tcx);
        assert!(attached.note.as_deref().is_some_and(|n| n.contains("somebody else")), "{attached:?}");
        lab.inside("peer", || packet_socket::raw("peer0", &frames()));
        let (mut a, mut b) = (Sum::default(), Sum::default());
        let expected = frames().len() as u64;
        a.take_until(&mut first, "all frames", |s, _| s.seen.packets >= expected);
        b.take_until(&mut second, "all frames", |s, _| s.seen.packets >= expected);
        assert_eq!(a, b);
        drop(second);
        assert_eq!(program(), foreign, "it is still the other's");
    });
}

#[test]
fn a_clsact_qdisc_goes_when_it_was_ours_and_is_empty() {
    let lab = Lab::pair();
    lab.ip("mon", "link add other0 type veth peer name other1");
    lab.inside("mon", || {
        let qdisc = || lab.tc("mon", "qdisc show dev mon0");
        let clsact = || open(AttachMode::Tc, EgressChoice::Clsact).unwrap();
        let source = clsact();
        assert!(qdisc().contains("clsact"), "{}", qdisc());
        drop(source);
        assert!(!qdisc().contains("clsact"), "ours and empty: {}", qdisc());

        let (first, second) = (clsact(), clsact());
        drop(first);
        assert!(qdisc().contains("clsact"), "another's filters are in it: {}", qdisc());
        assert_eq!(lab.tc("mon", "filter show dev mon0 egress").matches("netspectra_egress").count(), 1);
        drop(second);
        assert!(qdisc().contains("clsact"), "it was not the second's: {}", qdisc());
        lab.tc("mon", "qdisc del dev mon0 clsact");

        lab.tc("mon", "qdisc add dev mon0 clsact");
        drop(clsact());
        assert!(qdisc().contains("clsact"), "somebody else's stays: {}", qdisc());
        assert!(!lab.tc("mon", "filter show dev mon0 ingress").contains("netspectra"));
    });
}

#[test]
fn nothing_stays_attached_when_an_interface_of_several_refuses() {
    let lab = Lab::pair();
    lab.inside("mon", || {
        let interfaces = vec!["mon0".into(), "lo".into()];
        let config = XdpConfig { interfaces, mode: AttachMode::Native, ..XdpConfig::default() };
        let error = XdpSource::open(&object(), &config).err().unwrap();
        assert!(matches!(&error, XdpError::Attach { iface, .. } if iface == "lo"), "{error}");
        assert!(list_links().unwrap().iter().all(|l| l.xdp.is_none()));
    });
}

#[test]
fn loopback_is_seen_at_tc_and_a_packet_counts_once() {
    let lab = Lab::new(&["mon"]);
    lab.ip("mon", "link set lo up");
    lab.inside("mon", || {
        let config = XdpConfig { interfaces: vec!["lo".into()], ..XdpConfig::default() };
        let mut source = XdpSource::open(&object(), &config).unwrap();
        let attached = one(&source);
        assert_eq!((attached.ingress, attached.egress), (IngressMode::Tcx, EgressMode::Loopback));
        packet_socket::raw("lo", &datagrams(25, 9, 10));
        let mut sum = Sum::default();
        sum.take_until(&mut source, "all frames", |s, _| s.seen.packets >= 25);
        assert_eq!(sum.at("lo", Direction::Ingress), (25, 25 * 52, 25 * 38));
        assert_eq!(sum.seen.packets, 25);
    });
}
