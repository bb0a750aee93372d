//! `netspectra analyze` on real captures against an independent dissector's counts.
//!
//! The captures are not part of the repository: `NETSPECTRA_CAPTURES` names their folder (CI sets it). Beside each
//! capture `truth/NAME.truth.json.gz` holds frames, wire bytes, and the packets and bytes of every five-tuple.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Captures where the dissector counts something else than frames.
const CUSTOM_BLOCKS_AS_FRAMES: [&str; 1] = ["le-test102.pcapng"];

type Tuple = (IpAddr, u64, IpAddr, u64, u64);

fn folder(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("NETSPECTRA_CAPTURES") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set NETSPECTRA_CAPTURES");
        return None;
    };
    Some(PathBuf::from(folder).join(name))
}

fn analyze(args: &[&str], file: &Path) -> Output {
    let out = Command::new(env!("CARGO_BIN_EXE_netspectra")).arg("analyze").args(args).arg(file).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!error.contains("panicked"), "{}: {error}", file.display());
    assert!(matches!(out.status.code(), Some(0 | 1)), "{}: {} {error}", file.display(), out.status);
    out
}

/// Each capture of the folder with its truth.
fn with_truth(folder: &Path) -> Vec<(PathBuf, Value)> {
    let mut all: Vec<(PathBuf, Value)> = std::fs::read_dir(folder.join("truth"))
        .unwrap()
        .filter_map(|e| {
            let path = e.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".truth.json.gz")?;
            let truth = serde_json::from_reader(GzDecoder::new(File::open(&path).unwrap())).unwrap();
            Some((folder.join(name), truth))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty(), "no truth in {}", folder.display());
    all
}

fn expected_flows(truth: &Value, inner: bool) -> BTreeMap<Tuple, (u64, u64)> {
    let rows = match (&truth["flows_innermost"], &truth["flows_outermost_fragtracked"]) {
        (Value::Array(rows), _) if inner => rows,
        (_, Value::Array(rows)) => rows,
        _ => truth["flows_outermost"].as_array().unwrap(),
    };
    let mut flows = BTreeMap::new();
    let mut add = |tuple: Tuple, packets: u64, bytes: u64| {
        if packets > 0 {
            let sum: &mut (u64, u64) = flows.entry(tuple).or_default();
            *sum = (sum.0 + packets, sum.1 + bytes);
        }
    };
    for r in rows {
        let n = |i: usize| r[i].as_u64().unwrap();
        let ip = |i: usize| r[i].as_str().unwrap().parse::<IpAddr>().unwrap();
        add((ip(1), n(2), ip(3), n(4), n(0)), n(5), n(6));
        add((ip(3), n(4), ip(1), n(2), n(0)), n(7), n(8));
    }
    flows
}

fn our_flows(ndjson: &[u8]) -> BTreeMap<Tuple, (u64, u64)> {
    let mut flows: BTreeMap<Tuple, (u64, u64)> = BTreeMap::new();
    for line in ndjson.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let r: Value = serde_json::from_slice(line).unwrap();
        let Some(src) = r["src_ip"].as_str() else { continue };
        let n = |f: &str| r[f].as_u64().unwrap();
        let tuple = (
            src.parse().unwrap(),
            n("src_port"),
            r["dst_ip"].as_str().unwrap().parse().unwrap(),
            n("dst_port"),
            n("proto"),
        );
        let sum = flows.entry(tuple).or_default();
        *sum = (sum.0 + n("packets"), sum.1 + n("bytes"));
    }
    flows
}

fn totals_are_equal(file: &Path, truth: &Value, inner: bool) {
    let tunnel = if inner { "inner" } else { "outer" };
    let out = analyze(&["--format", "json", "--tunnel", tunnel], file);
    let name = file.display();
    if truth["frames"] == 0 {
        let unreadable = truth["tshark_rc"] != 0;
        assert!(!unreadable || !out.status.success(), "{name}: unreadable, but exit 0");
        return;
    }
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(report["packets"], truth["frames"], "{name}: packets");
    assert_eq!(report["bytes"], truth["wire_bytes"], "{name}: bytes");
    assert_eq!(report["ledger"]["seen"], truth["frames"], "{name}: seen");
    assert_eq!(report["ledger"]["accounted"], truth["frames"], "{name}: accounted");
    assert_eq!(report["ledger"]["residual"]["bytes"], 0, "{name}: residual");
}

