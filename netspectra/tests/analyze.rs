//! `netspectra analyze` as a user meets it, on captures made here.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Seconds, microseconds, frame.
type Timed = (u32, u32, Vec<u8>);

/// A classic pcap file, microseconds, little-endian: `(seconds, microseconds, frame)`.
fn pcap(link: u32, frames: &[Timed]) -> Vec<u8> {
    let mut out = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
    out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    out.extend(link.to_le_bytes());
    for (s, us, frame) in frames {
        for word in [*s, *us, frame.len() as u32, frame.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// An Ethernet frame with an IPv4 TCP segment between 10.0.0.`src` and 10.0.0.`dst`.
fn tcp(src: (u8, u16), dst: (u8, u16), flags: u8, payload: usize) -> Vec<u8> {
    let mut f = vec![0u8; 12];
    f.extend([8, 0, 0x45, 0]);
    f.extend((40 + payload as u16).to_be_bytes());
    f.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, src.0, 10, 0, 0, dst.0]);
    f.extend(src.1.to_be_bytes());
    f.extend(dst.1.to_be_bytes());
    f.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    f.resize(f.len() + payload, 7);
    f
}

/// A whole connection from client to server port 80.
fn conversation() -> Vec<Timed> {
    let (c, s) = ((1, 40000), (2, 80));
    vec![
        (100, 0, tcp(c, s, 0x02, 0)),
        (100, 1000, tcp(s, c, 0x12, 0)),
        (100, 2000, tcp(c, s, 0x10, 0)),
        (100, 3000, tcp(c, s, 0x18, 100)),
        (101, 0, tcp(s, c, 0x18, 1000)),
        (101, 1000, tcp(c, s, 0x11, 0)),
        (101, 2000, tcp(s, c, 0x11, 0)),
        (101, 3000, tcp(c, s, 0x10, 0)),
    ]
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn analyze(args: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netspectra")).arg("analyze").args(args).args(files).output().unwrap()
}

fn lines(out: &Output) -> Vec<Value> {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
}

fn error(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_connection_is_one_closed_biflow_and_two_unidirectional_ones() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &conversation()));
    let flows = lines(&analyze(&["--flows", "--format", "ndjson"], &[&file]));
    assert_eq!(flows.len(), 1);
    let f = &flows[0];
    for (field, value) in [
        ("src_ip", Value::from("10.0.0.1")),
        ("dst_ip", "10.0.0.2".into()),
        ("src_port", 40000.into()),
        ("dst_port", 80.into()),
        ("proto", 6.into()),
        ("packets", 5.into()),
        ("bytes", (5 * 54 + 100).into()),
        ("reverse_packets", 3.into()),
        ("reverse_bytes", (3 * 54 + 1000).into()),
        ("first_seen", "1970-01-01T00:01:40.000000000Z".into()),
        ("last_seen", "1970-01-01T00:01:41.003000000Z".into()),
        ("state", "closed".into()),
        ("end_reason", "fin".into()),
        ("tcp_flags", 0x1b.into()),
        ("reverse_tcp_flags", 0x1b.into()),
        ("initiator_by", "syn".into()),
        ("vlan", Value::Null),
        ("iface", "a.pcap".into()),
    ] {
        assert_eq!(f[field], value, "{field}");
    }
    let both = lines(&analyze(&["--flows", "--unidirectional", "--format", "ndjson"], &[&file]));
    assert_eq!(both.len(), 2);
    assert_eq!(
        (&both[1]["src_ip"], &both[1]["packets"], &both[1]["reverse_packets"]),
        (&"10.0.0.2".into(), &3.into(), &0.into())
    );
}

#[test]
fn every_format_says_the_same() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &conversation()));
    let ndjson = lines(&analyze(&["--flows", "--format", "ndjson"], &[&file]));
    let json = analyze(&["--flows", "--format", "json"], &[&file]);
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap(), Value::from(ndjson.clone()));
    let csv = analyze(&["--flows", "--format", "csv"], &[&file]);
    let text = String::from_utf8(csv.stdout).unwrap();
    let mut rows = text.lines().map(|l| l.split(',').collect::<Vec<_>>());
    let (names, row) = (rows.next().unwrap(), rows.next().unwrap());
    assert_eq!(names.len(), row.len());
    for (name, cell) in names.iter().zip(row) {
        let expected = match &ndjson[0][*name] {
            Value::Null => String::new(),
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        assert_eq!(cell, expected, "{name}");
    }
    let table = String::from_utf8(analyze(&["--flows"], &[&file]).stdout).unwrap();
    assert!(table.lines().nth(1).unwrap().contains("10.0.0.1:40000"), "{table}");
}

