//! Rules in the real kernel and in user space leave out the same packets and sample the same flows, and changing them splits no packet.
//!
//! Needs root and the eBPF object. Frames go through the program by `BPF_PROG_TEST_RUN`: the interface is one that the
//! program was not told of (slot 127), so conditions on interfaces are met there by none; unit tests cover the others.
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_agent::rules::{Action, Rule, UserRules};
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};
use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::abi::{Direction, FlowKey, LossReason, Obs};
use netspectra_common::model::{FlowDelta, Sampling};
use std::collections::BTreeMap;

fn source() -> XdpSource {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    let object = std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"));
    XdpSource::load(&object, &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// xorshift64: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Addresses and networks of a small world, so that they often meet.
fn net(r: &mut Random) -> String {
    match r.below(6) {
        0 => format!("10.{}.0.0/{}", r.below(3), 8 + r.below(9)),
        1 => format!("10.{}.{}.0/24", r.below(3), r.below(3)),
        2 => format!("10.{}.{}.{}", r.below(3), r.below(3), r.below(3)),
        3 => format!("2001:db8:{}::/{}", r.below(3), 32 + r.below(17)),
        4 => format!("2001:db8:{}::{}", r.below(3), r.below(3)),
        _ => ["0.0.0.0/0", "::/0"][r.below(2) as usize].into(),
    }
}

fn rules(r: &mut Random) -> Vec<Rule> {
    let some = |r: &mut Random, of: fn(&mut Random) -> String| -> Vec<String> {
        if r.below(3) != 0 {
            return Vec::new();
        }
        (0..1 + r.below(3)).map(|_| of(r)).collect()
    };
    let nets = |r: &mut Random| some(r, net).iter().map(|n| n.parse().unwrap()).collect();
    let port = |r: &mut Random| {
        let low = r.below(6) * 20;
        if r.one_in(2) { low.to_string() } else { format!("{low}-{}", low + r.below(60)) }
    };
    let proto = |r: &mut Random| ["tcp", "udp", "58", "icmp", "47", "non_ip"][r.below(6) as usize].to_owned();
    let most = if r.one_in(8) { 64 } else { 6 };
    (0..1 + r.below(most))
        .map(|_| {
            let (action, one_in) = match r.below(3) {
                0 => (Action::Include, None),
                1 => (Action::Exclude, None),
                _ => (Action::Sample, Some(2 << r.below(4))),
            };
            Rule {
                action,
                one_in,
                net: nets(r),
                src: nets(r),
                dst: nets(r),
                port: some(r, port),
                proto: some(r, proto),
                iface: if r.one_in(12) { vec!["eth*".into()] } else { Vec::new() },
            }
        })
        .collect()
}

fn frame(r: &mut Random) -> Vec<u8> {
    let protocol = [6u8, 17, 1, 58, 47, 132][r.below(6) as usize];
    let mut transport = vec![0u8, (r.below(6) * 20) as u8, 0, (r.below(6) * 20 + r.below(3)) as u8];
    transport.extend([0, 8, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match r.below(8) {
        0 => f.extend([0x08, 0x06].iter().chain(&[0; 28])),
        1..=4 => {
            f.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
            for _ in 0..2 {
                f.extend([10, r.below(3) as u8, r.below(3) as u8, r.below(3) as u8]);
            }
            f.extend(transport);
        }
        _ => {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
            for _ in 0..2 {
                f.extend([0x20, 1, 0x0d, 0xb8, 0, r.below(3) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, r.below(3) as u8]);
            }
            f.extend(transport);
        }
    }
    f
}

/// Packets and L3 bytes of each flow, and how many of its kind are counted.
fn counted(flows: &[FlowDelta]) -> BTreeMap<FlowKey, (u64, u64, Sampling)> {
    flows.iter().map(|f| (FlowKey { obs: 0, ..f.key }, (f.stats.packets, f.stats.l3_bytes, f.sampling))).collect()
}

#[test]
fn random_rules_leave_out_the_same_random_packets_in_the_kernel_and_in_user_space() {
    let mut source = source();
    let runner = source.test_runner().unwrap();
    let mut r = Random(0x9e37_79b9_7f4a_7c15);
    let (mut excluded, mut sampled_out, mut included, mut sampled) = (0, 0, 0, 0);
    for round in 0..150 {
        let rules = rules(&mut r);
        source.apply_rules(&rules).unwrap();
        let mut table = FlowTable::new(100_000, Identity::Outer);
        table.set_rules(UserRules::new(&rules).unwrap());
        for _ in 0..100 {
            let frame = frame(&mut r);
            runner.run(&frame, 1).unwrap();
            table.count(1, &frame, frame.len() as u32, Obs::new(127, Direction::Ingress).0, 1);
        }
        let kernel = source.generation().unwrap().unwrap();
        source.recycle().unwrap();
        let (flows, totals) = table.drain();
        assert_eq!(counted(&kernel.flows), counted(&flows), "round {round}, {rules:?}");
        assert_eq!(kernel.totals.reasons, totals.reasons, "round {round}, {rules:?}");
        let left_out = kernel.totals.reasons[LossReason::Excluded as usize].packets;
        let in_flows: u64 = kernel.flows.iter().map(|f| f.stats.packets).sum();
        let other_flows = kernel.totals.reasons[LossReason::SampledOut as usize].packets;
        assert_eq!(left_out + other_flows + in_flows, kernel.totals.seen.packets);
        excluded += left_out;
        sampled_out += other_flows;
        included += in_flows;
        let of_samples = kernel.flows.iter().filter(|f| f.sampling != Sampling::ALL);
        sampled += of_samples.map(|f| f.stats.packets).sum::<u64>();
    }
    let all = [excluded, sampled_out, included, sampled];
    assert!(all.iter().all(|packets| *packets > 500), "all happen: {all:?}");
}

#[test]
fn rules_change_while_packets_pass_and_every_packet_is_counted_by_one_set() {
    let mut source = source();
    let runner = source.test_runner().unwrap();
    let mut r = Random(77);
    // UDP from port 0 to port 0: excluded by the one set, included by the other one, by its first rule of two.
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 8, 0, 0]);
    let rule = |action, net: &str| Rule {
        action,
        one_in: None,
        net: vec![net.parse().unwrap()],
        src: Vec::new(),
        dst: Vec::new(),
        port: Vec::new(),
        proto: vec!["udp".into()],
        iface: Vec::new(),
    };
    let out = [rule(Action::Exclude, "10.0.0.0/8")];
    let kept = [rule(Action::Include, "10.0.0.0/24"), rule(Action::Exclude, "0.0.0.0/0")];
    const RUNS: u64 = 40;
    const REPEAT: u32 = 20_000;
    let handle = source.rules_handle();
    let (mut seen, mut left_out, mut in_flows) = (0, 0, 0);
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            for _ in 0..RUNS {
                runner.run(&frame, REPEAT).unwrap();
            }
        });
        loop {
            let done = thread.is_finished();
            handle.set(match r.below(3) {
                0 => out.to_vec(),
                1 => kept.to_vec(),
                _ => Vec::new(),
            });
            let g = source.generation().unwrap().unwrap();
            seen += g.totals.seen.packets;
            left_out += g.totals.reasons[LossReason::Excluded as usize].packets;
            in_flows += g.flows.iter().map(|f| f.stats.packets).sum::<u64>();
            assert_eq!(seen, left_out + in_flows, "each generation adds up by itself");
            source.recycle().unwrap();
            if done {
                break;
            }
        }
    });
    assert_eq!(seen, RUNS * u64::from(REPEAT));
    source.apply_rules(&out).unwrap();
    runner.run(&frame, 3).unwrap();
    source.apply_rules(&kept).unwrap();
    runner.run(&frame, 5).unwrap();
    source.apply_rules(&[]).unwrap();
    runner.run(&frame, 7).unwrap();
    let g = source.generation().unwrap().unwrap();
    assert_eq!(g.totals.reasons[LossReason::Excluded as usize].packets, 3);
    assert_eq!(g.flows.iter().map(|f| f.stats.packets).sum::<u64>(), 12);
}
