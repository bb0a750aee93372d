//! `netspectra analyze` on one core beside a plain read of the same file, in the same run.
//!
//! The capture is made here: a fixed mix of flows and frame sizes, or the file that `NETSPECTRA_BENCH_CAPTURE` names.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const PACKETS: u32 = 2_000_000;
const FLOWS: u32 = 50_000;
const ROUNDS: usize = 5;

/// Writes the capture; 10,000 packets a second of capture time.
fn make(path: &Path) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    out.write_all(&0xa1b2_c3d4u32.to_le_bytes()).unwrap();
    out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]).unwrap();
    // xorshift32: the same file in every run.
    let mut state = 0x9e37_79b9u32;
    let mut frame = vec![0u8; 1514];
    for n in 0..PACKETS {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Squaring makes few flows heavy and most light.
        let flow = ((u64::from(state % FLOWS) * u64::from(state >> 16)) >> 16) as u32;
        let len = [64usize, 64, 120, 590, 1514][state as usize % 5];
        frame[12..14].copy_from_slice(&[8, 0]);
        let total = (len - 14) as u16;
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 0, 172, 16, 0, 1]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[27..30].copy_from_slice(&flow.to_be_bytes()[1..]);
        frame[34..36].copy_from_slice(&(1024 + (flow % 60_000) as u16).to_be_bytes());
        frame[36..38].copy_from_slice(&[1, 187]);
        frame[46..48].copy_from_slice(&[0x50, 0x10]);
        for word in [1_700_000_000 + n / 10_000, n % 10_000 * 100, len as u32, len as u32] {
            out.write_all(&word.to_le_bytes()).unwrap();
        }
        out.write_all(&frame[..len]).unwrap();
    }
    out.flush().unwrap();
}

fn median(mut seconds: Vec<f64>) -> (f64, f64, f64) {
    seconds.sort_by(f64::total_cmp);
    (seconds[0], seconds[seconds.len() / 2], seconds[seconds.len() - 1])
}

fn plain_read(path: &Path) -> f64 {
    let started = Instant::now();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0u64;
    loop {
        let n = file.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        sum += buffer[..n].iter().step_by(4096).map(|b| u64::from(*b)).sum::<u64>();
    }
    std::hint::black_box(sum);
    started.elapsed().as_secs_f64()
}

fn analyze(path: &Path, args: &[&str]) -> f64 {
    let started = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_netspectra"))
        .arg("analyze")
        .args(args)
        .args(["--threads", "1"])
        .arg(path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "analyze: {status}");
    started.elapsed().as_secs_f64()
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (path, packets) = match std::env::var_os("NETSPECTRA_BENCH_CAPTURE") {
        Some(path) => (PathBuf::from(path), None),
        None => {
            let path = dir.path().join("bench.pcap");
            make(&path);
            (path, Some(PACKETS))
        }
    };
    let bytes = std::fs::metadata(&path).unwrap().len();
    let mut samples: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        samples[0].push(plain_read(&path));
        samples[1].push(analyze(&path, &["--format", "json"]));
        samples[2].push(analyze(&path, &["--flows", "--format", "ndjson"]));
    }
    println!("`{}`: {bytes} bytes, {ROUNDS} rounds", path.display());
    println!("| seconds                            |    min | median |    max | packets/s |   MB/s |");
    println!("|------------------------------------|-------:|-------:|-------:|----------:|-------:|");
    for (name, seconds) in ["plain read", "analyze, report as JSON", "analyze --flows, NDJSON"].iter().zip(samples) {
        let (min, mid, max) = median(seconds);
        let rate = packets.map_or("-".into(), |p| format!("{:.2} M", f64::from(p) / mid / 1e6));
        println!(
            "| {name:<34} | {min:>6.3} | {mid:>6.3} | {max:>6.3} | {rate:>9} | {:>6.0} |",
            bytes as f64 / mid / 1e6
        );
    }
}
