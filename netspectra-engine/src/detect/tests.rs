//! What detectors find in traffic made here, what they leave alone, and that a replay and a restart change nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::window::Windowed;
use super::*;
use crate::testing::dns;
use netspectra_common::abi::FlowKey;
use netspectra_common::model::{
    AlertPhase, Counter, DnsKind, DnsMessage, DnsQuestion, EndReason, Family, FlowRecord, FlowState, InitiatorBy,
    Observation, Observed, Resolution, Severity, WindowState,
};
use std::net::IpAddr;

const SECOND: u64 = Nanos::PER_SECOND;
const T0: u64 = 1_700_000_040;
const SYN: u16 = 0x02;
const WHOLE: u16 = 0x1b;

/// Nodes' detectors, and what they said.
struct Bench {
    kinds: Vec<Arc<dyn DetectorKind>>,
    detectors: NodeDetectors,
    node: Arc<str>,
    alerts: Vec<Alert>,
}

impl Bench {
    fn new(config: &DetectConfig) -> Self {
        config.validate().unwrap();
        Self { kinds: builtin(config), detectors: NodeDetectors::default(), node: "n".into(), alerts: Vec::new() }
    }

    fn flows(&mut self, second: f64, flows: &[FlowRecord]) {
        self.see(second, flows, &[], &[]);
    }

    fn see(&mut self, second: f64, flows: &[FlowRecord], windows: &[WindowState], observed: &[Observed]) {
        let seen = Seen { node: &self.node, now: time(second), flows, windows, observed };
        self.alerts.extend(self.detectors.observe(&self.kinds, &seen));
    }

    /// What was said, one line for each alert.
    fn said(&self) -> Vec<String> {
        self.alerts.iter().map(|a| format!("{} {} {}", a.detector, a.phase.name(), a.subject)).collect()
    }

    /// As after a restart.
    fn restart(&mut self) {
        let bytes = postcard::to_stdvec(&self.detectors).unwrap();
        self.detectors = postcard::from_bytes(&bytes).unwrap();
    }
}

