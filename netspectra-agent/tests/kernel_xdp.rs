//! The loaded XDP program and the user-space table count the same: frames go through both, by `BPF_PROG_TEST_RUN` and
//! by a call.
//!
//! Needs root and the eBPF object. Does not prove: attaching (see the live tests), frames longer than a page.
#![allow(clippy::unwrap_used, reason = "tests")]

use aya::programs::{TestRun, TestRunOptions, Xdp};
use netspectra_agent::source::Source;
use netspectra_agent::source::capture_file::CaptureFile;
use netspectra_agent::source::xdp::{LEAST_FLOWS, XdpConfig, XdpSource};
use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::abi::{Counter, Direction, FLAG_OPENS, FlowKey, FlowStats, GenTotals, LossReason, Obs};
use netspectra_common::model::FlowDelta;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Frames that one test run can carry: less than a page with its head- and tailroom.
const LONGEST: usize = 3400;
const SHORTEST: usize = 14;

fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

fn source() -> XdpSource {
    stay_on_this_cpu();
    XdpSource::load(&object(), &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Keeps the calling thread on one CPU: each CPU follows sequence numbers by itself, as a NIC keeps a flow on one.
fn stay_on_this_cpu() {
    // SAFETY: the call has no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    // SAFETY: all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live set and the macro's function checks `cpu` against its size.
    unsafe { libc::CPU_SET(usize::try_from(cpu).unwrap(), &mut set) };
    // SAFETY: `set` is a live set of the stated size; 0 is the calling thread.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }, 0);
}

fn kernel_count(program: &Xdp, frame: &[u8]) {
    let result = program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() }).unwrap();
    // XDP_PASS: the program never changes what happens to a packet.
    assert_eq!(result.return_value, 2);
}

/// What was counted, without times and without the observation point of the test run.
type Counted = (BTreeMap<FlowKey, FlowStats>, Counter, [Counter; LossReason::COUNT], u64, Vec<u64>);

fn comparable(flows: &[FlowDelta], totals: &GenTotals) -> Counted {
    let flows = flows
        .iter()
        .map(|d| {
            let key = FlowKey { obs: 0, ..d.key };
            // The delay of an ACK is a time; whether there was one is not.
            let mark = if d.stats.tcp_flags & FLAG_OPENS != 0 { u32::from(d.stats.mark != 0) } else { d.stats.mark };
            // Whether a segment is out of order or sent again is told by the time since the gap.
            let retransmitted = d.stats.retransmitted.saturating_add(d.stats.out_of_order);
            let times = FlowStats { first_seen: 0, last_seen: 0, gap_at: 0, out_of_order: 0, ..d.stats };
            (key, FlowStats { retransmitted, mark, ..times })
        })
        .collect();
    (flows, totals.seen, totals.reasons, totals.orphan_fragments, totals.sizes.to_vec())
}

fn inner_source() -> XdpSource {
    let config = XdpConfig { identity: Identity::Inner, ..XdpConfig::default() };
    XdpSource::load(&object(), &config).unwrap_or_else(|e| panic!("{e}"))
}

fn user_table() -> FlowTable {
    FlowTable::new(1_000_000, Identity::Outer)
}

/// Sends `frames` both ways and asserts that both count the same. Both ways remember first fragments from call to call.
fn assert_equal<'a>(
    source: &mut XdpSource,
    table: &mut FlowTable,
    what: &str,
    frames: impl Iterator<Item = &'a [u8]>,
) -> u64 {
    // What the program makes of an interface it was not told of.
    let obs = Obs::new(255, Direction::Ingress).0;
    let mut n = 0;
    let program = source.ingress_program().unwrap();
    for frame in frames {
        kernel_count(program, frame);
        table.count(1, frame, frame.len() as u32, obs, 1);
        n += 1;
    }
    let kernel = source.generation().unwrap().unwrap();
    source.recycle().unwrap();
    let (flows, totals) = table.drain();
    let (kernel, user) = (comparable(&kernel.flows, &kernel.totals), comparable(&flows, &totals));
    for (key, counts) in &kernel.0 {
        assert_eq!(Some(counts), user.0.get(key), "{what}: kernel against user space, {key:?}");
    }
    for key in user.0.keys() {
        assert!(kernel.0.contains_key(key), "{what}: only user space has {key:?}");
    }
    assert_eq!((kernel.1, kernel.2, kernel.3), (user.1, user.2, user.3), "{what}: totals");
    assert_eq!(kernel.4, user.4, "{what}: sizes");
    let flows: u64 = kernel.0.values().map(|c| c.packets).sum();
    let reasons: u64 = kernel.2.iter().map(|c| c.packets).sum();
    assert_eq!(flows + reasons, kernel.1.packets, "{what}: the ledger adds up");
    assert_eq!(kernel.1.packets, n);
    n
}

