use crate::model::{Counter, Direction, Ledger, LedgerEntry, NicCounters, NicDelta, Resolution, Rollup, TimeRange};
use crate::query::answer;
use crate::query::testing::{Data, arp, exactly, ip, plan, range, rollup, secs};
use crate::query::{Answer, LedgerAnswer, Metric, Plan, Quantity, Query, SeriesAnswer, SeriesPoint, TopAnswer};
use crate::schema::Dimension;
use crate::sketch::PairSample;
use std::time::Duration;

fn data(rollups: Vec<Rollup>) -> Data {
    Data { rollups, ..Data::default() }.with_windows()
}

fn top(data: &Data, plan: &Plan) -> TopAnswer {
    let Answer::Top(answer) = data.answer(plan) else { panic!("the largest groups") };
    answer
}

fn by(by: &[Dimension], metric: Metric, limit: usize) -> Plan {
    plan(range(0, 60), "", Query::Top { by: by.to_vec(), metric, limit, exact: false })
}

fn items(answer: &TopAnswer) -> Vec<(Vec<&str>, f64)> {
    answer.items.iter().map(|r| (r.key.iter().map(String::as_str).collect(), r.value.estimate)).collect()
}

#[test]
fn the_largest_groups_come_first_and_equal_ones_by_key() {
    let to = |dst: &str, bytes| Rollup { dst_ip: ip(dst), bytes, ..rollup() };
    let data = data(vec![
        to("10.0.0.9", 50),
        to("10.0.0.10", 100),
        to("2001:db8::1", 100),
        to("10.0.0.9", 50),
        to("10.0.0.8", 99),
        to("10.0.0.7", 0),
    ]);
    for plan in [by(&[Dimension::DstIp], Metric::Bytes, 3), exactly(&by(&[Dimension::DstIp], Metric::Bytes, 3))] {
        let answer = top(&data, &plan);
        assert_eq!(
            items(&answer),
            [(vec!["10.0.0.10"], 100.0), (vec!["10.0.0.9"], 100.0), (vec!["2001:db8::1"], 100.0)]
        );
        assert_eq!((answer.total, answer.range), (399, range(0, 60)));
        assert!(answer.items.iter().all(|r| r.value.low == r.value.high));
    }
}

#[test]
fn the_total_is_that_of_all_groups_that_the_filter_lets_through() {
    let udp = Rollup { proto: 17, ..rollup() };
    let data = data(vec![rollup(), rollup(), udp, arp()]);
    let ask = |filter| {
        let query = Query::Top { by: vec![Dimension::Proto], metric: Metric::Packets, limit: 1, exact: false };
        top(&data, &plan(range(0, 60), filter, query))
    };
    assert_eq!((ask("").total, ask("proto in (tcp, udp)").total, ask("proto = udp").total), (4, 3, 1));
    assert_eq!(items(&ask("")), [(vec!["tcp"], 2.0)]);
}

#[test]
fn every_dimension_has_its_text_and_a_missing_value_is_empty() {
    use Dimension::{Direction as Way, DstIp, DstPort, EtherType, Iface, Node, Proto, SrcIp, SrcPort, Vlan};
    let all = [SrcIp, DstIp, SrcPort, DstPort, Proto, EtherType, Vlan, Iface, Node, Way];
    let tagged = Rollup { vlan: Some(4000), proto: 200, direction: Some(Direction::Egress), bytes: 3, ..rollup() };
    let odd =
        Rollup { direction: None, src_ip: ip("::ffff:1.2.3.4"), dst_port: 0, bytes: 2, node: "".into(), ..rollup() };
    let data = data(vec![tagged, odd, Rollup { bytes: 1, ..arp() }]);
    assert_eq!(
        items(&top(&data, &by(&all, Metric::Bytes, 9))),
        [
            (vec!["10.0.0.1", "10.0.0.2", "50000", "443", "200", "0x0800", "4000", "eth0", "n1", "egress"], 3.0),
            (vec!["1.2.3.4", "10.0.0.2", "50000", "0", "tcp", "0x0800", "", "eth0", "", ""], 2.0),
            (vec!["", "", "", "", "", "0x0806", "", "eth0", "n1", "ingress"], 1.0),
        ]
    );
}