#[test]
fn the_report_adds_up_and_estimates_have_bounds() {
    let folder = Folder::new();
    let mut frames = conversation();
    frames.push((102, 0, [vec![0xff; 12], vec![8, 6], vec![0; 28]].concat()));
    frames.push((102, 1, vec![0; 9]));
    let file = folder.file("a.pcap", &pcap(1, &frames));
    let out = analyze(&["--format", "json"], &[&file]);
    assert!(out.status.success());
    let r: Value = serde_json::from_slice(&out.stdout).unwrap();
    let bytes = 8 * 54 + 1100 + 42 + 9;
    assert_eq!((&r["packets"], &r["bytes"]), (&10.into(), &bytes.into()));
    assert_eq!((&r["ledger"]["seen"], &r["ledger"]["accounted"]), (&10.into(), &10.into()));
    assert_eq!(r["ledger"]["reasons"]["truncated_link"]["packets"], 1);
    assert_eq!(r["ledger"]["non_ip"]["packets"], 1);
    assert_eq!(r["cardinality"]["source_addresses"]["estimate"].as_f64().unwrap().round(), 2.0);
    let top = &r["top"]["top_sources_by_bytes"];
    assert_eq!((&top["items"][0]["key"][0], &top["items"][0]["value"]["low"]), (&"10.0.0.2".into(), &1162.0.into()));
    let peers = &r["top"]["top_destinations_by_peers"];
    assert_eq!((&peers["total"], &peers["items"][0]["value"]["low"]), (&2.into(), &1.0.into()));
    assert_eq!(r["quantiles"]["packet_size"]["count"], 10);
    let median = &r["quantiles"]["packet_size"]["items"][1]["value"];
    assert!(median["low"].as_f64().unwrap() <= 54.0 && median["high"].as_f64().unwrap() >= 54.0, "{median}");
    let human = String::from_utf8(analyze(&[], &[&file]).stdout).unwrap();
    for part in
        ["packets                   10", "ARP", "unaccounted                                0", "truncated_link"]
    {
        assert!(human.contains(part), "`{part}` in:\n{human}");
    }
}

#[test]
fn files_are_merged_by_time_and_may_be_compressed_or_piped() {
    let folder = Folder::new();
    let all = conversation();
    let (odd, even): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| n % 2 == 1);
    let part = |p: Vec<(usize, Timed)>| pcap(1, &p.into_iter().map(|(_, f)| f).collect::<Vec<_>>());
    let zstd = folder.file("even.pcap.zst", &zstd::encode_all(part(even).as_slice(), 3).unwrap());
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&part(odd)).unwrap();
    let gz = folder.file("odd.pcap.gz", &gz.finish().unwrap());
    let out = analyze(&["--format", "json"], &[&zstd, &gz]);
    let r: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&r["packets"], &r["bytes"]), (&8.into(), &(8 * 54 + 1100).into()));

    let mut child = Command::new(env!("CARGO_BIN_EXE_netspectra"))
        .args(["analyze", "--flows", "--format", "ndjson", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&pcap(1, &all)).unwrap();
    let piped = lines(&child.wait_with_output().unwrap());
    assert_eq!((&piped[0]["packets"], &piped[0]["reverse_packets"]), (&5.into(), &3.into()));
}

#[test]
fn a_truncated_file_is_reported_as_far_as_it_goes_with_exit_1() {
    let folder = Folder::new();
    let mut bytes = pcap(1, &conversation());
    bytes.truncate(bytes.len() - 10);
    let out = analyze(&["--format", "json"], &[&folder.file("cut.pcap", &bytes)]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["packets"], 7);
    let e = error(&out);
    assert!(
        e.contains("cut.pcap` ends inside a pcap record") && e.contains("after 7 frames; these are reported"),
        "{e}"
    );
}

/// What `args` print, say and exit with, and every file of the store in the new `folder`, by name.
fn saving(folder: &Path, args: &[&str], files: &[&Path]) -> (Output, BTreeMap<String, Vec<u8>>) {
    let out = analyze(&[args, &["--save", folder.to_str().unwrap()]].concat(), files);
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let named = entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()));
    // The lock has the process's number.
    (out, named.filter(|(name, _)| name != "LOCK").collect())
}