fn time(second: f64) -> Nanos {
    Nanos(T0 * SECOND + (second * 1e9) as u64)
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

/// A flow at `second`: its ends, and packets and flags of both sides.
fn flow(second: f64, src: &str, dst: (&str, u16), there: (u64, u16), back: (u64, u16)) -> FlowRecord {
    let at = time(second);
    FlowRecord {
        node: "n".into(),
        iface: "eth0".into(),
        src_ip: ip(src),
        dst_ip: ip(dst.0),
        src_port: 40_000,
        dst_port: dst.1,
        proto: 6,
        ether_type: 0x0800,
        icmp_type: None,
        icmp_code: None,
        vlan: None,
        inner_vlan: None,
        tunnel: None,
        tunnel_id: None,
        src_place: Default::default(),
        dst_place: Default::default(),
        service: None,
        sampling: 1,
        packets: there.0,
        bytes: there.0 * 60,
        l3_bytes: there.0 * 46,
        reverse_packets: back.0,
        reverse_bytes: back.0 * 60,
        reverse_l3_bytes: back.0 * 46,
        tcp_flags: there.1,
        reverse_tcp_flags: back.1,
        retransmitted: 0,
        reverse_retransmitted: 0,
        out_of_order: 0,
        reverse_out_of_order: 0,
        zero_windows: 0,
        reverse_zero_windows: 0,
        server_rtt_us: None,
        client_rtt_us: None,
        first_seen: at,
        last_seen: at,
        flow_start: at,
        state: FlowState::TimedOut,
        end_reason: EndReason::IdleTimeout,
        initiator_by: InitiatorBy::Syn,
        flow_id: (second * 1000.0) as u64,
    }
}

fn udp(mut record: FlowRecord) -> FlowRecord {
    (record.proto, record.tcp_flags, record.reverse_tcp_flags) = (17, 0, 0);
    record
}

#[test]
fn ports_that_refuse_or_are_silent_are_a_scan_and_a_busy_client_is_none() {
    let mut bench = Bench::new(&DetectConfig::default());
    let scan: Vec<FlowRecord> = (0..200u16)
        .map(|n| {
            let back = if n % 2 == 0 { (1, 0x14) } else { (0, 0) };
            flow(f64::from(n) / 100.0, "10.0.0.9", ("10.0.0.1", 1000 + n), (1, SYN), back)
        })
        .collect();
    bench.flows(40.0, &scan);
    assert_eq!(bench.said(), ["port_scan open 10.0.0.9 to 10.0.0.1", "port_scan updated 10.0.0.9 to 10.0.0.1"]);
    let alert = bench.alerts[1].clone();
    assert_eq!((alert.score, alert.threshold, alert.severity), (120.0, 60.0, Severity::Medium));
    assert_eq!(alert.why, "10.0.0.9 tried 120 ports of 10.0.0.1: 60 attempts were refused, 60 not answered");
    assert_eq!((alert.first_seen, alert.flows.len()), (time(0.0), 5));
    // Over after a window without any of it, with the numbers of its height.
    bench.flows(100.0, &[]);
    assert_eq!(bench.alerts.len(), 2);
    bench.flows(161.0, &[]);
    assert_eq!(
        (bench.alerts[2].phase, bench.alerts[2].score, bench.alerts[2].id),
        (AlertPhase::Closed, 200.0, alert.id)
    );

    let mut quiet = Bench::new(&DetectConfig::default());
    let busy: Vec<FlowRecord> = (0..500u16)
        .flat_map(|n| {
            let server = format!("192.0.2.{}", n % 250);
            [
                // Connections that are answered, the same port again and again, and one side that is not seen.
                flow(1.0, "10.0.0.9", (&server, 443), (9, WHOLE), (12, WHOLE)),
                flow(1.0, "10.0.0.8", ("10.0.0.1", 25), (1, SYN), (1, 0x14)),
                flow(1.0, "10.0.0.7", (&server, 443), (9, 0x10), (0, 0)),
                udp(flow(1.0, "10.0.0.7", ("239.255.255.250", 1000 + n), (1, 0), (0, 0))),
            ]
        })
        .collect();
    quiet.flows(40.0, &busy);
    assert_eq!(quiet.said(), [] as [&str; 0]);
}

#[test]
fn one_port_of_many_hosts_is_a_scan() {
    let mut bench = Bench::new(&DetectConfig::default());
    let sweep: Vec<FlowRecord> = (0..100u16)
        .map(|n| udp(flow(1.0, "2001:db8::9", (&format!("2001:db8::1:{n:x}"), 161), (1, 0), (0, 0))))
        .collect();
    // In two halves of the window.
    bench.flows(30.0, &sweep[..50]);
    bench.flows(80.0, &sweep[50..]);
    assert_eq!(bench.said(), ["port_scan open 2001:db8::9 at udp/161"]);
    // And in windows that do not touch.
    let mut slow = Bench::new(&DetectConfig::default());
    slow.flows(30.0, &sweep[..50]);
    slow.flows(230.0, &sweep[50..]);
    assert_eq!(slow.said(), [] as [&str; 0]);
}

#[test]
fn connections_that_are_never_made_are_a_flood_and_a_busy_server_has_none() {
    let mut bench = Bench::new(&DetectConfig::default());
    let half_open: Vec<FlowRecord> = (0..3000u32)
        .map(|n| flow(1.0, &format!("198.51.{}.{}", n / 200, n % 200), ("10.0.0.1", 80), (1, SYN), (2, 0x12)))
        .collect();
    bench.flows(31.0, &half_open);
    assert_eq!(bench.said(), ["syn_flood open 10.0.0.1:80", "syn_flood updated 10.0.0.1:80"]);
    assert_eq!(bench.alerts[0].severity, Severity::High);
    assert!(bench.alerts[0].evidence.iter().any(|e| e.name == "senders" && e.value > 500.0), "{:?}", bench.alerts[0]);
    let mut busy = Bench::new(&DetectConfig::default());
    // A thousand that are lost of ten thousand.
    for n in 0..10 {
        let made: Vec<FlowRecord> =
            (0..1000).map(|_| flow(1.0, "198.51.1.1", ("10.0.0.1", 80), (9, WHOLE), (9, WHOLE))).collect();
        busy.flows(20.0, &made);
        busy.flows(20.0, &half_open[n * 100..][..100]);
    }
    assert_eq!(busy.said(), [] as [&str; 0]);
}

#[test]
fn packets_that_are_not_answered_are_a_flood_and_a_download_is_none() {
    let mut bench = Bench::new(&DetectConfig::default());
    let packets: Vec<FlowRecord> = (0..120u32)
        .map(|n| udp(flow(1.0, &format!("198.51.100.{n}"), ("10.0.0.1", 9999), (2000, 0), (0, 0))))
        .collect();
    bench.flows(20.0, &packets);
    assert_eq!(bench.said(), ["flood open 10.0.0.1", "flood updated 10.0.0.1"]);
    let mut quiet = Bench::new(&DetectConfig::default());
    let fine: Vec<FlowRecord> = (0..120u32)
        .flat_map(|n| {
            let host = format!("198.51.100.{n}");
            [
                // A backup to one host, half of which is seen; a call; a stream to a group; one sender of much.
                flow(1.0, &host, ("10.0.0.1", 873), (5000, 0x10), (0, 0)),
                udp(flow(1.0, &host, ("10.0.0.2", 5060), (5000, 0), (4000, 0))),
                udp(flow(1.0, &host, ("239.1.1.1", 5004), (5000, 0), (0, 0))),
                udp(flow(1.0, "198.51.100.1", ("10.0.0.3", 514), (5000, 0), (0, 0))),
            ]
        })
        .collect();
    quiet.flows(20.0, &fine);
    assert_eq!(quiet.said(), [] as [&str; 0]);
}

#[test]
fn answers_that_nobody_asked_for_are_reflection_and_answers_are_none() {
    let answers = |asked: u64| -> Vec<FlowRecord> {
        (0..40u32)
            .map(|n| {
                let mut record = udp(flow(1.0, &format!("198.51.100.{n}"), ("10.0.0.1", 51_000), (40, 0), (asked, 0)));
                (record.src_port, record.bytes) = (123, 60_000);
                record
            })
            .collect()
    };
    let mut bench = Bench::new(&DetectConfig::default());
    bench.flows(20.0, &answers(0));
    assert_eq!(bench.said(), ["reflection open 10.0.0.1 by ntp", "reflection updated 10.0.0.1 by ntp"]);
    // The same where the one who got them is taken for the initiator.
    let mut other = Bench::new(&DetectConfig::default());
    let swapped: Vec<FlowRecord> = answers(0)
        .iter()
        .flat_map(FlowRecord::unidirectional)
        .map(|r| FlowRecord {
            src_ip: r.dst_ip,
            dst_ip: r.src_ip,
            src_port: r.dst_port,
            dst_port: r.src_port,
            packets: 0,
            bytes: 0,
            reverse_packets: r.packets,
            reverse_bytes: r.bytes,
            ..r
        })
        .collect();
    other.flows(20.0, &swapped);
    assert_eq!(other.said(), bench.said());
    let mut quiet = Bench::new(&DetectConfig::default());
    quiet.flows(20.0, &answers(1));
    quiet.flows(20.0, &answers(0)[..10]);
    assert_eq!(quiet.said(), [] as [&str; 0]);
}

fn query(second: f64, name: &str, qtype: u16) -> Observed {
    let mut key = FlowKey { proto: 17, src_port: 40_000, dst_port: 53, family: Family::V4 as u8, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&[10, 0, 0, 9]);
    key.dst[..4].copy_from_slice(&[10, 0, 0, 1]);
    let question = Some(DnsQuestion { name: name.into(), qtype, qclass: 1 });
    let message = DnsMessage { question, questions: 1, ..dns(DnsKind::Dns, false) };
    Observed { at: time(second), key, what: Observation::Dns(Box::new(message)) }
}

#[test]
fn data_in_names_is_a_tunnel_and_long_names_of_a_delivery_network_are_none() {
    let data = |n: u32| -> String {
        (0..44u32)
            .map(|i| {
                char::from(
                    b"abcdefghijklmnopqrstuvwxyz234567"[(n.wrapping_mul(2_654_435_761) >> (i % 27)) as usize & 31],
                )
            })
            .collect()
    };
    let mut bench = Bench::new(&DetectConfig::default());
    let queries: Vec<Observed> =
        (0..130).map(|n| query(f64::from(n), &format!("{}.t.example.co.uk", data(n)), 1)).collect();
    bench.see(130.0, &[], &[], &queries);
    assert_eq!(
        bench.said(),
        ["dns_tunnel open 10.0.0.9 by example.co.uk", "dns_tunnel updated 10.0.0.9 by example.co.uk"]
    );
    assert!(
        bench.alerts[0].why.contains("asked for 60 different names below example.co.uk"),
        "{}",
        bench.alerts[0].why
    );
    // Shorter ones where the answers have the room.
    let mut txt = Bench::new(&DetectConfig::default());
    let queries: Vec<Observed> = (0..100).map(|n| query(1.0, &format!("{}.example.net", &data(n)[..20]), 16)).collect();
    txt.see(130.0, &[], &[], &queries);
    assert_eq!(txt.said(), ["dns_tunnel open 10.0.0.9 by example.net"]);

    let mut quiet = Bench::new(&DetectConfig::default());
    let mut fine = Vec::new();
    for n in 0..600u32 {
        // Few long names again and again; many short ones; many domains; addresses; the local network.
        fine.push(query(1.0, &format!("{}.cdn.example.com", data(n % 20)), 1));
        fine.push(query(1.0, &format!("www{n}.example.org"), 1));
        fine.push(query(1.0, &format!("{}.of-{n}.org", data(n)), 1));
        fine.push(query(1.0, &format!("{}.{}.168.192.in-addr.arpa", n % 250, n / 250), 12));
        fine.push(query(1.0, "example.com", 16));
    }
    quiet.see(130.0, &[], &[], &fine);
    assert_eq!(quiet.said(), [] as [&str; 0]);
}

#[test]
fn regular_connections_are_a_beacon_and_those_of_people_are_none() {
    let mut bench = Bench::new(&DetectConfig::default());
    for n in 0..14u32 {
        let second = f64::from(n) * 60.0 + f64::from(n % 3);
        bench.flows(second + 31.0, &[flow(second, "10.0.0.9", ("198.51.100.7", 8443), (9, WHOLE), (9, WHOLE))]);
    }
    assert_eq!(bench.said(), ["beacon open 10.0.0.9 to 198.51.100.7:8443"]);
    assert_eq!(bench.alerts[0].why, "10.0.0.9 connects to 198.51.100.7:8443 every 61.0 s, give or take 0.0 s");
    let mut quiet = Bench::new(&DetectConfig::default());
    let mut at = 0.0;
    for n in 0..200u32 {
        at += f64::from(n * 7919 % 97) + 0.5;
        let regular = f64::from(n) * 30.0;
        quiet.flows(
            at,
            &[
                flow(at, "10.0.0.9", ("198.51.100.7", 443), (9, WHOLE), (9, WHOLE)),
                // At regular intervals by design, and within the network.
                udp(flow(regular, "10.0.0.9", ("198.51.100.7", 123), (1, 0), (1, 0))),
                flow(regular, "10.0.0.9", ("10.0.0.5", 9100), (9, WHOLE), (9, WHOLE)),
                // All at once.
                flow(1.0, "10.0.0.8", ("198.51.100.7", 443), (9, WHOLE), (9, WHOLE)),
            ],
        );
    }
    assert_eq!(quiet.said(), [] as [&str; 0]);
}

#[test]
fn hosts_and_services_that_come_after_the_learning_are_said_once() {
    let mut bench = Bench::new(&DetectConfig::default());
    let day = 86_400.0;
    let known = flow(1.0, "10.0.0.9", ("10.0.0.1", 80), (9, WHOLE), (9, 0x12));
    bench.flows(1.0, std::slice::from_ref(&known));
    // Time in which nobody watched teaches nothing.
    bench.flows(10.0 * day, &[flow(10.0 * day, "10.0.0.8", ("10.0.0.1", 80), (9, WHOLE), (9, 0x12))]);
    (0..1440).for_each(|minute| bench.flows(10.0 * day + f64::from(minute) * 60.0, &[]));
    assert_eq!(bench.said(), [] as [&str; 0]);
    let day = 11.0 * day;
    let new = flow(day + 20.0, "10.0.0.66", ("10.0.0.9", 4444), (9, WHOLE), (9, 0x12));
    bench.flows(day + 30.0, &[known, new.clone(), flow(day, "10.0.0.9", ("198.51.100.7", 443), (9, WHOLE), (9, 0x12))]);
    assert_eq!(bench.said(), ["new_talker open 10.0.0.66", "new_talker open service 10.0.0.9:4444"]);
    bench.flows(day + 40.0, &[new]);
    assert_eq!(bench.alerts.len(), 2);
}

fn minute(number: u64, bytes: u64, new_flows: u64) -> WindowState {
    WindowState {
        node: "n".into(),
        resolution: Resolution::S60,
        start: Nanos((T0 / 60 + number) * 60 * SECOND),
        total: Counter::new(bytes / 1000, bytes),
        new_flows,
        protocols: Default::default(),
        sketches: None,
    }
}

#[test]
fn minutes_unlike_the_others_are_said_and_a_daily_peak_is_learnt() {
    // A peak at the same hour of every day; each minute a little different.
    let bytes = |n: u64| {
        let hour = (T0 / 60 + n) % 1440 / 60;
        (if hour == 3 { 900_000_000 } else { 200_000_000 }) + n * 7919 % 10_000_000
    };
    let mut bench = Bench::new(&DetectConfig::default());
    for n in 0..1440 * 6 {
        bench.see((n * 60) as f64 + 65.0, &[], &[minute(n, bytes(n), 500)], &[]);
    }
    let late = bench.alerts.iter().filter(|a| a.at > time(1440.0 * 60.0 * 4.0)).count();
    assert_eq!(late, 0, "the peak is known on the fifth day: {:?}", bench.said());
    let before = bench.alerts.len();
    let n = 1440 * 6;
    for n in n..n + 5 {
        bench.see((n * 60) as f64 + 65.0, &[], &[minute(n, 3_000_000_000, 500)], &[]);
    }
    let new: Vec<&Alert> = bench.alerts[before..].iter().collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].why.starts_with("3000000000 bytes in a minute, more than the"), "{}", new[0].why);
}

