//! Laws, bytes and coverage of [`Hll`]. Not proven here: bounds against values chosen by their hash (they do not hold).
#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;
use crate::sketch::SketchError;
use crate::sketch::testing::{Rng, STREAMS, damaged_bytes_are_refused_or_canonical};

/// A set of `len` values, `start..start + len`, some of them twice, in seeded order.
fn of_range(start: u64, len: u64, seed: u64) -> Hll {
    let mut values: Vec<u64> = (start..start + len).collect();
    let mut rng = Rng::new(seed);
    for at in (1..values.len()).rev() {
        values.swap(at, rng.below(at as u64 + 1) as usize);
    }
    let mut hll = Hll::new();
    for value in &values {
        hll.insert(&value.to_be_bytes());
        if rng.below(3) == 0 {
            hll.insert(&value.to_be_bytes());
        }
    }
    hll
}

fn merged(mut a: Hll, b: &Hll) -> Hll {
    a.merge(b);
    a
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_associative_commutative_idempotent_and_equals_one_sketch(
        sizes in proptest::array::uniform3(prop_oneof![0u64..40, 600u64..800, 1900u64..2200, 2500u64..4000]),
        overlap in 0u64..500,
        seed: u64,
    ) {
        let [x, y, z] = sizes;
        let (start_b, start_c) = (x.saturating_sub(overlap), x.saturating_sub(overlap) + y.saturating_sub(overlap));
        let (a, b, c) = (of_range(0, x, seed), of_range(start_b, y, !seed), of_range(start_c, z, seed ^ 5));
        let left = merged(merged(a.clone(), &b), &c);
        let right = merged(a.clone(), &merged(b.clone(), &c));
        let back = merged(c.clone(), &merged(b.clone(), &a));
        let end = x.max(start_b + y).max(start_c + z);
        // The three ranges leave no gap, except where a later one lies inside an earlier one.
        let mut whole = Hll::new();
        for value in 0..end {
            let covered = value < x || (start_b..start_b + y).contains(&value) || (start_c..start_c + z).contains(&value);
            if covered {
                whole.insert(&value.to_be_bytes());
            }
        }
        let bytes = whole.to_bytes();
        for other in [&left, &right, &back, &merged(left.clone(), &left), &merged(left.clone(), &a)] {
            prop_assert_eq!(&other.to_bytes(), &bytes);
            prop_assert_eq!(other, &whole);
        }
        prop_assert_eq!(Hll::from_bytes(&bytes).unwrap(), whole);
    }
}

#[test]
fn small_sketches_have_these_bytes_in_version_1() {
    let mut hll = Hll::new();
    assert_eq!(hll.to_bytes(), [b'H', 1, 0, 0]);
    for name in ["a", "b", "c"] {
        hll.insert(name.as_bytes());
    }
    let abc = [b'H', 1, 0, 3, 129, 241, 191, 131, 2, 194, 244, 252, 214, 1, 254, 220, 234, 130, 9];
    assert_eq!(hll.to_bytes(), abc);
    let dense = of_range(0, 5000, 1).to_bytes();
    assert_eq!((dense.len(), &dense[..3], hash64(&dense)), (12_291, &[b'H', 1, 1][..], 9_700_174_738_476_906_184));
}

#[test]
fn damaged_bytes_never_panic() {
    for (len, rounds) in [(0, 2_000), (50, 4_000), (2048, 500), (3000, 500)] {
        damaged_bytes_are_refused_or_canonical(&of_range(9, len, 2).to_bytes(), rounds, |bytes| {
            let hll = Hll::from_bytes(bytes)?;
            let found = hll.estimate();
            assert!(found.low <= found.estimate && found.estimate <= found.high && found.high.is_finite());
            Ok(hll.to_bytes())
        });
    }
}

#[test]
fn states_that_no_set_has_are_refused() {
    let inconsistent = |bytes: &[u8]| matches!(Hll::from_bytes(bytes), Err(SketchError::Inconsistent { .. }));
    assert!(inconsistent(&[b'H', 1, 2]), "unknown form");
    assert!(inconsistent(&[b'H', 1, 0, 1, 40]), "rank 40");
    assert!(inconsistent(&[b'H', 1, 0, 2, 65, 1]), "one index twice");
    assert!(inconsistent(&[b'H', 1, 0, 0x81, 0x10]), "2049 fingerprints");
    assert!(inconsistent(&[b'H', 1, 0, 0, 0]), "a byte too many");
    let mut dense = vec![b'H', 1, 1];
    dense.resize(12_291, 0);
    assert!(inconsistent(&dense), "dense and empty");
    dense[3] = 0x3f;
    assert!(inconsistent(&dense), "rank 63");
}

