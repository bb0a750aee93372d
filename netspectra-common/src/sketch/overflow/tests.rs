#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::abi::{Direction, FlowKey, Obs, Overflow};
use crate::flow::{prefix_of, spill};
use proptest::prelude::*;
use std::collections::HashSet;

fn v4(address: u32, proto: u8) -> FlowKey {
    let mut key = FlowKey { family: 4, proto, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&address.to_be_bytes());
    key
}

fn v6(prefix: u64, host: u64, proto: u8) -> FlowKey {
    let mut key = FlowKey { family: 6, proto, obs: Obs::new(3, Direction::Egress).0, ..FlowKey::default() };
    key.src[..8].copy_from_slice(&(prefix << 16).to_be_bytes());
    key.src[8..].copy_from_slice(&host.to_be_bytes());
    key
}

fn summary_of<'a>(packets: impl Iterator<Item = &'a (FlowKey, u64)>) -> OverflowSummary {
    let mut table = Box::new(Overflow::EMPTY);
    packets.for_each(|(key, bytes)| spill(&mut table, key, Counter::new(1, *bytes)));
    let mut sum = OverflowSum::default();
    sum.add(&table);
    sum.finish()
}

/// What is true of each prefix.
fn truth(packets: &[(FlowKey, u64)]) -> BTreeMap<u64, Counter> {
    let mut all: BTreeMap<u64, Counter> = BTreeMap::new();
    for (key, bytes) in packets.iter().filter(|(key, _)| key.family != 0) {
        all.entry(prefix_of(key)).or_default().add(Counter::new(1, *bytes));
    }
    all
}

fn assert_bounds(summary: &OverflowSummary, truth: &BTreeMap<u64, Counter>) {
    let named: BTreeMap<u64, PrefixCount> = summary.prefixes().into_iter().collect();
    for (prefix, c) in truth {
        let Some(found) = named.get(prefix) else {
            let most = summary.unnamed_at_most();
            assert!(c.packets <= most.packets && c.bytes <= most.bytes, "{prefix:x} has {c:?}, unnamed {most:?}");
            continue;
        };
        for of in [|c: &Counter| c.packets, |c: &Counter| c.bytes] {
            assert!(of(&found.low) <= of(c) && of(c) <= of(&found.high), "{prefix:x} has {c:?}, found {found:?}");
            assert!(of(&found.low) <= of(&found.estimate) && of(&found.estimate) <= of(&found.high), "{found:?}");
        }
    }
    for prefix in named.keys() {
        assert!(truth.contains_key(prefix), "{prefix:x} is named and was not seen");
    }
}

/// Packets from few prefixes and many, of both families, and some that are not IP.
fn packets() -> impl Strategy<Value = Vec<(FlowKey, u64)>> {
    let key = prop_oneof![
        4 => (0u32..6, any::<u8>()).prop_map(|(net, host)| v4(0x0a00_0000 | (net << 8) | u32::from(host), 17)),
        2 => any::<u32>().prop_map(|address| v4(address, 6)),
        2 => (0u64..2000, 0u64..3).prop_map(|(net, host)| v6(net, host, 58)),
        1 => Just(FlowKey { src_port: 0x0806, ..FlowKey::default() }),
    ];
    proptest::collection::vec((key, 60u64..1515), 0..600)
}

