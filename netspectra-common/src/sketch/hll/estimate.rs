//! From a state to a number with bounds.
use super::sparse::LIMIT;
use super::{Estimate, MAX_RANK, Registers};

/// Up to here the chance that any two fingerprints met is below 11 * 11 / 2 / 2^26 < 1e-6.
const SURELY_EXACT: usize = 11;
/// Ranks of a 64-bit hash are below it.
const RANKS: usize = 65;
/// Two standard errors: 95.4 % of a normal distribution.
const Z: f64 = 2.0;
/// Standard error of HyperLogLog times sqrt(m) at large n: sqrt(3 ln 2 - 1).
const HLL_ERROR: f64 = 1.038_961;

/// `len` distinct fingerprints are at least as many values. For n values the number of meetings is Poisson with mean
/// n^2 / 2^27 (26-bit indexes), which is at most 0.032 here: none in more than 96.8 % of sets, more than one in less than 0.06 %.
pub(super) fn sparse(len: usize) -> Estimate {
    let low = len as f64;
    match len {
        0 => Estimate::exact(0.0),
        1..=SURELY_EXACT => Estimate { estimate: low, low, high: low, confidence: 0.999_999 },
        _ => Estimate { estimate: low, low, high: low + 1.0, confidence: 0.999 },
    }
}

/// [`interval`] of a dense sketch. Dense means more than [`LIMIT`] values, for certain.
pub(super) fn dense(registers: &Registers) -> Estimate {
    interval(&registers[..], MAX_RANK, (LIMIT + 1) as f64)
}

/// Ertl's improved raw estimator with the interval of two standard errors, not below `floor`, which is certain and
/// at least 1. Ranks are at most `max_rank`, which is below [`RANKS`].
///
/// The relative standard error is the smaller of HyperLogLog's asymptotic 1.039 / sqrt(m) and that of linear counting,
/// sqrt(m (e^t - t - 1)) / n with t = n / m, which small sets reach. The interval is that of n for which the estimate
/// lies within two errors.
pub(in crate::sketch) fn interval(registers: &[u8], max_rank: u8, floor: f64) -> Estimate {
    let estimate = raw(registers, max_rank).max(floor);
    let m = registers.len() as f64;
    let t = estimate / m;
    let linear = (m * (t.min(8.0).exp() - t - 1.0).max(0.0)).sqrt() / estimate;
    let error = if t < 8.0 { linear.min(HLL_ERROR / m.sqrt()) } else { HLL_ERROR / m.sqrt() };
    Estimate {
        estimate,
        low: (estimate / (1.0 + Z * error)).max(floor),
        high: estimate / (1.0 - Z * error),
        confidence: 0.95,
    }
}

/// Algorithm 6 of Ertl 2017, at most 2^64.
fn raw(registers: &[u8], max_rank: u8) -> f64 {
    let mut histogram = [0u32; RANKS];
    let last = usize::from(max_rank).min(RANKS - 1);
    for rank in registers {
        histogram[usize::from(*rank).min(last)] += 1;
    }
    let m = registers.len() as f64;
    let mut z = m * tau(1.0 - f64::from(histogram[last]) / m);
    for count in histogram[1..last].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (m * m / (2.0 * std::f64::consts::LN_2 * z)).min(u64::MAX as f64)
}

/// x + sum of x^(2^k) 2^(k-1), for `x` in `0.0..=1.0`; ends after at most some twenty rounds for x < 1 of this size.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// (1 - x - sum of (1 - x^(2^-k))^2 2^-k) / 3, for `x` in `0.0..=1.0`.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::REGISTERS;
    use super::*;

    #[test]
    fn extreme_registers_have_finite_estimates() {
        for rank in [1, 30, MAX_RANK - 1, MAX_RANK] {
            let found = dense(&Box::new([rank; REGISTERS]));
            assert!(found.low.is_finite() && found.high.is_finite(), "{found:?}");
            assert!(found.low <= found.estimate && found.estimate <= found.high, "{found:?}");
        }
        let mut almost_empty = Box::new([0; REGISTERS]);
        almost_empty[7] = 1;
        assert_eq!(dense(&almost_empty).estimate, 2049.0);
    }

    #[test]
    fn helper_series_have_their_known_values() {
        assert_eq!((sigma(0.0), sigma(1.0)), (0.0, f64::INFINITY));
        assert!((sigma(0.5) - 0.890_747_1).abs() < 1e-6, "{}", sigma(0.5));
        assert_eq!((tau(0.0), tau(1.0)), (0.0, 0.0));
    }
}