#[test]
fn ports_of_sketches_and_of_rows_have_the_same_keys() {
    use Dimension::{DstPort, Proto};
    let to = |proto, dst_port, bytes| Rollup { proto, dst_port, bytes, ..rollup() };
    let data = data(vec![to(6, 53, 3), to(17, 53, 5), arp()]);
    for order in [by(&[Proto, DstPort], Metric::Bytes, 9), exactly(&by(&[Proto, DstPort], Metric::Bytes, 9))] {
        assert_eq!(
            items(&top(&data, &order)),
            [(vec!["", ""], 60.0), (vec!["udp", "53"], 5.0), (vec!["tcp", "53"], 3.0)]
        );
    }
    assert_eq!(items(&top(&data, &by(&[DstPort, Proto], Metric::Bytes, 2)))[1].0, ["53", "udp"]);
    assert_eq!(items(&top(&data, &by(&[DstPort], Metric::Bytes, 9))), [(vec![""], 60.0), (vec!["53"], 8.0)]);
}

#[test]
fn new_flows_are_ranked_even_where_the_sender_was_not_heard() {
    let silent = Rollup { packets: 0, bytes: 0, new_flows: 2, ..rollup() };
    let data = data(vec![silent, Rollup { new_flows: 0, src_ip: ip("10.0.0.3"), ..rollup() }]);
    assert_eq!(items(&top(&data, &by(&[Dimension::SrcIp], Metric::Flows, 9))), [(vec!["10.0.0.1"], 2.0)]);
    assert_eq!(items(&top(&data, &by(&[Dimension::SrcIp], Metric::Packets, 9))), [(vec!["10.0.0.3"], 1.0)]);
}

#[test]
fn peers_are_the_distinct_counterparts_of_either_end() {
    use Dimension::{DstIp, SrcIp};
    let of = |src: &str, dst: &str| Rollup { src_ip: ip(src), dst_ip: ip(dst), ..rollup() };
    let silent = Rollup { packets: 0, bytes: 0, ..of("10.0.0.9", "10.0.1.9") };
    let again = Rollup { window: secs(30), src_port: 7, ..of("10.0.0.1", "10.0.1.1") };
    let data = data(vec![
        of("10.0.0.1", "10.0.1.1"),
        of("10.0.0.1", "10.0.1.2"),
        again,
        of("10.0.0.2", "10.0.1.2"),
        silent,
        arp(),
    ]);
    for order in [by(&[SrcIp], Metric::Peers, 9), exactly(&by(&[SrcIp], Metric::Peers, 9))] {
        let answer = top(&data, &order);
        assert_eq!(items(&answer), [(vec!["10.0.0.1"], 2.0), (vec!["10.0.0.2"], 1.0)]);
        assert_eq!(answer.total, 3);
    }
    assert_eq!(items(&top(&data, &by(&[DstIp], Metric::Peers, 1))), [(vec!["10.0.1.2"], 2.0)]);
    let filtered = plan(range(0, 60), "dst_ip = 10.0.1.1", by(&[SrcIp], Metric::Peers, 9).query);
    assert_eq!(items(&top(&data, &filtered)), [(vec!["10.0.0.1"], 1.0)]);
}

#[test]
fn windows_without_a_sample_are_no_answer_to_who_has_peers() {
    let mut data = data(vec![rollup()]);
    for window in &mut data.windows {
        if let Some(sketches) = &mut window.sketches {
            sketches.peers = PairSample::default();
        }
    }
    let order = by(&[Dimension::SrcIp], Metric::Peers, 9);
    let error = answer(&order, data.partial(&order)).unwrap_err().to_string();
    assert!(error.contains("ask with `exact`"), "{error}");
    assert_eq!(items(&top(&data, &exactly(&order))), [(vec!["10.0.0.1"], 1.0)]);
}

