//! What filters mean for rows, which rows answer a plan, and which plans are refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::testing::{arp, exactly, flow, ip, plan, range, rollup, secs};
use super::*;
use crate::abi::LossReason;
use crate::model::{Counter, Direction, EndReason, FlowState, Ledger, Nanos, Resolution, Rollup, TimeRange};
use crate::schema::Dimension;
use std::time::Duration;

fn matches(filter: &str, row: &impl Row) -> bool {
    parse_filter(filter).unwrap().matches(row)
}

#[test]
fn comparisons_hold_as_documented() {
    let v6 = Rollup { src_ip: ip("2001:db8::1"), dst_ip: ip("2001:db9::2"), ether_type: 0x86dd, ..rollup() };
    let mapped = Rollup { src_ip: ip("::ffff:10.0.0.9"), ..rollup() };
    let tagged = Rollup { vlan: Some(7), direction: Some(Direction::Egress), ..rollup() };
    for (filter, row, holds) in [
        ("", &rollup(), true),
        ("src_ip = 10.0.0.1", &rollup(), true),
        ("src_ip = 10.0.0.2", &rollup(), false),
        ("ip = 10.0.0.2", &rollup(), true),
        ("src_ip in 10.0.0.0/31", &rollup(), true),
        ("src_ip in 10.0.0.2/31", &rollup(), false),
        ("src_ip in 0.0.0.0/0", &rollup(), true),
        ("src_ip in ::/0", &rollup(), false),
        ("src_ip in ::ffff:10.0.0.0/104", &rollup(), true),
        ("src_ip = 10.0.0.9", &mapped, true),
        ("src_ip in ::/0", &v6, true),
        ("src_ip in 2001:db8::/32", &v6, true),
        ("dst_ip in 2001:db8::/32", &v6, false),
        ("ip not in 2001:db8::/31", &v6, false),
        ("src_ip in 0.0.0.0/0", &v6, false),
        ("port = 443", &rollup(), true),
        ("port in (80, 50000..50001)", &rollup(), true),
        ("src_port = 443", &rollup(), false),
        ("dst_port < 443", &rollup(), false),
        ("dst_port <= 443", &rollup(), true),
        ("dst_port > 442", &rollup(), true),
        ("dst_port >= 444", &rollup(), false),
        ("proto = tcp", &rollup(), true),
        ("ether_type = 0x0800", &rollup(), true),
        ("vlan = 7", &tagged, true),
        ("vlan = 0", &rollup(), false),
        ("vlan < 10", &rollup(), false),
        ("iface = eth0 and node = n1", &rollup(), true),
        ("iface = ETH0", &rollup(), false),
        ("direction = ingress", &rollup(), true),
        ("direction = egress", &tagged, true),
        ("proto = udp or dst_port = 443 and not vlan = 7", &rollup(), true),
        ("proto = udp or dst_port = 443 and not vlan = 7", &tagged, false),
        ("not all", &rollup(), false),
    ] {
        assert_eq!(matches(filter, row), holds, "{filter}");
    }
}

#[test]
fn a_row_without_the_value_fails_the_comparison_and_passes_its_negation() {
    for filter in ["src_ip = 0.0.0.0/0", "ip in ::/0", "proto = 0", "port = 0", "src_port < 1", "vlan in 0..4095"] {
        assert!(!matches(filter, &arp()), "{filter}");
        assert!(matches(&format!("not {filter}"), &arp()), "not {filter}");
    }
    assert!(matches("src_ip != 10.0.0.1", &arp()));
    assert!(matches("ether_type = 0x0806", &arp()));
    let file = Rollup { direction: None, ..rollup() };
    assert!(matches("direction != ingress and direction != egress", &file));
    let icmp = Rollup { proto: 1, src_port: 0, dst_port: 0, ..rollup() };
    assert!(matches("port = 0 and proto = icmp", &icmp));
}