#[test]
fn few_values_are_counted_exactly_and_one_more_than_the_limit_is_dense() {
    let exact = of_range(0, 11, 0).estimate();
    assert_eq!((exact.estimate, exact.low, exact.high), (11.0, 11.0, 11.0));
    assert_eq!(Hll::new().estimate(), Estimate::exact(0.0));
    let full = of_range(0, 2048, 0);
    assert!(full.registers.is_none());
    assert_eq!(full.estimate(), Estimate { estimate: 2048.0, low: 2048.0, high: 2049.0, confidence: 0.999 });
    let dense = of_range(0, 2049, 0);
    assert!(dense.registers.is_some());
    assert_eq!((dense.sparse.len(), dense.estimate().low), (0, 2049.0));
}

/// How many of `streams` sets, with sizes from `size`, have their true size inside the bounds.
fn covered(streams: u64, values: impl Fn(&mut Rng, &mut Hll) -> u64) -> f64 {
    let inside = (0..streams).filter(|seed| {
        let mut hll = Hll::new();
        let truth = values(&mut Rng::new(*seed), &mut hll) as f64;
        let found = hll.estimate();
        (found.low..=found.high).contains(&truth)
    });
    inside.count() as f64 / streams as f64
}

/// Sizes evenly spread over the orders of magnitude from 2^6 to 2^`top_bits`.
fn any_size(rng: &mut Rng, top_bits: u32) -> u64 {
    (6.0 + rng.unit() * f64::from(top_bits - 6)).exp2() as u64
}

#[test]
fn bounds_hold_for_random_values_of_every_size() {
    let share = covered(STREAMS, |rng, hll| {
        let size = any_size(rng, 16);
        for _ in 0..size {
            hll.insert_hash(rng.next());
        }
        size
    });
    assert!(share >= 0.94, "{share}");
}

/// The sizes at which the estimator passes from linear counting to its asymptotic error.
#[test]
fn bounds_hold_at_each_critical_size() {
    for size in [2_100, 5_000, 16_384, 41_000, 82_000] {
        let share = covered(STREAMS / 4, |rng, hll| {
            for _ in 0..size {
                hll.insert_hash(rng.next());
            }
            size
        });
        // A quarter of the streams: two and a half standard errors of the share itself are allowed for.
        let noise = 2.5 * (0.05 * 0.95 / (STREAMS / 4) as f64).sqrt();
        assert!(share >= 0.95 - noise, "{size}: {share}");
    }
}

/// Scans (consecutive addresses), strides of a power of two, and heavy repetition.
#[test]
fn bounds_hold_for_regular_and_skewed_values() {
    let share = covered(STREAMS, |rng, hll| {
        let start = rng.next() as u32;
        let size = any_size(rng, 14);
        let address = |i: u64, step: u32| {
            let mut address = [0; 16];
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&start.wrapping_add((i as u32).wrapping_mul(step)).to_be_bytes());
            address
        };
        match rng.below(3) {
            0 => (0..size).for_each(|i| hll.insert(&address(i, 1))),
            1 => (0..size).for_each(|i| hll.insert(&address(i, 1 << 12))),
            _ => {
                let mut seen = std::collections::HashSet::new();
                for _ in 0..size * 2 {
                    let i = rng.skewed(1 << 16);
                    hll.insert(&address(i, 1));
                    seen.insert(i);
                }
                return seen.len() as u64;
            }
        }
        size
    });
    assert!(share >= 0.94, "{share}");
}

#[test]
fn sparse_bounds_hold_at_their_stated_confidence() {
    let share = covered(STREAMS, |rng, hll| {
        let size = 1 + rng.below(2048);
        for _ in 0..size {
            hll.insert_hash(rng.next());
        }
        size
    });
    assert!(share >= 0.997, "{share}");
}