#[test]
fn sums_saturate() {
    let data = data(vec![Rollup { bytes: u64::MAX, ..rollup() }, rollup()]);
    let answer = top(&data, &exactly(&by(&[Dimension::SrcIp], Metric::Bytes, 1)));
    assert_eq!((answer.total, answer.items[0].value.estimate), (u64::MAX, u64::MAX as f64));
}

fn series(data: &Data, range: TimeRange, filter: &str, step: u64, by: &[Dimension]) -> SeriesAnswer {
    let query = Query::Series { step: Duration::from_secs(step), by: by.to_vec() };
    let Answer::Series(answer) = data.answer(&plan(range, filter, query)) else { panic!("a series") };
    answer
}

fn point(start: u64, key: &[&str], packets: u64, bytes: u64, new_flows: impl Into<Option<u64>>) -> SeriesPoint {
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    SeriesPoint { start: secs(start), key, packets, bytes, new_flows: new_flows.into() }
}

#[test]
fn a_series_adds_up_windows_into_points_at_multiples_of_the_step() {
    let at = |second, proto| Rollup { window: secs(second), proto, ..rollup() };
    let data = data(vec![at(0, 6), at(20, 17), at(30, 6), at(30, 17), at(90, 6), at(120, 6)]);
    let answer = series(&data, range(25, 120), "", 30, &[]);
    assert_eq!((answer.range, answer.step_seconds), (range(20, 120), 30));
    let expected = [point(0, &[], 1, 100, 1), point(30, &[], 2, 200, 2), point(90, &[], 1, 100, 1)];
    assert_eq!(answer.points, expected);

    let by_proto = series(&data, range(0, 120), "", 60, &[Dimension::Proto]);
    let expected =
        [point(0, &["tcp"], 2, 200, None), point(60, &["tcp"], 1, 100, None), point(0, &["udp"], 2, 200, None)];
    assert_eq!(by_proto.points, expected);

    let filtered = series(&data, range(0, 60), "proto = udp", 10, &[Dimension::Iface]);
    assert_eq!(filtered.points, [point(20, &["eth0"], 1, 100, 1), point(30, &["eth0"], 1, 100, 1)]);
}

#[test]
fn non_ip_is_the_protocol_without_a_name_in_windows_and_rows() {
    let data = data(vec![arp(), rollup()]);
    let windows = series(&data, range(0, 60), "", 60, &[Dimension::Proto]);
    assert_eq!(windows.points, [point(0, &[""], 1, 60, None), point(0, &["tcp"], 1, 100, None)]);
    let rows = series(&data, range(0, 60), "all or all", 60, &[Dimension::Proto]);
    assert_eq!(rows.points, [point(0, &[""], 1, 60, 1), point(0, &["tcp"], 1, 100, 1)]);
}

#[test]
fn only_windows_of_the_length_that_the_plan_names_are_added() {
    let mut data = data(vec![rollup()]);
    assert_eq!(data.windows.len(), 3);
    assert_eq!(series(&data, range(0, 60), "", 60, &[]).points, [point(0, &[], 1, 100, 1)]);
    data.windows.retain(|w| w.resolution != Resolution::S60);
    assert_eq!(series(&data, range(0, 60), "", 60, &[]).points, []);
}

#[test]
fn distinct_values_are_of_rows_that_have_them_all() {
    use Dimension::{DstIp, DstPort, EtherType, Proto, SrcIp, SrcPort, Vlan};
    let data = data(vec![
        rollup(),
        Rollup { proto: 17, ..rollup() },
        Rollup { vlan: Some(1), window: secs(10), ..rollup() },
        Rollup { src_ip: ip("10.9.9.9"), packets: 0, bytes: 0, ..rollup() },
        arp(),
    ]);
    for (of, exact) in [
        (vec![SrcIp], 1.0),
        (vec![DstPort], 2.0),
        (vec![SrcPort], 2.0),
        (vec![Proto, DstPort], 2.0),
        (vec![DstIp, SrcIp], 1.0),
        (vec![SrcIp, DstIp, SrcPort, DstPort, Proto], 2.0),
        (vec![Vlan], 1.0),
        (vec![EtherType], 2.0),
        (vec![Proto], 2.0),
        (vec![SrcIp, DstPort], 2.0),
    ] {
        let plan = exactly(&plan(range(0, 60), "", Query::Cardinality { of: of.clone() }));
        let Answer::Cardinality(answer) = data.answer(&plan) else { panic!("a number") };
        assert_eq!((answer.value.estimate, answer.value.low, answer.value.high), (exact, exact, exact), "{of:?}");
    }
}

