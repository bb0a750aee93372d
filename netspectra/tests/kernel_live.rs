//! `netspectra run` on one end of a veth pair: what the API answers equals what the other end counted.
//!
//! Needs root. Proves: native and generic XDP and TCX ingress on veth with TCX egress, on the running kernel. Does not prove: other
//! drivers, hardware offloads.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use serde_json::Value;
use support::instance::{BINARY, Instance};
use support::net::{MON, PEER, Pair, sh};
use support::traffic::{self, MON_V4, MON_V6, PEER_V4, PEER_V6};

const ALL: [&str; 4] = ["--from", "0", "--limit", "1000"];

fn number(v: &Value, field: &str) -> u64 {
    v[field].as_u64().unwrap_or_else(|| panic!("`{field}` in {v}"))
}

/// The one flow with these ends.
fn flow<'a>(flows: &'a Value, src: &str, dst: &str, dst_port: u64, proto: u64) -> &'a Value {
    let hits: Vec<&Value> = flows["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["src_ip"] == src && f["dst_ip"] == dst && f["dst_port"] == dst_port && f["proto"] == proto)
        .collect();
    assert_eq!(hits.len(), 1, "{src} {dst} {dst_port} {proto} in {flows:#}");
    hits[0]
}

/// The value of a metric in the exposition text.
fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no `{name}` in\n{text}"));
    line.trim().parse().unwrap()
}

fn counts(f: &Value) -> (u64, u64, u64, u64) {
    (number(f, "packets"), number(f, "bytes"), number(f, "reverse_packets"), number(f, "reverse_bytes"))
}

