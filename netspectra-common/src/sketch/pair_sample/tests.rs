#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::sketch::SketchError;
use crate::sketch::testing::{Rng, damaged_bytes_are_refused_or_canonical};
use proptest::prelude::*;

fn v4(n: u32) -> [u8; 16] {
    std::net::Ipv4Addr::from_bits(n).to_ipv6_mapped().octets()
}

fn pair(src: u32, dst: u32) -> [u8; 32] {
    let mut pair = [0; 32];
    pair[..16].copy_from_slice(&v4(src));
    pair[16..].copy_from_slice(&v4(dst));
    pair
}

fn of(capacity: usize, pairs: &[(u32, u32)]) -> PairSample {
    let mut sample = PairSample::with_capacity(capacity);
    pairs.iter().for_each(|(src, dst)| sample.insert(&pair(*src, *dst)));
    sample
}

#[test]
fn what_fits_is_counted_exactly_on_both_sides() {
    let sample = of(100, &[(1, 10), (1, 11), (1, 10), (2, 10), (3, 10), (1, 12)]);
    assert!(sample.is_exact());
    assert_eq!(sample.pairs(), Estimate::exact(5.0));
    let top = |side| -> Vec<([u8; 16], f64)> {
        sample.top(side, 2).into_iter().map(|p| (p.address, p.peers.estimate)).collect()
    };
    assert_eq!(top(Side::Src), [(v4(1), 3.0), (v4(2), 1.0)]);
    assert_eq!(top(Side::Dst), [(v4(10), 3.0), (v4(11), 1.0)]);
    assert_eq!(sample.peers(Side::Dst, &v4(10)), Estimate::exact(3.0));
    assert_eq!((sample.peers(Side::Src, &v4(9)), sample.unlisted_at_most()), (Estimate::exact(0.0), 0.0));
    assert!(PairSample::default().is_empty() && !sample.is_empty());
}

#[test]
fn a_scanner_is_found_among_many_pairs_and_no_more_than_fits_is_kept() {
    let mut sample = PairSample::with_capacity(1000);
    for n in 0..200_000u32 {
        // A tenth of all is one host's scan; the rest is two a host.
        let (src, dst) = if n % 10 == 0 { (7, n) } else { (1000 + n / 2, n) };
        sample.insert(&pair(src, dst));
        sample.insert(&pair(src, dst));
        assert!(sample.pairs.len() <= 1000);
    }
    assert!(!sample.is_exact() && sample.pairs.len() > 400, "{}", sample.pairs.len());
    let top = sample.top(Side::Src, 3);
    assert_eq!(top[0].address, v4(7));
    let peers = &top[0].peers;
    assert!(peers.low <= 20_000.0 && 20_000.0 <= peers.high && peers.high < 40_000.0, "{peers:?}");
    assert!(top[1].peers.high < peers.low, "{top:?}");
    let pairs = sample.pairs();
    assert!(pairs.low <= 200_000.0 && 200_000.0 <= pairs.high && pairs.confidence == 0.95, "{pairs:?}");
}

#[test]
fn damaged_bytes_do_no_harm() {
    let mut sample = of(64, &(0..500).map(|n| (n % 7, n)).collect::<Vec<_>>());
    for n in 0..9u8 {
        sample.insert(&[n; 32]);
    }
    assert!(!sample.is_exact());
    for sample in [sample, of(64, &[(1, 2)]), PairSample::default()] {
        damaged_bytes_are_refused_or_canonical(&sample.to_bytes(), 3000, |bytes| {
            PairSample::from_bytes(bytes).map(|s| s.to_bytes())
        });
    }
}

#[test]
fn bytes_that_say_more_than_they_hold_are_refused() {
    let bytes = of(10, &[(1, 2), (3, 4)]).to_bytes();
    assert_eq!(bytes[..5], [b'P', 1, 10, 0, 2]);
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        PairSample::from_bytes(&bytes).unwrap_err()
    };
    let inconsistent = |reason| SketchError::Inconsistent { sketch: "PairSample", reason };
    assert_eq!(changed(2, 1), inconsistent("there are more pairs than fit"));
    assert_eq!(changed(2, 0), inconsistent("the capacity is 0"));
    assert_eq!(changed(3, 60), inconsistent("a pair is not in a sample of this level"));
    assert_eq!(changed(3, 65), inconsistent("the level is larger than 64"));
    assert_eq!(changed(5, 5), inconsistent("a pair is neither 4 nor 6"));
    assert_eq!(changed(4, 3), SketchError::Truncated { sketch: "PairSample" });
    assert_eq!(changed(4, 1), inconsistent("bytes follow the end of the sketch"));
    let mut long = vec![b'P', 1, 10, 0, 1, 6];
    long.extend(pair(1, 2));
    assert_eq!(PairSample::from_bytes(&long), Err(inconsistent("a pair of IPv4 addresses is written as one of IPv6")));
}

#[test]
fn bounds_hold_as_often_as_they_say() {
    let (mut answers, mut outside) = (0u32, 0u32);
    for seed in 0..crate::sketch::testing::STREAMS / 5 {
        let mut rng = Rng::new(seed);
        let peers = rng.below(3000) as u32 + 1;
        let mut sample = PairSample::with_capacity(128);
        for n in 0..peers {
            sample.insert(&pair(seed as u32, n));
        }
        for n in 0..2000 {
            sample.insert(&pair(1 << 20 | n, seed as u32));
        }
        let found = sample.peers(Side::Src, &v4(seed as u32));
        assert!(found.low <= found.estimate && found.estimate <= found.high, "{found:?}");
        answers += 1;
        outside += u32::from(!(found.low..=found.high).contains(&f64::from(peers)));
    }
    // 5 %, and four standard deviations.
    let (n, miss) = (f64::from(answers), 0.05);
    assert!(f64::from(outside) <= n * miss + 4.0 * (n * miss * (1.0 - miss)).sqrt(), "{outside} of {answers}");
}

proptest! {
    #[test]
    fn the_sample_is_a_function_of_the_set(
        pairs in prop::collection::vec((0u32..40, 0u32..40), 0..300),
        cuts in prop::collection::vec(0usize..300, 3),
        capacity in 1usize..200,
    ) {
        let whole = of(capacity, &pairs);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(pairs.len())).collect();
        cuts.sort_unstable();
        let [a, b, c, d] = [0..cuts[0], cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..pairs.len()].map(|r| of(capacity, &pairs[r]));
        let merged = |parts: &[&PairSample]| {
            let mut sum = PairSample::with_capacity(capacity);
            parts.iter().for_each(|p| sum.merge(p));
            sum
        };
        let left = merged(&[&a, &b, &c, &d]);
        let right = merged(&[&merged(&[&d, &c]), &merged(&[&b, &a]), &a]);
        prop_assert_eq!(left.to_bytes(), whole.to_bytes());
        prop_assert_eq!(right.to_bytes(), whole.to_bytes());
        prop_assert_eq!(PairSample::from_bytes(&whole.to_bytes()).unwrap(), whole);
    }
}
