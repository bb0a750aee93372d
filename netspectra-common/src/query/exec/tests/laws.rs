//! Any split of rows over partials gives the same answer, and sketches agree with rows.

use crate::model::{
    Alert, AlertPhase, AppMessage, Counter, Direction, EndReason, FlowRecord, Ledger, LedgerEntry, Nanos, NicCounters,
    NicDelta, Observation, Rollup, Severity, TimeRange,
};
use crate::query::testing::{Data, arp, exactly, flow, ip, plan, range, rollup, secs};
use crate::query::{Answer, EXACT_DISTINCT, Metric, Plan, Quantity, Query, SeriesPoint, answer};
use crate::query::{decode_partial, decode_plan, encode_partial, encode_plan};
use crate::schema::Dimension::{
    self, Direction as Way, DstIp, DstPort, EtherType, Iface, Node, Proto, SrcIp, SrcPort, Vlan,
};
use proptest::prelude::*;
use std::time::Duration;

fn rollups() -> impl Strategy<Value = Vec<Rollup>> {
    let row = (
        (0u64..12, 0u8..4, 0u8..4, 0u16..4, 0u16..4),
        (prop::sample::select(vec![1u8, 6, 17, 200]), prop::option::of(0u16..3), 0u64..5, 0u64..9, 0u64..2),
        (prop::bool::weighted(0.1), prop::option::of(prop::bool::ANY), 0u8..2),
    );
    let make = |((window, src, dst, sport, dport), (proto, vlan, packets, length, new_flows), (non_ip, way, node))| {
        let base = if non_ip { arp() } else { rollup() };
        let direction: Option<bool> = way;
        Rollup {
            window: secs(window * 10),
            node: format!("n{node}").into(),
            direction: direction.map(|egress| if egress { Direction::Egress } else { Direction::Ingress }),
            src_ip: base.src_ip.and_then(|_| ip(&format!("10.0.0.{src}"))),
            dst_ip: base.dst_ip.and_then(|_| ip(&format!("2001:db8::{dst}"))),
            src_port: if non_ip { 0 } else { sport },
            dst_port: if non_ip { 0 } else { dport },
            proto: if non_ip { 0 } else { proto },
            vlan,
            packets,
            bytes: packets * (60 + length),
            new_flows,
            ..base
        }
    };
    prop::collection::vec(row.prop_map(make), 0..60)
}

fn flows() -> impl Strategy<Value = Vec<FlowRecord>> {
    let row = (0u64..100, 0u64..40, 0u64..4, prop::sample::select(&EndReason::ALL[..]), 0u8..2);
    let make = |(first, length, flow_id, end_reason, node)| FlowRecord {
        node: format!("n{node}").into(),
        first_seen: secs(first),
        last_seen: secs(first + length),
        flow_start: secs(first),
        flow_id,
        end_reason,
        server_rtt_us: (length > 3).then_some(length as u32 * 1000),
        client_rtt_us: (length > 9).then_some(length as u32),
        ..flow()
    };
    prop::collection::vec(row.prop_map(make), 0..30)
}

fn ledgers() -> impl Strategy<Value = Vec<LedgerEntry>> {
    let row = (0u64..120, 0u64..3, 0u64..9).prop_map(|(start, length, packets)| {
        let seen = Counter::new(packets, packets * 100);
        let ledger = Ledger { seen, flows: seen, orphan_fragments: packets, ..Ledger::default() };
        let (start, end) = (secs(start), secs(start + length));
        let nics = vec![NicDelta {
            ifindex: 2,
            iface: format!("eth{}", packets % 3).into(),
            gained: NicCounters { rx_packets: packets, ..NicCounters::default() },
            reset: packets == 0,
        }];
        let chain_break = packets == 1;
        LedgerEntry { node: "n1".into(), epoch: 1, generation: start.0, start, end, ledger, nics, chain_break }
    });
    prop::collection::vec(row, 0..20)
}

fn alerts() -> impl Strategy<Value = Vec<Alert>> {
    let row =
        (0u64..120, 0u64..4, prop::sample::select(&AlertPhase::ALL[..]), prop::sample::select(&Severity::ALL[..]));
    let make = |(at, id, phase, severity)| Alert {
        id,
        node: "n1".into(),
        detector: "port_scan".into(),
        phase,
        severity,
        subject: format!("10.0.0.{id}"),
        why: String::new(),
        at: secs(at),
        first_seen: secs(0),
        last_seen: secs(at),
        score: at as f64 / 3.0,
        threshold: 1.0,
        evidence: Vec::new(),
        flows: vec![id],
    };
    // What is said of an incident at one time differs in its phase.
    let distinct = |mut all: Vec<Alert>| {
        all.sort_by_key(|a| (a.at, a.id, a.phase));
        all.dedup_by_key(|a| (a.at, a.id, a.phase));
        all
    };
    prop::collection::vec(row.prop_map(make), 0..30).prop_map(distinct)
}

