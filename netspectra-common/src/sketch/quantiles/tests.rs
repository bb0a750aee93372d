//! Laws, bounds and bytes of [`Quantiles`]. Not proven here: that another platform's `ln` puts every value into the
//! same bucket (at the very edge it may not; the bounds allow for it).
#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;
use sketches_ddsketch::DDSketch;

use super::*;
use crate::sketch::testing::{Rng, STREAMS, damaged_bytes_are_refused_or_canonical};
use crate::sketch::{SketchError, hash64};

fn of(values: &[(f64, u64)]) -> Quantiles {
    let mut quantiles = Quantiles::new();
    values.iter().for_each(|(value, count)| quantiles.add(*value, *count));
    quantiles
}

fn merged(a: &Quantiles, b: &Quantiles) -> Quantiles {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

/// Frame sizes, skewed latencies, the whole range of `f64`, or a handful of values that sit on edges.
fn draw(rng: &mut Rng, shape: u64) -> f64 {
    match shape {
        0 => (60 + rng.below(1455)) as f64,
        1 => 1e-4 / (1e-6 + rng.unit()),
        2 => f64::from_bits(rng.next() >> 1),
        3 => Config::defaults().pow_gamma(rng.below(3110) as i32 - 1037),
        _ => [0.0, -0.0, 1e-9, 1e-9f64.next_up(), 1.0, 1e18f64.next_down(), 1e18, f64::MAX][rng.below(8) as usize],
    }
}

/// The value of each rank is in the bounds, and these are as narrow as promised.
#[test]
fn bounds_hold_for_every_stream_and_quantile() {
    for seed in 0..STREAMS {
        let mut rng = Rng::new(seed);
        let (shape, len) = (rng.below(5), 1 + rng.below(800));
        let mut values: Vec<f64> = (0..len).map(|_| draw(&mut rng, shape)).filter(|value| value.is_finite()).collect();
        let quantiles = of(&values.iter().map(|value| (*value, 1)).collect::<Vec<_>>());
        values.sort_by(f64::total_cmp);
        assert_eq!(quantiles.count(), values.len() as u64);
        if values.is_empty() {
            assert_eq!(quantiles.quantile(0.5), None);
            continue;
        }
        assert_eq!(
            (quantiles.min(), quantiles.max()),
            (Some(values[0] + 0.0), values.last().copied().map(|max| max + 0.0))
        );
        for q in [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0, rng.unit()] {
            let truth = values[(q * (values.len() - 1) as f64) as usize];
            let found = quantiles.quantile(q).unwrap();
            assert!(found.low <= truth && truth <= found.high, "seed {seed} q {q}: {truth} is not in {found:?}");
            assert!(found.low <= found.estimate && found.estimate <= found.high, "{found:?}");
            if truth > 1e-9 && truth < 1e18 {
                let accuracy = 0.010_000_001;
                assert!((found.estimate - truth).abs() <= accuracy * truth, "seed {seed} q {q}: {truth} {found:?}");
                assert!(found.high <= found.estimate / (1.0 - accuracy), "{found:?}");
                assert!(found.low >= found.estimate / (1.0 + accuracy), "{found:?}");
            }
        }
    }
}

/// Where the crate does not join buckets, it and this find the same bucket.
#[test]
fn quantiles_agree_with_the_reference_crate() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let shape = rng.below(2);
        let (mut ours, mut theirs) = (Quantiles::new(), DDSketch::default());
        for _ in 0..500 {
            let (value, count) = (draw(&mut rng, shape), 1 + rng.below(5));
            ours.add(value, count);
            theirs.add_with_count(value, count);
        }
        assert_eq!(ours.count(), theirs.count() as u64);
        assert!((ours.sum() / theirs.sum().unwrap() - 1.0).abs() < 1e-9);
        for q in [0.1, 0.5, 0.9, 0.99] {
            let (ours, theirs) = (ours.quantile(q).unwrap(), theirs.quantile(q).unwrap().unwrap());
            // Ends of buckets at the smallest and largest value are cut here and not there.
            assert!((ours.estimate / theirs - 1.0).abs() < 0.010_1, "{ours:?} {theirs}");
            assert!(ours.low / 1.020_3 <= theirs && theirs <= ours.high * 1.020_3, "{ours:?} {theirs}");
        }
    }
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative_and_equals_one_sketch(
        seed: u64,
        lens in proptest::array::uniform3(0usize..300),
        shape in 0u64..5,
    ) {
        let mut rng = Rng::new(seed);
        let lists = lens.map(|len| (0..len).map(|_| {
            let count = if rng.below(50) == 0 { u64::MAX } else { rng.below(9) };
            (draw(&mut rng, shape), count)
        }).collect::<Vec<_>>());
        let [a, b, c] = lists.each_ref().map(|list| of(list));
        let mut all = lists.concat();
        all.reverse();
        let whole = of(&all);
        let bytes = whole.to_bytes();
        for other in [
            merged(&merged(&a, &b), &c),
            merged(&a, &merged(&b, &c)),
            merged(&merged(&c, &a), &b),
            merged(&whole, &Quantiles::new()),
            merged(&Quantiles::new(), &whole),
        ] {
            prop_assert_eq!(&other.to_bytes(), &bytes);
            prop_assert_eq!(&other, &whole);
        }
        prop_assert_eq!(Quantiles::from_bytes(&bytes), Ok(whole));
    }
}