#[test]
fn quantiles_of_nothing_are_empty() {
    let query = Query::Quantiles { of: Quantity::PacketSize, q: vec![0.5] };
    let Answer::Quantiles(answer) = data(vec![]).answer(&plan(range(0, 60), "", query.clone())) else {
        panic!("quantiles")
    };
    assert_eq!((answer.count, answer.items), (0, vec![]));
    let Answer::Quantiles(answer) = data(vec![rollup()]).answer(&plan(range(0, 60), "", query)) else {
        panic!("quantiles")
    };
    assert_eq!((answer.count, answer.items[0].1.estimate), (1, 100.0));
}

#[test]
fn the_ledger_is_the_sum_of_the_generations_that_overlap() {
    let entry = |from: u64, to: u64| {
        let seen = Counter::new(1, 100);
        let ledger = Ledger { seen, flows: seen, ..Ledger::default() };
        LedgerEntry {
            node: "n1".into(),
            epoch: 1,
            generation: from,
            start: secs(from),
            end: secs(to),
            ledger,
            nics: vec![NicDelta {
                ifindex: 2,
                iface: if from < 15 { "eth0" } else { "eth1" }.into(),
                gained: NicCounters { rx_packets: 1, tx_bytes: from, ..NicCounters::default() },
                reset: from == 55,
            }],
            chain_break: from == 10,
        }
    };
    let ledger = vec![entry(0, 10), entry(10, 15), entry(55, 65), entry(60, 65), entry(20, 20)];
    let data = Data { ledger, ..Data::default() };
    let ask = |range| {
        let Answer::Ledger(answer) = data.answer(&plan(range, "", Query::Ledger)) else { panic!("a ledger") };
        answer
    };
    let LedgerAnswer { range: covered, ledger, generations, chain_breaks, nics } = *ask(range(10, 60));
    assert_eq!((covered, generations), (range(10, 65), 3));
    assert_eq!((ledger.seen, ledger.residual()), (Counter::new(3, 300), (0, 0)));
    assert_eq!(chain_breaks, 1);
    let nics: Vec<_> = nics.iter().map(|n| (&*n.iface, n.gained.rx_packets, n.gained.tx_bytes, n.resets)).collect();
    assert_eq!(nics, [("eth0", 1, 10, 0), ("eth1", 2, 75, 1)]);
    assert_eq!(ask(range(20, 21)).generations, 1);
    assert_eq!((ask(range(90, 99)).generations, ask(range(90, 99)).range), (0, range(90, 99)));
}

#[test]
fn an_end_left_open_is_that_of_the_data() {
    let data = data(vec![Rollup { window: secs(70), ..rollup() }, Rollup { window: secs(200), ..rollup() }]);
    assert_eq!(series(&data, TimeRange::ALL, "", 10, &[]).range, range(70, 210));
    assert_eq!(series(&data, TimeRange::ALL, "vlan != 1", 60, &[]).range, range(70, 210));
    assert_eq!(series(&data, TimeRange { to: secs(100), ..TimeRange::ALL }, "", 60, &[]).range, range(60, 120));
    assert_eq!(series(&data, range(0, 600), "", 60, &[]).range, range(0, 600));
    assert_eq!(series(&Data::default(), TimeRange::ALL, "", 60, &[]).range, TimeRange::ALL);
}
