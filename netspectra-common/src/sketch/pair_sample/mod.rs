//! Who has most different counterparts: a sample of the distinct pairs.
mod bytes;
#[cfg(test)]
mod tests;

use super::index::{Index, SPOTS};
use super::{Estimate, hash64};
use std::collections::HashMap;
use std::hash::BuildHasher;

/// Pairs that a window's sample keeps at most.
const OF_A_WINDOW: usize = 8192;
/// Pairs that any sample keeps at most.
const LARGEST: usize = 1 << 20;
/// How sure bounds are, and the standard normal's quantile for it.
const CONFIDENCE: f64 = 0.95;
const Z: f64 = 1.96;

/// Which end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender: its counterparts are receivers.
    Src,
    /// The receiver: its counterparts are senders.
    Dst,
}

/// A sample of the distinct pairs of addresses, which says of each sender how many receivers it had, and of each receiver
/// how many senders.
///
/// **Exact** up to its capacity (8,192 pairs by default). **Sampled** beyond: the pairs whose [`hash64`] begins with `level` zero
/// bits, where `level` is the smallest that leaves no more than fit. So a pair is in it with probability `2^-level`,
/// however often it was seen, and the sample is a function of the set of pairs alone: the same bytes in any order and any merge
/// tree. Merging is associative, commutative and idempotent.
///
/// Bounds when sampled: those of the mean of a Poisson variable (Wilson, Hilferty), 95 % each, wider than those of the
/// binomial that it is. A counterpart in the sample was seen, so `low` is never below their number. The bounds suppose that
/// addresses were not chosen by their hash, see [`Hll`](super::Hll).
///
/// Cost: an `insert` hashes 32 bytes; when sampled nearly all of them end there. Memory: 48 to 56 bytes a pair kept.
///
/// Source: distinct sampling, Gibbons 2001; for this use Venkataraman, Song, Gibbons, Blum 2005.
#[derive(Clone, Debug)]
pub struct PairSample {
    /// Sender and receiver, in the order in which they came.
    pairs: Vec<[u8; 32]>,
    /// The [`hash64`] of each: pairs with the same one are one.
    hashes: Vec<u64>,
    index: Index,
    level: u32,
    capacity: usize,
}

impl Default for PairSample {
    fn default() -> Self {
        Self::with_capacity(OF_A_WINDOW)
    }
}

/// An address and how many counterparts it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    /// The address, 16 bytes, IPv4 mapped.
    pub address: [u8; 16],
    /// Distinct counterparts.
    pub peers: Estimate,
}

