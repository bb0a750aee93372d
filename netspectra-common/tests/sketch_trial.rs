//! Sketches over many streams, beside exact counting: do the bounds hold as often as they say?
//!
//! `cargo test` runs some hundred streams; `NETSPECTRA_TRIAL_STREAMS=12000 cargo test --release -p netspectra-common --test
//! sketch_trial -- --nocapture` the full trial, whose rates are in docs/sketches.md. Seeds are fixed: the same number of streams
//! gives the same rates. Keys chosen by their hash are not among the streams: Hll says that it does not bear them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that reports")]

use netspectra_common::sketch::{Estimate, Hll, Quantiles, TopK};
use std::collections::{BTreeMap, HashMap};

/// Streams without the variable.
const STREAMS: u64 = 240;
/// Items of a stream, spread evenly over the orders of magnitude.
const LENGTHS: (f64, f64) = (50.0, 40_000.0);
const QUANTILES: [f64; 7] = [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How keys and weights of a stream come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Sequential,
    Constant,
    Zipf,
    AllDistinct,
    FewHeavy,
    /// Keys that differ in their upper 24 bits only.
    EqualLowBits,
}

const SHAPES: [Shape; 6] =
    [Shape::Sequential, Shape::Constant, Shape::Zipf, Shape::AllDistinct, Shape::FewHeavy, Shape::EqualLowBits];

impl Shape {
    fn item(self, n: u64, base: u64, rng: &mut Rng) -> (u64, u64) {
        let size = 60 + rng.next() % 1455;
        match self {
            Self::Sequential => (base.wrapping_add(n), size),
            Self::Constant => (base, 1500),
            // Rank r with a frequency of about 1/r; weights with a heavy tail.
            Self::Zipf => (base.wrapping_add(30_000f64.powf(rng.unit()) as u64), (1.0 / (1.0 - rng.unit())) as u64),
            Self::AllDistinct => (rng.next(), size),
            Self::FewHeavy if rng.unit() < 0.3 => (base.wrapping_add(rng.next() % 10), 1_000_000),
            Self::FewHeavy => (rng.next(), 40),
            Self::EqualLowBits => ((rng.next() << 40) | (base & 0xff_ffff_ffff), size),
        }
    }
}

/// The three sketches of one part of a stream.
#[derive(Default)]
struct Sketches {
    distinct: Hll,
    largest: TopK,
    spread: Quantiles,
}

impl Sketches {
    fn add(&mut self, key: u64, weight: u64) {
        self.distinct.insert(&key.to_be_bytes());
        self.largest.add(&key.to_be_bytes(), weight);
        self.spread.add(weight as f64, 1);
    }

    fn merge(&mut self, other: &Self) {
        self.distinct.merge(&other.distinct);
        self.largest.merge(&other.largest);
        self.spread.merge(&other.spread);
    }
}

/// Answers, and those whose bounds did not hold, by sketch, shape and confidence in thousandths.
#[derive(Default)]
struct Tally(BTreeMap<(&'static str, Shape, u64), (u64, u64)>);

impl Tally {
    fn note(&mut self, sketch: &'static str, shape: Shape, found: &Estimate, truth: f64) {
        assert!(found.low <= found.estimate && found.estimate <= found.high, "{sketch}, {shape:?}: {found:?}");
        let (answers, violations) = self.0.entry((sketch, shape, (found.confidence * 1000.0) as u64)).or_default();
        *answers += 1;
        *violations += u64::from(!(found.low..=found.high).contains(&truth));
    }

    /// Violations allowed of `answers`: the stated share, and four standard deviations of chance.
    fn allowed(answers: u64, thousandths: u64) -> f64 {
        let (n, miss) = (answers as f64, 1.0 - thousandths as f64 / 1000.0);
        n * miss + 4.0 * (n * miss * (1.0 - miss)).sqrt()
    }
}

fn stream(seed: u64, tally: &mut Tally) {
    let mut rng = Rng(seed);
    let shape = SHAPES[(seed % SHAPES.len() as u64) as usize];
    let length = (LENGTHS.0 * (LENGTHS.1 / LENGTHS.0).powf(rng.unit())) as u64;
    let base = rng.next();
    // One to four parts, which are merged: bounds must hold after merging, too.
    let mut parts: Vec<Sketches> = (0..=rng.next() % 4).map(|_| Sketches::default()).collect();
    let (mut weights, mut values) = (HashMap::<u64, u64>::new(), Vec::new());
    for n in 0..length {
        let (key, weight) = shape.item(n, base, &mut rng);
        let part = (rng.next() % parts.len() as u64) as usize;
        parts[part].add(key, weight);
        *weights.entry(key).or_default() += weight;
        values.push(weight as f64);
    }
    let mut all = parts.pop().unwrap();
    parts.iter().for_each(|p| all.merge(p));

    tally.note("distinct", shape, &all.distinct.estimate(), weights.len() as f64);
    let total: u64 = weights.values().sum();
    assert_eq!(all.largest.total(), total);
    for (key, weight) in &weights {
        tally.note("weight of a key", shape, &all.largest.estimate(&key.to_be_bytes()), *weight as f64);
    }
    let listed = all.largest.top(usize::MAX);
    for (key, weight) in &weights {
        let known = || listed.iter().any(|e| e.key[..] == key.to_be_bytes());
        assert!(*weight <= all.largest.unlisted_at_most() || known(), "seed {seed}: {key} of {weight} is not listed");
    }
    values.sort_by(f64::total_cmp);
    for q in QUANTILES {
        let rank = (q * (values.len() - 1) as f64).floor() as usize;
        tally.note("quantile", shape, &all.spread.quantile(q).unwrap(), values[rank]);
    }
}

#[test]
fn bounds_hold_as_often_as_they_say() {
    let streams = match std::env::var("NETSPECTRA_TRIAL_STREAMS") {
        Ok(text) => text.parse().expect("NETSPECTRA_TRIAL_STREAMS is a number of streams"),
        Err(_) => STREAMS,
    };
    let mut tally = Tally::default();
    (0..streams).for_each(|seed| stream(seed, &mut tally));
    println!("{streams} streams\nsketch | keys | confidence | answers | violations | rate");
    for ((sketch, shape, thousandths), (answers, violations)) in &tally.0 {
        let rate = *violations as f64 / *answers as f64;
        println!(
            "{sketch} | {shape:?} | {:.3} | {answers} | {violations} | {:.3} %",
            *thousandths as f64 / 1000.0,
            rate * 100.0
        );
    }
    for ((sketch, shape, thousandths), (answers, violations)) in &tally.0 {
        let allowed = Tally::allowed(*answers, *thousandths);
        assert!(
            *violations as f64 <= allowed,
            "{sketch}, {shape:?}: {violations} of {answers} bounds failed, at most {allowed:.1} may"
        );
    }
    let shapes_seen: std::collections::BTreeSet<Shape> = tally.0.keys().map(|(_, shape, _)| *shape).collect();
    assert_eq!(shapes_seen.len(), SHAPES.len(), "too few streams for every shape");
}
