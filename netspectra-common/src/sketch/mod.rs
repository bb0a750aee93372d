//! Mergeable summaries with bounds: how many distinct ([`Hll`]), which are the largest ([`TopK`]), how are values
//! spread ([`Quantiles`]), who has most counterparts ([`PairSample`]).
//!
//! What holds for all of them:
//! - **Any split, same answer.** Hash and seed are fixed ([`hash64`]), merging is infallible and commutative to the
//!   byte. [`Hll`], [`Quantiles`] and [`PairSample`] are also associative to the byte: a state is a function of what was inserted, never
//!   of the order or of the merge tree. [`TopK`] says where it is weaker. [`Hll`] and [`PairSample`] are idempotent: the other two add.
//! - **Every answer has bounds.** An [`Estimate`] carries the interval and how sure it is.
//! - **Stable bytes.** `to_bytes` writes kind, version and one canonical form; `from_bytes` accepts exactly what
//!   `to_bytes` writes, so bytes that decode encode to themselves. It takes untrusted bytes: it returns a
//!   [`SketchError`], never panics, and allocates no more than the largest legal sketch.
//! - **Counts saturate** at `u64::MAX` instead of wrapping, which keeps the laws above.
mod as_bytes;
mod codec;
mod error;
mod hash;
mod hll;
mod index;
pub mod keys;
mod overflow;
mod pair_sample;
mod quantiles;
#[cfg(test)]
mod testing;
mod topk;

use serde::{Deserialize, Serialize};

pub use error::SketchError;
pub use hash::hash64;
pub use hll::Hll;
pub use overflow::{OverflowReport, OverflowSum, OverflowSummary, PrefixCount, PrefixReport, ProtocolReport};
pub use pair_sample::{PairSample, Peers, Side};
pub use quantiles::Quantiles;
pub use topk::{TopEntry, TopK};

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