#[test]
fn flow_records_have_states_and_roll_ups_have_directions() {
    let closed = crate::model::FlowRecord { state: FlowState::Closed, end_reason: EndReason::Fin, ..flow() };
    assert!(matches("state = closed and end_reason in (fin, rst) and src_ip = 10.0.0.1 and dst_port = 443", &closed));
    assert!(!matches("state = active or direction = ingress", &closed));
    assert!(!matches("state = closed or end_reason = fin", &rollup()));
}

fn flows(limit: usize) -> Query {
    Query::Flows { limit, after: None }
}

fn top(by: &[Dimension], metric: Metric) -> Query {
    Query::Top { by: by.to_vec(), metric, limit: 10, exact: false }
}

fn series(step: u64, by: &[Dimension]) -> Query {
    Query::Series { step: Duration::from_secs(step), by: by.to_vec() }
}

fn cardinality(of: &[Dimension]) -> Query {
    Query::Cardinality { of: of.to_vec() }
}

fn quantiles(of: Quantity) -> Query {
    Query::Quantiles { of, q: vec![0.5] }
}

#[test]
fn the_source_follows_from_the_plan_alone() {
    use Dimension::{DstIp, DstPort, Iface, Node, Proto, SrcIp, SrcPort};
    let windows = Source::Windows;
    for (filter, query, source) in [
        ("", flows(1), Source::Flows),
        ("", Query::Ledger, Source::Ledger),
        ("", top(&[SrcIp], Metric::Bytes), windows(Resolution::S10)),
        ("all and all", top(&[SrcIp], Metric::Bytes), windows(Resolution::S10)),
        ("", top(&[SrcIp], Metric::Packets), windows(Resolution::S10)),
        ("", top(&[DstIp], Metric::Packets), windows(Resolution::S10)),
        ("", top(&[Proto, DstPort], Metric::Bytes), windows(Resolution::S10)),
        ("", top(&[DstPort, Proto], Metric::Bytes), windows(Resolution::S10)),
        ("", top(&[DstPort], Metric::Bytes), Source::Rollups),
        ("", top(&[Proto, DstPort], Metric::Packets), Source::Rollups),
        ("", top(&[SrcIp], Metric::Flows), Source::Rollups),
        ("", top(&[DstIp], Metric::Peers), windows(Resolution::S10)),
        ("vlan = 1", top(&[DstIp], Metric::Peers), Source::Rollups),
        ("", top(&[SrcIp, DstIp], Metric::Bytes), Source::Rollups),
        ("vlan = 1", top(&[SrcIp], Metric::Bytes), Source::Rollups),
        ("", Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 10, exact: true }, Source::Rollups),
        (
            "",
            Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 1000, exact: false },
            windows(Resolution::S10),
        ),
        ("", Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 1001, exact: false }, Source::Rollups),
        ("", series(1, &[]), windows(Resolution::S1)),
        ("", series(15, &[]), windows(Resolution::S1)),
        ("", series(30, &[]), windows(Resolution::S10)),
        ("", series(300, &[Proto]), windows(Resolution::S60)),
        ("", series(60, &[Node]), windows(Resolution::S60)),
        ("", series(60, &[Node, Proto]), Source::Rollups),
        ("", series(60, &[Iface]), Source::Rollups),
        ("vlan = 1", series(60, &[]), Source::Rollups),
        ("", cardinality(&[SrcIp]), windows(Resolution::S10)),
        ("", cardinality(&[DstPort]), windows(Resolution::S10)),
        ("", cardinality(&[DstPort, Proto]), windows(Resolution::S10)),
        ("", cardinality(&[DstIp, SrcIp]), windows(Resolution::S10)),
        ("", cardinality(&[SrcIp, DstIp, SrcPort, DstPort, Proto]), windows(Resolution::S10)),
        ("", cardinality(&[SrcPort]), Source::Rollups),
        ("", cardinality(&[SrcIp, DstPort]), Source::Rollups),
        ("vlan = 1", cardinality(&[SrcIp]), Source::Rollups),
        ("", quantiles(Quantity::PacketSize), windows(Resolution::S10)),
        ("", quantiles(Quantity::FlowDuration), windows(Resolution::S10)),
        ("vlan = 1", quantiles(Quantity::FlowDuration), Source::Flows),
        ("", quantiles(Quantity::ServerRtt), windows(Resolution::S10)),
        ("vlan = 1", quantiles(Quantity::ServerRtt), Source::Flows),
        ("vlan = 1", quantiles(Quantity::ClientRtt), Source::Flows),
        ("", quantiles(Quantity::DnsLatency), windows(Resolution::S10)),
    ] {
        let plan = plan(range(0, 900), filter, query);
        assert_eq!(plan.source(), source, "{plan:?}");
        assert_eq!(plan.validate(), Ok(()));
    }
}