#[test]
fn output_errors_and_saved_data_do_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    let whole = folder.file("whole.pcap", &pcap(1, &mixed()));
    let other = folder.file("other.pcap", &pcap(1, &conversation()));
    let mut cut = pcap(1, &mixed());
    cut.truncate(cut.len() - 10);
    let cut = folder.file("cut.pcap", &cut);
    let unsupported = folder.file("odd.pcap", &pcap(147, &[(1, 0, vec![0; 60])]));
    let inputs: [&[&Path]; 4] = [&[&whole], &[&cut], &[&whole, &other, &cut], &[&unsupported]];
    for (input, files) in inputs.iter().enumerate() {
        for args in [
            &["--format", "json"][..],
            &["--flows", "--format", "ndjson"],
            &["--export", "ipfix", "--unidirectional"],
            &["--by", "src_ip,dst_port", "--format", "csv"],
            &["--time-bucket", "10s", "--by", "proto", "--format", "json"],
        ] {
            let of = |threads: &str| {
                let saved = folder.0.path().join(format!("{input}-{}-{threads}", args[0..2].concat()));
                saving(&saved, &[args, &["--threads", threads]].concat(), files)
            };
            let (one, saved) = of("1");
            assert!(!saved.is_empty() && (!one.stdout.is_empty() || *files == [&*unsupported]), "{args:?}");
            for threads in ["2", "3", "16"] {
                assert_eq!(of(threads), (one.clone(), saved.clone()), "{threads} threads, {args:?}, {files:?}");
            }
        }
    }
    assert_eq!(analyze(&["--threads", "0"], &[&whole]).status.code(), Some(2));
}

#[test]
fn what_is_no_capture_is_refused_by_name() {
    let folder = Folder::new();
    for (name, bytes, expected) in [
        ("text", &b"hello world, no capture"[..], "is not a capture file: it starts with the bytes `68 65 6c 6c"),
        ("empty", b"", "it is empty"),
    ] {
        let out = analyze(&[], &[&folder.file(name, bytes)]);
        assert_eq!(out.status.code(), Some(1), "{name}");
        let e = error(&out);
        assert!(e.contains(expected) && e.contains(name), "{e}");
    }
    let out = analyze(&[], &[&folder.0.path().join("nosuch.pcap")]);
    assert!(error(&out).contains("nosuch.pcap") && !out.status.success(), "{}", error(&out));
}

#[test]
fn an_unsupported_link_type_is_counted_and_said() {
    let folder = Folder::new();
    let out = analyze(&["--format", "json"], &[&folder.file("odd.pcap", &pcap(147, &[(1, 0, vec![0; 60])]))]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["ledger"]["reasons"]["unsupported_link"]["packets"],
        1
    );
    assert!(error(&out).contains("link type 147"), "{}", error(&out));
}

#[test]
fn misuse_exits_with_2_and_says_what_to_do() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &conversation()));
    let out = analyze(&["--format", "csv"], &[&file]);
    assert_eq!(out.status.code(), Some(2));
    assert!(error(&out).contains("add --flows"), "{}", error(&out));
    assert_eq!(analyze(&["--unidirectional"], &[&file]).status.code(), Some(2));
    assert_eq!(analyze(&[], &[]).status.code(), Some(2));
}

#[test]
fn every_command_has_help_with_examples() {
    for command in ["run", "analyze", "query", "top", "doctor"] {
        let out = Command::new(env!("CARGO_BIN_EXE_netspectra")).args([command, "--help"]).output().unwrap();
        assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("Examples:"), "{command}");
    }
}

/// A store behind the API until it is dropped.
struct Served {
    child: std::process::Child,
    url: String,
    token_file: PathBuf,
}

impl Served {
    fn of(folder: &Path) -> Self {
        use std::io::BufRead as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_netspectra"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap());
        let line = log.lines().map_while(Result::ok).find(|line| line.contains("listening on ")).unwrap();
        let url = line.split("listening on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Self { child, url, token_file: folder.join("token") }
    }

    fn query(&self, args: &[&str]) -> String {
        let out = Command::new(env!("CARGO_BIN_EXE_netspectra"))
            .arg("query")
            .args(args)
            .args(["--url", &self.url, "--token-file"])
            .arg(&self.token_file)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", error(&out));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_right_after_it_says_that_it_listens_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGINT, libc::SIGTERM] {
        let mut served = Served::of(dir.path());
        // SAFETY: signals a child of this process that was not waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(served.child.id()).unwrap(), signal) }, 0);
        assert!(served.child.wait().unwrap().success(), "signal {signal}");
    }
}

#[test]
fn rules_of_a_file_sample_flows_and_every_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.pcap");
    let frames: Vec<Timed> = (0..200u16).map(|n| (u32::from(n), 0, tcp((1, 1000 + n), (2, 80), 0x18, 10))).collect();
    std::fs::write(&file, pcap(1, &frames)).unwrap();
    let config = folder.path().join("rules.toml");
    std::fs::write(&config, "[[capture.rules]]\naction = \"sample\"\none_in = 4\nport = [\"80\"]\n").unwrap();
    let (config, file) = (config.to_str().unwrap(), file.as_path());
    let records = lines(&analyze(&["--config", config, "--flows", "--format", "ndjson"], &[file]));
    // 50, within five standard deviations; always the same ones.
    assert!((19..=81).contains(&records.len()), "{}", records.len());
    assert!(records.iter().all(|record| record["sampling"] == 4 && record["packets"] == 1), "{records:?}");
    let report: Value =
        serde_json::from_slice(&analyze(&["--config", config, "--format", "json"], &[file]).stdout).unwrap();
    let ledger = &report["ledger"];
    assert_eq!(ledger["reasons"]["sampled_out"]["packets"], 200 - records.len(), "{ledger:#}");
    let top = lines(&analyze(
        &["--config", config, "--by", "sampling", "--metric", "packets", "--format", "ndjson"],
        &[file],
    ));
    assert_eq!(top[0]["key"]["sampling"], "4", "{top:?}");
    std::fs::write(config, "[[capture.rules]]\naction = \"sample\"\none_in = 100\n").unwrap();
    let refused = analyze(&["--config", config], &[file]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("`one_in` with a power of two from 2 to 65536"), "{said}");
}