#[test]
fn rules_of_ones_own_are_by_address_and_filter() {
    let rule = |by: &str, filter: &str| ThresholdRule {
        name: "much mail".into(),
        filter: filter.into(),
        by: by.into(),
        metric: "flows".into(),
        above: 20,
        window_seconds: 60,
    };
    let config = |rule| DetectConfig { threshold: vec![rule], ..DetectConfig::default() };
    let mail: Vec<FlowRecord> = (0..30)
        .map(|n| {
            flow(1.0, if n % 2 == 0 { "10.0.0.9" } else { "10.0.0.8" }, ("198.51.100.7", 25), (9, WHOLE), (9, WHOLE))
        })
        .collect();
    for (rule, expected) in [
        (rule("", "dst_port = 25"), &["threshold open much mail: all"][..]),
        (rule("src_ip", "dst_port = 25"), &[]),
        (rule("dst_ip", "dst_port = 25"), &["threshold open much mail: 198.51.100.7"]),
        (rule("", "dst_port = 26"), &[]),
    ] {
        let mut bench = Bench::new(&config(rule));
        bench.flows(2.0, &mail);
        assert_eq!(bench.said(), expected);
    }
    for (rule, expected) in [
        (rule("port", ""), "`detect.threshold[0].by` is `port`: expected `src_ip`, `dst_ip`, or nothing"),
        (rule("", "dst_port ="), "`detect.threshold[0].filter` is `dst_port =`: expected an expression as in a query"),
    ] {
        let error = config(rule).validate().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// A little of everything, over ten minutes.
fn mixed(second: u32) -> Vec<FlowRecord> {
    let s = f64::from(second);
    let n = second as u16;
    let mut flows = vec![
        flow(s, "10.0.0.9", ("10.0.0.1", 1000 + n), (1, SYN), (1, 0x14)),
        flow(s, "10.0.0.8", (&format!("10.0.{}.{}", n / 200, n % 200), 22), (1, SYN), (0, 0)),
        udp(flow(s, &format!("198.51.{}.{}", n / 200, n % 200), ("10.0.0.3", 7), (3000, 0), (0, 0))),
    ];
    if second.is_multiple_of(20) {
        flows.push(flow(s, "10.0.0.7", ("198.51.100.7", 443), (9, WHOLE), (9, WHOLE)));
    }
    flows
}

#[test]
fn a_replay_and_restarts_at_any_moment_give_the_same_alerts() {
    let run = |restart_every: u32| {
        let mut bench = Bench::new(&DetectConfig::default());
        for second in 0..600 {
            bench.flows(f64::from(second), &mixed(second));
            if restart_every > 0 && second % restart_every == 0 {
                bench.restart();
            }
        }
        bench.alerts.extend(bench.detectors.end(&bench.kinds, time(600.0)));
        bench.alerts
    };
    let once = run(0);
    let kinds: std::collections::BTreeSet<&str> = once.iter().map(|a| a.detector.as_str()).collect();
    assert!(kinds.len() >= 3 && once.len() > 8, "{kinds:?}");
    assert_eq!(once, run(0));
    assert_eq!(once, run(1));
    assert_eq!(once, run(37));
}

#[test]
fn memory_is_bounded_whatever_comes_and_what_found_no_room_is_counted() {
    let mut table: Windowed<u64, u64> = Windowed::default();
    let mut kept = 0;
    for key in 0..10_000u64 {
        kept += u64::from(table.at(key, time(1.0), 60, 100).is_some());
    }
    assert_eq!((kept, table.refused()), (100, 9_900));
    // Room is made once those that are there are old.
    assert!(table.at(77_777, time(121.0), 60, 100).is_some());
    let mut bench = Bench::new(&DetectConfig::default());
    let flood: Vec<FlowRecord> = (0..40_000u32)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            flow(1.0, &format!("11.{a}.{b}.{c}"), (&format!("12.{c}.{b}.{a}"), n as u16), (1, SYN), (0, 0))
        })
        .collect();
    bench.flows(31.0, &flood);
    let before = postcard::to_stdvec(&bench.detectors).unwrap().len();
    let more: Vec<FlowRecord> =
        flood.iter().map(|f| FlowRecord { dst_port: f.dst_port ^ 0xffff, ..f.clone() }).collect();
    bench.flows(31.0, &more);
    let after = postcard::to_stdvec(&bench.detectors).unwrap().len();
    assert!(bench.detectors.refused() > 50_000, "{}", bench.detectors.refused());
    assert!(after <= before + before / 10, "{before} {after}");
}

