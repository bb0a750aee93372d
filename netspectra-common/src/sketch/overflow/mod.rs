//! What is known of packets whose flow found no room: totals by protocol, distinct sources, heavy source prefixes.
//!
//! Not a sketch of its own but what is kept of [`crate::abi::Overflow`], which the kernel fills: [`OverflowSum`] adds up
//! the CPUs of a generation, [`OverflowSummary`] is small enough to be stored for each.
mod bytes;
mod report;
mod sum;
#[cfg(test)]
mod tests;

use super::Estimate;
use super::hll::interval;
use crate::abi::{Counter, Direction, SOURCE_REGISTERS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use report::{OverflowReport, PrefixReport, ProtocolReport};
pub use sum::OverflowSum;

/// Prefixes that the summary of one generation names.
const NAMED: usize = 64;
/// A prefix is not worth a name with a smaller part of all packets and all bytes than this: the noise of a row's cell.
const NAMED_PART: u64 = crate::abi::PREFIX_CELLS as u64;
/// Prefixes that a summary of many generations names.
const NAMED_MERGED: usize = 16_384;
/// The highest rank of a register, see `flow::register`.
const MAX_RANK: u8 = 53;

/// What is known of one source prefix. `low <= true value <= high` always holds, for packets and for bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCount {
    /// Best guess.
    pub estimate: Counter,
    /// At least so many.
    pub low: Counter,
    /// At most so many.
    pub high: Counter,
}

/// Packets whose flow found no room in a table, of one generation or of several.
///
/// Merging is commutative, and associative until 16,384 prefixes are named; beyond that the order decides which of the
/// lightest keep their names. Bounds of prefixes hold for certain; those of distinct sources with 95 %, if addresses were
/// not chosen against the public hash. Of one generation: at most 10 KiB; of many: at most 2 MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub struct OverflowSummary {
    /// By direction and protocol; 256 for frames that are not IP. No zeros.
    protocols: BTreeMap<(u8, u16), Counter>,
    registers: Box<[u8; SOURCE_REGISTERS]>,
    /// By `flow::prefix_of`, at most [`NAMED_MERGED`].
    prefixes: BTreeMap<u64, PrefixCount>,
    /// No prefix that is not named has more.
    unnamed: Counter,
}

impl Default for OverflowSummary {
    /// Of no packets.
    fn default() -> Self {
        Self {
            protocols: BTreeMap::new(),
            registers: Box::new([0; SOURCE_REGISTERS]),
            prefixes: BTreeMap::new(),
            unnamed: Counter::default(),
        }
    }
}

impl OverflowSummary {
    /// Adds `other`, which was counted elsewhere or later.
    pub fn merge(&mut self, other: &Self) {
        for (cell, counter) in &other.protocols {
            add(self.protocols.entry(*cell).or_default(), *counter);
        }
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers.iter()) {
            *mine = (*mine).max(*theirs);
        }
        // A prefix that one side does not name may have there whatever the unnamed ones may have.
        for (prefix, mine) in &mut self.prefixes {
            if !other.prefixes.contains_key(prefix) {
                add(&mut mine.high, other.unnamed);
            }
        }
        for (prefix, theirs) in &other.prefixes {
            let unnamed = PrefixCount { high: self.unnamed, ..PrefixCount::default() };
            let mine = self.prefixes.entry(*prefix).or_insert(unnamed);
            add(&mut mine.estimate, theirs.estimate);
            add(&mut mine.low, theirs.low);
            add(&mut mine.high, theirs.high);
        }
        add(&mut self.unnamed, other.unnamed);
        self.name_the_heaviest(NAMED_MERGED);
    }

    /// Packets and bytes of all.
    pub fn total(&self) -> Counter {
        let mut total = Counter::default();
        self.protocols.values().for_each(|counter| add(&mut total, *counter));
        total
    }

    /// By direction and protocol (`None`: not IP), ascending; no zeros.
    pub fn protocols(&self) -> impl Iterator<Item = (Direction, Option<u8>, Counter)> + '_ {
        self.protocols.iter().map(|((direction, protocol), counter)| {
            let direction = if *direction == 0 { Direction::Ingress } else { Direction::Egress };
            (direction, u8::try_from(*protocol).ok(), *counter)
        })
    }

    /// Distinct source addresses of IP packets. Cost: one pass over 4,096 registers.
    pub fn sources(&self) -> Estimate {
        // Each address changes one register at most, so there are at least as many addresses: that is certain.
        let filled = self.registers.iter().filter(|rank| **rank != 0).count() as f64;
        if filled == 0.0 {
            return Estimate::exact(0.0);
        }
        let found = interval(&self.registers[..], MAX_RANK, filled);
        // The interval of a few addresses has no room for two that met in a register.
        Estimate { high: found.high.max(filled + 1.0), ..found }
    }

    /// The named source prefixes (`flow::prefix_of`), those with the most packets first.
    pub fn prefixes(&self) -> Vec<(u64, PrefixCount)> {
        let mut all: Vec<(u64, PrefixCount)> = self.prefixes.iter().map(|(prefix, count)| (*prefix, *count)).collect();
        all.sort_unstable_by_key(|(prefix, c)| (std::cmp::Reverse((c.estimate, c.high)), *prefix));
        all
    }

    /// The most that any prefix which is not named can have.
    pub fn unnamed_at_most(&self) -> Counter {
        self.unnamed
    }

    /// Forgets all but the `most` heaviest.
    fn name_the_heaviest(&mut self, most: usize) {
        if self.prefixes.len() > most {
            let lightest: Vec<u64> = self.prefixes().drain(most..).map(|(prefix, _)| prefix).collect();
            lightest.into_iter().for_each(|prefix| self.forget(prefix));
        }
    }

    /// What a prefix may have had, an unnamed one may have.
    fn forget(&mut self, prefix: u64) {
        if let Some(PrefixCount { high, .. }) = self.prefixes.remove(&prefix) {
            self.unnamed.packets = self.unnamed.packets.max(high.packets);
            self.unnamed.bytes = self.unnamed.bytes.max(high.bytes);
        }
    }
}

/// Counts saturate: a bound that wrapped would be none.
fn add(to: &mut Counter, counter: Counter) {
    to.packets = to.packets.saturating_add(counter.packets);
    to.bytes = to.bytes.saturating_add(counter.bytes);
}
