//! A generation: everything a source counted between two instants.

use netspectra_common::abi::{GenTotals, SIZE_BINS};
use netspectra_common::model::{Counter, FlowDelta, Interface, Nanos, Observed, PayloadSeen};
use netspectra_common::sketch::OverflowSummary;

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
    /// First bytes of datagrams; hints, never counts.
    pub payloads: Vec<PayloadSeen>,
    /// What dissectors said of payloads where the packets were; hints as well.
    pub observed: Vec<Observed>,
    /// The observed interfaces, by slot.
    pub interfaces: Vec<Interface>,
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
    for (mine, theirs) in into.sizes.iter_mut().zip(&other.sizes) {
        *mine = mine.wrapping_add(*theirs);
    }
}