/// Ethernet, optionally tagged, and what follows.
fn ethernet(tags: &[u16], ether_type: u16, rest: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for vid in tags {
        f.extend([0x81, 0x00]);
        f.extend(vid.to_be_bytes());
    }
    f.extend(ether_type.to_be_bytes());
    f.extend(rest);
    f
}

fn ipv4(proto: u8, options: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x40 | (5 + options as u8), 0];
    p.extend((20 + 4 * options as u16 + payload.len() as u16).to_be_bytes());
    p.extend([0x12, 0x34]);
    p.extend(fragment.to_be_bytes());
    p.extend([64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    p.extend(vec![1; 4 * options]);
    p.extend(payload);
    p
}

fn ipv6(extensions: &[(u8, Vec<u8>)], proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    for (n, (_, bytes)) in extensions.iter().enumerate() {
        rest.push(extensions.get(n + 1).map_or(proto, |(kind, _)| *kind));
        rest.extend(bytes);
    }
    rest.extend(payload);
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((rest.len() as u16).to_be_bytes());
    p.extend([extensions.first().map_or(proto, |(kind, _)| *kind), 64]);
    p.extend([0x20; 16]);
    p.extend([0x21; 16]);
    p.extend(rest);
    p
}

/// One frame for each thing that the parser knows.
fn samples() -> Vec<Vec<u8>> {
    let udp = [0x13, 0x88, 0x00, 0x35, 0, 12, 0, 0, 1, 2, 3, 4];
    let tcp = |flags: u8| {
        let mut t = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0];
        t.extend([9; 20]);
        t
    };
    let options = |units: u8| [vec![units], vec![0; 6 + 8 * units as usize]].concat();
    let fragment = |field: u16| [vec![0], field.to_be_bytes().to_vec(), vec![0, 0, 0, 7]].concat();
    vec![
        ethernet(&[], 0x0800, &ipv4(17, 0, 0, &udp)),
        ethernet(&[], 0x0800, &ipv4(6, 0, 0, &tcp(0x02))),
        ethernet(&[], 0x0800, &ipv4(6, 0, 0, &tcp(0x12))),
        ethernet(&[], 0x0800, &ipv4(6, 10, 0, &tcp(0x11))),
        ethernet(&[], 0x0800, &ipv4(1, 0, 0, &[8, 0, 0, 0, 1, 1, 0, 1])),
        ethernet(&[], 0x0800, &ipv4(132, 0, 0, &udp)),
        ethernet(&[], 0x0800, &ipv4(47, 0, 0, &[0, 0, 8, 0])),
        ethernet(&[], 0x0800, &ipv4(17, 0, 0x2000, &udp)),
        ethernet(&[], 0x0800, &ipv4(17, 0, 0x0002, &udp)),
        ethernet(&[100], 0x0800, &ipv4(17, 0, 0, &udp)),
        ethernet(&[100, 200], 0x0800, &ipv4(17, 1, 0, &udp)),
        ethernet(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 0x0800, &ipv4(17, 0, 0, &udp)),
        ethernet(&[], 0x86dd, &ipv6(&[], 17, &udp)),
        ethernet(&[5], 0x86dd, &ipv6(&[], 6, &tcp(0x18))),
        ethernet(&[], 0x86dd, &ipv6(&[], 58, &[128, 0, 0, 0, 1, 1, 0, 1])),
        ethernet(&[], 0x86dd, &ipv6(&[(0, options(0)), (60, options(2)), (43, options(1))], 17, &udp)),
        ethernet(&[], 0x86dd, &ipv6(&[(51, [vec![4], vec![0; 22]].concat())], 6, &tcp(0x10))),
        ethernet(&[], 0x86dd, &ipv6(&[(44, fragment(1))], 17, &udp)),
        ethernet(&[], 0x86dd, &ipv6(&[(44, fragment(0x10))], 17, &udp)),
        ethernet(&[], 0x86dd, &ipv6(&[(44, fragment(0))], 17, &udp)),
        ethernet(&[], 0x86dd, &ipv6(&vec![(60, options(0)); 9], 17, &udp)),
        ethernet(&[], 0x0806, &[0; 28]),
        ethernet(&[], 0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64][..], &ipv4(17, 0, 0, &udp)].concat()),
        ethernet(&[], 0x8864, &[&[0x11, 0, 0, 1, 0, 42, 0, 0x21][..], &ipv4(17, 0, 0, &udp)].concat()),
        ethernet(&[], 0x88e7, &[&[0; 16][..], &[0x86, 0xdd], &ipv6(&[], 17, &udp)].concat()),
        ethernet(&[], 38, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ipv4(17, 0, 0, &udp)].concat()),
        ethernet(&[], 3, &[0x42, 0x42, 3]),
    ]
}

