//! A sum of non-negative floats that does not depend on the order of adding.

/// An exact sum in steps of 2^-64; saturates at 2^128. Floats would round differently in each order of merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) whole: u128,
    /// In units of 2^-64.
    pub(super) fraction: u64,
}

impl Sum {
    const MAX: Self = Self { whole: u128::MAX, fraction: u64::MAX };

    /// Adds `value`, finite and not negative, `count` times, rounded to 2^-64.
    pub(super) fn add(&mut self, value: f64, count: u64) {
        const ONE: f64 = (1u128 << 64) as f64;
        let term = if value < ONE {
            // Both casts truncate. The difference is exact, and scaled it is at most 2^64 - 2^11: rounding cannot carry.
            let whole = value as u64;
            let fraction = ((value - whole as f64) * ONE + 0.5) as u64;
            let fractions = u128::from(fraction) * u128::from(count);
            // At most (2^64 - 1)^2 + 2^64 - 1, which fits.
            Self { whole: u128::from(whole) * u128::from(count) + (fractions >> 64), fraction: fractions as u64 }
        } else {
            // Whole by nature; the cast saturates.
            let whole = (value as u128).checked_mul(u128::from(count));
            whole.map_or(Self::MAX, |whole| Self { whole, fraction: 0 })
        };
        self.merge(term);
    }

    pub(super) fn merge(&mut self, other: Self) {
        let (fraction, carry) = self.fraction.overflowing_add(other.fraction);
        let whole = self.whole.checked_add(other.whole).and_then(|whole| whole.checked_add(carry.into()));
        *self = whole.map_or(Self::MAX, |whole| Self { whole, fraction });
    }

    /// Rounded to the nearest `f64`, twice at most.
    pub(super) fn value(self) -> f64 {
        self.whole as f64 + self.fraction as f64 * 2f64.powi(-64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sum;

    fn sum(terms: &[(f64, u64)]) -> Sum {
        let mut sum = Sum::default();
        terms.iter().for_each(|(value, count)| sum.add(*value, *count));
        sum
    }

    proptest! {
        #[test]
        fn any_order_and_grouping_has_the_same_sum(
            mut terms in proptest::collection::vec((0.0..1e30f64, any::<u64>()), 0..20),
            at in any::<proptest::sample::Index>(),
        ) {
            let forward = sum(&terms);
            let (head, tail) = terms.split_at(at.index(terms.len() + 1));
            let mut grouped = sum(head);
            grouped.merge(sum(tail));
            prop_assert_eq!(grouped, forward);
            terms.reverse();
            prop_assert_eq!(sum(&terms), forward);
        }
    }

    #[test]
    fn fractions_carry_and_counts_multiply() {
        assert_eq!(sum(&[(0.75, 3), (1.5, 2)]).value(), 5.25);
        assert_eq!(sum(&[(0.1, 10)]).value(), 1.0);
        assert!((sum(&[(1e-9, 1_000_000_000)]).value() - 1.0).abs() < 3e-11);
        assert_eq!(sum(&[(f64::MAX, 1), (1.0, 1)]), Sum::MAX);
    }
}