#[test]
fn sketches_of_a_minute_answer_for_more_than_a_quarter_of_an_hour() {
    let ask = |to| plan(range(0, to), "", top(&[Dimension::SrcIp], Metric::Bytes)).source();
    assert_eq!([ask(900), ask(901)], [Source::Windows(Resolution::S10), Source::Windows(Resolution::S60)]);
    let all = Plan { range: TimeRange::ALL, ..plan(range(0, 1), "", quantiles(Quantity::PacketSize)) };
    assert_eq!(all.source(), Source::Windows(Resolution::S60));
}

#[test]
fn windows_and_roll_ups_are_used_whole_and_the_answer_says_so() {
    let at = |query: Query| plan(range(5, 65), "", query).covered();
    assert_eq!(at(flows(1)), range(5, 65));
    assert_eq!(at(series(1, &[])), range(5, 65));
    assert_eq!(at(series(60, &[])), range(0, 120));
    assert_eq!(at(top(&[Dimension::Iface], Metric::Bytes)), range(0, 70));
    let whole = plan(range(60, 120), "", series(60, &[])).covered();
    assert_eq!(whole, range(60, 120));
    let ever = Plan { range: TimeRange::ALL, ..plan(range(0, 1), "", series(60, &[])) };
    assert_eq!(ever.covered(), TimeRange::ALL);
}

