//! The largest keys by weight: exact while few, then Misra-Gries candidates and a Count-Min sketch.
mod bytes;
mod cells;
mod counters;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::cells::Cells;
use self::counters::{Counters, Wanted, nth_largest};
use super::{Estimate, hash64};

/// Counters that survive a purge: a key heavier than `total / (CAPACITY + 1)` always is a candidate.
///
/// In a purge every counter is lowered by the (`CAPACITY` + 1)-th largest and those at 0 go. At least `CAPACITY` + 1 counters
/// lose that much, so [`TopK::error`] never exceeds `(total - sum of counters) / (CAPACITY + 1)`.
const CAPACITY: usize = 1024;
/// Counters kept before a purge, so that purges are rare. 7/8 of 2,048: a hash table's fill before it would double.
const MAX_COUNTERS: usize = 1792;
/// Longer keys are folded, see [`TopK::add`].
const MAX_KEY: usize = 64;

/// One of the largest keys.
#[derive(Clone, Debug, PartialEq)]
pub struct TopEntry {
    /// The key as added (folded if it was longer than 64 bytes).
    pub key: Vec<u8>,
    /// Its weight.
    pub value: Estimate,
}

/// Sums weights by key and knows the largest, in at most some 190 KiB whatever the input (16-byte keys; 310 KiB
/// with 64-byte ones), 150 while the total is below 2^32.
///
/// **Exact** up to 1,792 distinct keys: every answer is exact. **Sketched** beyond: at most 1,792 candidates by the
/// Misra-Gries rule, and a Count-Min sketch of 5 x 2,048 cells, which also says who becomes no candidate: a new key whose cells
/// say that it is not above what any key without a counter may weigh already. Which of the two forms it is depends on the set
/// of keys alone.
///
/// Bounds when sketched, all certain (confidence 1), also against keys chosen by their hash:
/// - `low` is the candidate's counter (0 for another key), which never exceeds the true weight;
/// - `high` is the smaller of the Count-Min value, which is never below the true weight, and counter +
///   [`unlisted_at_most`](Self::unlisted_at_most), which is at most `total / 1025`. The Count-Min value is more than
///   `e / 2048 * total` too high with probability e^-5 at most, and far better on skewed input;
/// - `estimate` is the median of the cells less their expected noise, kept within the bounds.
///
/// Laws. Total, Count-Min cells and the switch from exact to sketched are linear: equal for any order and any merge
/// tree, and while exact so are the bytes. The candidates are not: below the guaranteed threshold, which keys are kept,
/// and each counter within its error, depends on the order of `add` and on the shape of the merge tree. What always
/// holds: `a + b` and `b + a` have the same bytes, the same sequence of calls gives the same bytes, every key heavier
/// than [`unlisted_at_most`](Self::unlisted_at_most) is a candidate, and all bounds contain the truth.
///
/// Cost, measured in release on one core of a shared AMD EPYC in a slow phase, 16-byte keys: [`add`](Self::add) takes 47 to 70 ns when
/// sketched on a skewed stream, merging two sketched ones 0.05 to 0.08 ms. Allocates when its lists grow, and for a new key of more
/// than 23 bytes. An empty one does not allocate.
///
/// Source: Misra, Gries 1982; merging Agarwal et al., "Mergeable Summaries", 2012; Cormode, Muthukrishnan 2005;
/// noise-corrected estimate Deng, Rafiei 2007.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    /// Exact weights, or Misra-Gries counters once there are cells.
    counters: Counters,
    total: u64,
    /// The most that any key's weight can exceed its counter (which is 0 for a key without one).
    error: u64,
    /// Count-Min, once there were too many keys.
    cells: Option<Cells>,
}

impl TopK {
    /// An empty summary; does not allocate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `weight` (saturating) to `key`; a weight of 0 changes nothing, not even the set of keys.
    ///
    /// A key of more than 64 bytes is folded to its first 56 bytes and the big-endian [`hash64`] of all of it, here and
    /// in [`estimate`](Self::estimate), so that long keys stay distinct.
    pub fn add(&mut self, key: &[u8], weight: u64) {
        if weight == 0 {
            return;
        }
        let key = folded(key);
        self.add_hashed(hash64(&key), &key, weight);
    }

