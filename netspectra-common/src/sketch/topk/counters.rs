//! Keys with their weights: a list, and an index beside it.

use super::cells::Cells;
use crate::sketch::index::{Index, SPOTS};
use std::hash::{BuildHasher, Hasher};
use zerocopy::IntoBytes;

/// Bytes of a key that are kept in place: an address, a port with its protocol.
const SHORT: usize = 23;
/// Instead of a length: the key is in [`Counters::long`].
const LONG: u8 = u8::MAX;

/// A key and its weight, half a line of the cache.
#[derive(Clone, Copy, Debug)]
struct Counter {
    key: Short,
    weight: u64,
}

/// Keys with their exact weights, or with Misra-Gries counters. Each key is there once, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    list: Vec<Counter>,
    /// What the index knows of each.
    spots: Vec<u64>,
    /// The [`hash64`](crate::sketch::hash64) of each.
    hashes: Vec<u64>,
    /// The keys that are too long for the list, each at its place. Empty when there is none.
    long: Vec<Box<[u8]>>,
    index: Index,
}

/// A key on its way.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    short: Short,
    key: &'a [u8],
    spot: u64,
}

impl<'a> Wanted<'a> {
    #[inline]
    pub(super) fn new(key: &'a [u8]) -> Self {
        let mut hasher = SPOTS.build_hasher();
        hasher.write(key);
        Self { short: shortened(key), key, spot: hasher.finish() }
    }
}

/// What the list has of `key`. Built in registers where that can be: a store of bytes that a load of words follows is waited for.
#[inline]
fn shortened(key: &[u8]) -> Short {
    if let Ok(address) = <&[u8; 16]>::try_from(key) {
        let [first, second] = zerocopy::transmute!(*address);
        return Short([first, second, last(16)]);
    }
    if let [a, b, c] = *key {
        return Short([u64::from_ne_bytes([a, b, c, 0, 0, 0, 0, 0]), 0, last(3)]);
    }
    let mut bytes = [0; SHORT + 1];
    match bytes.get_mut(..key.len()).filter(|place| place.len() <= SHORT) {
        Some(place) => place.copy_from_slice(key),
        None => bytes[..SHORT].copy_from_slice(&key[..SHORT]),
    }
    bytes[SHORT] = if key.len() <= SHORT { key.len() as u8 } else { LONG };
    Short(zerocopy::transmute!(bytes))
}

/// The last word of a key of so many bytes, which has none of them.
const fn last(len: u8) -> u64 {
    u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, len])
}

/// The bytes of a short key, or the first ones of a long one; the last byte is its length, or [`LONG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short([u64; 3]);

impl Short {
    /// `None` when it is a long one.
    fn bytes(&self) -> Option<&[u8]> {
        self.0.as_bytes().get(..usize::from(self.0.as_bytes()[SHORT])).filter(|_| !self.is_long())
    }

    #[inline]
    fn is_long(&self) -> bool {
        self.0.as_bytes()[SHORT] == LONG
    }
}

impl Counters {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Keys, their [`hash64`](crate::sketch::hash64), and weights.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64, u64)> {
        (0..self.list.len()).map(|at| (self.key(at), self.hashes[at], self.list[at].weight))
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = u64> + Clone {
        self.list.iter().map(|counter| counter.weight)
    }

    /// The weights at `places`.
    pub(super) fn weights_of(&self, places: &[u32]) -> impl Iterator<Item = u64> + Clone {
        places.iter().map(|at| self.list[*at as usize].weight)
    }