/// Frames with one tunnel or several, of every kind that the parser enters.
fn tunnels() -> Vec<Vec<u8>> {
    let inner4 = ipv4(17, 0, 0, &[0x13, 0x88, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4]);
    let inner6 = ipv6(&[(60, vec![0; 7])], 17, &[0x13, 0x88, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4]);
    let udp = |port: u16, payload: &[u8]| {
        let mut u = vec![0xc0, 0];
        u.extend(port.to_be_bytes());
        u.extend((8 + payload.len() as u16).to_be_bytes());
        u.extend([0, 0]);
        u.extend(payload);
        ipv4(17, 0, 0, &u)
    };
    let behind = |header: &[u8], rest: &[u8]| [header, rest].concat();
    let frame4 = ethernet(&[], 0x0800, &inner4);
    let tagged6 = ethernet(&[7, 8], 0x86dd, &inner6);
    let vxlan = |inner: &[u8]| udp(4789, &behind(&[8, 0, 0, 0, 0, 1, 2, 0], inner));
    let geneve = behind(&[2, 0, 0x65, 0x58, 0, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8], &frame4);
    let erspan3 = behind(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 8]);
    let inside: Vec<Vec<u8>> = vec![
        ipv4(4, 0, 0, &inner4),
        ipv4(41, 3, 0, &inner6),
        ipv4(47, 0, 0, &behind(&[0, 0, 8, 0], &inner4)),
        ipv4(47, 0, 0, &behind(&[0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1], &inner6)),
        ipv4(47, 0, 0, &behind(&[0x20, 0, 0x65, 0x58, 0, 0, 0, 5], &tagged6)),
        ipv4(
            47,
            0,
            0,
            &behind(&[0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21], &inner4),
        ),
        ipv4(47, 0, 0, &behind(&[0, 0, 0x88, 0xbe], &frame4)),
        ipv4(47, 0, 0, &behind(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 3, 0, 0, 0, 0], &frame4)),
        ipv4(47, 0, 0, &behind(&erspan3, &frame4)),
        vxlan(&frame4),
        vxlan(&tagged6),
        udp(6081, &geneve),
        udp(2152, &behind(&[0x30, 255, 0, 40, 0, 0, 0, 3], &inner4)),
        udp(2152, &behind(&[0x34, 255, 0, 40, 0, 0, 0, 3, 0, 0, 0, 0x85, 1, 0, 0, 0x40, 1, 0, 0, 0], &inner6)),
        udp(3386, &behind(&[0x1e, 255, 0, 40, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &inner4)),
        udp(3544, &inner6),
        udp(3544, &behind(&[0, 1, 1, 1, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6], &inner6)),
        udp(5072, &behind(&[0x44, 0x52, 0x11, 41], &behind(&[0; 40], &inner6))),
        udp(4341, &behind(&[0; 8], &inner6)),
        udp(4342, &behind(&[0x80, 0, 0, 0], &inner4)),
        udp(6635, &behind(&[0, 1, 1, 64], &inner4)),
        ipv6(&[], 4, &inner4),
        ipv6(&[(0, vec![0; 7])], 41, &inner6),
    ];
    let deep = inside.iter().map(|i| vxlan(&ethernet(&[3], 0x0800, &ipv4(47, 0, 0, &behind(&[0, 0, 8, 0], i)))));
    let mut nine = inner4.clone();
    for _ in 0..9 {
        nine = ipv4(4, 0, 0, &nine);
    }
    let all: Vec<Vec<u8>> = inside.iter().cloned().chain(deep).chain([nine]).collect();
    all.iter().map(|p| ethernet(&[100], if p[0] >> 4 == 4 { 0x0800 } else { 0x86dd }, p)).collect()
}

#[test]
fn every_kind_of_frame_counts_the_same_in_the_kernel() {
    let samples = samples();
    assert_equal(&mut source(), &mut user_table(), "samples", samples.iter().map(Vec::as_slice));
}

/// An IPv4 TCP segment from port 12,345 to port 80, or the other way.
fn segment(forward: bool, flags: u8, seq: u32, window: u16, payload: usize) -> Vec<u8> {
    let mut t = if forward { vec![0x30, 0x39, 0, 80] } else { vec![0, 80, 0x30, 0x39] };
    t.extend(seq.to_be_bytes());
    t.extend([0, 0, 0, 1, 0x50, flags]);
    t.extend(window.to_be_bytes());
    t.extend([0; 4]);
    t.extend(vec![7; payload]);
    ethernet(&[], 0x0800, &ipv4(6, 0, 0, &t))
}

