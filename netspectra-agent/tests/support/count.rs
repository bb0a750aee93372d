//! What a source counted, added up over generations.

use netspectra_agent::source::Source;
use netspectra_common::abi::{Counter, Direction, FlowKey, LossReason, Obs};
use netspectra_common::model::FlowStats;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The eBPF object under test.
pub fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// Sums over generations. Flow keys have the interface's name in place of its slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub flows: BTreeMap<(String, Direction, FlowKey), Stats>,
    pub seen: Counter,
    pub reasons: [Counter; LossReason::COUNT],
    pub sizes: BTreeMap<usize, u64>,
}

/// Of a flow, all but times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub packets: u64,
    pub bytes: u64,
    pub l3_bytes: u64,
    pub tcp_flags: u16,
}

impl Stats {
    fn add(&mut self, other: &FlowStats) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.l3_bytes += other.l3_bytes;
        self.tcp_flags |= other.tcp_flags;
    }
}

impl Sum {
    /// Adds a generation. Each must add up by itself, and name the interfaces of its flows.
    pub fn take(&mut self, source: &mut impl Source) {
        let g = source.generation().unwrap().unwrap();
        source.recycle().unwrap();
        let mut accounted = Counter::default();
        for f in &g.flows {
            let obs = Obs(f.key.obs);
            let named: Vec<_> = g.interfaces.iter().filter(|i| i.slot == obs.iface()).collect();
            assert_eq!(named.len(), 1, "slot {} in {:?}", obs.iface(), g.interfaces);
            accounted.add(Counter::new(f.stats.packets, f.stats.bytes));
            let key = (named[0].name.to_string(), obs.direction(), FlowKey { obs: 0, ..f.key });
            self.flows.entry(key).or_default().add(&f.stats);
        }
        g.totals.reasons.iter().for_each(|r| accounted.add(*r));
        assert_eq!(accounted, g.totals.seen, "a generation adds up");
        self.seen.add(g.totals.seen);
        self.reasons.iter_mut().zip(g.totals.reasons).for_each(|(sum, r)| sum.add(r));
        for (bin, n) in g.totals.sizes.iter().enumerate().filter(|(_, n)| **n != 0) {
            *self.sizes.entry(bin).or_default() += n;
        }
    }

    /// Adds generations until `done`, at most 20 s long.
    pub fn take_until<S: Source>(&mut self, source: &mut S, what: &str, mut done: impl FnMut(&Self, &S) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            self.take(source);
            if done(self, source) {
                return;
            }
            assert!(Instant::now() < end, "not within 20 s: {what}: {self:#?}");
            // Lets others run; the condition decides, not the time.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Of the flows at an interface in one direction, packets, bytes and L3 bytes.
    pub fn at(&self, iface: &str, direction: Direction) -> (u64, u64, u64) {
        self.flows
            .iter()
            .filter(|((i, d, _), _)| i == iface && *d == direction)
            .fold((0, 0, 0), |sum, (_, s)| (sum.0 + s.packets, sum.1 + s.bytes, sum.2 + s.l3_bytes))
    }
}
