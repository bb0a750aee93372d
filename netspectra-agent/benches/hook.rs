//! Nanoseconds a packet of the XDP program, beside programs that do less, by `BPF_PROG_TEST_RUN` in the same run.
//!
//! Needs root, the eBPF object (`NETSPECTRA_BPF_OBJECT`) and the bench object (`NETSPECTRA_BPF_BENCH_OBJECT`): start it
//! by `cargo xtask bench`. Rounds alternate between the programs, so that a slow phase of the machine meets all.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use aya::maps::ProgramArray;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};

const ROUNDS: usize = 25;
const REPEAT: u32 = 200_000;
/// Flows of the spread-out cases, unless others are asked for. Powers of two.
const FLOWS: [u32; 2] = [1 << 15, 1 << 20];
const SPREAD_ROUNDS: usize = 15;
/// Packets of such a round.
const SPREAD_PACKETS: u32 = 1 << 20;

/// What the hook is beside there: what it is called, and the program.
const SPREAD_BESIDE: [(&str, &str); 5] = [
    ("empty program", "bench_empty"),
    ("per-CPU hash, allocating", "bench_hash"),
    ("per-CPU hash", "bench_ready"),
    ("per-CPU LRU hash", "bench_lru"),
    ("hash with entries of 48 bytes, allocating", "bench_plain"),
];

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

/// Kernel memory, in bytes, of this process's maps of kind `map_type` with keys of `key` and values of `size` bytes, as the
/// kernel states it.
fn map_memory(map_type: u32, key: u64, size: u64) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        let of = |name: &str| {
            let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|v| v.trim().parse::<u64>().ok())
        };
        if of("map_type") == Some(u64::from(map_type)) && of("key_size") == Some(key) && of("value_size") == Some(size)
        {
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
    // `-- 4096 8192`: these numbers of flows alone.
    let asked: Vec<u32> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    if asked.is_empty() {
        one_flow(&object, &bench);
    }
    for flows in if asked.is_empty() { FLOWS.to_vec() } else { asked } {
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

/// Many flows, each packet of another one than the packet before: the first one of each, then others at random.
/// A program makes the packets in the test run itself and calls the one that is measured, so that code is in the caches as it
/// is when a receive queue is emptied, and flows are not. What that costs is in every row: see the empty program's.
fn many_flows(object: &[u8], bench: &[u8], flows: u32) {
    // The capacity is shared among the CPUs, and one of them has all here.
    let cpus = u32::try_from(aya::util::nr_cpus().unwrap()).unwrap();
    let config = XdpConfig { max_flows: flows * cpus, ..XdpConfig::default() };
    let mut source = XdpSource::load(object, &config).unwrap_or_else(|e| panic!("{e}"));
    let hook = source.test_runner().unwrap();
    let mut loaders = [(); 6].map(|()| {
        let mut loader = EbpfLoader::new();
        for map in ["FLOWS", "READY", "PLAIN", "RECENT"] {
            loader.map_max_entries(map, flows);
        }
        loader.override_global("SPREAD_FLOWS", &flows, true);
        loader.load(bench).unwrap()
    });
    let frame = frame4(17, 0);
    let mut samples: [Vec<f64>; 6] = Default::default();
    let mut called = Vec::new();
    for round in 0..=SPREAD_ROUNDS {
        let repeat = if round == 0 { flows } else { SPREAD_PACKETS };
        for (n, bpf) in loaders.iter_mut().enumerate() {
            if round == 0 {
                let mut next = ProgramArray::try_from(bpf.take_map("SPREAD_TO").unwrap()).unwrap();
                match SPREAD_BESIDE.get(n) {
                    Some((_, name)) => next.set(0, loaded(bpf, name).fd().unwrap(), 0).unwrap(),
                    None => next.set(0, hook.fd(), 0).unwrap(),
                }
                let spread: &mut Xdp = bpf.program_mut("bench_spread").unwrap().try_into().unwrap();
                spread.load().unwrap();
                // Who gives it up takes the program out of it.
                called.push(next);
            }
            let spread: &Xdp = bpf.program("bench_spread").unwrap().try_into().unwrap();
            let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() };
            samples[n].push(spread.test_run(options).unwrap().duration.as_nanos() as f64);
        }
    }
    println!("\nns a packet, {flows} flows at random, {SPREAD_ROUNDS} rounds\n");
    println!("| {:<44} |  first |    min | median |    max |", "");
    println!("|----------------------------------------------|-------:|-------:|-------:|-------:|");
    let names = SPREAD_BESIDE.map(|(name, _)| name).into_iter().chain(["netspectra ingress"]);
    for (name, samples) in names.zip(samples) {
        let (first, mut next) = (samples[0], samples[1..].to_vec());
        next.sort_by(f64::total_cmp);
        let (min, median, max) = (next[0], next[next.len() / 2], next[next.len() - 1]);
        println!("| {name:<44} | {first:>6.1} | {min:>6.1} | {median:>6.1} | {max:>6.1} |");
    }
    // `BPF_MAP_TYPE_HASH`, `_ARRAY` (of places in front) and `_LRU_PERCPU_HASH`, which is there, whole, once for each of six loaders.
    let [behind, front, lru] = [map_memory(1, 16, 56), map_memory(2, 4, 72), map_memory(10, 16, 24) / 6]
        .map(|bytes| bytes as f64 / f64::from(flows));
    println!(
        "\nkernel memory of the IPv4 maps, bytes a flow: netspectra {:.0} ({front:.0} of it in front of tables), LRU {lru:.0}",
        behind + front
    );
}