    /// The weight of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<u64> {
        self.find(&Wanted::new(key)).map(|at| self.list[at].weight)
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], weight: u64) {
        self.push(&Wanted::new(key), hash, weight);
    }

    /// Adds the counters of `other` whose keys are here; where the others are in it.
    pub(super) fn add_known(&mut self, other: &Self) -> Vec<u32> {
        let mut unknown = Vec::with_capacity(other.len());
        for (at, (counter, spot)) in other.list.iter().zip(&other.spots).enumerate() {
            let wanted = Wanted { short: counter.key, key: other.long_key(at), spot: *spot };
            match self.find(&wanted) {
                Some(mine) => self.raise(mine, counter.weight),
                None => unknown.push(at as u32),
            }
        }
        unknown
    }

    /// Takes the counters of `other` at `places`, whose keys are not here, each lowered by `cut` if anything of it is left then.
    pub(super) fn take(&mut self, other: &Self, places: &[u32], cut: u64) {
        if places.is_empty() {
            return;
        }
        for at in places.iter().map(|at| *at as usize) {
            let Counter { key, weight } = other.list[at];
            if weight > cut {
                self.append(
                    Counter { key, weight: weight - cut },
                    other.spots[at],
                    other.hashes[at],
                    other.long_key(at),
                );
            }
        }
        self.index.rebuild(self.spots.iter().copied());
    }

    /// Lowers every counter by `cut`; those at 0 go.
    pub(super) fn lower(&mut self, cut: u64) {
        let mut kept = 0;
        for at in 0..self.list.len() {
            let Counter { key, weight } = self.list[at];
            // Written whether or not it stays: cheaper than a branch that nobody can foresee.
            self.list[kept] = Counter { key, weight: weight.saturating_sub(cut) };
            self.spots[kept] = self.spots[at];
            self.hashes[kept] = self.hashes[at];
            if !self.long.is_empty() {
                self.long.swap(kept, at);
            }
            kept += usize::from(weight > cut);
        }
        self.list.truncate(kept);
        self.spots.truncate(kept);
        self.hashes.truncate(kept);
        self.long.truncate(kept);
        self.index.rebuild(self.spots.iter().copied());
    }

    /// The cells of these keys, with room for sums up to `total`.
    pub(super) fn to_cells(&self, total: u64) -> Cells {
        let mut cells = Cells::default();
        cells.expect(total);
        self.add_to(&mut cells);
        cells
    }

    /// Adds all of it to `cells`.
    pub(super) fn add_to(&self, cells: &mut Cells) {
        self.hashes.iter().zip(self.weights()).for_each(|(hash, weight)| _ = cells.add(*hash, weight));
    }

    /// Adds what is at `places` to `cells`.
    pub(super) fn add_some_to(&self, cells: &mut Cells, places: &[u32]) {
        let hashes = places.iter().map(|at| self.hashes[*at as usize]);
        hashes.zip(self.weights_of(places)).for_each(|(hash, weight)| _ = cells.add(hash, weight));
    }

    /// Where a key is.
    #[inline]
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Option<usize> {
        self.index.find(wanted.spot, |at| {
            self.list[at].key == wanted.short && (!wanted.short.is_long() || *self.long[at] == *wanted.key)
        })
    }

    /// Adds `weight` to the key at `at`.
    #[inline]
    pub(super) fn raise(&mut self, at: usize, weight: u64) {
        let sum = &mut self.list[at].weight;
        *sum = sum.saturating_add(weight);
    }

    /// Adds a key that is not there.
    pub(super) fn push(&mut self, wanted: &Wanted<'_>, hash: u64, weight: u64) {
        self.append(Counter { key: wanted.short, weight }, wanted.spot, hash, wanted.key);
        self.index.push(wanted.spot, self.spots.iter().copied());
    }

    /// Adds an element to the list, not to the index.
    #[inline]
    fn append(&mut self, counter: Counter, spot: u64, hash: u64, key: &[u8]) {
        let is_long = counter.key.is_long();
        if is_long || !self.long.is_empty() {
            self.long.resize_with(self.list.len(), Box::default);
            self.long.push(if is_long { key.into() } else { Box::default() });
        }
        self.list.push(counter);
        self.spots.push(spot);
        self.hashes.push(hash);
    }

    fn key(&self, at: usize) -> &[u8] {
        self.list[at].key.bytes().unwrap_or_else(|| &self.long[at])
    }

    /// The key at `at` if it is a long one.
    #[inline]
    fn long_key(&self, at: usize) -> &[u8] {
        self.long.get(at).map_or(&[], |key| key)
    }
}