#[test]
fn values_that_have_no_place_are_refused_and_counted() {
    let mut quantiles = of(&[(f64::NAN, 2), (f64::INFINITY, 3), (f64::NEG_INFINITY, 1), (-1e-300, 4), (5.0, 0)]);
    assert_eq!((quantiles.count(), quantiles.rejected(), quantiles.sum()), (0, 10, 0.0));
    assert_eq!((quantiles.min(), quantiles.max(), quantiles.quantile(0.5)), (None, None, None));
    quantiles.add(-0.0, 1);
    assert_eq!((quantiles.count(), quantiles.rejected()), (1, 10));
    assert_eq!(quantiles.quantile(0.5), Some(Estimate::exact(0.0)));
    assert_eq!([f64::NAN, -0.1, 1.1].map(|q| quantiles.quantile(q)), [None; 3]);
}

/// More than 2,048 buckets at once: the reference crate would answer with a joined bucket here.
#[test]
fn a_span_of_27_orders_of_magnitude_keeps_its_accuracy_at_both_ends() {
    let values: Vec<(f64, u64)> = (0..2600).map(|at| (2e-9 * 10f64.powf(f64::from(at) / 100.0), 1)).collect();
    let quantiles = of(&values);
    for at in [1, 5, 1300, 2598] {
        let found = quantiles.quantile((at as f64 + 0.5) / 2599.0).unwrap();
        assert!(found.low <= values[at].0 && values[at].0 <= found.high, "{at}: {found:?}");
        assert!(found.high / found.low < 1.021, "{at}: {found:?}");
    }
}

#[test]
fn values_beyond_the_range_have_wide_but_true_bounds() {
    let found = of(&[(1.0, 1), (2e18, 1), (7e30, 3)]).quantile(0.5).unwrap();
    assert_eq!((found.low, found.high), (1e18, 7e30));
    let found = of(&[(0.0, 2), (3e-10, 2), (1.0, 1)]).quantile(0.5).unwrap();
    assert_eq!((found.low, found.high), (0.0, 1e-9));
}

#[test]
fn huge_counts_saturate_and_keep_their_ranks() {
    let quantiles = of(&[(1.0, u64::MAX), (2.0, u64::MAX), (3.0, 5)]);
    assert_eq!(quantiles.count(), u64::MAX);
    let around = |q: f64, truth: f64| {
        let found = quantiles.quantile(q).unwrap();
        assert!(found.low <= truth && truth <= found.high && found.high < found.low * 1.021, "{found:?}");
    };
    around(0.25, 1.0);
    around(0.75, 2.0);
    assert_eq!(quantiles.quantile(1.0), Some(Estimate::exact(3.0)));
    assert_eq!(quantiles.sum(), 3.0 * 2f64.powi(64));
}

#[test]
fn small_sketches_have_these_bytes_in_version_1() {
    assert_eq!(Quantiles::new().to_bytes(), [b'Q', 1, 0, 0, 0, 0]);
    let bytes = of(&[(1.5, 3), (0.0, 1), (1e20, 1), (f64::NAN, 7)]).to_bytes();
    let mut expected = vec![b'Q', 1, 7, 1, 1, 1, 0xa1, 0x08, 3];
    expected.extend(0.0f64.to_le_bytes());
    expected.extend(1e20f64.to_le_bytes());
    expected.extend((100_000_000_000_000_000_004u128).to_le_bytes());
    expected.extend((1u64 << 63).to_le_bytes());
    assert_eq!(bytes, expected);
    let many = of(&(1..5000).map(|at| (f64::from(at) * 0.37, 1)).collect::<Vec<_>>()).to_bytes();
    assert_eq!((many.len(), hash64(&many)), (610, 5_472_007_885_225_224_729));
}

#[test]
fn damaged_bytes_never_panic() {
    for (len, rounds) in [(0, 2_000), (3, 6_000), (2000, 2_000)] {
        let quantiles = of(&(0..len).map(|at| (1e-10 * 1.5f64.powi(at % 170), 1 + at as u64)).collect::<Vec<_>>());
        damaged_bytes_are_refused_or_canonical(&quantiles.to_bytes(), rounds, |bytes| {
            let quantiles = Quantiles::from_bytes(bytes)?;
            if let Some(found) = quantiles.quantile(0.3) {
                assert!(found.low <= found.estimate && found.estimate <= found.high && found.high.is_finite());
            }
            Ok(quantiles.to_bytes())
        });
    }
}

#[test]
fn states_that_contradict_themselves_are_refused() {
    let inconsistent = |bytes: &[u8]| matches!(Quantiles::from_bytes(bytes), Err(SketchError::Inconsistent { .. }));
    let with = |low: f64, high: f64| {
        let mut bytes = of(&[(1.0, 1), (2.0, 1)]).to_bytes();
        let at = bytes.len() - 40;
        bytes[at..at + 8].copy_from_slice(&low.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&high.to_le_bytes());
        bytes
    };
    assert!(!inconsistent(&with(1.0, 2.0)));
    for (low, high) in [(1.5, 2.0), (1.0, 3.0), (f64::NAN, 2.0), (1.0, f64::INFINITY), (-1.0, 2.0), (2.0, 1.0)] {
        assert!(inconsistent(&with(low, high)), "{low} {high}");
    }
    assert!(inconsistent(&[b'Q', 1, 0, 0, 0, 0xa7, 0x18]), "3111 buckets");
    assert!(inconsistent(&[b'Q', 1, 0, 0, 0, 2, 1, 1, 0, 1]), "one bucket twice");
    assert!(inconsistent(&[b'Q', 1, 0, 0, 0, 1, 1, 0]), "a bucket without values");
    assert!(inconsistent(&[b'Q', 1, 0, 0, 0, 2, 0xa5, 0x18, 1, 1, 1]), "a bucket above the range");
}
