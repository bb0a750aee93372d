//! Real files, against what an independent reader (tshark 4.0) found in them: every frame's time and lengths, and the
//! totals. The captures are not part of the repository; `NETSPECTRA_CAPTURES` names their folder.

use crate::source::capture_file::CaptureFile;
use flate2::read::GzDecoder;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Link types that tshark 4.0 does not know at all and refuses; we hand the frames out and leave it to the parser.
const REFUSED_BY_TSHARK: &[(&str, u64)] =
    &[("tcpdump-hoobr_juniper3.pcap", 1), ("tcpdump-juniper_monitor_invalid_cookie_length.pcap", 1)];

/// One line of a `.packets.tsv.gz`.
struct Row {
    /// Nanoseconds; `None` where the file has no time.
    ts: Option<u64>,
    len: u64,
    captured: u64,
    /// `None` where tshark shows something that is no frame: it counts pcapng custom blocks, too.
    encapsulation: Option<u32>,
    interface: Option<u32>,
}

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn nanos(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let (secs, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 9, "{text}");
    Some(secs.parse::<u64>().unwrap() * 1_000_000_000 + fraction.parse::<u64>().unwrap())
}

fn rows(path: &Path) -> Vec<Row> {
    gunzip(path)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            Row {
                ts: nanos(fields[1]),
                len: fields[2].parse().unwrap(),
                captured: fields[3].parse().unwrap(),
                encapsulation: fields[4].parse().ok(),
                interface: fields[5].parse().ok(),
            }
        })
        .collect()
}

/// Differences between the capture and its truth, in words.
fn compare(capture: &Path, truth_base: &Path) -> Vec<String> {
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", truth_base.display()));
    let truth: serde_json::Value = serde_json::from_str(&gunzip(&with(".truth.json.gz"))).unwrap();
    let number = |key: &str| truth[key].as_u64().unwrap();
    let name = capture.file_name().unwrap().to_str().unwrap();
    let mut wrong = Vec::new();

    let mut file = match CaptureFile::open(capture) {
        Ok(file) => file,
        Err(e) => return vec![format!("{name}: {e}")],
    };
    if number("tshark_rc") != 0 {
        let (_, frames) = REFUSED_BY_TSHARK.iter().find(|(known, _)| *known == name).copied().unwrap_or_default();
        while file.next_frame().unwrap().is_some() {}
        if file.frames_read() != frames {
            wrong.push(format!("{name}: {} frames, expected {frames}", file.frames_read()));
        }
        return wrong;
    }

    let rows = rows(&with(".packets.tsv.gz"));
    assert_eq!(rows.len() as u64, number("frames"), "{name}: the truth contradicts itself");
    let others = || rows.iter().filter(|row| row.encapsulation.is_none());
    let mut expected = rows.iter().filter(|row| row.encapsulation.is_some());
    let (mut wire, mut captured, mut truncated, mut first, mut last) = (0, 0, 0, None, None);
    loop {
        let frame = match file.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(e) => {
                wrong.push(format!("{name}: {e}"));
                break;
            }
        };
        let len = frame.data.len() as u64;
        wire += u64::from(frame.orig_len);
        captured += len;
        truncated += u64::from(len < u64::from(frame.orig_len));
        let Some(row) = expected.next() else {
            wrong.push(format!("{name}: more frames than expected"));
            break;
        };
        if row.ts.is_some() {
            first = first.or(Some(frame.ts.0));
            last = Some(frame.ts.0);
        }
        let same = row.ts.is_none_or(|ts| ts == frame.ts.0)
            && row.len == u64::from(frame.orig_len)
            && row.captured == len
            && row.interface.is_none_or(|interface| interface == frame.iface);
        if !same {
            let (ts, orig_len, iface) = (frame.ts.0, frame.orig_len, frame.iface);
            wrong.push(format!(
                "{name}: frame {} is ({ts}, {orig_len}, {len}, {iface}), expected ({:?}, {}, {}, {:?})",
                file.frames_read(),
                row.ts,
                row.len,
                row.captured,
                row.interface
            ));
        }
    }
    if expected.next().is_some() {
        wrong.push(format!("{name}: only {} frames of {}", file.frames_read(), rows.len() - others().count()));
    }
    let mut total = |what: &str, ours: u64, theirs: u64| {
        if ours != theirs {
            wrong.push(format!("{name}: {what} {ours}, expected {theirs}"));
        }
    };
    total("frames", file.frames_read(), number("frames") - others().count() as u64);
    total("wire_bytes", wire, number("wire_bytes") - others().map(|row| row.len).sum::<u64>());
    total("captured_bytes", captured, number("captured_bytes") - others().map(|row| row.captured).sum::<u64>());
    total("truncated_frames", truncated, number("truncated_frames"));
    let of_frames = |key: &str| nanos(truth[key].as_str().unwrap_or_default());
    if others().next().is_none() && (first, last) != (of_frames("first_ts"), of_frames("last_ts")) {
        wrong.push(format!("{name}: first and last time are {first:?} and {last:?}"));
    }
    if file.total_bytes() != Some(fs::metadata(capture).unwrap().len()) || Some(file.bytes_read()) != file.total_bytes()
    {
        wrong.push(format!("{name}: {} bytes read of {:?}", file.bytes_read(), file.total_bytes()));
    }
    wrong
}

#[test]
#[allow(clippy::print_stderr, reason = "says that nothing was compared")]
fn real_captures_read_as_an_independent_reader_reads_them() {
    let Some(root) = std::env::var_os("NETSPECTRA_CAPTURES").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "`NETSPECTRA_CAPTURES` must be set on CI");
        eprintln!("not compared: set `NETSPECTRA_CAPTURES` to the folder of the real captures");
        return;
    };
    let mut wrong = Vec::new();
    let mut compared = 0;
    for folder in ["basic", "deep", "malformed", "pcapng"] {
        let mut truths: Vec<PathBuf> =
            fs::read_dir(root.join(folder).join("truth")).unwrap().map(|entry| entry.unwrap().path()).collect();
        truths.sort();
        for path in truths {
            let file_name = path.file_name().unwrap().to_str().unwrap();
            let Some(name) = file_name.strip_suffix(".truth.json.gz") else { continue };
            wrong.extend(compare(&root.join(folder).join(name), &path.with_file_name(name)));
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} captures found under `{}`", root.display());
    assert!(wrong.is_empty(), "{} differences in {compared} captures:\n{}", wrong.len(), wrong.join("\n"));
}