#[test]
fn a_plan_that_cannot_run_is_refused_with_the_argument_and_what_is_legal() {
    use Dimension::{DstPort, SrcIp, State};
    let rollups = "src_ip, dst_ip, src_port, dst_port, proto, ether_type, vlan, tunnel, tunnel_id, iface, node, direction, \
         src_country, dst_country, src_as, dst_as, src_network, dst_network, \
         src_name, dst_name, src_pod, dst_pod, src_namespace, dst_namespace, src_workload, dst_workload, \
         src_process, dst_process, src_cgroup, dst_cgroup, service, sampling";
    let records = "src_ip, dst_ip, src_port, dst_port, proto, ether_type, vlan, tunnel, tunnel_id, iface, node, \
         src_country, dst_country, src_as, dst_as, src_network, dst_network, \
         src_name, dst_name, src_pod, dst_pod, src_namespace, dst_namespace, src_workload, dst_workload, \
         src_process, dst_process, src_cgroup, dst_cgroup, service, sampling, state, end_reason";
    let step = "a multiple of 10 s (1 s unfiltered, and ungrouped, by `proto` or by `node`), at most 31622400 s";
    for (filter, query, message) in [
        ("", flows(0), "`limit` is 0: expected a number in 1..=10000".into()),
        ("", flows(10_001), "`limit` is 10001: expected a number in 1..=10000".into()),
        ("", top(&[], Metric::Bytes), format!("`by` is empty: expected at least one of {rollups}")),
        ("", top(&[SrcIp, State], Metric::Bytes), format!("`by` is state: expected some of {rollups}")),
        ("", top(&[DstPort], Metric::Peers), "`by` is dst_port: expected src_ip or dst_ip with metric `peers`".into()),
        ("", series(10, &[SrcIp, SrcIp]), "`by` is src_ip,src_ip: expected each dimension once".into()),
        ("", cardinality(&[]), format!("`of` is empty: expected at least one of {rollups}")),
        (
            "src_ip = 10.0.0.1 or not state = closed",
            top(&[SrcIp], Metric::Bytes),
            format!(
                "`filter` is a condition on `state`: expected dimensions of top, series and cardinality: {rollups}"
            ),
        ),
        (
            "direction = ingress",
            flows(1),
            format!("`filter` is a condition on `direction`: expected dimensions of flow records: {records}"),
        ),
        (
            "direction = ingress",
            quantiles(Quantity::FlowDuration),
            format!("`filter` is a condition on `direction`: expected dimensions of flow records: {records}"),
        ),
        ("", series(0, &[]), "`step` is 0 s: expected a multiple of 1 s, at most 31622400 s".into()),
        ("", series(15, &[DstPort]), format!("`step` is 15 s: expected {step}")),
        ("vlan = 1", series(15, &[]), format!("`step` is 15 s: expected {step}")),
        (
            "",
            Query::Series { step: Duration::from_millis(1500), by: vec![] },
            "`step` is 1.5 s: expected a multiple of 1 s, at most 31622400 s".into(),
        ),
        (
            "",
            Query::Series { step: Duration::MAX, by: vec![] },
            "`step` is 18446744073709552000 s: expected a multiple of 1 s, at most 31622400 s".into(),
        ),
        (
            "",
            Query::Quantiles { of: Quantity::PacketSize, q: vec![] },
            "`q` is a list of 0: expected 1..=100 numbers in 0..=1".into(),
        ),
        (
            "",
            Query::Quantiles { of: Quantity::PacketSize, q: vec![0.5, f64::NAN] },
            "`q` is NaN: expected numbers in 0..=1".into(),
        ),
        (
            "vlan = 1",
            quantiles(Quantity::DnsLatency),
            "`dns_latency` cannot be filtered: it is counted per window, not per flow; leave `filter` out".into(),
        ),
        (
            "vlan = 1",
            quantiles(Quantity::PacketSize),
            "`packet_size` cannot be filtered: frame lengths are counted per window, not per flow; leave `filter` out, or \
             ask for `top` by bytes and by packets and divide"
                .into(),
        ),
        (
            "vlan = 1",
            Query::Ledger,
            "the ledger cannot be filtered: it counts frames that are in no flow too; leave `filter` out".into(),
        ),
    ] {
        let plan = plan(range(0, 60), filter, query);
        assert_eq!(plan.validate().unwrap_err().to_string(), message);
        assert_eq!(Partial::new(&plan).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_empty_range_is_refused() {
    let error = plan(range(60, 60), "", Query::Ledger).validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`from` is 2026-01-01T10:01:00.000000000Z: expected a time before `to`, which is 2026-01-01T10:01:00.000000000Z"
    );
}

#[test]
fn filters_that_no_text_makes_are_checked() {
    let is = |d, op, values| Filter::Is(Predicate { any_of: vec![d], op, values });
    let host_bits = Value::Net("10.0.0.1".parse().unwrap(), 8);
    let long = Value::Net("10.0.0.1".parse().unwrap(), 64);
    let mut deep = Filter::ALL;
    for _ in 0..200 {
        deep = Filter::Not(Box::new(deep));
    }
    for filter in [
        is(Dimension::SrcIp, CmpOp::Eq, vec![]),
        Filter::Is(Predicate { any_of: vec![], op: CmpOp::Eq, values: vec![Value::Number(1)] }),
        is(Dimension::SrcIp, CmpOp::Eq, vec![Value::Number(1)]),
        is(Dimension::SrcIp, CmpOp::Eq, vec![host_bits]),
        is(Dimension::SrcIp, CmpOp::Eq, vec![long]),
        is(Dimension::Proto, CmpOp::Eq, vec![Value::Number(256)]),
        is(Dimension::DstPort, CmpOp::Eq, vec![Value::Range(2, 1)]),
        is(Dimension::DstPort, CmpOp::Lt, vec![Value::Number(2), Value::Number(1)]),
        is(Dimension::Direction, CmpOp::Eq, vec![Value::Text("up".into())]),
        is(Dimension::Iface, CmpOp::Eq, vec![Value::Number(1)]),
        deep,
    ] {
        let plan = Plan { filter, ..plan(range(0, 60), "", cardinality(&[Dimension::SrcIp])) };
        let error = plan.validate().unwrap_err();
        assert!(matches!(&error, PlanError::Argument { argument: "filter", .. }), "{error}");
    }
}

#[test]
fn the_deepest_filter_that_is_read_is_a_legal_plan() {
    let mut text = String::from("vlan = 1");
    for _ in 0..MAX_FILTER_DEPTH {
        text = format!("(vlan = 2 or vlan = 3 and {text})");
    }
    text = format!("vlan = 2 or vlan = 3 and {text}");
    let plan = plan(range(0, 60), &text, flows(1));
    assert_eq!(plan.validate(), Ok(()));
    assert_eq!(plan.source(), exactly(&plan).source());
}

#[test]
fn an_answer_is_complete_when_every_frame_seen_is_in_a_record() {
    let answer = |ledger: Ledger| LedgerAnswer {
        range: range(0, 60),
        ledger,
        generations: 1,
        chain_breaks: 0,
        nics: Vec::new(),
    };
    let whole = Ledger {
        seen: Counter::new(10, 1000),
        flows: Counter::new(8, 900),
        non_ip: Counter::new(2, 100),
        ..Ledger::default()
    };
    let all = completeness(&answer(whole.clone()));
    assert_eq!((all.complete, all.seen_packets, all.accounted_bytes), (true, 10, 1000));
    assert!(completeness(&answer(Ledger::default())).complete);

    let mut lossy = whole.clone();
    lossy.seen.add(Counter::new(1, 60));
    lossy.reasons[LossReason::TableFull] = Counter::new(1, 60);
    let lossy = completeness(&answer(lossy));
    assert_eq!((lossy.complete, lossy.without_flow_packets, lossy.without_flow_bytes), (false, 1, 60));
    assert_eq!((lossy.accounted_packets, lossy.accounted_bytes), (11, 1060));

    let broken = completeness(&LedgerAnswer { chain_breaks: 1, ..answer(whole.clone()) });
    assert_eq!((broken.complete, broken.chain_breaks), (false, 1));

    let silent = completeness(&answer(Ledger { seen: Counter::new(11, 1000), ..whole }));
    assert_eq!((silent.complete, silent.without_flow_packets, silent.accounted_packets), (false, 0, 10));
}

#[test]
fn keys_have_fixed_bytes_and_lead_back_to_their_text() {
    let v4 = keys::address("10.0.0.1".parse().unwrap());
    let v6 = keys::address("2001:db8::1".parse().unwrap());
    assert_eq!(v4, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
    assert_eq!(keys::port(6, 443), [6, 1, 187]);
    assert_eq!(keys::pair(&v4, &v6)[..16], v4);
    assert_eq!(keys::pair(&v4, &v6)[16..], v6);
    let five = keys::five_tuple(&v4, &v6, 17, 258, 53);
    assert_eq!((&five[..32], &five[32..]), (&keys::pair(&v4, &v6)[..], &[17, 1, 2, 0, 53][..]));
    assert_eq!(keys::address_text(&v4).as_deref(), Some("10.0.0.1"));
    assert_eq!(keys::address_text(&v6).as_deref(), Some("2001:db8::1"));
    assert_eq!(keys::port_text(&keys::port(6, 443)).as_deref(), Some("tcp/443"));
    assert_eq!(keys::port_text(&keys::port(200, 0)).as_deref(), Some("200/0"));
    assert_eq!((keys::decode_address(&[1, 2]), keys::decode_port(&v4)), (None, None));
}

#[test]
fn times_in_tests_are_what_they_say() {
    assert_eq!(secs(0), Nanos::parse("2026-01-01T10:00:00Z", Nanos(0)).unwrap());
    assert_eq!(secs(0).floor(Duration::from_secs(3600)), secs(0));
}