#[test]
fn the_entropy_of_names_is_that_of_their_characters() {
    for (text, bits) in [("aaaa", 0.0), ("ab.AB", 1.0), ("abcd", 2.0), ("", 0.0)] {
        assert!((tunnel::entropy(text) - bits).abs() < 1e-9, "{text}");
    }
}

#[test]
fn a_detector_that_is_off_says_nothing_and_configurations_are_checked() {
    let config = DetectConfig { enabled: false, ..DetectConfig::default() };
    assert!(builtin(&config).is_empty());
    let names: Vec<&str> = builtin(&DetectConfig::default()).iter().map(|kind| kind.name()).collect();
    assert_eq!(
        names,
        ["port_scan", "syn_flood", "flood", "reflection", "dns_tunnel", "beacon", "new_talker", "baseline"]
    );
    let rule = ThresholdRule {
        name: "r".into(),
        filter: String::new(),
        by: String::new(),
        metric: "bytes".into(),
        above: 1,
        window_seconds: 60,
    };
    let all = builtin(&DetectConfig { threshold: vec![rule], ..DetectConfig::default() });
    assert_eq!(all.iter().map(|kind| kind.name()).collect::<Vec<_>>(), NAMES);
    let mut config = DetectConfig::default();
    config.beacon.connections = 3;
    assert_eq!(config.validate().unwrap_err().to_string(), "`detect.beacon.connections` is 3: expected 4 to 32");
}
