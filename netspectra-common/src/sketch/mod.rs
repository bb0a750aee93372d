//! Mergeable summaries with bounds.
use serde::{Deserialize, Serialize};

/// A number with the interval that holds the true value with probability `confidence`. Exact when `low == high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best guess.
    pub estimate: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Probability that the true value is in `low..=high`.
    pub confidence: f64,
}
impl Estimate {
    /// A number that is known.
    pub fn exact(value: f64) -> Self {
        Self { estimate: value, low: value, high: value, confidence: 1.0 }
    }
}
/// HyperLogLog.
#[derive(Clone, Debug, Default)]
pub struct Hll;
/// Count-Min with candidates.
#[derive(Clone, Debug, Default)]
pub struct TopK;
/// DDSketch.
#[derive(Clone, Debug, Default)]
pub struct Quantiles;
