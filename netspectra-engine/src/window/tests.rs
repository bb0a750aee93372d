//! Windows and roll-ups through the engine. Sketch accuracy is proved where sketches are made.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::EngineConfig;
use crate::testing::*;
use netspectra_common::abi::Obs;
use netspectra_common::model::{
    Counter, Direction, Family, FlowDelta, FlowKey, Nanos, Resolution, Sampling, WindowState,
};

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 80);

fn bench() -> Bench {
    Bench::new(EngineConfig::default())
}

fn starts(windows: &[WindowState], resolution: Resolution) -> Vec<u64> {
    windows.iter().filter(|w| w.resolution == resolution).map(|w| (w.start.0 - T0) / SECOND).collect()
}

#[test]
fn windows_close_once_log_time_has_passed_their_end_by_the_lateness() {
    let mut b = bench();
    for s in 0..11 {
        let s = f64::from(s);
        let closed = b.feed((s, s + 1.0), &[tcp(CLIENT, SERVER, ACK, (s, s + 0.9))]);
        let expected: Vec<u64> = if s >= 2.0 { vec![s as u64 - 2] } else { vec![] };
        assert_eq!(starts(&closed.windows, Resolution::S1), expected, "second {s}");
        assert!(closed.rollups.is_empty());
    }
    let closed = b.feed((11.0, 12.0), &[]);
    assert_eq!(starts(&closed.windows, Resolution::S10), [0]);
    assert_eq!(closed.rollups.len(), 1);
    assert_eq!((closed.rollups[0].packets, closed.rollups[0].new_flows), (100, 1));
    let minute = b.feed((60.0, 62.0), &[]);
    assert_eq!(starts(&minute.windows, Resolution::S10), [10]);
    assert_eq!(starts(&minute.windows, Resolution::S60), [0]);
    let total = minute.windows.iter().find(|w| w.resolution == Resolution::S60).unwrap();
    assert_eq!((total.total, total.new_flows), (Counter::new(110, 11_000), 1));
    assert!(b.live_rollups().is_empty());
    assert_eq!(starts(&b.live_windows(), Resolution::S10), [60], "the flow ran out in the last generation");
}

#[test]
fn a_generation_belongs_whole_to_the_windows_of_its_begin() {
    let mut b = bench();
    b.feed((9.5, 10.5), &[tcp(CLIENT, SERVER, ACK, (10.1, 10.2))]);
    assert_eq!(starts(&b.live_windows(), Resolution::S10), [0]);
    assert_eq!(starts(&b.live_windows(), Resolution::S1), [9]);
    assert_eq!(b.live_rollups()[0].window, Nanos(T0));
}

#[test]
fn a_late_generation_goes_to_the_oldest_open_window_and_is_counted() {
    let mut b = bench();
    b.feed((0.0, 30.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.2))]);
    b.feed((3.0, 4.0), &[tcp(CLIENT, SERVER, ACK, (3.1, 3.2))]);
    assert_eq!(b.engine.stats().late_generations, 1);
    assert_eq!(b.live_rollups()[0].window, Nanos(at(20.0)), "lateness 2 s: 20..30 is open at 30");
    assert_eq!(starts(&b.live_windows(), Resolution::S1), [28]);
    b.finish();
    let sum: u64 = b.written.windows.iter().filter(|w| w.resolution == Resolution::S60).map(|w| w.total.packets).sum();
    assert_eq!(sum, 20);
}

#[test]
fn a_clock_set_back_ends_what_is_open_and_starts_again() {
    let mut b = bench();
    b.feed((1000.0, 1001.0), &[tcp(CLIENT, SERVER, ACK, (1000.1, 1000.2))]);
    let batch = b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.2))]);
    assert_eq!(b.engine.stats().clock_steps, 1);
    assert_eq!(b.engine.stats().late_generations, 0);
    assert_eq!(batch.flows.len(), 1);
    assert_eq!(batch.rollups[0].window, Nanos(at(1000.0)));
    assert_eq!(b.live_rollups()[0].window, Nanos(T0));
}

#[test]
fn rows_are_by_direction_and_new_flows_are_on_the_initiators_row() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(SERVER, CLIENT, SYN_ACK, (0.1, 0.9)), tcp(CLIENT, SERVER, SYN, (0.2, 0.9))]);
    b.feed((1.0, 2.0), &[tcp(SERVER, CLIENT, ACK, (1.1, 1.9))]);
    let mut rows: Vec<_> = b.live_rollups().iter().map(|r| (r.src_port, r.direction, r.packets, r.new_flows)).collect();
    rows.sort();
    assert_eq!(rows, [(80, Some(Direction::Egress), 20, 0), (40_000, Some(Direction::Ingress), 10, 1)]);
}

#[test]
fn an_initiator_that_was_not_heard_has_a_row_without_packets_on_the_other_side() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(SERVER, CLIENT, SYN_ACK, (0.1, 0.9))]);
    let rows = b.live_rollups();
    let row = rows.iter().find(|r| r.new_flows == 1).unwrap();
    assert_eq!((row.src_port, row.direction, row.packets), (40_000, Some(Direction::Ingress), 0));
    b.finish();
    let s10 = b.written.windows.iter().find(|w| w.resolution == Resolution::S10).unwrap();
    assert_eq!(s10.sketches.as_ref().unwrap().src_ips.estimate().estimate, 1.0, "it sent nothing that was seen");
}