#[test]
fn tcp_measurements_are_the_same_in_the_kernel() {
    let (there, back) = (|f, seq, w, n| segment(true, f, seq, w, n), |f, seq, w, n| segment(false, f, seq, w, n));
    let start = u32::MAX - 300;
    let at = |n: u32| start.wrapping_add(n);
    let frames = [
        there(0x02, start, 9, 0),
        there(0x02, start, 9, 0),
        back(0x12, 77, 9, 0),
        there(0x10, at(1), 9, 0),
        there(0x18, at(1), 9, 200),
        there(0x18, at(1), 9, 200),
        there(0x18, at(401), 9, 200),
        there(0x18, at(201), 9, 200),
        there(0x10, at(600), 9, 1),
        there(0x10, at(600), 9, 0),
        back(0x10, 78, 0, 0),
        back(0x10, 78, 0, 0),
        back(0x04, 0, 0, 0),
        there(0x11, at(601), 9, 0),
        there(0x11, at(601), 9, 0),
    ];
    let (mut source, mut table) = (source(), user_table());
    assert_equal(&mut source, &mut table, "tcp", frames.iter().map(Vec::as_slice));
    let program = source.ingress_program().unwrap();
    frames.iter().for_each(|f| kernel_count(program, f));
    let g = source.generation().unwrap().unwrap();
    let of = |port| g.flows.iter().find(|d| d.key.src_port == port).unwrap().stats;
    let (there, back) = (of(12_345), of(80));
    // The SYN, the data sent twice, the segment behind the gap (at once or late, as the machine was), the FIN.
    assert_eq!(there.retransmitted + there.out_of_order, 4);
    assert_eq!((there.next_seq(), back.next_seq(), back.zero_windows), (Some(at(602)), Some(78), 2));
    assert!(there.acked_at().is_some_and(|at| at > there.first_seen && at <= there.last_seen + 20_000_000));
}

#[test]
fn every_truncation_of_every_kind_of_frame_counts_the_same() {
    let samples = samples();
    let frames = samples.iter().flat_map(|f| (SHORTEST..=f.len()).map(move |n| &f[..n]));
    assert_equal(&mut source(), &mut user_table(), "truncations", frames);
}

/// `n` frames made of `samples` by changing up to four of the first `headers` bytes and cutting some short.
fn mutations(samples: &[Vec<u8>], n: usize, headers: usize) -> Vec<Vec<u8>> {
    // xorshift64: the same frames in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..n)
        .map(|_| {
            let mut frame = samples[random() as usize % samples.len()].clone();
            for _ in 0..1 + random() % 4 {
                // Headers are where parsing decides.
                let at = 12 + random() as usize % (frame.len() - 12).min(headers);
                frame[at] = random() as u8;
            }
            if random() % 8 == 0 {
                frame.truncate(SHORTEST + random() as usize % (frame.len() - SHORTEST + 1));
            }
            frame
        })
        .collect()
}

#[test]
fn mutated_frames_count_the_same() {
    let frames = mutations(&samples(), 60_000, 60);
    assert_equal(&mut source(), &mut user_table(), "mutations", frames.iter().map(Vec::as_slice));
}

#[test]
fn the_insides_of_tunnels_count_the_same() {
    let (mut source, mut table) = (inner_source(), FlowTable::new(1_000_000, Identity::Inner));
    let tunnels = tunnels();
    let inside = |f: &&Vec<u8>| {
        let mut table = FlowTable::new(8, Identity::Inner);
        table.count(1, f, f.len() as u32, 0, 1);
        table.drain().0.iter().all(|d| d.key.tunnel != 0)
    };
    // Each sample is a tunnel to user space, so that what is compared is what it is meant to be.
    assert_eq!(tunnels.iter().filter(inside).count(), tunnels.len());
    assert_equal(&mut source, &mut table, "tunnels", tunnels.iter().map(Vec::as_slice));
    let cut = tunnels.iter().flat_map(|f| (SHORTEST..=f.len()).map(move |n| &f[..n]));
    assert_equal(&mut source, &mut table, "truncated tunnels", cut);
    let mutated = mutations(&tunnels, 60_000, 180);
    assert_equal(&mut source, &mut table, "mutated tunnels", mutated.iter().map(Vec::as_slice));
}

