//! Counters of consecutive buckets.

/// Lowest bucket: that of the smallest `f64` above 10^-9.
pub(super) const MIN_KEY: i32 = -1037;
/// Highest bucket: that of the largest `f64` below 10^18.
pub(super) const MAX_KEY: i32 = 2072;

/// Saturating counters from the lowest bucket in use to the highest. Neither end is 0, so equal content is equal state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Store {
    /// Key of the first counter; 0 when there is none.
    first: i32,
    counters: Vec<u64>,
}

impl Store {
    /// Adds `count`, which is not 0. A key outside of the fixed range, which only rounding can make, counts at its end.
    pub(super) fn add(&mut self, key: i32, count: u64) {
        let key = key.clamp(MIN_KEY, MAX_KEY);
        self.cover(key, key);
        let counter = &mut self.counters[(key - self.first) as usize];
        *counter = counter.saturating_add(count);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let Some((first, last)) = other.ends() else { return };
        self.cover(first, last);
        let mine = &mut self.counters[(first - self.first) as usize..];
        for (mine, theirs) in mine.iter_mut().zip(&other.counters) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Sum of the counters.
    pub(super) fn count(&self) -> u128 {
        self.counters.iter().map(|count| u128::from(*count)).sum()
    }

    /// The bucket of the value with this rank, from 0; `None` when there are not so many.
    pub(super) fn key_of_rank(&self, mut rank: u128) -> Option<i32> {
        for (key, count) in self.buckets() {
            rank = match rank.checked_sub(u128::from(count)) {
                None => return Some(key),
                Some(rest) => rest,
            };
        }
        None
    }

    /// Buckets in use with their counters, ascending.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        (self.first..).zip(self.counters.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// Lowest and highest bucket in use.
    pub(super) fn ends(&self) -> Option<(i32, i32)> {
        let last = self.first + self.counters.len() as i32 - 1;
        (!self.counters.is_empty()).then_some((self.first, last))
    }

    /// Makes room for the buckets from `low` to `high`, of which the ends are about to be counted in.
    fn cover(&mut self, low: i32, high: i32) {
        let (first, last) = self.ends().map_or((low, high), |(first, last)| (first.min(low), last.max(high)));
        if self.counters.is_empty() {
            self.first = first;
        }
        let missing = (self.first - first) as usize;
        if missing > 0 {
            self.counters.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = first;
        }
        let len = (last - first + 1) as usize;
        if len > self.counters.len() {
            self.counters.resize(len, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use sketches_ddsketch::Config;

    use super::super::OVERFLOW;
    use super::*;

    #[test]
    fn the_fixed_range_is_that_of_the_mapping() {
        let config = Config::defaults();
        assert_eq!(config.key(config.min_possible().next_up()), MIN_KEY);
        assert_eq!(config.key(OVERFLOW.next_down()), MAX_KEY);
        assert_eq!(MAX_KEY - MIN_KEY + 1, 3110);
    }

    #[test]
    fn growth_in_both_directions_keeps_counts() {
        let mut store = Store::default();
        for key in [5, 9, -3, 5, MAX_KEY + 7, MIN_KEY - 7] {
            store.add(key, 2);
        }
        let expected = [(MIN_KEY, 2), (-3, 2), (5, 4), (9, 2), (MAX_KEY, 2)];
        assert_eq!(store.buckets().collect::<Vec<_>>(), expected);
        assert_eq!(store.counters.len(), 3110);
        assert_eq!(
            [0, 2, 7, 8, 12].map(|rank| store.key_of_rank(rank)),
            [Some(MIN_KEY), Some(-3), Some(5), Some(9), None]
        );
    }
}
