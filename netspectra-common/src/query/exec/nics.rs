//! Sums of what devices counted, by node and interface, in bounded memory.

use super::super::NicSum;
use crate::model::{LedgerEntry, NicCounters};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Interfaces that an answer tells apart: the first by node and name. The others are one sum, [`OTHER`], so that names that
/// come and go (containers) cost no memory without bound.
pub const MAX_NICS: usize = 1000;
/// Node and name of the sum of all others.
const OTHER: &str = "other";

/// What the device of an interface gained, and in how many generations that is not known.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sum {
    gained: NicCounters,
    resets: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.gained.add(other.gained);
        self.resets = self.resets.saturating_add(other.resets);
    }
}

/// Sums by `(node, interface)`.
///
/// Which keys are kept is a function of all keys there were: the least [`MAX_NICS`]. One of these is never among the
/// greatest of more than that, so it is never let go, and merging is commutative and associative.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct NicSums {
    kept: BTreeMap<(Arc<str>, Arc<str>), Sum>,
    others: Option<Sum>,
}

impl NicSums {
    /// The sums of one generation.
    pub(super) fn of(entry: &LedgerEntry) -> Self {
        let mut sums = Self::default();
        for nic in &entry.nics {
            sums.add((entry.node.clone(), nic.iface.clone()), Sum { gained: nic.gained, resets: nic.reset.into() });
        }
        sums
    }

    /// Adds those of other generations.
    pub(super) fn merge(&mut self, other: &Self) {
        for (key, sum) in &other.kept {
            self.add(key.clone(), *sum);
        }
        if let Some(others) = other.others {
            self.others.get_or_insert_default().add(others);
        }
    }

    /// By node and name; the sum of all others last.
    pub(super) fn finish(self) -> Vec<NicSum> {
        let row = |(node, iface), Sum { gained, resets }| NicSum { node, iface, gained, resets };
        let kept = self.kept.into_iter().map(|(key, sum)| row(key, sum));
        kept.chain(self.others.map(|sum| row((OTHER.into(), OTHER.into()), sum))).collect()
    }

    fn add(&mut self, key: (Arc<str>, Arc<str>), sum: Sum) {
        self.kept.entry(key).or_default().add(sum);
        if self.kept.len() > MAX_NICS
            && let Some((_, greatest)) = self.kept.pop_last()
        {
            self.others.get_or_insert_default().add(greatest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ledger, Nanos, NicDelta};

    fn entry(names: impl Iterator<Item = usize>) -> LedgerEntry {
        let one = |n| NicDelta {
            ifindex: 1,
            iface: format!("veth{n:05}").into(),
            gained: NicCounters { rx_packets: 1, tx_bytes: n as u64, ..NicCounters::default() },
            reset: n == 3,
        };
        LedgerEntry {
            node: "n1".into(),
            epoch: 1,
            generation: 0,
            start: Nanos(0),
            end: Nanos(1),
            ledger: Ledger::default(),
            nics: names.map(one).collect(),
            chain_break: false,
        }
    }

    #[test]
    fn names_without_end_are_summed_under_one_in_any_order() {
        let parts: Vec<NicSums> = (0..50).map(|p| NicSums::of(&entry((0..100).map(|n| n * 50 + p)))).collect();
        let sum = |order: &mut dyn Iterator<Item = &NicSums>| {
            let mut all = NicSums::default();
            order.for_each(|part| all.merge(part));
            all.finish()
        };
        let forward = sum(&mut parts.iter());
        assert_eq!(forward, sum(&mut parts.iter().rev()));
        assert_eq!(forward.len(), MAX_NICS + 1);
        assert_eq!((&*forward[3].iface, forward[3].gained.rx_packets, forward[3].resets), ("veth00003", 1, 1));
        let last = &forward[MAX_NICS];
        assert_eq!((&*last.iface, last.gained.rx_packets), ("other", 4000));
        assert_eq!(last.gained.tx_bytes, (1000..5000).sum::<u64>());
    }
}