proptest! {
    #[test]
    fn the_bounds_of_every_prefix_hold_and_totals_are_exact(packets in packets()) {
        let summary = summary_of(packets.iter());
        assert_bounds(&summary, &truth(&packets));
        let bytes = packets.iter().map(|(_, bytes)| bytes).sum::<u64>();
        prop_assert_eq!(summary.total(), Counter::new(packets.len() as u64, bytes));
        let count = |proto| summary.protocols().filter(|(_, p, _)| *p == proto).map(|(.., c)| c.packets).sum::<u64>();
        let expected = |family: u8, proto: u8| packets.iter().filter(|(k, _)| k.family == family && k.proto == proto).count() as u64;
        prop_assert_eq!((count(Some(17)), count(Some(58)), count(None)), (expected(4, 17), expected(6, 58), expected(0, 0)));
    }

    #[test]
    fn merged_bounds_hold_in_either_order(a in packets(), b in packets(), c in packets()) {
        let parts = [&a, &b, &c].map(|p| summary_of(p.iter()));
        let mut ab = parts[0].clone();
        ab.merge(&parts[1]);
        let mut ba = parts[1].clone();
        ba.merge(&parts[0]);
        prop_assert_eq!(&ab, &ba);
        ab.merge(&parts[2]);
        let all = [a, b, c].concat();
        assert_bounds(&ab, &truth(&all));
        prop_assert_eq!(ab.total(), summary_of(all.iter()).total());
        prop_assert_eq!(ab.sources(), summary_of(all.iter()).sources());
        let mut with_nothing = ab.clone();
        with_nothing.merge(&OverflowSummary::default());
        prop_assert_eq!(with_nothing, ab);
    }

    #[test]
    fn the_split_over_cpus_changes_no_total_and_no_number_of_sources(packets in packets()) {
        let mut sum = OverflowSum::default();
        for part in packets.chunks(7) {
            let mut table = Box::new(Overflow::EMPTY);
            part.iter().for_each(|(key, bytes)| spill(&mut table, key, Counter::new(1, *bytes)));
            sum.add(&table);
        }
        let (split, whole) = (sum.finish(), summary_of(packets.iter()));
        assert_bounds(&split, &truth(&packets));
        prop_assert_eq!((split.total(), split.sources()), (whole.total(), whole.sources()));
    }

    #[test]
    fn bytes_return_as_they_were(packets in packets()) {
        let summary = summary_of(packets.iter());
        let bytes = summary.to_bytes();
        prop_assert!(bytes.len() <= 3 * SOURCE_REGISTERS / 4 + 4096, "{} bytes", bytes.len());
        prop_assert_eq!(OverflowSummary::from_bytes(&bytes).unwrap(), summary);
    }

    #[test]
    fn hostile_bytes_are_refused_or_canonical(packets in packets(), at: prop::sample::Index, value: u8, cut: bool) {
        let mut bytes = summary_of(packets.iter()).to_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = value }
        if let Ok(summary) = OverflowSummary::from_bytes(&bytes) {
            prop_assert_eq!(summary.to_bytes(), bytes);
        }
    }
}

#[test]
fn the_number_of_sources_is_within_its_bounds_in_most_sizes() {
    let mut state = 1u64;
    let (mut within, mut tried) = (0, 0);
    for n in [1usize, 2, 3, 10, 100, 1000, 4096, 10_000, 40_000, 200_000] {
        for _ in 0..5 {
            let mut seen = HashSet::new();
            let mut table = Box::new(Overflow::EMPTY);
            while seen.len() < n {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let address = (state >> 32) as u32;
                if seen.insert(address) {
                    spill(&mut table, &v4(address, 17), Counter::new(1, 60));
                }
            }
            let mut sum = OverflowSum::default();
            sum.add(&table);
            let found = sum.finish().sources();
            // Four standard errors (1.6 % each) at worst.
            assert!((found.estimate - n as f64).abs() <= 1.0 + 0.065 * n as f64, "{n}: {found:?}");
            within += u32::from((found.low..=found.high).contains(&(n as f64)));
            tried += 1;
        }
    }
    assert!(within * 100 >= tried * 90, "{within} of {tried} inside");
}

#[test]
fn a_flooding_prefix_is_named_first_among_a_million_others() {
    let noise = (0..300_000u32).map(|n| (v4(n.wrapping_mul(2_654_435_761), 17), 60));
    let flood = (0..30_000u32).map(|n| (v4(0xc633_6400 | (n & 0xff), 17), 60));
    let mut packets: Vec<(FlowKey, u64)> = noise.chain(flood).collect();
    packets.sort_by_key(|(key, _)| {
        crate::flow::mix64(u64::from(u32::from_be_bytes([key.src[0], key.src[1], key.src[2], key.src[3]])))
    });
    let summary = summary_of(packets.iter());
    let report = summary.report(3);
    assert_eq!(report.prefixes[0].prefix, "198.51.100.0/24");
    assert_bounds(&summary, &truth(&packets));
    let found = &report.prefixes[0].packets;
    assert!(found.low >= 25_000.0 && found.high <= 31_000.0, "{found:?}");
    assert!((report.unlisted_at_most.packets as f64) < found.low, "{:?}", report.unlisted_at_most);
}

#[test]
fn prefixes_are_written_as_networks() {
    let report = summary_of([(v4(0x0a01_0203, 17), 60), (v6(0x2001_0db8_0102, 5, 6), 70)].iter()).report(5);
    let mut names: Vec<&str> = report.prefixes.iter().map(|p| p.prefix.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["10.1.2.0/24", "2001:db8:102::/48"]);
    assert_eq!(report.protocols[0], ProtocolReport { direction: "ingress", proto: Some(17), packets: 1, bytes: 60 });
    assert_eq!(report.protocols[1], ProtocolReport { direction: "egress", proto: Some(6), packets: 1, bytes: 70 });
}
