//! `netspectra analyze` on captures that are larger than the memory it may use.
//!
//! Proves the bound for flows that all live at once, which are its largest part. Does not prove it for every mixture.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::zombie_processes,
    reason = "tests; a system call waits for the child and says what it took"
)]

use serde_json::Value;
use std::io::{BufWriter, Read as _, Write};
use std::mem::MaybeUninit;
use std::process::{Child, Command, Stdio};

const MIB: u64 = 1 << 20;
/// Flows of the capture unless `NETSPECTRA_MEMORY_FLOWS` says how many, each of one packet, none of which ends before the last
/// has begun: several times what there is room for.
const FLOWS: u32 = 300_000;
/// Seconds over which they begin.
const SECONDS: u32 = 6;
const FRAME: usize = 54;

fn flows() -> u32 {
    std::env::var("NETSPECTRA_MEMORY_FLOWS").map_or(FLOWS, |flows| flows.parse().expect("a number of flows"))
}

/// Writes a capture of SYNs, each from another address.
fn write_capture(flows: u32, to: impl Write) {
    let mut to = BufWriter::with_capacity(1 << 20, to);
    to.write_all(&0xa1b2_c3d4u32.to_le_bytes()).unwrap();
    to.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]).unwrap();
    let mut frame = [0u8; FRAME];
    frame[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame[30..38].copy_from_slice(&[10, 0, 0, 1, 0x9c, 0x40, 0, 80]);
    (frame[46], frame[47]) = (0x50, 2);
    let a_second = flows / SECONDS;
    for n in 0..flows {
        let micros = u64::from(n % a_second) * 1_000_000 / u64::from(a_second);
        for word in [1_700_000_000 + n / a_second, micros as u32, FRAME as u32, FRAME as u32] {
            to.write_all(&word.to_le_bytes()).unwrap();
        }
        frame[26..30].copy_from_slice(&(0x0b00_0000 + n).to_be_bytes());
        to.write_all(&frame).unwrap();
    }
    to.flush().unwrap();
}

/// Waits for the end of `child`; its status and the most memory it had, bytes.
fn most_memory(child: &Child) -> (i32, u64) {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both places outlive the call.
    let pid = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(pid, child.id() as i32);
    // SAFETY: it was zeroed, and the call filled it.
    let usage = unsafe { usage.assume_init() };
    (status, usage.ru_maxrss as u64 * 1024)
}

#[test]
fn a_capture_of_more_flows_than_memory_has_room_for_is_reported_whole_within_it() {
    let (memory, flows) = (256 * MIB, flows());
    for arguments in [["--format", "json", "--no-progress"], ["--flows", "--format", "csv"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netspectra"))
            .args(["analyze", "--memory", "256MiB"])
            .args(arguments)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let writer = std::thread::spawn(move || write_capture(flows, input));
        let (mut lines, mut early, mut report) = (0u32, 0u32, Vec::new());
        let is_report = arguments[1] == "json";
        let mut text = vec![0; 1 << 20];
        let mut rest = Vec::new();
        loop {
            let got = output.read(&mut text).unwrap();
            if got == 0 {
                break;
            }
            if is_report {
                report.extend_from_slice(&text[..got]);
                continue;
            }
            rest.extend_from_slice(&text[..got]);
            let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8(rest.drain(..whole).collect()).unwrap();
            lines += text.lines().count() as u32;
            early += text.matches("lack_of_resources").count() as u32;
        }
        writer.join().unwrap();
        let (status, most) = most_memory(&child);
        assert_eq!(status, 0);
        assert!(most <= memory, "{arguments:?}: {} MiB of {}", most / MIB, memory / MIB);
        if is_report {
            let report: Value = serde_json::from_slice(&report).unwrap();
            // Nothing is lost, each flow was reported once, and those for which there was no room say so.
            assert_eq!((&report["packets"], &report["flows"]["started"]), (&flows.into(), &flows.into()));
            let bytes = u64::from(flows) * FRAME as u64;
            assert_eq!((&report["bytes"], &report["ledger"]["residual"]["packets"]), (&bytes.into(), &0.into()));
            println!("report: {} MiB", most / MIB);
        } else {
            assert_eq!(lines, flows + 1, "a line for each flow, and the names");
            assert!(early > flows / 2, "{early}");
            println!("records: {} MiB", most / MIB);
        }
    }
}

/// A list of flows that all live until the input ends: what it takes grows by the flow, and by little more than one has in the table.
#[test]
fn a_live_flow_takes_little_more_than_its_place_in_the_table() {
    let most_with = |flows: u32| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netspectra"))
            .args(["analyze", "--flows", "--format", "ndjson", "--no-l7", "--threads", "1", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        write_capture(flows, child.stdin.take().unwrap());
        let (status, most) = most_memory(&child);
        assert_eq!(status, 0);
        most
    };
    let (few, many) = (100_000, 400_000);
    let flow = (most_with(many) - most_with(few)) / u64::from(many - few);
    println!("a flow: {flow} bytes");
    // 256 and its places in index, agenda and lists; records of all of them at once would be 500 more.
    assert!((256..420).contains(&flow), "{flow} bytes");
}
