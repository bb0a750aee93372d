//! What the agent costs: kernel and user memory and processor time of a drain, and a live capture on veth beside other
//! flow exporters on the same traffic.
//!
//! Needs root, `NETSPECTRA_BPF_OBJECT` and `NETSPECTRA_BPF_BENCH_OBJECT`: start it by `cargo xtask bench`. Traffic stays
//! between two network namespaces made here.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::undocumented_unsafe_blocks, reason = "a benchmark")]

use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketSource};
use netspectra_agent::source::xdp::{AttachMode, XdpConfig, XdpSource};
use netspectra_common::abi::LossReason;
use netspectra_common::model::BusMessage;
use std::fs;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MON: &str = "nsb-mon";
const PEER: &str = "nsb-peer";
/// Length of each live measurement.
const LIVE: Duration = Duration::from_secs(5);
/// Packets a second where monitors are compared.
const RATE: u64 = 200_000;
/// Stands for a folder that is removed at the end.
const FOLDER: &str = "{folder}";
/// Other exporters of flows, each with the package that has it and the arguments that make it watch `mon0` and send its records
/// nowhere.
const PEERS: [(&str, &str, &[&str]); 4] = [
    ("nfpcapd", "nfdump", &["-i", "mon0", "-w", FOLDER]),
    ("softflowd", "softflowd", &["-d", "-i", "mon0", "-m", "1000000", "-n", "127.0.0.1:9"]),
    ("pmacctd", "pmacct", &["-i", "mon0", "-P", "memory", "-c", "src_host,dst_host,src_port,dst_port,proto"]),
    ("argus", "argus-server", &["-i", "mon0", "-w", "/dev/null"]),
];

fn read(variable: &str) -> Vec<u8> {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("`{variable}` is not set: run `cargo xtask bench`"));
    fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// A 64-byte IPv4 UDP frame from 10.0.0.0 + `flow`.
fn frame(flow: u32) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    f.extend([0x08, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
    f.extend((0x0a00_0000 | flow).to_be_bytes());
    f.extend([10, 255, 255, 254, 0x13, 0x88, 0, 80, 0, 30, 0, 0]);
    f.resize(64, 0);
    f
}

/// Processor time of this process, seconds.
fn cpu_seconds() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Processor time of the whole machine that was not idle, seconds.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|v| v.parse().unwrap()).collect();
    // user, nice, system, idle, iowait, irq, softirq: the fourth and fifth are idle; ticks are hundredths.
    (fields.iter().take(7).sum::<u64>() - fields[3] - fields[4]) as f64 / 100.0
}

/// MiB of a line of `/proc/self/status`.
fn status_mib(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ']).split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// MiB that the kernel says this process's maps take.
fn maps_mib() -> f64 {
    let mut maps = std::collections::BTreeMap::<u64, u64>::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let value = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.trim().parse().ok());
        if let (Some(id), Some(bytes)) = (value("map_id:"), value("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    maps.values().sum::<u64>() as f64 / 1024.0 / 1024.0
}

/// Has this thread run on `cpu` alone.
fn stay_on(cpu: usize) {
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    unsafe { libc::CPU_SET(cpu, &mut set) };
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }, 0);
}