fn answers_equal_what_the_other_end_counted(mode: &str) {
    let pair = Pair::new();
    let instance = Instance::start(&pair, mode);
    pair.up();
    traffic::udp(&pair, false, 5000, 200, 100, 333);
    traffic::udp(&pair, true, 5010, 100, 1200, 1);
    traffic::ping(&pair, false, 20, 56);
    traffic::ping(&pair, true, 10, 900);
    let client4 = traffic::http(&pair, false, 300_000);
    let client6 = traffic::http(&pair, true, 1000);
    let tagged = vec![traffic::tagged_frame(&[(0x8100, 100)], 50); 7];
    let double = vec![traffic::tagged_frame(&[(0x88a8, 200), (0x8100, 30)], 60); 5];
    traffic::raw(&pair, PEER, &tagged);
    let dns = |flags: u8, code: u8| {
        [&[0x12, 0x34, flags, code, 0, 1, 0, 0, 0, 0, 0, 0][..], &[3, b'o', b'r', b'g', 0, 0, 1, 0, 1]].concat()
    };
    let datagrams = [dns(1, 0), dns(1, 0), dns(0x81, 0x83), vec![0; 5]].map(|p| traffic::udp_frame(53, &p));
    traffic::raw(&pair, PEER, &datagrams);
    traffic::raw(&pair, PEER, &double);
    pair.down();
    let peer = pair.peer_counters();

    // With native XDP on the receiving end veth counts what was sent without the link header (`veth_xdp_rcv` in
    // `drivers/net/veth.c` adds `skb->len` after `eth_type_trans` took 14 bytes off).
    let uncounted = if mode == "native" { 14 * peer.tx_packets } else { 0 };
    let (packets, bytes) = (peer.rx_packets + peer.tx_packets, peer.rx_bytes + peer.tx_bytes + uncounted);
    let ledger = instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") >= packets);
    assert_eq!(number(&ledger["seen"], "packets"), packets, "{ledger:#} {peer:?}");
    assert_eq!(number(&ledger["seen"], "bytes"), bytes, "{ledger:#} {peer:?}");
    assert_eq!(ledger["accounted"], ledger["seen"]);
    assert_eq!(ledger["residual"]["packets"], 0);
    assert_eq!(ledger["residual"]["bytes"], 0);

    let flows = instance.query("flows", &ALL);
    // Ethernet 14, IPv4 20 or IPv6 40, UDP 8.
    let udp4 = flow(&flows, PEER_V4, MON_V4, 5001, 17);
    assert_eq!(counts(udp4), (200, 200 * (42 + 100), 200, 200 * (42 + 333)));
    assert_eq!(udp4["src_port"], 5000);
    assert_eq!(number(udp4, "l3_bytes"), 200 * (28 + 100));
    let udp6 = flow(&flows, PEER_V6, MON_V6, 5011, 17);
    assert_eq!(counts(udp6), (100, 100 * (62 + 1200), 100, 100 * (62 + 1)));
    let icmp = flow(&flows, PEER_V4, MON_V4, 0, 1);
    assert_eq!(counts(icmp), (20, 20 * (42 + 56), 20, 20 * (42 + 56)));
    assert_eq!((&icmp["icmp_type"], &icmp["icmp_code"]), (&Value::from(8), &Value::from(0)));
    let icmp6: Vec<&Value> =
        flows["items"].as_array().unwrap().iter().filter(|f| f["proto"] == 58 && f["icmp_type"] == 128).collect();
    assert_eq!(icmp6.len(), 1);
    assert_eq!(counts(icmp6[0]), (10, 10 * (62 + 900), 10, 10 * (62 + 900)));

    for (client, mon) in [(client4, MON_V4), (client6, MON_V6)] {
        let tcp = flow(&flows, &client.ip().to_string(), mon, 8080, 6);
        assert_eq!(tcp["src_port"], client.port());
        assert_eq!(tcp["initiator_by"], "syn");
        // SYN and FIN from both sides.
        assert_eq!(number(tcp, "tcp_flags") & 0x13, 0x13);
        assert_eq!(number(tcp, "reverse_tcp_flags") & 0x13, 0x13);
        assert_eq!(tcp["state"], "closed");
    }
    let vlans: Vec<&Value> = flows["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["src_ip"] == "192.0.2.1" && !f["vlan"].is_null())
        .collect();
    assert_eq!(vlans.len(), 2, "{vlans:#?}");
    for f in vlans {
        let expected = if f["inner_vlan"].is_null() { (100, 7 * (46 + 50), 7) } else { (200, 5 * (50 + 60), 5) };
        assert_eq!((number(f, "vlan"), number(f, "bytes"), number(f, "packets")), expected, "{f:#}");
    }

    // Every record and the ledger say the same, and so do the roll-ups behind top and series.
    let (mut p, mut b) = (0, 0);
    for f in flows["items"].as_array().unwrap() {
        p += number(f, "packets") + number(f, "reverse_packets");
        b += number(f, "bytes") + number(f, "reverse_bytes");
    }
    assert_eq!((p, b), (packets, bytes));
    let series = instance.query("series", &["--from", "0", "--step", "10s"]);
    let sum: u64 = series["items"].as_array().unwrap().iter().map(|i| number(i, "bytes")).sum();
    assert_eq!(sum, bytes);
    let top = instance.query("top", &["--from", "0", "--by", "src_ip", "--filter", "dst_port = 5001"]);
    assert_eq!(top["items"][0]["key"]["src_ip"], PEER_V4);
    assert_eq!(top["items"][0]["value"]["estimate"], (200 * 142) as f64);
    assert_eq!(top["completeness"]["complete"], true);

    // First bytes of payloads come to the dissectors: 4 datagrams to port 53, 3 of them DNS, and heads of HTTP in both
    // directions; what the monitored end sends is not in the linear part of its packets.
    let metrics = instance.wait_for_metric("netspectra_engine_dns_messages_total{kind=\"error\"}", 1);
    assert_eq!(metric(&metrics, "netspectra_engine_dns_messages_total{kind=\"query\"}"), 2);
    let messages = instance.query("messages", &["--from", "0", "--filter", "app = http", "--limit", "1000"]);
    for (client, mon) in [(client4, MON_V4), (client6, MON_V6)] {
        let said = |message: &str, src: &str| {
            let of = |m: &&Value| m["message"] == message && m["src_ip"] == *src;
            let hits: Vec<&Value> = messages["items"].as_array().unwrap().iter().filter(of).collect();
            assert_eq!(hits.len(), 1, "{message} of {src} in {messages:#}");
            hits[0].clone()
        };
        let request = said("request", &client.ip().to_string());
        assert_eq!(
            (&request["detail"]["method"], &request["detail"]["target"]),
            (&"GET".into(), &"/index.html".into())
        );
        assert_eq!((&request["detail"]["host"], &request["src_port"]), (&"mon".into(), &client.port().into()));
        let response = said("response", mon);
        assert_eq!((&response["code"], &response["detail"]["method"]), (&200.into(), &"GET".into()));
        assert!(number(&response, "latency_us") < 10_000_000, "{response:#}");
    }
    assert_eq!(metric(&metrics, "netspectra_agent_seen_packets_total"), packets);
    assert_eq!(metric(&metrics, "netspectra_agent_accounted_packets_total"), packets);

    let (status, log) = instance.stop();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains(&format!("seen {packets} packets")), "{log}");
    let link = sh("ip", &["-n", &pair.mon, "-d", "link", "show", MON]);
    assert!(!link.contains("xdp"), "something stayed attached: {link}");
}

