use super::{Counter, Nanos, NicDelta, Reasons};
use crate::sketch::OverflowSummary;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where every frame went. `residual` is 0, always: that is the product's first promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Frames that the observation points saw.
    pub seen: Counter,
    /// Frames in IP flow records.
    pub flows: Counter,
    /// Frames in records by EtherType (ARP, LLDP, LLC ...).
    pub non_ip: Counter,
    /// Frames in no record, by reason.
    pub reasons: Reasons,
    /// Later fragments without their first one: in flow records, with ports 0.
    pub orphan_fragments: u64,
    /// Prefix events (hints) that were lost; no count depends on them.
    pub events_lost: u64,
    /// What is known of the frames under [`LossReason::TableFull`], where there were any.
    #[serde(default)]
    pub overflow: Option<Box<OverflowSummary>>,
}

impl Ledger {
    /// Frames in a record or under a reason.
    pub fn accounted(&self) -> Counter {
        let mut sum = self.flows;
        sum.add(self.non_ip);
        for r in self.reasons.all() {
            sum.add(*r);
        }
        sum
    }

    /// `seen - accounted`, packets and bytes.
    pub fn residual(&self) -> (i128, i128) {
        let a = self.accounted();
        (i128::from(self.seen.packets) - i128::from(a.packets), i128::from(self.seen.bytes) - i128::from(a.bytes))
    }

    /// Adds `other`.
    pub fn merge(&mut self, other: &Self) {
        self.seen.add(other.seen);
        self.flows.add(other.flows);
        self.non_ip.add(other.non_ip);
        self.reasons.merge(&other.reasons);
        self.orphan_fragments = self.orphan_fragments.wrapping_add(other.orphan_fragments);
        self.events_lost = self.events_lost.wrapping_add(other.events_lost);
        match (&mut self.overflow, &other.overflow) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (None, Some(theirs)) => self.overflow = Some(theirs.clone()),
            (_, None) => {}
        }
    }
}

/// The ledger of one generation of one node, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The agent's node name.
    pub node: Arc<str>,
    /// The agent's run: distinguishes generations of one run from those of the next.
    pub epoch: u64,
    /// Generation number inside the epoch.
    pub generation: u64,
    /// Begin of the generation.
    pub start: Nanos,
    /// End of the generation.
    pub end: Nanos,
    /// Where its frames went.
    pub ledger: Ledger,
    /// What the devices of observed interfaces counted themselves.
    pub nics: Vec<NicDelta>,
    /// The manifest did not follow the one before it in the run: one between them is missing, or one was altered.
    pub chain_break: bool,
}
