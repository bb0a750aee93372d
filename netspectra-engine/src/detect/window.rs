//! Candidates over a sliding window, in bounded memory.

use netspectra_common::model::{FlowRecord, Nanos};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// Distinct values that a candidate counts exactly; more are counted as they come.
const DISTINCT: usize = 512;
/// Flows that are named.
const EXAMPLES: usize = 5;

/// Candidates by key; each has the half of the window that is open, and the half before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Windowed<K: Ord, V> {
    entries: BTreeMap<K, Halves<V>>,
    refused: u64,
    /// Half in which it was last tried to make room.
    swept: u64,
}

/// What a candidate did in the last half to whole window.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Halves<V> {
    half: u64,
    pub(super) open: V,
    pub(super) before: V,
}

impl<K: Ord, V> Default for Windowed<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), refused: 0, swept: 0 }
    }
}

impl<K: Ord, V: Default> Windowed<K, V> {
    /// The candidate `key` in the half of a window of `seconds` that holds `now`; `None` (counted) when there are `most` others.
    pub(super) fn at(&mut self, key: K, now: Nanos, seconds: u64, most: usize) -> Option<&mut Halves<V>> {
        let half = now.0 / (seconds * Nanos::PER_SECOND / 2).max(1);
        if self.entries.len() >= most && !self.entries.contains_key(&key) {
            // At most one pass over all in each half, whatever comes.
            if self.swept < half {
                self.swept = half;
                self.entries.retain(|_, halves| halves.half + 1 >= half);
            }
            if self.entries.len() >= most {
                self.refused += 1;
                return None;
            }
        }
        let halves =
            self.entries.entry(key).or_insert_with(|| Halves { half, open: V::default(), before: V::default() });
        if halves.half != half {
            let open = std::mem::take(&mut halves.open);
            halves.before = if halves.half + 1 == half { open } else { V::default() };
            halves.half = half;
        }
        Some(halves)
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }
}

/// Distinct things that a candidate did something to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Targets {
    hashes: BTreeSet<u64>,
    /// Beyond [`DISTINCT`]: each counted, whether it came before or not.
    more: u64,
}

impl Targets {
    pub(super) fn insert(&mut self, what: &[u8]) {
        let hash = xxh3_64(what);
        if self.hashes.len() < DISTINCT {
            self.hashes.insert(hash);
        } else if !self.hashes.contains(&hash) {
            self.more += 1;
        }
    }

    /// Distinct things in both; more than [`DISTINCT`] are a bound from above.
    pub(super) fn union(&self, other: &Self) -> u64 {
        let both = self.hashes.len() + other.hashes.difference(&self.hashes).count();
        both as u64 + self.more + other.more
    }
}

/// When something was seen, and some of the flows that it was seen in.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Span {
    first: Option<Nanos>,
    last: Nanos,
    flows: Vec<u64>,
}

impl Span {
    pub(super) fn add(&mut self, record: &FlowRecord) {
        self.reach(record.first_seen, record.last_seen);
        if self.flows.len() < EXAMPLES && self.flows.last() != Some(&record.flow_id) {
            self.flows.push(record.flow_id);
        }
    }

    pub(super) fn reach(&mut self, first: Nanos, last: Nanos) {
        self.first = Some(self.first.map_or(first, |before| before.min(first)));
        self.last = self.last.max(last);
    }

    /// Begin, end and flows of both.
    pub(super) fn of_both(open: &Self, before: &Self) -> (Nanos, Nanos, Vec<u64>) {
        let first = [before.first, open.first].into_iter().flatten().min().unwrap_or_default();
        let flows = before.flows.iter().chain(&open.flows).take(EXAMPLES).copied().collect();
        (first, open.last.max(before.last), flows)
    }
}

/// Whether an address is one host that could answer.
pub(super) fn is_host(ip: std::net::IpAddr) -> bool {
    let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[3] == 255);
    !ip.is_multicast() && !ip.is_unspecified() && !is_broadcast
}

/// Whether an address is of a private or local network.
pub(super) fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