fn everything_is_equal(folder_name: &str, inner: bool) {
    let Some(folder) = folder(folder_name) else { return };
    for (file, truth) in with_truth(&folder) {
        if CUSTOM_BLOCKS_AS_FRAMES.contains(&file.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        totals_are_equal(&file, &truth, inner);
        let tunnel = if inner { "inner" } else { "outer" };
        let out = analyze(&["--flows", "--unidirectional", "--format", "ndjson", "--tunnel", tunnel], &file);
        let (expected, ours) = (expected_flows(&truth, inner), our_flows(&out.stdout));
        for (tuple, counts) in &expected {
            assert_eq!(ours.get(tuple), Some(counts), "{}: {tuple:?}", file.display());
        }
        assert_eq!(ours.len(), expected.len(), "{}: flows that the dissector has not", file.display());
    }
}

#[test]
fn basic_captures_equal_an_independent_dissector() {
    everything_is_equal("basic", false);
}

#[test]
fn deep_captures_equal_an_independent_dissector_by_the_outer_header() {
    everything_is_equal("deep", false);
}

#[test]
fn deep_captures_equal_an_independent_dissector_by_the_inner_header() {
    everything_is_equal("deep", true);
}

#[test]
fn pcapng_captures_equal_an_independent_dissector() {
    everything_is_equal("pcapng", false);
}

#[test]
fn captures_give_the_same_bytes_with_any_number_of_threads() {
    for name in ["basic", "pcapng", "malformed"] {
        let Some(folder) = folder(name) else { return };
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
        for file in files {
            for args in [&["--format", "json"][..], &["--flows", "--format", "ndjson"]] {
                let of = |threads: &str| analyze(&[args, &["--threads", threads]].concat(), &file);
                let one = of("1");
                for threads in ["2", "3"] {
                    assert_eq!(of(threads), one, "{threads} threads, {args:?}, {}", file.display());
                }
            }
        }
    }
}

#[test]
fn malformed_captures_give_the_frames_that_could_be_read() {
    let Some(folder) = folder("malformed") else { return };
    for (file, truth) in with_truth(&folder) {
        totals_are_equal(&file, &truth, false);
    }
}

/// The dissector reports a response when all of its body was captured; in these the capture ends first.
const RESPONSES_WITHOUT_THEIR_END: [&str; 2] =
    ["PcapPlusPlus-many-protocols.pcap", "zeek-gtp1_gn_normal_incl_fragmentation.pcap"];

/// The truth's rows of a section as columns by name; a row that has no value there is left out.
fn tally(
    truth: &Value,
    section: &str,
    column: &str,
    keep: impl Fn(&dyn Fn(&str) -> String) -> bool,
) -> BTreeMap<String, u64> {
    let columns: Vec<&str> =
        truth[format!("{section}_columns")].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut counts = BTreeMap::new();
    for row in truth[section].as_array().into_iter().flatten() {
        let cell = |name: &str| {
            let at = columns.iter().position(|c| *c == name).unwrap();
            row[at].as_str().unwrap_or_default().to_owned()
        };
        if keep(&cell) {
            // Several messages of one frame are in one row.
            for value in cell(column).split(',').filter(|v| !v.is_empty()) {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

fn ours(report: &Value, pointer: &str) -> BTreeMap<String, u64> {
    serde_json::from_value(report.pointer(pointer).unwrap().clone()).unwrap()
}

fn applications_are_equal(folder_name: &str) {
    let Some(folder) = folder(folder_name) else { return };
    for (file, truth) in with_truth(&folder) {
        let out = analyze(&["--format", "json"], &file);
        let Ok(report) = serde_json::from_slice::<Value>(&out.stdout) else { continue };
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = |field: &str| truth["dns_summary"][field].as_u64().unwrap_or(0);
        assert_eq!(report["dns"]["queries"], expected("queries"), "{name}: queries");
        assert_eq!(report["dns"]["responses"], expected("responses"), "{name}: responses");
        let rcodes = truth["dns_summary"]["rcodes"].as_object().cloned().unwrap_or_default();
        let rcodes: BTreeMap<String, u64> = serde_json::from_value(Value::Object(rcodes)).unwrap();
        assert_eq!(ours(&report, "/dns/rcodes"), rcodes, "{name}: response codes");
        let is_query = |cell: &dyn Fn(&str) -> String| cell("column_protocol") == "DNS" && cell("is_response") == "0";
        assert_eq!(ours(&report, "/dns/names"), tally(&truth, "dns", "qname", is_query), "{name}: names");
        // What is no TCP is SSDP.
        let is_http = |cell: &dyn Fn(&str) -> String| !cell("tcp_stream").is_empty();
        for (pointer, column) in
            [("/http/methods", "method"), ("/http/hosts", "host"), ("/http/status_codes", "status")]
        {
            let (ours, expected) = (ours(&report, pointer), tally(&truth, "http", column, is_http));
            if column == "status" && RESPONSES_WITHOUT_THEIR_END.contains(&name) {
                assert!(expected.iter().all(|(code, n)| ours.get(code) >= Some(n)), "{name}: {ours:?} {expected:?}");
            } else {
                assert_eq!(ours, expected, "{name}: {pointer}");
            }
        }
    }
}

#[test]
fn dns_and_http_of_basic_captures_equal_an_independent_dissector() {
    applications_are_equal("basic");
}

#[test]
fn dns_and_http_of_deep_captures_equal_an_independent_dissector() {
    applications_are_equal("deep");
}

#[test]
fn dns_and_http_of_pcapng_captures_equal_an_independent_dissector() {
    applications_are_equal("pcapng");
}

/// No truth says what TLS says; these were counted by hand, from the bytes of the captures.
#[test]
fn tls_and_quic_hellos_of_captures_are_read() {
    let Some(folder) = folder("basic") else { return };
    let find = |name: &str| {
        let place = ["basic", "deep", "pcapng", "malformed"].map(|f| folder.with_file_name(f).join(name));
        let file = place.into_iter().find(|p| p.exists()).unwrap_or_else(|| panic!("no capture `{name}`"));
        serde_json::from_slice::<Value>(&analyze(&["--format", "json"], &file).stdout).unwrap()["tls"].clone()
    };
    let tls = find("PcapPlusPlus-tls2.pcap");
    assert_eq!((&tls["client_hellos"], &tls["server_hellos"]), (&323.into(), &294.into()));
    let tls = find("zeek-curl-8.1.2-dev-http3-www-google-de.pcap");
    assert_eq!((&tls["quic_client_hellos"], &tls["sni"]["www.google.de"]), (&1.into(), &1.into()));
    assert_eq!(tls["versions"]["TLS 1.3"], 1);
    let tls = find("tcpdump-quic_vn.pcap");
    assert_eq!((&tls["sni"]["localhost"], &tls["alpn"]["h3"]), (&1.into(), &1.into()));
}

/// None of the captures was made of an attack: what is said of one is a false alarm.
#[test]
fn ordinary_captures_raise_no_alert() {
    let mut captures = 0;
    for name in ["basic", "deep", "pcapng", "malformed"] {
        let Some(folder) = folder(name) else { return };
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() {
                continue;
            }
            let out = Command::new(env!("CARGO_BIN_EXE_netspectra"))
                .args(["analyze", "--format", "json"])
                .arg(&path)
                .output()
                .unwrap();
            // What is no capture is refused elsewhere.
            let Ok(report) = serde_json::from_slice::<Value>(&out.stdout) else { continue };
            assert_eq!(report["alerts"], Value::Array(Vec::new()), "{}", path.display());
            captures += 1;
        }
    }
    assert!(captures > 50, "{captures}");
    println!("{captures} captures");
}