#[test]
fn a_full_table_counts_what_it_cannot_hold_and_says_so_before() {
    // The least that each CPU has.
    let config = XdpConfig { max_flows: 1, ..XdpConfig::default() };
    let mut source = XdpSource::load(&object(), &config).unwrap_or_else(|e| panic!("{e}"));
    let cpus = aya::util::nr_cpus().unwrap() as u32;
    // As many places are in front of each table.
    let frames = (2 * cpus + 1) * LEAST_FLOWS;
    let mut bytes = 0;
    let mut asked_at = None;
    for flow in 0..frames {
        let [a, b, c, d] = flow.to_be_bytes();
        let frame = ethernet(&[], 0x0800, &ipv4(17, 0, 0, &[a, b, c, d, 0, 8, 0, 0]));
        bytes += frame.len() as u64;
        kernel_count(source.ingress_program().unwrap(), &frame);
        if asked_at.is_none() && source.is_filling() {
            asked_at = Some(flow + 1);
        }
    }
    let asked_at = asked_at.expect("no CPU asked for the end of the generation");
    assert!((LEAST_FLOWS / 8..2 * cpus * LEAST_FLOWS).contains(&asked_at), "asked after {asked_at} flows");
    // Each CPU asks once at most.
    while source.is_filling() {}
    kernel_count(source.ingress_program().unwrap(), &ethernet(&[], 0x0800, &ipv4(17, 0, 0, &[9; 8])));
    bytes += 42;
    assert!(!source.is_filling());
    let g = source.generation().unwrap().unwrap();
    let in_flows: u64 = g.flows.iter().map(|f| f.stats.packets).sum();
    let full = g.totals.reasons[LossReason::TableFull as usize];
    // Test runs move between CPUs, each with a table of its own.
    assert!(in_flows >= u64::from(LEAST_FLOWS) && full.packets > 0, "{in_flows} in flows, {full:?} beyond");
    assert_eq!(in_flows + full.packets, u64::from(frames) + 1);
    assert_eq!(g.totals.seen, Counter::new(u64::from(frames) + 1, bytes));
    assert_eq!(g.totals.entries, g.flows.len() as u64);
}

#[test]
fn generations_hold_every_packet_once_while_they_are_swapped() {
    let mut source = source();
    let frame = ethernet(&[], 0x0800, &ipv4(17, 0, 0, &[0, 1, 0, 2, 0, 8, 0, 0]));
    let program = source.test_runner().unwrap();
    const RUNS: u64 = 40;
    const REPEAT: u32 = 50_000;
    let mut seen = 0;
    let mut flows = 0;
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            for _ in 0..RUNS {
                program.run(&frame, REPEAT).unwrap();
            }
        });
        loop {
            let done = thread.is_finished();
            let g = source.generation().unwrap().unwrap();
            let in_flows: u64 = g.flows.iter().map(|f| f.stats.packets).sum();
            assert_eq!(in_flows, g.totals.seen.packets, "each generation adds up by itself");
            seen += g.totals.seen.packets;
            flows += in_flows;
            source.recycle().unwrap();
            if done {
                break;
            }
        }
    });
    assert_eq!((seen, flows), (RUNS * u64::from(REPEAT), RUNS * u64::from(REPEAT)));
}

/// External captures, when `NETSPECTRA_CAPTURES` names their folder; CI sets it.
#[test]
fn captures_count_the_same_in_the_kernel() {
    let Some(folder) = std::env::var_os("NETSPECTRA_CAPTURES") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set NETSPECTRA_CAPTURES");
        return;
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for sub in ["basic", "deep", "malformed", "pcapng"] {
        let entries = std::fs::read_dir(PathBuf::from(&folder).join(sub)).unwrap();
        files.extend(entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()));
    }
    files.sort();
    let (mut source, mut table) = (source(), user_table());
    let (mut inner_source, mut inner_table) = (inner_source(), FlowTable::new(1_000_000, Identity::Inner));
    let (mut frames, mut left_out) = (0u64, 0u64);
    for path in &files {
        let Ok(mut file) = CaptureFile::open(path) else { continue };
        let mut ethernet = Vec::new();
        while let Ok(Some(frame)) = file.next_frame() {
            if frame.link.0 == 1 && (SHORTEST..=LONGEST).contains(&frame.data.len()) {
                ethernet.push(frame.data.to_vec());
            } else {
                left_out += 1;
            }
        }
        let name = path.display().to_string();
        frames += assert_equal(&mut source, &mut table, &name, ethernet.iter().map(Vec::as_slice));
        assert_equal(&mut inner_source, &mut inner_table, &name, ethernet.iter().map(Vec::as_slice));
    }
    assert!(frames > 10_000 && left_out * 10 < frames, "{frames} frames compared, {left_out} left out");
}