fn messages() -> impl Strategy<Value = Vec<AppMessage>> {
    let make = |(n, (at, port)): (usize, (u64, u16))| AppMessage {
        id: n as u64,
        node: "n1".into(),
        at: secs(at),
        src_ip: ip("10.0.0.1"),
        dst_ip: ip("10.0.0.2"),
        src_port: port,
        dst_port: 22,
        proto: 6,
        vlan: None,
        name: None,
        what: Observation::Other { protocol: "ssh".into(), fields: vec![("port".into(), port.to_string())] },
    };
    prop::collection::vec((0u64..120, 0u16..4), 0..30)
        .prop_map(move |rows| rows.into_iter().enumerate().map(make).collect())
}

fn data() -> impl Strategy<Value = Data> {
    (flows(), rollups(), ledgers(), alerts(), messages()).prop_map(|(flows, rollups, ledger, alerts, messages)| {
        Data { flows, rollups, ledger, alerts, messages, ..Data::default() }.with_windows()
    })
}

const DIMENSIONS: [Dimension; 10] = [SrcIp, DstIp, SrcPort, DstPort, Proto, EtherType, Vlan, Iface, Node, Way];

fn queries() -> impl Strategy<Value = Query> {
    let sets = || {
        prop_oneof![
            prop::sample::select(vec![
                vec![SrcIp],
                vec![DstIp],
                vec![DstPort],
                vec![Proto, DstPort],
                vec![DstPort, Proto],
                vec![SrcIp, DstIp],
                vec![SrcIp, DstIp, SrcPort, DstPort, Proto],
            ]),
            prop::sample::subsequence(DIMENSIONS.to_vec(), 1..4),
        ]
    };
    let metric = prop::sample::select(vec![Metric::Bytes, Metric::Packets, Metric::Flows]);
    let step = prop::sample::select(vec![10u64, 30, 60, 70]);
    prop_oneof![
        (1usize..20).prop_map(|limit| Query::Flows { limit, after: None }),
        (1usize..20).prop_map(|limit| Query::Alerts { limit, after: None }),
        (1usize..20).prop_map(|limit| Query::Messages { limit, after: None }),
        (sets(), metric, 1usize..10, prop::bool::ANY).prop_map(|(by, metric, limit, exact)| Query::Top {
            by,
            metric,
            limit,
            exact
        }),
        (prop::sample::select(vec![SrcIp, DstIp]), 1usize..10, prop::bool::ANY)
            .prop_map(|(by, limit, exact)| Query::Top { by: vec![by], metric: Metric::Peers, limit, exact }),
        (step, prop::option::of(sets()))
            .prop_map(|(step, by)| Query::Series { step: Duration::from_secs(step), by: by.unwrap_or_default() }),
        Just(Query::Series { step: Duration::from_secs(1), by: vec![] }),
        sets().prop_map(|of| Query::Cardinality { of }),
        prop::sample::select(Quantity::ALL.to_vec())
            .prop_map(|of| Query::Quantiles { of, q: vec![0.0, 0.5, 0.99, 1.0] }),
        Just(Query::Ledger),
    ]
}

fn ranges() -> impl Strategy<Value = TimeRange> {
    (0u64..120, 1u64..120, prop::bool::weighted(0.1))
        .prop_map(|(from, length, all)| if all { TimeRange::ALL } else { range(from, from + length) })
}

/// Plans of every kind, filtered and not.
fn plans() -> impl Strategy<Value = Plan> {
    let filter = prop::sample::select(vec![
        "",
        "",
        "proto = tcp",
        "not (ip = 10.0.0.1 or vlan = 1)",
        "node != n1",
        "severity = high or phase = closed",
        "app = ssh and src_port > 1",
    ]);
    (queries(), ranges(), filter)
        .prop_map(|(query, range, filter)| plan(range, filter, query))
        .prop_filter("legal", |plan| plan.validate().is_ok())
}

/// Each row to one of two parts.
fn split(data: &Data, seed: u64) -> [Data; 2] {
    let mut parts = [Data::default(), Data::default()];
    let mut state = seed;
    let mut part = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 63) as usize
    };
    data.flows.iter().for_each(|r| parts[part()].flows.push(r.clone()));
    data.rollups.iter().for_each(|r| parts[part()].rollups.push(r.clone()));
    data.windows.iter().for_each(|r| parts[part()].windows.push(r.clone()));
    data.ledger.iter().for_each(|r| parts[part()].ledger.push(r.clone()));
    data.alerts.iter().for_each(|r| parts[part()].alerts.push(r.clone()));
    data.messages.iter().for_each(|r| parts[part()].messages.push(r.clone()));
    parts
}