/// Each of `flows` flows, shared out to the CPUs, sends a packet in each of `rounds` rounds, which stand for seconds; generations are
/// drained as the agent drains them: at the end of a round, and when the programs ask for it. The first round makes the entries.
fn drain(object: &[u8], flows: u32, rounds: usize) {
    let mut source = XdpSource::load(object, &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"));
    let runner = source.test_runner().unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let mut cut = Drain::new("bench".into(), 1, 16_384);
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (rss, mut maps, mut generations, mut booked) = (status_mib("VmRSS"), 0f64, 0, 0);
    // Of each round.
    let mut spent = vec![0.0; rounds];
    let mut one = |source: &mut XdpSource, spent: &mut f64| {
        let begin = cpu_seconds();
        let generation = source.generation().unwrap().unwrap();
        let asked = cpu_seconds();
        maps = maps.max(maps_mib());
        let of_the_question = cpu_seconds() - asked;
        for message in cut.cut(generation) {
            booked += match message {
                BusMessage::Chunk(c) => c.deltas.iter().map(|d| d.stats.packets).sum(),
                BusMessage::Manifest(m) => m.ledger.reasons.all().map(|r| r.packets).sum(),
                BusMessage::Payload { .. } | BusMessage::Observed { .. } | BusMessage::Sockets { .. } => 0,
            };
        }
        source.recycle().unwrap();
        generations += 1;
        *spent += cpu_seconds() - begin - of_the_question;
    };
    for spent in &mut spent {
        for cpu in 0..cpus {
            stay_on(cpu);
            for flow in (cpu as u32..flows).step_by(cpus) {
                runner.run(&frame(flow), 1).unwrap();
                if flow % 256 == cpu as u32 && source.is_filling() {
                    one(&mut source, spent);
                }
            }
        }
        one(&mut source, spent);
    }
    let agent = status_mib("VmHWM") - rss;
    assert_eq!(booked, u64::from(flows) * rounds as u64);
    // Both slots have met the flows after two rounds.
    let (first, mut later) = (spent[0], spent[2..].to_vec());
    later.sort_by(f64::total_cmp);
    println!(
        "| {flows:>9} | {generations:>11} | {maps:>9.1} | {agent:>10.1} | {:>10.1} | {:>13.1} | {:>13.1} |",
        maps + agent,
        first * 1e3,
        later[later.len() / 2] * 1e3,
    );
}

fn sh(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("`{program}` cannot start: {e}"));
    assert!(out.status.success(), "`{program} {}`: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
}

/// Two namespaces joined by veth, removed at the end.
struct Pair;

impl Pair {
    fn new() -> Self {
        Self::remove();
        sh("ip", &["netns", "add", MON]);
        sh("ip", &["netns", "add", PEER]);
        sh("ip", &["link", "add", "mon0", "netns", MON, "type", "veth", "peer", "name", "peer0", "netns", PEER]);
        sh("ip", &["-n", MON, "link", "set", "lo", "up"]);
        for (ns, dev) in [(MON, "mon0"), (PEER, "peer0")] {
            sh("ip", &["netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
            sh("ip", &["-n", ns, "link", "set", dev, "up"]);
        }
        Self
    }

    fn remove() {
        for ns in [MON, PEER] {
            let _ = Command::new("ip").args(["netns", "del", ns]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// Moves the calling thread into a namespace.
fn enter(ns: &str) {
    let file = fs::File::open(format!("/run/netns/{ns}")).unwrap();
    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

/// Packets that `mon0` received, by its own counter; call it inside its namespace.
fn received() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|l| l.trim().strip_prefix("mon0:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn load<'a>(bpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program: &mut Xdp = bpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    program
}

/// Sends for [`LIVE`] from the peer, at `rate` packets a second or as fast as it goes; returns the packets received and
/// the seconds.
fn send(bench: &[u8], flows: u32, rate: Option<u64>) -> (u64, f64) {
    let before = received();
    let begin = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| {
            enter(PEER);
            let index = unsafe { libc::if_nametoindex(c"peer0".as_ptr()) };
            let mut bpf = EbpfLoader::new().override_global("SEND_FLOWS", &flows, true).load(bench).unwrap();
            let program = load(&mut bpf, "bench_send");
            // A call makes its pages anew, so it must not be short.
            let batch = rate.map_or(262_144, |rate| rate / 4) as u32;
            let mut sent = 0u64;
            while begin.elapsed() < LIVE {
                live_frames(program, &frame(0), index, batch);
                sent += u64::from(batch);
                if let Some(rate) = rate {
                    let due = Duration::from_secs_f64(sent as f64 / rate as f64);
                    std::thread::sleep(due.saturating_sub(begin.elapsed()));
                }
            }
        });
    });
    // What is on its way arrives.
    std::thread::sleep(Duration::from_millis(200));
    (received() - before, begin.elapsed().as_secs_f64())
}

/// `BPF_PROG_TEST_RUN` with live frames: what the program transmits leaves by interface `index`.
fn live_frames(program: &Xdp, frame: &[u8], index: u32, repeat: u32) {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context: Vec<u8> = [0, frame.len() as u32, 0, index, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat,
        attrs: TestRunAttrs::new().xdp_live_frames(64),
        ..TestRunOptions::new()
    };
    program.test_run(options).unwrap();
}

/// What a monitor adds to the machine's work for each packet.
struct Cost {
    packets: u64,
    seconds: f64,
    busy: f64,
}

fn measure(bench: &[u8], flows: u32, rate: Option<u64>) -> Cost {
    let busy = busy_seconds();
    let (packets, seconds) = send(bench, flows, rate);
    Cost { packets, seconds, busy: busy_seconds() - busy }
}

fn native(object: &[u8]) -> XdpSource {
    let config = XdpConfig { interfaces: vec!["mon0".into()], mode: AttachMode::Native, ..XdpConfig::default() };
    XdpSource::open(object, &config).unwrap_or_else(|e| panic!("{e}"))
}

fn sockets() -> AfPacketSource {
    let config = AfPacketConfig { interfaces: vec!["mon0".into()], ..AfPacketConfig::default() };
    AfPacketSource::open(&config).unwrap_or_else(|e| panic!("{e}"))
}

/// Our agent on `mon0`, drained each second, while traffic is sent; asserts that every packet is accounted for. Returns the
/// packets that a capture ring had no room for, too.
fn ours<S: Source>(
    source: impl FnOnce() -> S,
    detach: fn(&mut S),
    bench: &[u8],
    flows: u32,
    rate: Option<u64>,
) -> (Cost, u64) {
    let before = received();
    let mut source = source();
    let wake = source.wake().unwrap();
    let mut cut = Drain::new("bench".into(), 1, 16_384);
    let stop = AtomicBool::new(false);
    let (mut seen, mut booked, mut ring_full) = (0, 0, 0);
    let cost = std::thread::scope(|s| {
        let drainer = s.spawn(|| {
            let mut one = |source: &mut S| {
                let generation = source.generation().unwrap().unwrap();
                seen += generation.totals.seen.packets;
                booked += generation.totals.reasons.iter().map(|r| r.packets).sum::<u64>();
                ring_full += generation.totals.reasons[LossReason::RingFull as usize].packets;
                for m in cut.cut(generation) {
                    if let BusMessage::Chunk(c) = m {
                        booked += c.deltas.iter().map(|d| d.stats.packets).sum::<u64>();
                    }
                }
                source.recycle().unwrap();
            };
            while !stop.load(Ordering::Relaxed) {
                // A second, or less when tables fill.
                let mut poll = libc::pollfd { fd: wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                unsafe { libc::poll(&raw mut poll, 1, 1000) };
                one(&mut source);
            }
            detach(&mut source);
            one(&mut source);
        });
        let cost = measure(bench, flows, rate);
        stop.store(true, Ordering::Relaxed);
        drainer.join().unwrap();
        cost
    });
    assert_eq!(seen, booked, "packets unaccounted for");
    assert_eq!(seen, received() - before, "what was seen is what the interface received");
    (cost, ring_full)
}

/// A child in the monitored namespace, ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|d| d.join(program).is_file())
}

fn live(object: &[u8], bench: &[u8]) {
    let _pair = Pair::new();
    enter(MON);
    println!("\n| live on veth, as fast as frames are made      | packets    | packets/s | unaccounted | ring_full |");
    println!("|-----------------------------------------------|-----------:|----------:|------------:|----------:|");
    let line = |name: &str, c: &Cost, ring_full: &str| {
        println!("| {name:<45} | {:>10} | {:>9.0} | {:>11} | {ring_full:>9} |", c.packets, rate(c), 0);
    };
    {
        let mut bpf = EbpfLoader::new().load(bench).unwrap();
        let program = load(&mut bpf, "bench_empty");
        program.attach("mon0", XdpMode::Driver).unwrap();
        let c = measure(bench, 1, None);
        println!(
            "| {:<45} | {:>10} | {:>9.0} | {:>11} | {:>9} |",
            "empty program, then the stack",
            c.packets,
            rate(&c),
            "",
            ""
        );
        let (c, ring_full) = ours(sockets, AfPacketSource::detach, bench, 1000, None);
        line("netspectra by packet sockets, 1000 flows", &c, &ring_full.to_string());
    }
    for flows in [1, 1000, 100_000] {
        let (c, _) = ours(|| native(object), XdpSource::detach, bench, flows, None);
        line(&format!("netspectra, {flows} flows, then the stack"), &c, "");
    }

    println!(
        "\n| {RATE} packets/s, 1000 flows                    | packets    | busy, cores | more than without, ns a packet |"
    );
    println!(
        "|-----------------------------------------------|-----------:|------------:|-------------------------------:|"
    );
    // Live frames reach veth only when its receiving side polls: an XDP program makes it do so, for every monitor alike.
    let mut bpf = EbpfLoader::new().load(bench).unwrap();
    let program = load(&mut bpf, "bench_empty");
    let link = program.attach("mon0", XdpMode::Driver).unwrap();
    let none = measure(bench, 1000, Some(RATE));
    let floor = none.busy / none.packets as f64;
    let row = |name: &str, c: &Cost| {
        let more = (c.busy / c.packets as f64 - floor) * 1e9;
        println!("| {name:<45} | {:>10} | {:>11.2} | {more:>30.0} |", c.packets, c.busy / c.seconds);
    };
    row("no monitor (an empty program)", &none);
    for (name, package, args) in PEERS {
        if !is_installed(name) {
            println!("| {name:<45} | not installed: `apt-get install {package}` |");
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let args = args.iter().map(|arg| if *arg == FOLDER { folder.path().as_os_str() } else { arg.as_ref() });
        let child = Command::new(name).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = Running(child);
        std::thread::sleep(Duration::from_secs(1));
        assert!(child.0.try_wait().unwrap().is_none(), "`{name}` ended by itself");
        row(name, &measure(bench, 1000, Some(RATE)));
    }
    let (c, ring_full) = ours(sockets, AfPacketSource::detach, bench, 1000, Some(RATE));
    row(&format!("netspectra, packet sockets ({ring_full} ring_full)"), &c);
    program.detach(link).unwrap();
    row("netspectra, native XDP", &ours(|| native(object), XdpSource::detach, bench, 1000, Some(RATE)).0);
}

fn rate(c: &Cost) -> f64 {
    c.packets as f64 / c.seconds
}

fn main() {
    let object = read("NETSPECTRA_BPF_OBJECT");
    let bench = read("NETSPECTRA_BPF_BENCH_OBJECT");
    println!("| flows     | generations | maps, MiB | agent, MiB | total, MiB | first s, ms   | later s, ms   |");
    println!("|----------:|------------:|----------:|-----------:|-----------:|--------------:|--------------:|");
    for (flows, rounds) in [(100_000, 12), (1_000_000, 5)] {
        drain(&object, flows, rounds);
    }
    live(&object, &bench);
}