    /// Adds `weight` to `key` of at most 64 bytes, whose [`hash64`] is `hash`; with another hash the bounds would not hold.
    ///
    /// # Panics
    /// A longer key, in debug builds: [`add`](Self::add) is for those.
    #[inline]
    pub fn add_hashed(&mut self, hash: u64, key: &[u8], weight: u64) {
        debug_assert!(key.len() <= MAX_KEY, "a key of {} bytes", key.len());
        if weight == 0 {
            return;
        }
        self.total = self.total.saturating_add(weight);
        let Self { counters, total, error, cells } = self;
        let key = Wanted::new(key);
        let upper = cells.as_mut().map(|cells| {
            cells.expect(*total);
            cells.add(hash, weight)
        });
        if let Some(at) = counters.find(&key) {
            return counters.raise(at, weight);
        }
        // Known to weigh no more than any key may that has no counter.
        if upper.is_some_and(|upper| upper <= *error) {
            return;
        }
        if counters.len() == MAX_COUNTERS {
            if cells.is_none() {
                let mut made = counters.to_cells(*total);
                made.add(hash, weight);
                *cells = Some(made);
            }
            let cut = nth_largest(counters.weights(), CAPACITY);
            counters.lower(cut);
            *error = error.saturating_add(cut);
        }
        counters.push(&key, hash, weight);
    }

    /// Makes this the summary of both inputs together.
    pub fn merge(&mut self, other: &Self) {
        let Self { counters, total, error, cells } = self;
        *total = total.saturating_add(other.total);
        *error = error.saturating_add(other.error);
        match (&mut *cells, &other.cells) {
            (None, None) => {}
            (Some(mine), None) => {
                mine.expect(*total);
                other.counters.add_to(mine);
            }
            (mine, Some(theirs)) => {
                let mine = mine.get_or_insert_with(|| counters.to_cells(*total));
                mine.expect(*total);
                mine.merge(theirs, *total);
            }
        }
        let unknown = counters.add_known(&other.counters);
        let mut cut = 0;
        if counters.len() + unknown.len() > MAX_COUNTERS {
            cells.get_or_insert_with(|| {
                let mut cells = counters.to_cells(*total);
                other.counters.add_some_to(&mut cells, &unknown);
                cells
            });
            cut = nth_largest(counters.weights().chain(other.counters.weights_of(&unknown)), CAPACITY);
            *error = error.saturating_add(cut);
            counters.lower(cut);
        }
        // Lowered before they come in, so that the list never grows beyond what is kept.
        counters.take(&other.counters, &unknown, cut);
    }

    /// Sum of all weights, exact (saturating at `u64::MAX`).
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing was ever added.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The most that any key can weigh that is no candidate: a key heavier than this is known to
    /// [`top`](Self::top). 0 while exact, never more than `total / 1025`.
    pub fn unlisted_at_most(&self) -> u64 {
        self.error
    }

    /// The `n` largest keys known, largest estimate first, equal ones by key. Fewer when fewer are known.
    ///
    /// Cost: one pass over the candidates and a sort of them.
    pub fn top(&self, n: usize) -> Vec<TopEntry> {
        let mut all: Vec<(&[u8], Estimate)> =
            self.counters.iter().map(|(key, hash, counter)| (key, self.bounded(hash, counter))).collect();
        all.sort_unstable_by(|(a_key, a), (b_key, b)| b.estimate.total_cmp(&a.estimate).then_with(|| a_key.cmp(b_key)));
        all.into_iter().take(n).map(|(key, value)| TopEntry { key: key.to_vec(), value }).collect()
    }

    /// The weight of any key, candidate or not. Cost: one look-up and five cells.
    pub fn estimate(&self, key: &[u8]) -> Estimate {
        let key = folded(key);
        self.bounded(hash64(&key), self.counters.get(&key).unwrap_or(0))
    }

    fn bounded(&self, hash: u64, counter: u64) -> Estimate {
        let Some(cells) = &self.cells else { return Estimate::exact(counter as f64) };
        let (upper, likely) = cells.estimate(hash, self.total);
        let low = counter as f64;
        // Conversion to f64 rounds both sides alike, so `high` stays at or above `low`.
        let high = upper.min(counter.saturating_add(self.error)).max(counter) as f64;
        Estimate { estimate: likely.clamp(low, high), low, high, confidence: 1.0 }
    }
}

/// The key itself, or its stand-in when it is longer than [`MAX_KEY`].
fn folded(key: &[u8]) -> Cow<'_, [u8]> {
    if key.len() <= MAX_KEY {
        return Cow::Borrowed(key);
    }
    let mut folded = key[..MAX_KEY - 8].to_vec();
    folded.extend(hash64(key).to_be_bytes());
    Cow::Owned(folded)
}
