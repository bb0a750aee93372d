//! A generation: everything a source counted between two instants.

use crate::hint::Hint;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use netspectra_common::abi::{GenTotals, SIZE_BINS};
use netspectra_common::model::{Counter, FlowDelta, Interface, Nanos, NicDelta, Observed};
use netspectra_common::sketch::OverflowSummary;
use std::hash::BuildHasher as _;

/// Everything a source counted between two instants. A packet is in one generation only.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Begin, Unix time.
    pub start: Nanos,
    /// End, Unix time.
    pub end: Nanos,
    /// Flows, each key once.
    pub flows: Vec<FlowDelta>,
    /// Everything beside the flows.
    pub totals: Box<GenTotals>,
    /// What is known of packets whose flow found no room; they are under `table_full` in `totals`.
    pub overflow: Option<OverflowSummary>,
    /// First bytes of payloads, for dissectors; never counts.
    pub hints: Vec<Hint>,
    /// What dissectors said of payloads where the packets were; hints as well.
    pub observed: Vec<Observed>,
    /// The observed interfaces, by slot.
    pub interfaces: Vec<Interface>,
    /// What the devices of observed interfaces counted themselves; none of a file.
    pub nics: Vec<NicDelta>,
    /// The source has nothing after this.
    pub last: bool,
}

/// Totals of nothing. Boxed: the structure is 24 KiB.
pub fn empty_totals() -> Box<GenTotals> {
    Box::new(GenTotals {
        seen: Counter::default(),
        reasons: Default::default(),
        events_lost: 0,
        orphan_fragments: 0,
        entries: 0,
        inserted: 0,
        front: 0,
        tag: 0,
        sizes: [0; SIZE_BINS],
    })
}

/// Adds what another CPU counted.
pub fn merge_totals(into: &mut GenTotals, other: &GenTotals) {
    into.seen.add(other.seen);
    for (mine, theirs) in into.reasons.iter_mut().zip(&other.reasons) {
        mine.add(*theirs);
    }
    into.events_lost = into.events_lost.wrapping_add(other.events_lost);
    into.orphan_fragments = into.orphan_fragments.wrapping_add(other.orphan_fragments);
    into.entries = into.entries.wrapping_add(other.entries);
    into.inserted = into.inserted.wrapping_add(other.inserted);
    into.front = into.front.wrapping_add(other.front);
    for (mine, theirs) in into.sizes.iter_mut().zip(&other.sizes) {
        *mine = mine.wrapping_add(*theirs);
    }
}

/// Flows that memory is reserved for at once; more make it grow.
const MOST_RESERVED: usize = 1 << 20;

/// Puts the flows of several tables together, each key once, in the order in which keys came first.
///
/// Cost: one look-up a flow. The index holds places only, 4 bytes a flow: the keys are in the list.
#[derive(Debug, Default)]
pub struct FlowMerge {
    flows: Vec<FlowDelta>,
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl FlowMerge {
    /// With room for `flows`, up to a bound.
    pub fn with_capacity(flows: usize) -> Self {
        let flows = flows.min(MOST_RESERVED);
        Self { flows: Vec::with_capacity(flows), index: HashTable::with_capacity(flows), ..Self::default() }
    }

    /// Adds what a table has of a key.
    #[inline]
    pub fn add(&mut self, flow: FlowDelta) {
        let (flows, hasher) = (&mut self.flows, &self.hasher);
        let same = |at: &u32| flows[*at as usize].key == flow.key;
        let hash_of = |at: &u32| hasher.hash_one(flows[*at as usize].key);
        match self.index.entry(hasher.hash_one(flow.key), same, hash_of) {
            Entry::Occupied(at) => {
                let at = *at.get() as usize;
                flows[at].stats.merge(&flow.stats);
                // Rules that change in the middle: the CPUs' tables need not agree, and the order must not matter.
                flows[at].sampling = flows[at].sampling.max(flow.sampling);
            }
            Entry::Vacant(free) => {
                free.insert(flows.len() as u32);
                flows.push(flow);
            }
        }
    }

    /// The flows.
    pub fn finish(self) -> Vec<FlowDelta> {
        self.flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netspectra_common::abi::FlowKey;
    use netspectra_common::model::{FlowStats, Sampling};

    #[test]
    fn flows_of_several_tables_are_merged_by_key() {
        let flow = |port, packets| FlowDelta {
            key: FlowKey { src_port: port, ..FlowKey::default() },
            stats: FlowStats { packets, ..FlowStats::default() },
            sampling: Sampling::ALL,
        };
        let mut merged = FlowMerge::default();
        for table in [vec![], vec![flow(1, 1), flow(2, 2)], vec![flow(3, 3)], vec![flow(2, 40), flow(3, 30)]] {
            table.into_iter().for_each(|flow| merged.add(flow));
        }
        let found: Vec<(u16, u64)> = merged.finish().iter().map(|f| (f.key.src_port, f.stats.packets)).collect();
        assert_eq!(found, [(1, 1), (2, 42), (3, 33)]);
    }
}
