//! Nanoseconds a packet of the XDP program, beside programs that do less, by `BPF_PROG_TEST_RUN` in the same run.
//!
//! Needs root, the eBPF object (`NETSPECTRA_BPF_OBJECT`) and the bench object (`NETSPECTRA_BPF_BENCH_OBJECT`): start it
//! by `cargo xtask bench`. Rounds alternate between the programs, so that a slow phase of the machine meets all.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};

const ROUNDS: usize = 25;
const REPEAT: u32 = 200_000;
/// Flows of the spread-out case; one test run each, because a run repeats one frame.
const FLOWS: u16 = 32_768;

fn read(variable: &str) -> Vec<u8> {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("`{variable}` is not set: run `cargo xtask bench`"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// A 64-byte UDP frame from `port`.
fn udp4(port: u16) -> Vec<u8> {
    let mut f = vec![0u8; 12];
    f.extend([0x08, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    f.extend(port.to_be_bytes());
    f.extend([0, 80, 0, 30, 0, 0]);
    f.resize(64, 0);
    f
}

fn udp6() -> Vec<u8> {
    let mut f = vec![0u8; 12];
    f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, 17, 64]);
    f.extend([0xfd; 32]);
    f.extend([3, 232, 0, 80, 0, 10, 0, 0, 0, 0]);
    f
}

fn run(program: &Xdp, frame: &[u8]) -> f64 {
    let options = TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..TestRunOptions::new() };
    program.test_run(options).unwrap().duration.as_nanos() as f64
}

fn loaded<'a>(bpf: &'a mut Ebpf, name: &str) -> &'a Xdp {
    let program: &mut Xdp = bpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    bpf.program(name).unwrap().try_into().unwrap()
}

fn row(name: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let median = samples[samples.len() / 2];
    println!("| {name:<44} | {:>6.1} | {median:>6.1} | {:>6.1} |", samples[0], samples[samples.len() - 1]);
}

fn main() {
    let object = read("NETSPECTRA_BPF_OBJECT");
    let bench = read("NETSPECTRA_BPF_BENCH_OBJECT");
    let mut source = XdpSource::load(&object, &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"));
    let hook = source.test_runner().unwrap();
    let [mut a, mut b, mut c] = [0; 3].map(|_| EbpfLoader::new().load(&bench).unwrap());
    let (empty, array, hash) =
        (loaded(&mut a, "bench_empty"), loaded(&mut b, "bench_array"), loaded(&mut c, "bench_hash"));
    let (v4, v6) = (udp4(1000), udp6());

    let mut samples: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        samples[0].push(run(empty, &v4));
        samples[1].push(run(array, &v4));
        samples[2].push(run(hash, &v4));
        samples[3].push(f64::from(hook.run(&v4, REPEAT).unwrap()));
        samples[4].push(f64::from(hook.run(&v6, REPEAT).unwrap()));
    }
    println!("| ns a packet, {ROUNDS} rounds of {REPEAT} runs               |    min | median |    max |");
    println!("|----------------------------------------------|-------:|-------:|-------:|");
    let [s0, s1, s2, s3, s4] = samples;
    row("empty program", s0);
    row("one per-CPU counter", s1);
    row("IPv4 parse and a per-CPU hash, nothing else", s2);
    row("netspectra ingress, IPv4, one flow", s3);
    row("netspectra ingress, IPv6, one flow", s4);

    // The first packet of each flow, and a packet of each of many flows: one run each, so the call's overhead is
    // measured with the empty program and shown beside.
    let once = |run: &dyn Fn(&[u8]) -> f64| {
        let times: Vec<f64> = (0..FLOWS).map(|port| run(&udp4(port))).collect();
        times
    };
    source.generation().unwrap();
    source.recycle().unwrap();
    let single = |frame: &[u8]| f64::from(hook.run(frame, 1).unwrap());
    let single_empty = |frame: &[u8]| {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        empty.test_run(options).unwrap().duration.as_nanos() as f64
    };
    println!("\n| ns a single run, {FLOWS} flows                |    min | median |    max |");
    println!("|----------------------------------------------|-------:|-------:|-------:|");
    row("empty program", once(&single_empty));
    row("netspectra ingress, first packet of a flow", once(&single));
    row("netspectra ingress, second packet of a flow", once(&single));
}