impl PairSample {
    /// An empty sample that keeps at most `capacity` pairs, 1 to 2^20; does not allocate.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            pairs: Vec::new(),
            hashes: Vec::new(),
            index: Index::default(),
            level: 0,
            capacity: capacity.clamp(1, LARGEST),
        }
    }

    /// Adds a pair, sender and receiver of 16 bytes each; a second time changes nothing.
    #[inline]
    pub fn insert(&mut self, pair: &[u8; 32]) {
        self.insert_hashed(hash64(pair), pair);
    }

    /// Adds the pair whose [`hash64`] is `hash`; with another hash it would count as another pair.
    #[inline]
    pub fn insert_hashed(&mut self, hash: u64, pair: &[u8; 32]) {
        if hash.leading_zeros() >= self.level && !self.contains(hash) {
            self.append(hash, pair);
            self.index.push(spot(hash), self.hashes.iter().map(|hash| spot(*hash)));
            if self.pairs.len() > self.capacity {
                self.fit(self.level);
            }
        }
    }

    /// Makes this the sample of the union of both sets. Cost: one pass over `other`, and few over this.
    pub fn merge(&mut self, other: &Self) {
        self.capacity = self.capacity.max(other.capacity);
        let level = self.level.max(other.level);
        let is_new = |(_, hash): &(usize, &u64)| hash.leading_zeros() >= level && !self.contains(**hash);
        let mut new: Vec<u32> = Vec::with_capacity(other.hashes.len());
        new.extend(other.hashes.iter().enumerate().filter(is_new).map(|(at, _)| at as u32));
        self.pairs.reserve(new.len());
        self.hashes.reserve(new.len());
        self.pairs.extend(new.iter().map(|at| other.pairs[*at as usize]));
        self.hashes.extend(new.iter().map(|at| other.hashes[*at as usize]));
        self.fit(level);
    }

    /// Samples no more than `level` says, and less until what is kept fits.
    fn fit(&mut self, mut level: u32) {
        while self.sampled_at(level) > self.capacity {
            level += 1;
        }
        if level > self.level {
            self.drop_below(level);
        }
        self.reindex();
    }

    /// How many of its pairs a sample of `level` has.
    fn sampled_at(&self, level: u32) -> usize {
        let most = u64::MAX.checked_shr(level).unwrap_or(0);
        self.hashes.iter().filter(|hash| **hash <= most).count()
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        self.index.find(spot(hash), |at| self.hashes[at] == hash).is_some()
    }

    fn reindex(&mut self) {
        self.index.rebuild(self.hashes.iter().map(|hash| spot(*hash)));
    }

    /// Adds a pair to the list, not to the index.
    fn append(&mut self, hash: u64, pair: &[u8; 32]) {
        self.pairs.push(*pair);
        self.hashes.push(hash);
    }

    /// Samples less: what is not of `level` goes. Leaves the index as it was.
    fn drop_below(&mut self, level: u32) {
        self.level = level;
        let mut kept = 0;
        for at in 0..self.hashes.len() {
            // Written whether or not it stays: cheaper than a branch that nobody can foresee.
            self.pairs[kept] = self.pairs[at];
            self.hashes[kept] = self.hashes[at];
            kept += usize::from(self.hashes[at].leading_zeros() >= level);
        }
        self.pairs.truncate(kept);
        self.hashes.truncate(kept);
    }

    /// Whether nothing was ever added.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.level == 0
    }

    /// Whether every pair is in it.
    pub fn is_exact(&self) -> bool {
        self.level == 0
    }

    /// The number of distinct pairs.
    pub fn pairs(&self) -> Estimate {
        self.scaled(self.pairs.len())
    }

    /// The `n` addresses on `side` with most counterparts known, largest estimate first, equal ones by address. Cost: one
    /// pass over the sample.
    pub fn top(&self, side: Side, n: usize) -> Vec<Peers> {
        let mut counts: HashMap<[u8; 16], usize, foldhash::fast::RandomState> = HashMap::default();
        for pair in &self.pairs {
            *counts.entry(end(pair, side)).or_default() += 1;
        }
        let mut all: Vec<([u8; 16], usize)> = counts.into_iter().collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all.into_iter().take(n).map(|(address, count)| Peers { address, peers: self.scaled(count) }).collect()
    }

    /// The counterparts of one address. Cost: one pass over the sample.
    pub fn peers(&self, side: Side, address: &[u8; 16]) -> Estimate {
        self.scaled(self.pairs.iter().filter(|pair| end(pair, side) == *address).count())
    }

    /// The most counterparts that an address may have that is not in the sample, with the confidence of all bounds.
    pub fn unlisted_at_most(&self) -> f64 {
        self.scaled(0).high
    }

    /// What `count` of the sample stand for.
    fn scaled(&self, count: usize) -> Estimate {
        let n = count as f64;
        if self.level == 0 {
            return Estimate::exact(n);
        }
        let each = 2f64.powi(i32::try_from(self.level).unwrap_or(i32::MAX));
        // Of a mean of which n were seen: quantiles of gamma(n) and of gamma(n + 1).
        let of = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).max(0.0).powi(3);
        let low = if count == 0 { 0.0 } else { of(n, -Z) };
        let high = of(n + 1.0, Z);
        Estimate {
            estimate: n * each,
            low: (low * each).floor().max(n),
            high: (high * each).ceil(),
            confidence: CONFIDENCE,
        }
    }
}

/// The same pairs, in any order.
impl PartialEq for PairSample {
    fn eq(&self, other: &Self) -> bool {
        (self.level, self.capacity, self.hashes.len()) == (other.level, other.capacity, other.hashes.len())
            && self.hashes.iter().all(|hash| other.contains(*hash))
    }
}

/// Where the index has a pair.
#[inline]
fn spot(hash: u64) -> u64 {
    SPOTS.hash_one(hash)
}

fn end(pair: &[u8; 32], side: Side) -> [u8; 16] {
    let (src, dst) = pair.split_at(16);
    let mut address = [0; 16];
    address.copy_from_slice(match side {
        Side::Src => src,
        Side::Dst => dst,
    });
    address
}
