//! A full table in the real kernel: what found no room has totals, a number of sources, and suspects.
//!
//! Needs root and the eBPF object. Frames go through the program by `BPF_PROG_TEST_RUN`, so this does not prove attaching.
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_agent::drain::Drain;
use netspectra_agent::generation::Generation;
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{LEAST_FLOWS, TestRunner, XdpConfig, XdpSource};
use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::abi::{Counter, FlowKey4, Front, LossReason, Marks};
use netspectra_common::flow::mix64;
use netspectra_common::model::{BusMessage, Ledger};
use std::collections::{HashMap, HashSet};

/// With the smallest tables: for each CPU [`LEAST_FLOWS`], and as many places in front of them.
fn source() -> XdpSource {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    let object = std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"));
    XdpSource::load(&object, &XdpConfig { max_flows: 1, ..XdpConfig::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// The same, and what runs frames through it on one CPU, hence in one table, as in user space.
fn on_one_cpu() -> (XdpSource, TestRunner) {
    pin_to_one_cpu();
    let mut source = source();
    let runner = source.test_runner().unwrap();
    (source, runner)
}

/// An Ethernet frame with a UDP packet from `src` and `padding` bytes of payload.
fn udp(src: [u8; 4], port: u16, padding: usize) -> Vec<u8> {
    let len = 28 + padding;
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    f.extend((len as u16).to_be_bytes());
    f.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    f.extend(src);
    f.extend([10, 0, 0, 2]);
    f.extend(port.to_be_bytes());
    f.extend([0, 80]);
    f.extend((8 + padding as u16).to_be_bytes());
    f.extend([0, 0]);
    f.resize(14 + len, 0);
    f
}

/// A frame with a UDP packet over IPv6 from prefix number `net`.
fn udp6(net: u16, host: u32) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64, 0x20, 1, 0xd, 0xb8];
    f.extend(net.to_be_bytes());
    f.extend([0; 6]);
    f.extend(host.to_be_bytes());
    f.extend([0xfd; 16]);
    f.extend([0x13, 0x88, 0, 80, 0, 8, 0, 0]);
    f
}

/// Addresses spread over the whole space, each once.
fn spoofed(n: u32) -> [u8; 4] {
    n.wrapping_mul(2_654_435_761).to_be_bytes()
}

fn ledger_of(generation: Generation) -> Ledger {
    let mut messages = Drain::new("n".into(), 1, 100_000).cut(generation);
    let Some(BusMessage::Manifest(manifest)) = messages.pop() else { panic!("no manifest") };
    manifest.ledger.clone()
}

fn run(runner: &TestRunner, frame: &[u8]) {
    runner.run(frame, 1).unwrap();
}

#[test]
fn a_spoofed_flood_beyond_capacity_has_totals_a_number_of_sources_and_a_suspect() {
    const FLOOD: u32 = 80_000;
    let (mut source, runner) = on_one_cpu();
    let mut seen = Counter::default();
    let mut send = |frame: Vec<u8>| {
        run(&runner, &frame);
        seen.add(Counter::new(1, frame.len() as u64));
    };
    for n in 0..FLOOD {
        send(udp(spoofed(n), 5000, 0));
        // One packet of five comes from one network.
        if n % 4 == 0 {
            send(udp([198, 51, 100, (n / 4) as u8], (n % 50_000) as u16, 200));
        }
    }
    let generation = source.generation().unwrap().unwrap();
    let in_flows: HashSet<_> = generation.flows.iter().map(|f| (f.key.src, f.key.src_port)).collect();
    assert_eq!(in_flows.len(), generation.flows.len());
    let ledger = ledger_of(generation);
    assert_eq!(ledger.seen, seen);
    assert_eq!(ledger.residual(), (0, 0));
    let full = ledger.reasons[LossReason::TableFull];
    let overflow = ledger.overflow.unwrap();
    assert_eq!(overflow.total(), full, "the cells add up to the reason");
    let report = overflow.report(10);
    assert_eq!(report.protocols.len(), 1);
    assert_eq!((report.protocols[0].direction, report.protocols[0].proto), ("ingress", Some(17)));
    // What found no room is what was sent less what is in flows; all flows have one packet.
    let in_net = in_flows.iter().filter(|(src, _)| src[..3] == [198, 51, 100]).count();
    let suspects = f64::from(FLOOD / 4) - in_net as f64;
    let suspect = &report.prefixes[0];
    assert_eq!(suspect.prefix, "198.51.100.0/24");
    assert!(suspect.packets.low <= suspects && suspects <= suspect.packets.high, "{suspects}: {suspect:?}");
    assert!(suspect.packets.high < suspects * 1.05 && suspect.packets.low > suspects * 0.9, "{suspects}: {suspect:?}");
    assert!((report.unlisted_at_most.packets as f64) < suspect.packets.low, "{:?}", report.unlisted_at_most);
    // Spoofed sources that are not in flows, and the 256 of the network.
    let sources = f64::from(FLOOD) - (in_flows.len() - in_net) as f64 + 256.0;
    let found = report.sources;
    // Three standard errors of 1.6 %: the input is the same in each run, up to which packets found room.
    assert!((found.estimate - sources).abs() < 0.05 * sources, "{sources}: {found:?}");
    assert!(found.low < found.estimate && found.estimate < found.high);

    // The next generations begin with nothing: both slots are used again.
    source.recycle().unwrap();
    for _ in 0..2 {
        run(&runner, &udp([10, 0, 0, 1], 1, 0));
        let generation = source.generation().unwrap().unwrap();
        assert_eq!(generation.totals.seen.packets, 1);
        assert_eq!(generation.overflow, None);
        source.recycle().unwrap();
    }
    for n in 0..60_000 {
        run(&runner, &udp6((n % 7) as u16, n));
    }
    let ledger = ledger_of(source.generation().unwrap().unwrap());
    let overflow = ledger.overflow.unwrap();
    assert_eq!(overflow.total(), ledger.reasons[LossReason::TableFull]);
    let mut prefixes: Vec<String> = overflow.report(10).prefixes.into_iter().map(|p| p.prefix).collect();
    prefixes.sort_unstable();
    let mut expected: Vec<String> =
        (0..7).map(|n| if n == 0 { "2001:db8::/48".into() } else { format!("2001:db8:{n}::/48") }).collect();
    expected.sort_unstable();
    assert_eq!(prefixes, expected, "nothing of the flood before");
}

#[test]
fn the_kernel_and_user_space_count_overflow_the_same() {
    let (mut source, runner) = on_one_cpu();
    const FLOWS: u32 = 60_000;
    let frame = |n: u32| udp(spoofed(n), 5000, (n % 90) as usize);
    for n in 0..FLOWS {
        run(&runner, &frame(n));
    }
    let kernel = source.generation().unwrap().unwrap();
    let has_room: HashSet<[u8; 16]> = kernel.flows.iter().map(|f| f.key.src).collect();
    assert_eq!(has_room.len(), kernel.flows.len());
    // The table is full then; which flows have a place in front of it is the kernel's matter.
    assert!((LEAST_FLOWS..=2 * LEAST_FLOWS).contains(&(kernel.flows.len() as u32)), "{}", kernel.flows.len());
    // In user space the others find no room at all.
    let mut table = FlowTable::new(0, Identity::Outer);
    let mut others = 0;
    for n in 0..FLOWS {
        let (mut src, frame) = ([0; 16], frame(n));
        src[..4].copy_from_slice(&spoofed(n));
        if !has_room.contains(&src) {
            table.count(1, &frame, frame.len() as u32, 0, 1);
            others += 1;
        }
    }
    assert_eq!(others, FLOWS - kernel.flows.len() as u32, "a flow that has no room once has none later");
    let (flows, totals) = table.drain();
    assert!(flows.is_empty());
    assert_eq!(totals.reasons, kernel.totals.reasons);
    assert_eq!(table.drain_overflow(), kernel.overflow);
    assert!(kernel.overflow.is_some());
}

/// Many flows, twice as many packets: those that share a row, or a mark in it, are told apart, and each is counted whole.
#[test]
fn flows_that_share_places_are_told_apart_and_stay_where_they_are() {
    const FLOWS: u32 = 30_000;
    let (mut source, runner) = on_one_cpu();
    // Short and long keys in turn share the rows.
    let frame = |n: u32| match n % 3 {
        0 => udp6((n % 7) as u16, n),
        _ => udp(spoofed(n), (n % 5) as u16, 0),
    };
    for generation in 0..4 {
        // Later ones come the other way round, so that other flows are first.
        let ordered = |n: u32| if generation % 2 == 0 { n } else { FLOWS - 1 - n };
        for n in (0..2 * FLOWS).map(|n| ordered(n % FLOWS)) {
            run(&runner, &frame(n));
        }
        let g = source.generation().unwrap().unwrap();
        assert_eq!(g.totals.reasons[LossReason::TableFull as usize], Counter::default());
        assert_eq!((g.flows.len() as u32, g.totals.entries), (FLOWS, u64::from(FLOWS)));
        assert!(g.flows.iter().all(|f| f.stats.packets == 2), "generation {generation}");
        let front = g.totals.front as f64 / f64::from(LEAST_FLOWS);
        assert!(front > 0.85 && front <= 1.0, "{front} of the places are taken");
        let keys: HashSet<_> = g.flows.iter().map(|f| f.key).collect();
        assert_eq!(keys.len() as u32, FLOWS);
        source.recycle().unwrap();
    }
}

#[test]
fn flows_with_the_same_row_and_mark_are_told_apart() {
    let (mut source, runner) = on_one_cpu();
    let address = |n: u32| (mix64(n.into()) as u32).to_be_bytes();
    let mut next = |runs: &[u32]| {
        runs.iter().for_each(|n| run(&runner, &udp(address(*n), 5000, 0)));
        let g = source.generation().unwrap().unwrap();
        source.recycle().unwrap();
        g
    };
    let obs = next(&[0]).flows[0].key.obs;
    // Hashes with the same 20 highest bits have the same row of at most as many.
    let mut seen = HashMap::new();
    let pairs: Vec<(u32, u32)> = (0..1_000_000)
        .filter_map(|n| {
            let (src, dst) = (address(n), [10, 0, 0, 2]);
            let key = FlowKey4 { src, dst, src_port: 5000, dst_port: 80, vlan: 0, proto: 17, obs };
            let hash = Front::hash_short(&key);
            seen.insert((hash >> 44, Marks::of(hash)), n).map(|first| (first, n))
        })
        .filter(|(a, b)| address(*a) != address(*b))
        .collect();
    assert!(pairs.len() >= 5, "{} pairs", pairs.len());
    for (a, b) in &pairs {
        let g = next(&[*a, *a, *b, *a, *b, *a]);
        assert_eq!((g.flows.len(), g.totals.entries, g.totals.front), (2, 2, 1));
        let packets = |n: u32| g.flows.iter().find(|f| f.key.src[..4] == address(n)).map(|f| f.stats.packets);
        assert_eq!((packets(*a), packets(*b)), (Some(4), Some(2)));
    }
}

/// Keeps the calling thread on one of the CPUs that it may use.
fn pin_to_one_cpu() {
    let mut set = [0u64; 16];
    let size = size_of_val(&set);
    // SAFETY: the kernel writes at most `size` bytes to a buffer of that size, which outlives the call.
    let rc = unsafe { libc::sched_getaffinity(0, size, set.as_mut_ptr().cast()) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
    let word = set.iter().position(|w| *w != 0).unwrap();
    let mut one = [0u64; 16];
    one[word] = set[word] & set[word].wrapping_neg();
    // SAFETY: the kernel reads `size` bytes of a buffer of that size, which outlives the call.
    let rc = unsafe { libc::sched_setaffinity(0, size, one.as_ptr().cast()) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
}