/// Ten conversations over three minutes, and datagrams of other hosts.
fn mixed() -> Vec<Timed> {
    let mut frames = Vec::new();
    for n in 0..10u8 {
        let at = 100 + u32::from(n) * 17;
        frames.extend(
            (0..3).map(|i| (at + i, 0, tcp((n, 40_000), (2, 80 + u16::from(n % 3)), 0x18, 50 * usize::from(n)))),
        );
        frames.push((at + 2, 500, udp((n % 4, 5353), (9, 53), b"no dns at all")));
    }
    frames
}

#[test]
fn a_question_to_a_capture_is_answered_as_the_saved_capture_answers_it() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &mixed()));
    let saved = folder.0.path().join("saved");
    assert!(analyze(&["--save", saved.to_str().unwrap()], &[&file]).status.success());
    let served = Served::of(&saved);
    let csv = |args: &[&str]| {
        let out = analyze(&[args, &["--format", "csv"]].concat(), &[&file]);
        assert!(out.status.success(), "{}", error(&out));
        String::from_utf8(out.stdout).unwrap()
    };
    for (asked, query) in [
        (&["--by", "src_ip"][..], &["top", "--by", "src_ip", "--limit", "10"][..]),
        (
            &["--by", "dst_port,proto", "--metric", "packets", "--top", "2"],
            &["top", "--by", "dst_port,proto", "--metric", "packets", "--limit", "2"],
        ),
        (
            &["--by", "src_ip", "--metric", "flows", "--filter", "proto = tcp and dst_port > 80"],
            &[
                "top",
                "--by",
                "src_ip",
                "--metric",
                "flows",
                "--limit",
                "10",
                "--filter",
                "proto = tcp and dst_port > 80",
            ],
        ),
        (&["--time-bucket", "10s"], &["series", "--step", "10s"]),
        (
            &["--time-bucket", "1m", "--by", "proto", "--filter", "ip = 10.0.0.3"],
            &["series", "--step", "1m", "--by", "proto", "--filter", "ip = 10.0.0.3"],
        ),
    ] {
        let found = csv(asked);
        assert!(found.lines().count() > 1, "{found}");
        assert_eq!(
            found,
            served.query(&[query, &["--from", "all", "--to", "all", "--format", "csv"]].concat()),
            "{asked:?}"
        );
    }
    // The sums are those of the frames.
    let json = analyze(&["--by", "proto", "--metric", "packets", "--format", "json"], &[&file]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["items"][0]["key"]["proto"], &json["items"][0]["value"]["estimate"]),
        (&"tcp".into(), &30.0.into())
    );
    assert_eq!(json["completeness"]["seen_packets"], 40);
    let listed = analyze(&["--flows", "--format", "ndjson", "--filter", "proto = udp"], &[&file]);
    assert!(lines(&listed).iter().all(|flow| flow["proto"] == 17) && !lines(&listed).is_empty());
}