#[test]
fn native_answers_equal_what_the_other_end_counted() {
    answers_equal_what_the_other_end_counted("native");
}

#[test]
fn answers_with_ingress_at_tc_equal_what_the_other_end_counted() {
    answers_equal_what_the_other_end_counted("tc");
}

#[test]
fn generic_answers_equal_what_the_other_end_counted() {
    answers_equal_what_the_other_end_counted("generic");
}

#[test]
fn packet_socket_answers_equal_what_the_other_end_counted() {
    answers_equal_what_the_other_end_counted("af-packet");
}

#[test]
fn egress_at_clsact_counts_the_same_and_is_detached() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("run.toml"), "[capture]\negress = \"clsact\"\n").unwrap();
    let instance = Instance::start_with(&pair, MON, "auto", data);
    assert!(instance.start_log().contains("egress=\"clsact\""), "{}", instance.start_log());
    pair.up();
    traffic::udp(&pair, false, 5000, 40, 100, 333);
    pair.down();
    let sent = pair.peer_counters();
    let packets = sent.rx_packets + sent.tx_packets + pair.sent_to_nobody();
    let ledger = instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") >= packets);
    assert_eq!(number(&ledger["seen"], "packets"), packets, "{ledger:#} {sent:?}");
    let flows = instance.query("flows", &ALL);
    assert_eq!(counts(flow(&flows, PEER_V4, MON_V4, 5001, 17)), (40, 40 * 142, 40, 40 * 375));
    assert!(instance.stop().0.success());
    let filters = sh("tc", &["-n", &pair.mon, "filter", "show", "dev", MON, "egress"]);
    assert!(!filters.contains("netspectra"), "a filter stayed: {filters}");
}

#[test]
fn the_inside_of_a_tunnel_is_counted_where_the_configuration_asks_for_it() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("run.toml"), "[capture]\ntunnel = \"inner\"\n").unwrap();
    let instance = Instance::start_with(&pair, MON, "auto", data);
    pair.up();
    let inner = traffic::udp_frame(8888, &[5; 30]);
    traffic::raw(&pair, PEER, &vec![traffic::vxlan_frame(70_000, &inner); 9]);
    traffic::raw(&pair, PEER, &vec![traffic::vxlan_frame(70_001, &inner); 4]);
    pair.down();
    // The two sendings may lie in two generations: all of it is waited for before any of it is looked at.
    let top = instance.wait(
        "top",
        &["--from", "0", "--by", "tunnel_id,tunnel", "--metric", "packets", "--filter", "tunnel = vxlan"],
        |t| number(t, "total") >= 9 + 4,
    );
    let flows = instance.query("flows", &["--from", "0", "--filter", "tunnel = vxlan and tunnel_id = 70000"]);
    let f = flow(&flows, "192.0.2.1", "192.0.2.2", 8888, 17);
    // Outer headers 14 + 20 + 8 + 8, inner ones 14 + 20 + 8.
    assert_eq!(counts(f), (9, 9 * (50 + 42 + 30), 0, 0), "{f:#}");
    assert_eq!((&f["tunnel"], number(f, "tunnel_id")), (&Value::from("vxlan"), 70_000));
    let rows: Vec<(&Value, &Value)> =
        top["items"].as_array().unwrap().iter().map(|i| (&i["key"]["tunnel_id"], &i["value"]["estimate"])).collect();
    assert_eq!(
        rows,
        [(&Value::from("70000"), &Value::from(9.0)), (&Value::from("70001"), &Value::from(4.0))],
        "{top:#}"
    );
    assert!(instance.stop().0.success());
}