#[test]
fn files_have_no_direction_and_unnamed_slots_are_called_by_number() {
    let mut b = bench();
    b.agent.ifindex = 0;
    let mut strange = tcp(CLIENT, SERVER, ACK, (0.1, 0.2));
    strange.key.obs = Obs::new(9, Direction::Egress).0;
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.2)), strange]);
    let rows: Vec<_> = b.live_rollups().iter().map(|r| (r.iface.to_string(), r.direction)).collect();
    assert_eq!(rows, [("eth0".into(), None), ("#9".into(), Some(Direction::Egress))]);
}

#[test]
fn rows_tell_how_many_flows_of_their_kind_were_counted() {
    let mut b = bench();
    let sampled = |n, delta| FlowDelta { sampling: Sampling(n), ..delta };
    let there = tcp(CLIENT, SERVER, SYN, (0.1, 0.2));
    let back = tcp(SERVER, CLIENT, SYN | ACK, (0.15, 0.2));
    let other = tcp((1, 40_001), SERVER, SYN, (0.3, 0.4));
    b.feed((0.0, 1.0), &[sampled(6, there), sampled(6, back), other]);
    let rows: Vec<_> = b.live_rollups().iter().map(|r| (r.src_port, r.sampling, r.new_flows)).collect();
    assert_eq!(rows, [(CLIENT.1, 64, 1), (SERVER.1, 64, 0), (40_001, 1, 1)]);
    // The rule is another one now: the row is as well, the record has the highest.
    b.feed((1.0, 2.0), &[sampled(2, tcp(CLIENT, SERVER, ACK, (1.1, 1.2)))]);
    let rows: Vec<_> = b.live_rollups().iter().skip(3).map(|r| (r.src_port, r.sampling, r.packets)).collect();
    assert_eq!(rows, [(CLIENT.1, 4, 10)]);
    let mut records: Vec<_> = b.finish().flows.iter().map(|r| (r.src_port, r.sampling)).collect();
    records.sort_unstable();
    assert_eq!(records, [(CLIENT.1, 64), (40_001, 1)]);
}

#[test]
fn icmp_and_non_ip_rows_have_no_ports() {
    let mut b = bench();
    let lldp = FlowDelta {
        key: FlowKey { src_port: 0x88cc, vlan: 0x8005, family: Family::NonIp as u8, ..FlowKey::default() },
        ..delta(0, (0, 0), (0, 0), (0.1, 0.2))
    };
    b.feed((0.0, 1.0), &[delta(1, (1, 0), (2, 0x0800), (0.1, 0.2)), delta(1, (1, 0), (2, 0x0301), (0.1, 0.2)), lldp]);
    let rows = b.live_rollups();
    assert_eq!(rows.len(), 2, "one row for both kinds of message");
    assert_eq!((rows[0].src_port, rows[0].dst_port, rows[0].packets, rows[0].ether_type), (0, 0, 20, 0x0800));
    assert_eq!((rows[1].src_port, rows[1].ether_type, rows[1].vlan, rows[1].src_ip), (0, 0x88cc, Some(5), None));
    assert_eq!(rows.iter().map(|r| r.new_flows).sum::<u64>(), 3);
    let s1 = &b.live_windows()[0];
    assert_eq!(s1.protocols[&Some(1)].packets, 20);
    assert_eq!(s1.protocols[&None].packets, 10);
}

#[test]
fn sketches_are_those_of_the_rows_live_and_written() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, FIN, (0.1, 0.6)), tcp(SERVER, CLIENT, FIN, (0.2, 0.5))]);
    b.feed((1.0, 2.0), &[tcp((1, 41_000), SERVER, ACK, (1.1, 1.2)), delta(17, (3, 99), (4, 53), (1.1, 1.2))]);
    b.feed((2.0, 4.0), &[]);
    let check = |w: &WindowState| {
        let s = w.sketches.as_ref().unwrap();
        let distinct =
            [&s.src_ips, &s.dst_ips, &s.ips, &s.dst_ports, &s.pairs, &s.flows].map(|h| h.estimate().estimate);
        assert_eq!(distinct, [3.0, 3.0, 4.0, 3.0, 3.0, 4.0]);
        let host_1 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        assert_eq!(s.top_src_bytes.estimate(&host_1).estimate, 2000.0);
        assert_eq!(s.top_dst_packets.estimate(&host_1).estimate, 10.0);
        assert_eq!(s.top_dst_port_bytes.estimate(&[6, 0, 80]).estimate, 2000.0);
        assert_eq!(s.top_src_packets.total(), 40);
        assert_eq!((s.packet_size.count(), s.flow_duration.count()), (40, 1));
    };
    let live = b.live_windows();
    for resolution in [Resolution::S10, Resolution::S60] {
        check(live.iter().find(|w| w.resolution == resolution).unwrap());
    }
    b.feed((60.0, 62.0), &[]);
    for window in &b.written.windows {
        match window.resolution {
            Resolution::S1 => assert!(window.sketches.is_none()),
            Resolution::S10 if window.start == Nanos(T0) => check(window),
            Resolution::S10 => unreachable!("no traffic later"),
            Resolution::S60 => check(window),
        }
    }
    // The two flows left ran out in the last generation, whose window was still open.
    let idle = b.finish().windows;
    let sketches = idle.iter().find(|w| w.resolution == Resolution::S10).unwrap().sketches.clone().unwrap();
    assert_eq!(sketches.flow_duration.count(), 2);
}