#[test]
fn questions_and_folders_that_do_not_fit_are_refused_before_anything_is_read() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &conversation()));
    let there = folder.0.path().to_str().unwrap();
    for (args, expected) in [
        (&["--by", "nonsense"][..], "`nonsense` in `by` is not a dimension"),
        (&["--by", "proto", "--metric", "hops"], "`metric` is `hops`"),
        (&["--time-bucket", "1ms"], "`step`"),
        (&["--by", "proto", "--filter", "port = http"], "(column 8)"),
        (&["--flows", "--filter", "port ="], "`--filter`: "),
        (&["--filter", "port = 80"], "add --flows, --export, --by or --time-bucket"),
        (&["--save", there], "is not empty: name a new folder with --save"),
        (&["--export", "csv", "--output", "/nowhere/at/all"], "cannot write `/nowhere/at/all`"),
        (&["--export", "csv", "--by", "proto"], "cannot be used with"),
        (&["--by", "proto", "--flows"], "cannot be used with"),
    ] {
        let out = analyze(args, &[&file]);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(error(&out).contains(expected), "{args:?}: {}", error(&out));
    }
    let out = Command::new(env!("CARGO_BIN_EXE_netspectra")).args(["serve", "/nowhere/at/all"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(error(&out).contains("there is no folder `/nowhere/at/all`"), "{}", error(&out));
}

#[test]
fn records_are_exported_as_they_are_listed() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &mixed()));
    let target = folder.0.path().join("out");
    let export = |kind: &str, args: &[&str]| {
        let out = analyze(&[&["--export", kind, "--output", target.to_str().unwrap()], args].concat(), &[&file]);
        assert!(out.status.success() && out.stdout.is_empty(), "{}", error(&out));
        std::fs::read(&target).unwrap()
    };
    for args in [&[][..], &["--unidirectional"], &["--filter", "proto = udp"], &["--filter", "src_ip = 10.0.0.99"]] {
        for kind in ["csv", "ndjson"] {
            let listed = analyze(&[&["--flows", "--format", kind], args].concat(), &[&file]);
            assert_eq!(export(kind, args), listed.stdout, "{kind} {args:?}");
        }
    }
    assert_eq!(export("csv", &["--filter", "src_ip = 10.0.0.99"]).split(|b| *b == b'\n').count(), 2, "only the header");
    let parquet = export("parquet", &[]);
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    assert_eq!(analyze(&["--export", "parquet", "--output", "-"], &[&file]).stdout, parquet, "the same in a pipe");
    assert!(export("parquet", &["--filter", "proto = udp"]) != parquet);
}

/// An Ethernet frame with an IPv4 UDP datagram between 10.0.0.`src` and 10.0.0.`dst`.
fn udp(src: (u8, u16), dst: (u8, u16), payload: &[u8]) -> Vec<u8> {
    let mut f = vec![0u8; 12];
    f.extend([8, 0, 0x45, 0]);
    f.extend((28 + payload.len() as u16).to_be_bytes());
    f.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, src.0, 10, 0, 0, dst.0]);
    f.extend([src.1, dst.1, 8 + payload.len() as u16, 0].iter().flat_map(|w| w.to_be_bytes()));
    f.extend(payload);
    f
}

/// A DNS message about `example.org`.
fn message(id: u8, flags: [u8; 2]) -> Vec<u8> {
    [&[0, id][..], &flags, &[0, 1, 0, 0, 0, 0, 0, 0], b"\x07Example\x03org\0", &[0, 1, 0, 1]].concat()
}

