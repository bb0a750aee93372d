//! Laws, guarantees and bytes of [`TopK`]. Not proven here: the width of the interval against keys chosen to share
//! cells (the bounds hold for them all the same).
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sketch::SketchError;
use crate::sketch::testing::{Rng, STREAMS, damaged_bytes_are_refused_or_canonical};

type Truth = BTreeMap<Vec<u8>, u64>;

fn key(number: u64) -> Vec<u8> {
    let mut key = vec![0; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn of(stream: &[(u64, u64)]) -> TopK {
    let mut top = TopK::new();
    stream.iter().for_each(|(number, weight)| top.add(&key(*number), *weight));
    top
}

fn truth(stream: &[(u64, u64)]) -> Truth {
    let mut truth = Truth::new();
    stream.iter().for_each(|(number, weight)| *truth.entry(key(*number)).or_default() += weight);
    truth
}

fn merged(a: &TopK, b: &TopK) -> TopK {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

/// A stream of one of four shapes: skewed, uniform, a few giants in the noise, or heavy keys that come late.
fn stream(rng: &mut Rng, len: u64) -> Vec<(u64, u64)> {
    let keys = 1 + rng.below(6000);
    let shape = rng.below(4);
    let draw = |at: u64, rng: &mut Rng| match shape {
        0 => (rng.skewed(keys), 1 + rng.below(1500)),
        1 => (rng.below(keys), 1),
        2 if rng.below(10) == 0 => (rng.below(5), 60_000),
        2 => (rng.next(), 40),
        _ if at > len * 9 / 10 => (rng.below(20), 900),
        _ => (rng.next() % (keys * 4), 1 + rng.below(64)),
    };
    (0..len).map(|at| draw(at, rng)).collect()
}

/// Every promise of the type, checked against the truth.
fn check(top: &TopK, truth: &Truth) {
    let total: u64 = truth.values().sum();
    assert_eq!(top.total(), total);
    assert_eq!(top.cells.is_some(), truth.len() > MAX_COUNTERS);
    let counted: u64 = top.counters.weights().sum();
    assert!(top.error <= (total - counted) / (CAPACITY as u64 + 1), "error {} of {total}", top.error);
    for (key, weight) in truth {
        let found = top.estimate(key);
        let weight_f = *weight as f64;
        assert!(found.low <= weight_f && weight_f <= found.high, "{weight} is not in {found:?}");
        assert!(found.low <= found.estimate && found.estimate <= found.high, "{found:?}");
        assert_eq!(found.confidence, 1.0);
        assert!(*weight <= top.unlisted_at_most() || top.counters.get(key).is_some(), "{weight} is not listed");
        if top.cells.is_none() {
            assert_eq!(found, Estimate::exact(weight_f));
        }
    }
}

#[test]
fn bounds_and_candidates_hold_for_seeded_streams() {
    for seed in 0..STREAMS {
        let mut rng = Rng::new(seed);
        let len = if seed % 20 == 0 { 20_000 } else { 2_500 };
        let stream = stream(&mut rng, len);
        check(&of(&stream), &truth(&stream));
    }
}

#[test]
fn bounds_and_candidates_hold_after_any_merge_tree() {
    for seed in 0..STREAMS / 10 {
        let mut rng = Rng::new(seed);
        let stream = stream(&mut rng, 12_000);
        let mut parts: Vec<TopK> = stream.chunks(1 + rng.below(6000) as usize).map(of).collect();
        while parts.len() > 1 {
            let part = parts.swap_remove(rng.below(parts.len() as u64) as usize);
            let into = rng.below(parts.len() as u64) as usize;
            parts[into].merge(&part);
        }
        check(&parts[0], &truth(&stream));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn laws_hold_where_they_are_promised(seed: u64, lens in proptest::array::uniform3(0u64..5000)) {
        let mut rng = Rng::new(seed);
        let streams = lens.map(|len| stream(&mut rng, len));
        let [a, b, c] = streams.each_ref().map(|stream| of(stream));
        prop_assert_eq!(merged(&a, &b).to_bytes(), merged(&b, &a).to_bytes());
        let (left, right) = (merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        let whole = of(&streams.concat());
        for other in [&left, &right] {
            prop_assert_eq!(other.total, whole.total);
            prop_assert_eq!(&other.cells, &whole.cells);
            if whole.cells.is_none() {
                prop_assert_eq!(other.to_bytes(), whole.to_bytes());
            }
            let bytes = other.to_bytes();
            let again = TopK::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&again, other);
            prop_assert_eq!(again.to_bytes(), bytes);
        }
    }
}

#[test]
fn exact_up_to_the_limit_then_sketched() {
    let stream: Vec<(u64, u64)> = (0..MAX_COUNTERS as u64).map(|number| (number, 5)).collect();
    let mut top = of(&stream);
    assert_eq!((top.cells.is_none(), top.unlisted_at_most()), (true, 0));
    top.add(&key(3), 0);
    top.add(&key(u64::MAX), 0);
    assert_eq!(top, of(&stream), "no weight, no key");
    top.add(&key(u64::MAX), 5);
    assert_eq!((top.cells.is_some(), top.unlisted_at_most(), top.counters.len()), (true, 5, 1));
    assert_eq!(top.estimate(&key(3)).low, 0.0);
    assert_eq!(top.estimate(&key(3)).high, 5.0);
}

#[test]
fn top_is_ordered_by_weight_then_by_key() {
    let top = of(&[(1, 10), (2, 30), (3, 10), (2, 1), (4, 40)]);
    let found: Vec<(Vec<u8>, f64)> = top.top(3).into_iter().map(|entry| (entry.key, entry.value.estimate)).collect();
    assert_eq!(found, [(key(4), 40.0), (key(2), 31.0), (key(1), 10.0)]);
    assert_eq!(top.top(99).len(), 4);
    assert!(TopK::new().top(5).is_empty());
}

/// One talker with a third of the bytes among 50,000 small ones comes first, within 0.1 % of its weight.
#[test]
fn a_giant_in_a_flood_of_keys_is_first_and_well_known() {
    let mut rng = Rng::new(7);
    let flood: Vec<(u64, u64)> =
        (0..50_000).map(|at| if at % 100 == 0 { (1, 2000) } else { (rng.next(), 40) }).collect();
    let top = of(&flood);
    let first = &top.top(1)[0];
    assert_eq!(first.key, key(1));
    assert!((first.value.estimate - 1_000_000.0).abs() < 1_000.0, "{first:?}");
    assert!(first.value.high - first.value.low < 3_000.0, "{first:?}");
}

#[test]
fn long_keys_stay_distinct_and_are_found() {
    let (a, b) = ([7; 65], { [7; 65].into_iter().chain([8]).collect::<Vec<u8>>() });
    let mut top = TopK::new();
    top.add(&a, 3);
    top.add(&b, 4);
    top.add(&[7; 64], 5);
    assert_eq!(
        [top.estimate(&a), top.estimate(&b), top.estimate(&[7; 64])].map(|found| found.estimate),
        [3.0, 4.0, 5.0]
    );
    assert!(top.top(9).iter().all(|entry| entry.key.len() == 64));
    assert_eq!(TopK::from_bytes(&top.to_bytes()), Ok(top));
}

#[test]
fn saturated_weights_keep_legal_bytes_and_ordered_bounds() {
    let mut top = of(&[(1, u64::MAX), (1, 9), (2, u64::MAX)]);
    assert_eq!(top.total(), u64::MAX);
    assert_eq!(TopK::from_bytes(&top.to_bytes()).as_ref(), Ok(&top));
    (0..4000).for_each(|number| top.add(&key(number), u64::MAX));
    assert_eq!(TopK::from_bytes(&top.to_bytes()).as_ref(), Ok(&top));
    assert!(top.top(9).iter().all(|entry| entry.value.low <= entry.value.high));
}

#[test]
fn small_summaries_have_these_bytes_in_version_1() {
    assert_eq!(TopK::new().to_bytes(), [b'T', 1, 0, 0, 0, 0]);
    let mut top = TopK::new();
    top.add(b"bb", 300);
    top.add(b"a", 2);
    let bytes = [b'T', 1, 0xae, 0x02, 0, 2, 1, b'a', 2, 2, b'b', b'b', 0xac, 0x02, 0];
    assert_eq!(top.to_bytes(), bytes);
    let sketched = of(&(0..3000).map(|number| (number, 1 + number % 7)).collect::<Vec<_>>()).to_bytes();
    assert_eq!((sketched.len(), hash64(&sketched)), (42_216, 12_974_890_239_434_955_372));
}

#[test]
fn damaged_bytes_never_panic() {
    for (keys, rounds) in [(0, 2_000), (20, 4_000), (1792, 300), (4000, 300)] {
        let top = of(&(0..keys).map(|number| (number, 1 + number * number)).collect::<Vec<_>>());
        damaged_bytes_are_refused_or_canonical(&top.to_bytes(), rounds, |bytes| {
            let top = TopK::from_bytes(bytes)?;
            assert!(top.top(3).iter().all(|entry| entry.value.low <= entry.value.high));
            Ok(top.to_bytes())
        });
    }
}

#[test]
fn states_that_contradict_themselves_are_refused() {
    let inconsistent = |bytes: &[u8]| matches!(TopK::from_bytes(bytes), Err(SketchError::Inconsistent { .. }));
    assert!(inconsistent(&[b'T', 1, 5, 0, 1, 1, b'a', 4, 0]), "total 5, weights 4");
    assert!(inconsistent(&[b'T', 1, 4, 1, 1, 1, b'a', 4, 0]), "exact with an error");
    assert!(inconsistent(&[b'T', 1, 4, 0, 2, 1, b'b', 2, 1, b'a', 2, 0]), "keys descend");
    assert!(inconsistent(&[b'T', 1, 0, 0, 1, 1, b'a', 0, 0]), "no weight");
    assert!(inconsistent(&[b'T', 1, 4, 0, 1, 65]), "65-byte key");
    assert!(inconsistent(&[b'T', 1, 0, 0, 0x81, 0x0e]), "1793 counters");
    assert!(inconsistent(&[b'T', 1, 4, 0, 1, 1, b'a', 4, 2]), "unknown form");
    let mut sketched = vec![b'T', 1, 4, 0, 1, 1, b'a', 4, 1];
    sketched.resize(9 + cells::DEPTH * cells::WIDTH, 0);
    assert!(inconsistent(&sketched), "cells sum to 0, total 4");
    sketched[3] = 1;
    assert!(inconsistent(&sketched), "an error that the total does not allow");
}