#[test]
fn without_privilege_it_says_what_is_needed() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let args = ["run", "--iface", "lo", "--listen", "127.0.0.1:0", "--data-dir"];
    let out = std::process::Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", pair.mon))
        .args(["setpriv", "--bounding-set=-all", "--inh-caps=-all", BINARY])
        .args(args)
        .arg(data.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{error}");
    assert!(error.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), "{error}");
}

#[test]
fn a_packet_over_loopback_counts_once() {
    let pair = Pair::new();
    let instance = Instance::start_with(&pair, "lo", "auto", tempfile::tempdir().unwrap());
    pair.inside(&pair.mon, || {
        let (a, b) =
            (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), std::net::UdpSocket::bind("127.0.0.1:7777").unwrap());
        for _ in 0..30 {
            a.send_to(&[1; 100], "127.0.0.1:7777").unwrap();
            b.recv(&mut [0; 200]).unwrap();
        }
    });
    let all = ["--from", "0", "--filter", "dst_port = 7777"];
    let flows = instance.wait("flows", &all, |f| !f["items"].as_array().unwrap().is_empty());
    assert_eq!(counts(flow(&flows, "127.0.0.1", "127.0.0.1", 7777, 17)), (30, 30 * 142, 0, 0));
    assert!(instance.stop().0.success());
}

#[test]
fn stored_answers_are_the_same_after_a_restart() {
    let pair = Pair::new();
    let instance = Instance::start(&pair, "auto");
    pair.up();
    traffic::udp(&pair, false, 6000, 50, 10, 20);
    pair.down();
    let packets = {
        let c = pair.peer_counters();
        c.rx_packets + c.tx_packets
    };
    instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") == packets);
    let (status, data) = instance.stop_keeping_data();
    assert!(status.success());
    let again = Instance::start_on(&pair, "auto", data);
    let flows = again.query("flows", &ALL);
    assert_eq!(counts(flow(&flows, PEER_V4, MON_V4, 6001, 17)), (50, 50 * 52, 50, 50 * 62));
    let ledger = again.query("ledger", &["--from", "0"]);
    assert_eq!(number(&ledger["seen"], "packets"), packets);
    assert_eq!(ledger["accounted"], ledger["seen"]);
}