#[test]
fn what_was_said_and_found_is_in_the_saved_capture_as_in_the_report() {
    let folder = Folder::new();
    let mut frames = vec![
        (100, 0, udp((1, 5000), (2, 53), &message(1, [1, 0]))),
        (100, 20_000, udp((2, 53), (1, 5000), &message(1, [0x81, 0x83]))),
        (101, 0, udp((1, 5000), (2, 53), &message(2, [1, 0]))),
    ];
    frames.extend((0..900).map(|n| (102 + u32::from(n) / 300, 0, tcp((7, 40_000), (8, 1 + n), 2, 0))));
    let file = folder.file("scan.pcap", &pcap(1, &frames));
    let saved = folder.0.path().join("saved");
    let out = analyze(&["--format", "json", "--save", saved.to_str().unwrap()], &[&file]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let served = Served::of(&saved);
    let all = ["--from", "all", "--to", "all", "--format", "json"];
    let ask =
        |question: &[&str]| -> Value { serde_json::from_str(&served.query(&[question, &all[..]].concat())).unwrap() };
    // Newest first, and each incident of the report is what was said of it last.
    let said = ask(&["alerts"]);
    let said = said["items"].as_array().unwrap();
    let incidents = report["alerts"].as_array().unwrap();
    assert!(!incidents.is_empty() && said.len() > incidents.len(), "{report}");
    for incident in incidents {
        assert_eq!(said.iter().find(|s| s["id"] == incident["id"]), Some(incident));
    }
    let scans = ask(&["alerts", "--filter", "detector = port_scan and phase = closed"]);
    assert_eq!(scans["items"][0]["subject"], "10.0.0.7 to 10.0.0.8");
    assert_eq!(ask(&["alerts", "--filter", "subject = 10.0.0.8"])["items"], Value::Array(Vec::new()));
    let messages = ask(&["messages"]);
    let told: Vec<_> = messages["items"].as_array().unwrap().iter().map(|m| (&m["message"], &m["code"])).collect();
    let (query, response) = (Value::from("query"), Value::from("response"));
    assert_eq!(told, [(&query, &Value::Null), (&response, &Value::from(3)), (&query, &Value::Null)]);
    let answer = &messages["items"][1];
    assert_eq!((&answer["latency_us"], &answer["name"]), (&20_000.into(), &"example.org".into()));
    assert_eq!((&answer["src_ip"], &answer["detail"]["question"]["name"]), (&"10.0.0.2".into(), &"Example.org".into()));
    let table = served.query(&["messages", "--filter", "code = 3", "--from", "all", "--to", "all"]);
    assert!(table.lines().count() == 2 && table.contains("example.org"), "{table}");
}

#[test]
fn dns_is_reported_with_its_latency_and_can_be_left_out() {
    let folder = Folder::new();
    let (client, server) = ((1, 5000), (2, 53));
    let frames = vec![
        (100, 0, udp(client, server, &message(1, [1, 0]))),
        (100, 5000, udp(client, server, &message(1, [1, 0]))),
        (100, 20_000, udp(server, client, &message(1, [0x81, 0x83]))),
        (101, 0, udp(client, server, &message(2, [1, 0]))),
        (102, 0, udp((1, 5353), (251, 5353), &message(0, [0, 0]))),
    ];
    let file = folder.file("dns.pcap", &pcap(1, &frames));
    let out = analyze(&["--format", "json"], &[&file]);
    let r: Value = serde_json::from_slice(&out.stdout).unwrap();
    let dns = &r["dns"];
    for (field, value) in [
        ("queries", 3),
        ("responses", 1),
        ("repeated_queries", 1),
        ("answered_queries", 1),
        ("unanswered_queries", 1),
        ("distinct_names", 1),
    ] {
        assert_eq!(dns[field], value, "{field}");
    }
    assert_eq!((&dns["rcodes"]["3"], &dns["names"]["Example.org"]), (&1.into(), &3.into()));
    assert_eq!((&r["mdns"]["queries"], &dns["latency_seconds"]["count"]), (&1.into(), &1.into()));
    let slowest = &dns["latency_seconds"]["items"][3]["value"];
    assert!(slowest["low"].as_f64().unwrap() <= 0.02 && slowest["high"].as_f64().unwrap() >= 0.02, "{slowest}");
    assert!(String::from_utf8(analyze(&[], &[&file]).stdout).unwrap().contains("Example.org"));
    let off = analyze(&["--format", "json", "--no-l7"], &[&file]);
    let off: Value = serde_json::from_slice(&off.stdout).unwrap();
    assert_eq!((off.get("dns"), &off["packets"]), (None, &5.into()));
}

/// As another program reads it.
#[test]
fn an_ipfix_file_is_what_a_collector_reads_as_the_same_flows() {
    let folder = Folder::new();
    let mut frames = conversation();
    frames.extend(mixed());
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6]);
    arp.extend([0; 46]);
    frames.push((400, 0, arp));
    let file = folder.file("a.pcap", &pcap(1, &frames));
    let exported = folder.0.path().join("a.ipfix");
    let out = analyze(&["--export", "ipfix", "--output", exported.to_str().unwrap()], &[&file]);
    assert!(out.status.success(), "{}", error(&out));
    let bytes = std::fs::read(&exported).unwrap();
    let parsed = netflow_parser::NetflowParser::default().parse_bytes(&bytes);
    assert!(parsed.error.is_none(), "{:?}", parsed.error);
    // Element name to the innermost value, of each record.
    let mut found = Vec::new();
    let mut expected_sequence = 0u64;
    for message in serde_json::to_value(&parsed.packets).unwrap().as_array().unwrap() {
        let message = &message["IPFix"];
        assert_eq!(message["header"]["sequence_number"], expected_sequence, "data records before the message");
        for set in message["flowsets"].as_array().unwrap() {
            for record in set["body"]["Data"]["fields"].as_array().into_iter().flatten() {
                expected_sequence += 1;
                let fields = record.as_array().unwrap().iter().map(|field| (inner(&field[0]), inner(&field[1])));
                found.push(fields.map(|(name, value)| (name.as_str().unwrap().to_owned(), value)).collect());
            }
        }
    }
    let found: Vec<std::collections::BTreeMap<String, Value>> = found;
    let listed = lines(&analyze(&["--flows", "--format", "ndjson"], &[&file]));
    assert_eq!(found.len(), listed.len());
    for (ipfix, flow) in found.iter().zip(&listed) {
        for (element, field) in [
            ("SourceTransportPort", "src_port"),
            ("DestinationTransportPort", "dst_port"),
            ("EthernetType", "ether_type"),
            ("PacketDeltaCount", "packets"),
            ("OctetDeltaCount", "l3_bytes"),
            ("Layer2octetDeltaCount", "bytes"),
            ("ReversePacketDeltaCount", "reverse_packets"),
            ("ReverseOctetDeltaCount", "reverse_l3_bytes"),
            ("ReverseLayer2OctetDeltaCount", "reverse_bytes"),
        ] {
            assert_eq!(ipfix[element], flow[field], "{element}: {ipfix:?} {flow}");
        }
        assert_eq!(format!("{:016x}", ipfix["FlowId"].as_u64().unwrap()), flow["flow_id"]);
        assert_eq!(ipfix.get("SourceIpv4address"), Some(&flow["src_ip"]).filter(|ip| !ip.is_null()));
        assert_eq!(ipfix["InterfaceName"], flow["iface"], "{ipfix:?}");
        assert_eq!(ipfix["SamplingProbability"].as_f64(), Some(1.0), "{ipfix:?}");
    }
    assert!(found.iter().any(|record| record.len() == 19) && found.iter().any(|record| record.len() == 24));
    // The same flows are the same file.
    let again = folder.0.path().join("b.ipfix");
    assert!(analyze(&["--export", "ipfix", "--output", again.to_str().unwrap()], &[&file]).status.success());
    assert_eq!(std::fs::read(&again).unwrap(), bytes);
}

