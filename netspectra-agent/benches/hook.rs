//! Nanoseconds a packet of the XDP program, beside programs that do less, by `BPF_PROG_TEST_RUN` in the same run.
//!
//! Needs root, the eBPF object (`NETSPECTRA_BPF_OBJECT`) and the bench object (`NETSPECTRA_BPF_BENCH_OBJECT`): start it
//! by `cargo xtask bench`. Rounds alternate between the programs, so that a slow phase of the machine meets all.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};

const ROUNDS: usize = 25;
const REPEAT: u32 = 200_000;
/// Flows of the spread-out cases; one test run each, because a run repeats one frame. Powers of two.
const FLOWS: [u32; 2] = [1 << 15, 1 << 20];

fn read(variable: &str) -> Vec<u8> {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("`{variable}` is not set: run `cargo xtask bench`"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// A 64-byte frame of flow number `flow`.
fn frame4(proto: u8, flow: u32) -> Vec<u8> {
    let [host, net, hi, lo] = flow.to_be_bytes();
    let mut f = vec![0u8; 12];
    f.extend([0x08, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, host, net, 10, 0, 0, 2]);
    f.extend([hi, lo, 0, 80]);
    // UDP: length 30. TCP: an ACK without data, so that the next one is in order.
    f.extend(if proto == 6 {
        [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0]
    } else {
        [0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    });
    if proto == 6 {
        f[17] = 40;
    }
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

fn loaded_tc<'a>(bpf: &'a mut Ebpf, name: &str) -> &'a SchedClassifier {
    let program: &mut SchedClassifier = bpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    bpf.program(name).unwrap().try_into().unwrap()
}

/// Keeps this thread on one CPU, whose tables then hold every flow.
fn stay_on_this_cpu() {
    // SAFETY: the call has no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    // SAFETY: all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live set, and the function checks `cpu` against its size.
    unsafe { libc::CPU_SET(usize::try_from(cpu).unwrap(), &mut set) };
    // SAFETY: `set` is a live set of the stated size; 0 is the calling thread.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }, 0);
}

/// Kernel memory, in bytes, of this process's maps of kind `map_type` with 16-byte keys, as the kernel states it.
fn map_memory(map_type: u32) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        let of = |name: &str| {
            let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|v| v.trim().parse::<u64>().ok())
        };
        if of("map_type") == Some(u64::from(map_type)) && of("key_size") == Some(16) {
            sum += of("memlock").unwrap_or(0);
        }
    }
    sum
}

fn head(what: &str) {
    println!("\n| {what:<44} |    min | median |    max |");
    println!("|----------------------------------------------|-------:|-------:|-------:|");
}

fn row(name: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let median = samples[samples.len() / 2];
    println!("| {name:<44} | {:>6.1} | {median:>6.1} | {:>6.1} |", samples[0], samples[samples.len() - 1]);
}

fn main() {
    stay_on_this_cpu();
    let object = read("NETSPECTRA_BPF_OBJECT");
    let bench = read("NETSPECTRA_BPF_BENCH_OBJECT");
    one_flow(&object, &bench);
    for flows in FLOWS {
        many_flows(&object, &bench, flows);
    }
}

fn one_flow(object: &[u8], bench: &[u8]) {
    let mut source = XdpSource::load(object, &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"));
    let (hook, egress) = (source.test_runner().unwrap(), source.egress_test_runner().unwrap());
    let [mut a, mut b, mut c, mut d, mut e] = [0; 5].map(|_| EbpfLoader::new().load(bench).unwrap());
    let (empty, array, hash) =
        (loaded(&mut a, "bench_empty"), loaded(&mut b, "bench_array"), loaded(&mut c, "bench_hash"));
    let tc = loaded_tc(&mut d, "bench_tc_empty");
    let hash6 = loaded(&mut e, "bench_hash6");
    let (udp, tcp, v6) = (frame4(17, 1), frame4(6, 1), udp6());
    let mut samples: [Vec<f64>; 9] = Default::default();
    for _ in 0..ROUNDS {
        let options = TestRunOptions { data_in: Some(&udp), repeat: REPEAT, ..TestRunOptions::new() };
        let round = [
            run(empty, &udp),
            run(array, &udp),
            run(hash, &udp),
            f64::from(hook.run(&udp, REPEAT).unwrap()),
            f64::from(hook.run(&tcp, REPEAT).unwrap()),
            run(hash6, &v6),
            f64::from(hook.run(&v6, REPEAT).unwrap()),
            tc.test_run(options).unwrap().duration.as_nanos() as f64,
            f64::from(egress.run(&udp, REPEAT).unwrap()),
        ];
        for (samples, time) in samples.iter_mut().zip(round) {
            samples.push(time);
        }
    }
    head(&format!("ns a packet, {ROUNDS} rounds of {REPEAT}, one flow"));
    let names = [
        "empty XDP program",
        "one per-CPU counter",
        "IPv4 parse and a per-CPU hash, nothing else",
        "netspectra ingress, IPv4, UDP",
        "netspectra ingress, IPv4, TCP in order",
        "IPv6 parse and a per-CPU hash, nothing else",
        "netspectra ingress, IPv6, UDP",
        "empty TC program",
        "netspectra egress, IPv4, UDP",
    ];
    for (name, samples) in names.into_iter().zip(samples) {
        row(name, samples);
    }
}

/// The first packet of each of many flows, and one more of each in another order. One run each, so the call's overhead is in
/// every row: that of the empty program is shown beside.
fn many_flows(object: &[u8], bench: &[u8], flows: u32) {
    let config = XdpConfig { max_flows: flows, ..XdpConfig::default() };
    let mut source = XdpSource::load(object, &config).unwrap_or_else(|e| panic!("{e}"));
    let hook = source.test_runner().unwrap();
    let mut peer = EbpfLoader::new();
    let peer = peer.map_max_entries("FLOWS", flows).map_max_entries("RECENT", flows);
    let [mut a, mut b, mut c] = [0; 3].map(|_| peer.load(bench).unwrap());
    let (empty, hash, lru) = (loaded(&mut a, "bench_empty"), loaded(&mut b, "bench_hash"), loaded(&mut c, "bench_lru"));
    let once = |program: &Xdp, frame: &[u8]| {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        program.test_run(options).unwrap().duration.as_nanos() as f64
    };
    head(&format!("ns a single run, {flows} flows"));
    for (packet, stride) in [("first packet", 1u32), ("next packet", 0x9e37_79b1)] {
        let each = |run: &dyn Fn(&[u8]) -> f64| {
            // An odd stride leads to every flow once.
            (0..flows).map(|n| run(&frame4(17, n.wrapping_mul(stride) & (flows - 1)))).collect::<Vec<_>>()
        };
        row(&format!("empty program, {packet}"), each(&|f| once(empty, f)));
        row(&format!("per-CPU hash, {packet}"), each(&|f| once(hash, f)));
        row(&format!("per-CPU LRU hash, {packet}"), each(&|f| once(lru, f)));
        row(&format!("netspectra ingress, {packet}"), each(&|f| f64::from(hook.run(f, 1).unwrap())));
    }
    // `BPF_MAP_TYPE_HASH` and `_LRU_PERCPU_HASH`, which is there, whole, once for each of three loaded programs.
    let memory = [map_memory(1), map_memory(10) / 3].map(|bytes| bytes as f64 / f64::from(flows));
    println!("\nkernel memory of the IPv4 maps, bytes a flow: netspectra {:.0}, LRU {:.0}", memory[0], memory[1]);
}