fn without_flows(points: &[SeriesPoint]) -> Vec<SeriesPoint> {
    // Windows have no flows by protocol, and then a point of nothing but new flows is none.
    points.iter().filter(|p| p.packets > 0).map(|p| SeriesPoint { new_flows: None, ..p.clone() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_of_the_rows_gives_the_same_answer(data in data(), plan in plans(), seed: u64) {
        let [a, b] = split(&data, seed);
        let (mut ab, mut ba) = (a.partial(&plan), b.partial(&plan));
        ab.merge(b.partial(&plan));
        ba.merge(a.partial(&plan));
        let whole = data.answer(&plan);
        prop_assert_eq!(&answer(&plan, ab).unwrap(), &whole);
        prop_assert_eq!(&answer(&plan, ba).unwrap(), &whole);
    }

    #[test]
    fn parts_that_went_over_the_wire_give_the_same_answer(data in data(), plan in plans(), seed: u64) {
        let asked = decode_plan(&encode_plan(&plan).unwrap()).unwrap();
        prop_assert_eq!(&asked, &plan);
        let [a, b] = split(&data, seed);
        let [mut ab, b] = [a, b].map(|part| decode_partial(&encode_partial(&part.partial(&asked)).unwrap()).unwrap());
        ab.merge(b);
        prop_assert_eq!(&answer(&plan, ab).unwrap(), &data.answer(&plan));
    }

    #[test]
    fn windows_and_rows_agree(data in data(), query in queries()) {
        let unfiltered = plan(range(0, 120), "", query);
        prop_assume!(unfiltered.validate().is_ok() && exactly(&unfiltered).validate().is_ok());
        let by_proto = matches!(&unfiltered.query, Query::Series { by, .. } if by == &[Proto]);
        match (data.answer(&unfiltered), data.answer(&exactly(&unfiltered))) {
            (Answer::Series(windows), Answer::Series(rows)) if by_proto => {
                prop_assert_eq!(without_flows(&windows.points), without_flows(&rows.points));
            }
            (Answer::Cardinality(windows), Answer::Cardinality(rows)) => {
                prop_assert_eq!(windows.range, rows.range);
                let exact = rows.value.estimate;
                prop_assert!((windows.value.low..=windows.value.high).contains(&exact), "{:?} {}", windows, exact);
            }
            (windows, rows) => prop_assert_eq!(windows, rows),
        }
    }
}

/// `senders` addresses, of which the first few send much more.
fn many(senders: u32) -> Data {
    let row = |i: u32| Rollup {
        window: secs(u64::from(i % 6) * 10),
        src_ip: Some(std::net::Ipv4Addr::from_bits(0x0a00_0000 + i).into()),
        bytes: if i < 10 { 1_000_000 + u64::from(i) } else { 100 },
        ..rollup()
    };
    Data { rollups: (0..senders).map(row).collect(), ..Data::default() }.with_windows()
}

#[test]
fn sketches_of_many_senders_hold_the_exact_numbers_within_their_bounds() {
    let data = many(3000);
    let top = plan(range(0, 60), "", Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 10, exact: false });
    let (Answer::Top(windows), Answer::Top(rows)) = (data.answer(&top), data.answer(&exactly(&top))) else {
        panic!("top")
    };
    assert_eq!((windows.total, windows.range), (rows.total, rows.range));
    assert_eq!(rows.items[0].key, ["10.0.0.9"]);
    for row in &rows.items {
        let item = windows.items.iter().find(|item| item.key == row.key).unwrap();
        assert!((item.value.low..=item.value.high).contains(&row.value.estimate), "{row:?} in {item:?}");
    }
}

#[test]
fn distinct_values_are_exact_up_to_the_bound_and_estimated_beyond() {
    let senders = Query::Cardinality { of: vec![SrcIp] };
    let ask = |data: &Data| {
        let Answer::Cardinality(answer) = data.answer(&exactly(&plan(range(0, 60), "", senders.clone()))) else {
            panic!("cardinality")
        };
        answer.value
    };
    let exact = ask(&many(EXACT_DISTINCT as u32));
    assert_eq!((exact.estimate, exact.low, exact.high), (4096.0, 4096.0, 4096.0));
    let estimate = ask(&many(EXACT_DISTINCT as u32 + 1));
    assert!(estimate.low < estimate.high && (estimate.low..=estimate.high).contains(&4097.0), "{estimate:?}");
    // The sketch of rows is the sketch of windows: same keys.
    let data = many(5000);
    let Answer::Cardinality(windows) = data.answer(&plan(range(0, 60), "", senders.clone())) else {
        panic!("cardinality")
    };
    assert_eq!(windows.value, ask(&data));
}

#[test]
fn partials_of_different_plans_do_not_become_an_answer() {
    let top = |exact| plan(range(0, 60), "", Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 1, exact });
    let later = Plan { range: TimeRange { from: secs(60), to: Nanos(u64::MAX) }, ..top(false) };
    for other in [top(true), later] {
        let mut partial = Data::default().partial(&top(false));
        partial.merge(Data::default().partial(&other));
        let message = "partials of different plans were merged: ask every part of the data the same plan";
        assert_eq!(answer(&top(false), partial).unwrap_err().to_string(), message);
    }
    let of_flows = Data::default().partial(&plan(range(0, 60), "", Query::Flows { limit: 1, after: None }));
    assert!(answer(&top(true), of_flows).is_err());
}