/// What is within objects of one field.
fn inner(value: &Value) -> Value {
    match value.as_object() {
        Some(map) if map.len() == 1 => inner(map.values().next().unwrap()),
        _ => value.clone(),
    }
}

#[test]
fn local_networks_are_in_records_and_can_be_grouped_by_and_filtered() {
    let folder = Folder::new();
    let file = folder.file("a.pcap", &pcap(1, &conversation()));
    let office = ["--network", "all=10.0.0.0/8", "--network", "server=10.0.0.2,10.0.0.3"];
    let records = lines(&analyze(&[&office[..], &["--flows", "--format", "ndjson"]].concat(), &[&file]));
    assert_eq!((&records[0]["src_network"], &records[0]["dst_network"]), (&"all".into(), &"server".into()));
    assert_eq!(records[0]["src_country"], Value::Null);
    let by = ["--by", "src_network", "--metric", "packets", "--format", "json"];
    let top = |filter: &[&str]| {
        let out = analyze(&[&office[..], &by, filter].concat(), &[&file]);
        let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
        let items = answer["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|i| (i["key"]["src_network"].to_string(), i["value"]["estimate"].to_string()))
            .collect::<Vec<_>>()
    };
    let row = |name: &str, packets: &str| (format!("\"{name}\""), packets.to_owned());
    assert_eq!(top(&[]), [row("all", "5.0"), row("server", "3.0")]);
    assert_eq!(top(&["--filter", "not dst_network = server"]), [row("server", "3.0")]);
    // As in a configuration file, which may have more.
    let config = folder.file("a.toml", b"[[enrich.networks]]\nname = \"home\"\ncidrs = [\"10.0.0.1\"]\n");
    let told = ["--config", config.to_str().unwrap(), "--flows", "--format", "ndjson"];
    assert_eq!(lines(&analyze(&told, &[&file]))[0]["src_network"], "home");

    for (arguments, says) in [
        (["--network", "office"], "`--network office`: expected a name, `=`, and address blocks"),
        (["--network", "office=10.0.0.0/40"], "network `office`: `10.0.0.0/40` is no address block"),
        (["--as-file", "/etc/hostname"], "`/etc/hostname` cannot be used: expected a file in MaxMind's format"),
    ] {
        let out = analyze(&arguments, &[&file]);
        assert_eq!(out.status.code(), Some(2), "{}", error(&out));
        assert!(error(&out).contains(says), "{}", error(&out));
    }
}

/// A DNS response with the address of 10.0.0.`host` for `example.org`.
fn address_of(host: u8) -> Vec<u8> {
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0][..], &[host]].concat();
    let mut response = message(1, [0x81, 0x80]);
    response[7] = 1;
    [response, record].concat()
}