/// Runs the binary in the monitored namespace; returns exit code and standard error.
fn run_in(pair: &Pair, args: &[&str]) -> (i32, String) {
    let out = std::process::Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", pair.mon))
        .arg(BINARY)
        .args(args)
        .output()
        .unwrap();
    (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn what_cannot_work_is_refused_with_its_remedy_and_leaves_nothing_behind() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_str().unwrap();
    let (code, error) = run_in(&pair, &["run", "--iface", "nosuch0", "--data-dir", dir, "--listen", "127.0.0.1:0"]);
    assert_ne!(code, 0);
    assert!(error.contains("no interface matches `nosuch0`") && error.contains("`mon0`"), "{error}");

    let instance = Instance::start(&pair, "auto");
    let port = instance.port().to_string();
    let (code, error) =
        run_in(&pair, &["run", "--iface", "lo", "--data-dir", dir, "--listen", &format!("127.0.0.1:{port}")]);
    assert_ne!(code, 0);
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--listen"), "{error}");
    let same = instance.data.path().to_str().unwrap().to_owned();
    let (code, error) = run_in(&pair, &["run", "--iface", "lo", "--data-dir", &same, "--listen", "127.0.0.1:0"]);
    assert_ne!(code, 0);
    assert!(error.contains(&same), "{error}");
    // Our own program holds the hook: a second instance leaves it alone.
    let native = ["run", "--iface", MON, "--mode", "native", "--data-dir", dir, "--listen", "127.0.0.1:0"];
    let (code, error) = run_in(&pair, &native);
    assert_ne!(code, 0);
    assert!(error.contains("`mon0` already has an XDP program"), "{error}");
    let link = sh("ip", &["-n", &pair.mon, "-d", "link", "show", MON]);
    assert!(link.contains("xdp"), "the first instance lost its program: {link}");
    let lo = sh("ip", &["-n", &pair.mon, "-d", "link", "show", "lo"]);
    assert!(!lo.contains("xdp"), "{lo}");

    let (code, error) = run_in(
        &pair,
        &[
            "query",
            "flows",
            "--filter",
            "src_prt = 5",
            "--url",
            &instance.url(),
            "--token-file",
            &format!("{same}/token"),
        ],
    );
    assert_eq!(code, 2);
    assert!(error.contains("did you mean `src_port`?"), "{error}");
    assert!(instance.stop().0.success());
}

#[test]
fn it_ends_in_order_also_when_it_is_told_so_at_once() {
    let pair = Pair::new();
    let (status, log) = Instance::start(&pair, "generic").stop();
    assert!(status.success() && log.contains("ending: detaching"), "{log}");
}

#[test]
fn rules_are_in_force_from_the_start_and_change_on_sighup() {
    rules_change_on_sighup("generic");
}

#[test]
fn rules_of_packet_sockets_are_in_force_from_the_start_and_change_on_sighup() {
    rules_change_on_sighup("af-packet");
}

fn rules_change_on_sighup(mode: &str) {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("run.toml");
    let rule =
        |text: &str| std::fs::write(&file, format!("[[capture.rules]]\naction = \"exclude\"\n{text}\n")).unwrap();
    rule(&format!("iface = [\"{MON}\"]\nport = [\"7001\"]"));
    let mut instance = Instance::start_on(&pair, mode, data);
    pair.up();
    traffic::udp(&pair, false, 7000, 50, 100, 100);
    let excluded = |l: &Value| number(&l["reasons"]["excluded"], "packets");
    let ledger = instance.wait("ledger", &["--from", "0"], |l| excluded(l) >= 100);
    assert_eq!(excluded(&ledger), 100, "{ledger:#}");

    // A file that is not good changes nothing.
    rule("port = [\"http\"]");
    assert!(instance.reload("stays as it was").contains("`port` has `http`"));
    rule("net = [\"2001:db8::/32\", \"192.168.0.0/16\"]");
    instance.reload("other capture rules are in force");
    traffic::udp(&pair, false, 7000, 30, 100, 100);
    let flows = instance.wait("flows", &ALL, |f| {
        f["items"].as_array().unwrap().iter().any(|f| f["proto"] == 17 && f["dst_port"] == 7001)
    });
    let kept = flow(&flows, PEER_V4, MON_V4, 7001, 17);
    assert_eq!((number(kept, "packets"), number(kept, "reverse_packets")), (30, 30));
    let ledger = instance.query("ledger", &["--from", "0"]);
    assert_eq!((excluded(&ledger), &ledger["residual"]["packets"]), (100, &Value::from(0)), "{ledger:#}");

    // One flow in two, whole: which ones is for a hash of the addresses and ports to say.
    std::fs::write(&file, "[[capture.rules]]\naction = \"sample\"\none_in = 2\nport = [\"20000-30000\"]\n").unwrap();
    instance.reload("other capture rules are in force");
    const FLOWS: u16 = 40;
    for n in 0..FLOWS {
        traffic::udp(&pair, n % 2 == 1, 20_000 + 2 * n, 3, 100, 200);
    }
    let sampled_out = |l: &Value| number(&l["reasons"]["sampled_out"], "packets");
    let samples = |flows: &Value| -> Vec<Value> {
        let all = flows["items"].as_array().unwrap().iter();
        all.filter(|f| (20_000..30_000).contains(&f["src_port"].as_u64().unwrap_or(0))).cloned().collect()
    };
    let every = 6 * u64::from(FLOWS);
    instance.wait("ledger", &["--from", "0"], |l| sampled_out(l) > 0);
    let flows = instance.wait("flows", &ALL, |f| {
        let kept = samples(f).iter().map(|f| number(f, "packets") + number(f, "reverse_packets")).sum::<u64>();
        kept + sampled_out(&instance.query("ledger", &["--from", "0"])) == every
    });
    let samples = samples(&flows);
    // All in or all out: once in 2^39 runs.
    assert!(!samples.is_empty() && samples.len() < usize::from(FLOWS), "{samples:?}");
    for flow in &samples {
        let found = (number(flow, "packets"), number(flow, "reverse_packets"), number(flow, "sampling"));
        assert_eq!(found, (3, 3, 2), "{flow:#}");
    }
    assert_eq!(number(kept, "sampling"), 1);
    let ledger = instance.query("ledger", &["--from", "0"]);
    assert_eq!((excluded(&ledger), &ledger["residual"]["packets"]), (100, &Value::from(0)), "{ledger:#}");
    let (status, log) = instance.stop();
    assert!(status.success() && log.contains("ledger: without a flow, excluded: 100 packets"), "{log}");
}
