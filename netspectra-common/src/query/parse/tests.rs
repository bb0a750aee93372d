//! What the filter language reads, what it refuses and where, and that what is written reads back.
//!
//! Not proven here: what filters mean for rows (see `query::tests`).
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::schema::{Dimension, PROTOCOLS};
use proptest::prelude::*;
use std::net::IpAddr;

fn is(any_of: &[Dimension], op: CmpOp, values: Vec<Value>) -> Filter {
    Filter::Is(Predicate { any_of: any_of.to_vec(), op, values })
}

fn eq(d: Dimension, values: Vec<Value>) -> Filter {
    is(&[d], CmpOp::Eq, values)
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn net(ip: &str, prefix: u8) -> Value {
    Value::Net(ip.parse().unwrap(), prefix)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn port(number: u32) -> Filter {
    eq(Dimension::DstPort, vec![Value::Number(number)])
}

#[test]
fn every_construct_is_read() {
    use Dimension::{
        Direction, DstIp, DstPort, EtherType, Iface, Node, Proto, SrcIp, SrcPort, State, Tunnel, TunnelId, Vlan,
    };
    let tcp = || eq(Proto, vec![Value::Number(6)]);
    for (source, filter) in [
        ("", Filter::ALL),
        (" \t\n", Filter::ALL),
        ("all", Filter::ALL),
        ("((all))", Filter::ALL),
        ("src_ip in 10.0.0.0/8 and dst_port = 443", Filter::And(vec![eq(SrcIp, vec![net("10.0.0.0", 8)]), port(443)])),
        (
            "not (proto = udp or port in 1..1024)",
            not(Filter::Or(vec![
                eq(Proto, vec![Value::Number(17)]),
                is(&[SrcPort, DstPort], CmpOp::Eq, vec![Value::Range(1, 1024)]),
            ])),
        ),
        ("ip = 2001:db8::/32", is(&[SrcIp, DstIp], CmpOp::Eq, vec![net("2001:db8::", 32)])),
        ("host=192.0.2.7", is(&[SrcIp, DstIp], CmpOp::Eq, vec![net("192.0.2.7", 32)])),
        ("dst_ip = 10.1.2.3/8", eq(DstIp, vec![net("10.0.0.0", 8)])),
        ("src_ip = 0.0.0.0/0", eq(SrcIp, vec![net("0.0.0.0", 0)])),
        ("src_ip = ::ffff:10.1.2.3", eq(SrcIp, vec![net("10.1.2.3", 32)])),
        ("src_ip = ::ffff:10.1.2.3/104", eq(SrcIp, vec![net("10.0.0.0", 8)])),
        ("src_ip = ::ffff:10.1.2.3/95", eq(SrcIp, vec![net("::fffe:0:0", 95)])),
        (
            "dst_port in (80, 443, 8000..8080)",
            eq(DstPort, vec![Value::Number(80), Value::Number(443), Value::Range(8000, 8080)]),
        ),
        ("dst_port == 443", port(443)),
        ("dst_port in (443)", port(443)),
        ("dst_port != 443", not(port(443))),
        ("dst_port not in (80, 443)", not(eq(DstPort, vec![Value::Number(80), Value::Number(443)]))),
        ("src_port<1024", is(&[SrcPort], CmpOp::Lt, vec![Value::Number(1024)])),
        ("src_port<=1024", is(&[SrcPort], CmpOp::Le, vec![Value::Number(1024)])),
        ("port>1024", is(&[SrcPort, DstPort], CmpOp::Gt, vec![Value::Number(1024)])),
        ("vlan >= 4095", is(&[Vlan], CmpOp::Ge, vec![Value::Number(4095)])),
        ("tunnel = vxlan", eq(Tunnel, vec![text("vxlan")])),
        ("tunnel_id = 16777215", eq(TunnelId, vec![Value::Number(0xff_ffff)])),
        ("tunnel_id > 0x10000", is(&[TunnelId], CmpOp::Gt, vec![Value::Number(0x1_0000)])),
        ("ether_type = 0x86dd", eq(EtherType, vec![Value::Number(0x86dd)])),
        ("proto = 6", tcp()),
        ("PROTO = TCP", tcp()),
        ("proto in icmp..udp", eq(Proto, vec![Value::Range(1, 17)])),
        ("iface = eth0.100", eq(Iface, vec![text("eth0.100")])),
        ("iface = \"my \\\"file\\\\.pcap\"", eq(Iface, vec![text("my \"file\\.pcap")])),
        ("node = 'a (b), c'", eq(Node, vec![text("a (b), c")])),
        ("iface = all", eq(Iface, vec![text("all")])),
        ("state = Closed", eq(State, vec![text("closed")])),
        ("direction = 'egress'", eq(Direction, vec![text("egress")])),
        ("!proto=tcp", not(tcp())),
        ("not not proto = tcp", not(not(tcp()))),
        (
            "proto = tcp AND NOT dst_port = 1 OR dst_port = 2",
            Filter::Or(vec![Filter::And(vec![tcp(), not(port(1))]), port(2)]),
        ),
        (
            "dst_port = 1 || dst_port = 2 && (dst_port = 3 || !dst_port = 4)",
            Filter::Or(vec![port(1), Filter::And(vec![port(2), Filter::Or(vec![port(3), not(port(4))])])]),
        ),
        ("(dst_port=1 and dst_port=2) and dst_port=3", Filter::And(vec![Filter::And(vec![port(1), port(2)]), port(3)])),
    ] {
        assert_eq!(parse_filter(source).as_ref(), Ok(&filter), "{source}");
        assert_eq!(parse_filter(&filter.to_string()).as_ref(), Ok(&filter), "{source} is written as {filter}");
    }
}

#[test]
fn filters_are_written_as_people_write_them() {
    for (source, written) in [
        ("", ""),
        ("!(PROTO==17||port in (1..1024))", "not (proto = udp or port in 1..1024)"),
        ("host = 10.1.1.1 && ip != 2001:db8:0:0::/32", "ip = 10.1.1.1 and ip != 2001:db8::/32"),
        ("dst_port not in (80,443)", "dst_port not in (80, 443)"),
        ("not dst_port in 1..2", "dst_port not in 1..2"),
        ("not dst_port < 5", "not dst_port < 5"),
        ("not (not vlan = 1)", "not vlan != 1"),
        ("(vlan = 1 and vlan = 2) or vlan = 3", "vlan = 1 and vlan = 2 or vlan = 3"),
        ("iface = eth0 and state = closed", "iface = \"eth0\" and state = closed"),
        ("node = 'say \"hi\\\\\"'", "node = \"say \\\"hi\\\\\\\"\""),
        ("proto = 200 or all", "proto = 200 or all"),
    ] {
        assert_eq!(parse_filter(source).unwrap().to_string(), written);
    }
}

#[test]
fn filters_that_no_text_makes_are_written_as_equivalent_ones() {
    let odd = Filter::Is(Predicate {
        any_of: vec![Dimension::SrcPort, Dimension::Vlan],
        op: CmpOp::Lt,
        values: vec![Value::Number(5)],
    });
    for (filter, written) in [
        (Filter::Or(vec![]), "not all"),
        (Filter::And(vec![Filter::Or(vec![port(1), port(2)])]), "dst_port = 1 or dst_port = 2"),
        (Filter::And(vec![port(1), Filter::Or(vec![port(2)])]), "dst_port = 1 and dst_port = 2"),
        (not(odd), "not (src_port < 5 or vlan < 5)"),
    ] {
        assert_eq!(filter.to_string(), written);
        assert!(parse_filter(written).is_ok());
    }
}

#[test]
fn each_error_says_what_was_expected_and_where() {
    let names = "expected one of host, ip, port, hostname, pod, namespace, workload, process, cgroup, src_ip, dst_ip, src_port, dst_port, proto, ether_type, vlan, tunnel, tunnel_id, iface, node, \
                 direction, src_country, dst_country, src_as, dst_as, src_network, dst_network, src_name, dst_name, src_pod, dst_pod, src_namespace, dst_namespace, src_workload, dst_workload, src_process, dst_process, src_cgroup, dst_cgroup, service, sampling, state, end_reason, app, message, name, code, detector, severity, phase, subject";
    let operators = "expected one of =, !=, <, <=, >, >=, in, not in after";
    for (source, column, message) in [
        ("srcip = 1.2.3.4", 1, &*format!("`srcip` is not a dimension: did you mean `src_ip`? {names}")),
        ("dst_prot = 1", 1, &format!("`dst_prot` is not a dimension: did you mean `dst_port`? {names}")),
        ("vlan = 1 and quux = 2", 14, &format!("`quux` is not a dimension: {names}")),
        ("dst_port", 9, &format!("{operators} `dst_port`, found the end of the filter")),
        ("dst_port 443", 10, &format!("{operators} `dst_port`, found `443`")),
        ("vlan not = 1", 10, "expected `in` after `vlan not`, found `=`"),
        (
            "vlan =",
            7,
            "expected a number in 0..=4095 or a range such as `1..1024` for `vlan`, found the end of the filter",
        ),
        ("vlan = 4096", 8, "`4096` is no value of `vlan`: expected a number in 0..=4095 or a range such as `1..1024`"),
        (
            "port = https",
            8,
            "`https` is no value of `port`: expected a number in 0..=65535 or a range such as `1..1024`",
        ),
        (
            "port = 65536",
            8,
            "`65536` is no value of `port`: expected a number in 0..=65535 or a range such as `1..1024`",
        ),
        ("port = +1", 8, "`+1` is no value of `port`: expected a number in 0..=65535 or a range such as `1..1024`"),
        ("port = 0x", 8, "`0x` is no value of `port`: expected a number in 0..=65535 or a range such as `1..1024`"),
        ("port in 9..", 9, "`9..` is no value of `port`: expected a number in 0..=65535 or a range such as `1..1024`"),
        ("port in 9..1", 9, "`9..1` is an empty range: expected the lower end first"),
        ("port < 1..9", 8, "expected one number after `<`, found `1..9`"),
        ("proto < 9", 7, "`proto` has no order: expected =, !=, in or not in, found `<`"),
        (
            "proto = tpc",
            9,
            "`tpc` is no value of `proto`: expected a protocol number in 0..=255 or name such as `tcp`; did you mean `tcp`?",
        ),
        (
            "proto = icmpv",
            9,
            "`icmpv` is no value of `proto`: expected a protocol number in 0..=255 or name such as `tcp`; did you mean \
             `icmp`?",
        ),
        ("proto = 256", 9, "`256` is no value of `proto`: expected a protocol number in 0..=255 or name such as `tcp`"),
        ("ip = 10.0.0", 6, "`10.0.0` is no value of `ip`: expected an address or a block such as `10.0.0.0/8`"),
        (
            "ip = example.org",
            6,
            "`example.org` is no value of `ip`: expected an address or a block such as `10.0.0.0/8`",
        ),
        ("ip = 10.0.0.0/33", 6, "`10.0.0.0/33` has an impossible prefix length: expected 0..=32"),
        ("ip = ::/129", 6, "`::/129` has an impossible prefix length: expected 0..=128"),
        ("ip = ::ffff:1.2.3.4/-1", 6, "`::ffff:1.2.3.4/-1` has an impossible prefix length: expected 0..=128"),
        ("ip >= 10.0.0.0", 4, "`ip` has no order: expected =, !=, in or not in, found `>=`"),
        ("state = open", 9, "`open` is no value of `state`: expected one of active, closed, timed_out"),
        ("state in (active, )", 19, "expected one of active, closed, timed_out for `state`, found `)`"),
        ("port in (1 2)", 12, "expected `,` or `)` in the list, found `2`"),
        ("port in (1, 2", 9, "`(` is not closed: expected a `)` after it"),
        ("(vlan = 1", 1, "`(` is not closed: expected a `)` after it"),
        ("(vlan = 1 vlan = 2)", 11, "expected `and`, `or` or `)`, found `vlan`"),
        ("vlan = 1)", 9, "`)` has no `(` before it: leave it out, or open it"),
        ("vlan = 1 vlan = 2", 10, "expected `and`, `or` or the end of the filter, found `vlan`"),
        ("vlan = 1 and", 13, "expected a condition such as `dst_port = 443`, found the end of the filter"),
        ("and vlan = 1", 1, "expected a condition such as `dst_port = 443`, found `and`"),
        ("()", 2, "expected a condition such as `dst_port = 443`, found `)`"),
        ("\"vlan\" = 1", 1, "expected a condition such as `dst_port = 443`, found `vlan`"),
        ("vlan = 1 & vlan = 2", 10, "`&` stands alone: expected `&&`"),
        ("vlan = 1 | vlan = 2", 10, "`|` stands alone: expected `||`"),
        ("iface = \"eth0", 9, "the text is not closed: expected another \""),
        ("iface = 'eth0\\'", 9, "the text is not closed: expected another '"),
        ("iface = \u{fc}\u{4e16} \u{4e16}", 12, "expected `and`, `or` or the end of the filter, found `\u{4e16}`"),
    ] {
        let error = parse_filter(source).unwrap_err();
        assert_eq!((error.column, &*error.message), (column, message), "{source}");
    }
}

#[test]
fn an_error_is_shown_below_its_text() {
    let source = "iface =\t\u{4e16} und";
    let error = parse_filter(source).unwrap_err();
    assert_eq!(
        error.render(source),
        "expected `and`, `or` or the end of the filter, found `und` (column 11)\niface = \u{4e16} und\n          ^"
    );
    let beyond = ParseError { message: "wrong".into(), column: usize::MAX };
    assert_eq!(beyond.render("ab"), format!("wrong (column {})\nab\n  ^", usize::MAX));
}

#[test]
fn names_in_errors_are_shortened() {
    let error = parse_filter(&"x".repeat(5000)).unwrap_err();
    assert!(error.message.starts_with(&format!("`{}...` is not a dimension: expected", "x".repeat(40))));
}

#[test]
fn a_filter_is_read_up_to_its_longest_length() {
    let filter = |bytes: usize| format!("vlan = 1{}", " ".repeat(bytes - 8));
    assert!(parse_filter(&filter(MAX_FILTER_LEN)).is_ok());
    let error = parse_filter(&filter(MAX_FILTER_LEN + 1)).unwrap_err();
    assert_eq!(error.to_string(), "the filter has 8193 bytes: expected at most 8192 (column 1)");
}

#[test]
fn a_filter_is_read_down_to_its_deepest_level() {
    let nested = |levels: usize| format!("{}vlan = 1{}", "not (".repeat(levels / 2), ")".repeat(levels / 2));
    assert!(parse_filter(&nested(MAX_FILTER_DEPTH)).is_ok());
    let error = parse_filter(&nested(MAX_FILTER_DEPTH + 2)).unwrap_err();
    assert_eq!(error.column, 161);
    assert!(error.message.starts_with("the filter is more than 64 levels deep"), "{error}");
    assert!(parse_filter(&"!".repeat(MAX_FILTER_LEN)).is_err());
    assert!(parse_filter(&"(".repeat(MAX_FILTER_LEN)).is_err());
}

/// Comparisons as the parser makes them.
fn comparisons() -> impl Strategy<Value = Filter> {
    use Dimension::{
        Direction, DstIp, DstPort, EndReason, EtherType, Iface, Node, Proto, SrcIp, SrcPort, State, Tunnel, TunnelId,
        Vlan,
    };
    let block = (any::<IpAddr>(), 0u8..=128)
        .prop_map(|(ip, prefix)| Value::net(ip, prefix.min(if ip.is_ipv4() { 32 } else { 128 })).unwrap());
    let number = |most: u32| {
        prop_oneof![
            (0..=most).prop_map(Value::Number),
            (0..=most, 0..=most).prop_map(|(a, b)| Value::Range(a.min(b), a.max(b))),
        ]
    };
    let words = |words: &'static [&'static str]| prop::sample::select(words).prop_map(text);
    let list = |d: Vec<Dimension>, value: BoxedStrategy<Value>| {
        prop::collection::vec(value, 1..4).prop_map(move |values| is(&d, CmpOp::Eq, values)).boxed()
    };
    let protocol =
        prop_oneof![prop::sample::select(&PROTOCOLS[..]).prop_map(|p| Value::Number(p.0.into())), number(255)];
    let order = (
        prop::sample::select(vec![vec![SrcPort], vec![DstPort], vec![SrcPort, DstPort], vec![EtherType]]),
        prop::sample::select(vec![CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge]),
        0..=u32::from(u16::MAX),
    )
        .prop_map(|(d, op, n)| is(&d, op, vec![Value::Number(n)]));
    prop_oneof![
        list(vec![SrcIp], block.clone().boxed()),
        list(vec![SrcIp, DstIp], block.boxed()),
        list(vec![DstPort], number(u16::MAX.into()).boxed()),
        list(vec![SrcPort, DstPort], number(u16::MAX.into()).boxed()),
        list(vec![Vlan], number(4095).boxed()),
        list(vec![TunnelId], number(u32::MAX).boxed()),
        list(vec![Tunnel], words(&crate::schema::TUNNELS).boxed()),
        list(vec![Proto], protocol.boxed()),
        list(vec![Iface], any::<String>().prop_map(Value::Text).boxed()),
        list(vec![Node], "[\"'\\\\ a-z]{0,5}".prop_map(Value::Text).boxed()),
        list(vec![State], words(&["active", "closed", "timed_out"]).boxed()),
        list(vec![EndReason], words(&["none", "fin", "rst"]).boxed()),
        list(vec![Direction], words(&["ingress", "egress"]).boxed()),
        order,
    ]
}

/// Filters as the parser makes them: no conjunction or disjunction of one.
fn filters() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![9 => comparisons(), 1 => Just(Filter::ALL)];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(not),
        ]
    })
}

proptest! {
    #[test]
    fn a_written_filter_reads_back_as_itself(filter in filters()) {
        let source = filter.to_string();
        prop_assume!(source.len() <= MAX_FILTER_LEN);
        prop_assert_eq!(parse_filter(&source), Ok(filter), "{}", source);
    }

    #[test]
    fn what_is_read_from_any_words_reads_back(
        words in prop::collection::vec(
            prop::sample::select(&["(", ")", "not", "!", "and", "or", "all", "port", "=", "!=", "in", "not in", "1", "1..2",
                "(1,2)", "proto", "tcp", "ip", "10.0.0.0/8", "<", "iface", "\"x\""][..]),
            0..24,
        )
    ) {
        if let Ok(filter) = parse_filter(&words.join(" ")) {
            prop_assert_eq!(parse_filter(&filter.to_string()), Ok(filter));
        }
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_inside_the_text(source: String) {
        if let Err(error) = parse_filter(&source) {
            prop_assert!((1..=source.chars().count() + 1).contains(&error.column));
            prop_assert!(error.render(&source).lines().count() >= 3);
        }
    }
}