#[test]
fn names_of_dns_answers_and_services_are_in_records_groups_and_saved_data_whatever_the_number_of_threads() {
    let folder = Folder::new();
    let mut frames = vec![
        // Before the answer nobody knows.
        (60, 0, tcp((1, 39_000), (2, 80), 0x02, 0)),
        (99, 0, udp((1, 5000), (3, 53), &message(1, [1, 0]))),
        (99, 20_000, udp((3, 53), (1, 5000), &address_of(2))),
    ];
    frames.extend(conversation());
    let file = folder.file("a.pcap", &pcap(1, &frames));
    let names = |out: &Output| {
        let known = |r: &Value| (r["src_port"].to_string(), r["dst_name"].clone(), r["service"].clone());
        lines(out).iter().map(known).collect::<Vec<_>>()
    };
    let list = ["--flows", "--format", "ndjson"];
    let row = |port: &str, name: Option<&str>, service: &str| (port.to_owned(), name.into(), service.into());
    let (early, dns, named) = (row("39000", None, "http"), row("5000", None, "domain"), "example.org");
    let all = [early.clone(), dns.clone(), row("40000", Some(named), "http")];
    let found = names(&analyze(&[&list[..], &["--names"]].concat(), &[&file]));
    assert_eq!(
        BTreeMap::from_iter(found.iter().map(|r| (&r.0, r))),
        BTreeMap::from_iter(all.iter().map(|r| (&r.0, r)))
    );
    assert!(names(&analyze(&list, &[&file])).iter().all(|(_, name, _)| name.is_null()), "they were not asked for");
    // A filter that looks at a name asks for it.
    let only = names(&analyze(&[&list[..], &["--filter", "hostname = example.org"]].concat(), &[&file]));
    assert_eq!(only, [all[2].clone()]);
    let by = ["--by", "dst_name,service", "--metric", "packets", "--format", "csv"];
    let by_name = analyze(&by, &[&file]);
    let text = String::from_utf8(by_name.stdout.clone()).unwrap();
    assert!(text.lines().any(|line| line.starts_with("example.org,http,5.0,")), "{text}");
    for threads in ["1", "2", "3"] {
        assert_eq!(analyze(&[&by[..], &["--threads", threads]].concat(), &[&file]).stdout, by_name.stdout);
    }
    let saved = folder.0.path().join("saved");
    analyze(&["--save", saved.to_str().unwrap()], &[&file]);
    let served = Served::of(&saved);
    let question = ["top", "--by", "src_name,dst_name,service", "--metric", "packets"];
    let question = [&question[..], &["--from", "all", "--to", "all", "--filter", "hostname = example.org"]].concat();
    let table = served.query(&question);
    assert!(table.contains("example.org") && table.lines().count() == 3, "{table}");

    let ours = folder.file("services", b"intranet 80/tcp # ours\n");
    let told = [&list[..], &["--services-file", ours.to_str().unwrap(), "--filter", "service = intranet"]].concat();
    assert_eq!(lines(&analyze(&told, &[&file])).len(), 2);
    let pods = folder.file(
        "pods.json",
        br#"{"items":[{"metadata":{"name":"db-0","namespace":"shop","ownerReferences":[{"kind":"StatefulSet","name":"db","controller":true}]},"status":{"podIP":"10.0.0.2"}}]}"#,
    );
    let config = format!("[enrich.kubernetes]\npods_file = \"{}\"\n", pods.display());
    let config = folder.file("a.toml", config.as_bytes());
    let told =
        [&list[..], &["--config", config.to_str().unwrap(), "--filter", "workload = \"StatefulSet/db\""]].concat();
    let records = lines(&analyze(&told, &[&file]));
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0]["dst_pod"], &records[0]["dst_namespace"]), (&"db-0".into(), &"shop".into()));
    for (arguments, says) in [
        (["--by", "src_name", "--no-l7"], "`--no-l7` reads no DNS answers, which `src_name` and `dst_name` are from"),
        (["--flows", "--services-file", pods.to_str().unwrap()], "expected a name, a port and a protocol"),
        (["--flows", "--memory", "100MiB"], "expected at least 256 MiB, such as `512MiB` or `2GiB`"),
    ] {
        let out = analyze(&arguments, &[&file]);
        assert_eq!(out.status.code(), Some(2), "{}", error(&out));
        assert!(error(&out).contains(says), "{}", error(&out));
    }
}

#[test]
fn queries_of_http_requests_are_left_out_where_they_must_not_be_kept() {
    let folder = Folder::new();
    let request = b"GET /path?secret=1 HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut frame = tcp((1, 40_000), (2, 80), 0x18, request.len());
    let at = frame.len() - request.len();
    frame[at..].copy_from_slice(request);
    let file = folder.file("a.pcap", &pcap(1, &[(100, 0, tcp((1, 40_000), (2, 80), 0x02, 0)), (100, 1000, frame)]));
    for (options, target) in [(&[][..], "/path?secret=1"), (&["--no-http-queries"][..], "/path")] {
        let saved = folder.0.path().join(format!("saved{}", options.len()));
        analyze(&[options, &["--save", saved.to_str().unwrap()]].concat(), &[&file]);
        let all = ["messages", "--from", "all", "--to", "all", "--format", "json"];
        let messages: Value = serde_json::from_str(&Served::of(&saved).query(&all)).unwrap();
        assert_eq!(messages["items"][0]["detail"]["target"], target, "{messages}");
    }
}