/// The same keys with the same weights, in any order.
impl PartialEq for Counters {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, _, weight)| other.get(key) == Some(weight))
    }
}

/// The `n`-th largest (from 0) of `weights`, of which there are more than that.
///
/// Counted first by the leading bits, then found among those that have the same: the list is not moved about.
pub(super) fn nth_largest(weights: impl Iterator<Item = u64> + Clone, n: usize) -> u64 {
    let mut counts = [0u32; CLASSES];
    weights.clone().for_each(|weight| counts[class(weight)] += 1);
    let mut before = 0;
    let mut at = CLASSES - 1;
    while at > 0 && before + counts[at] as usize <= n {
        before += counts[at] as usize;
        at -= 1;
    }
    let mut alike: Vec<u64> = weights.filter(|weight| class(*weight) == at).collect();
    let Some(last) = alike.len().checked_sub(1) else { return 0 };
    *alike.select_nth_unstable_by((n - before).min(last), |a, b| b.cmp(a)).1
}

/// Weights with the same three leading bits, of numbers of 64 bits.
const CLASSES: usize = 4 * 64;

#[inline]
fn class(weight: u64) -> usize {
    let bits = (weight | 4).ilog2();
    if weight < 4 { weight as usize } else { ((bits as usize - 1) << 2) | (weight >> (bits - 2) & 3) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::hash64;
    use crate::sketch::testing::Rng;

    #[test]
    fn the_nth_largest_is_that_of_a_sorted_list() {
        let mut rng = Rng::new(3);
        for round in 0..500u32 {
            let len = 1 + rng.below(300) as usize;
            let shift = round % 64;
            let mut weights: Vec<u64> = (0..len).map(|_| rng.next() >> shift).collect();
            if round % 5 == 0 {
                weights.iter_mut().for_each(|weight| *weight &= 3);
            }
            let mut sorted = weights.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            for n in [0, len / 3, len - 1] {
                assert_eq!(nth_largest(weights.iter().copied(), n), sorted[n]);
            }
        }
    }

    #[test]
    fn classes_are_in_the_order_of_weights() {
        let weights: Vec<u64> = (0..64).flat_map(|bit| (0..8).map(move |low| (low << bit) | (1 << bit))).collect();
        let mut sorted = weights;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| class(pair[0]) <= class(pair[1])));
        assert_eq!((class(0), class(3), class(4), class(u64::MAX)), (0, 3, 4, CLASSES - 5));
    }

    #[test]
    fn keys_of_every_length_are_found_after_some_have_gone() {
        let key = |n: usize| vec![n as u8; n];
        let mut counters = Counters::default();
        (0..=64).for_each(|n| counters.insert(hash64(&key(n)), &key(n), n as u64 + 1));
        assert!((0..=64).all(|n| counters.get(&key(n)) == Some(n as u64 + 1)));
        assert_eq!(counters.get(&[7; 64]), None, "as long as another");
        counters.lower(20);
        assert!((0..20).all(|n| counters.get(&key(n)).is_none()));
        assert!((20..=64).all(|n| counters.get(&key(n)) == Some(n as u64 - 19)));
        assert_eq!(counters.iter().map(|(key, hash, _)| (key.len(), hash == hash64(key))).max(), Some((64, true)));
        let mut other = Counters::default();
        let others = [(key(30), 1), (key(40), 2), (key(3), 9), (vec![9; 50], 9)];
        others.iter().for_each(|(key, weight)| other.insert(hash64(key), key, *weight));
        let unknown = counters.add_known(&other);
        assert_eq!((unknown.clone(), counters.get(&key(40))), (vec![2, 3], Some(23)));
        counters.take(&other, &unknown, 8);
        assert_eq!(
            (counters.get(&key(3)), counters.get(&[9; 50]), counters.get(&key(50))),
            (Some(1), Some(1), Some(31))
        );
    }
}
