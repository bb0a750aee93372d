use super::{Counter, Nanos, NicDelta};
use crate::abi::LossReason;
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
    /// Frames in no record, by [`LossReason`].
    #[serde(with = "reasons")]
    pub reasons: [Counter; LossReason::COUNT],
    /// Later fragments without their first one: in flow records, with ports 0.
    pub orphan_fragments: u64,
    /// Prefix events (hints) that were lost; no count depends on them.
    pub events_lost: u64,
    /// What is known of the frames under [`LossReason::TableFull`], where there were any.
    #[serde(default)]
    pub overflow: Option<Box<OverflowSummary>>,
}

/// Reasons that every release knows.
const FIRST_REASONS: usize = 9;

/// A list, of which other releases may have fewer: what is missing is 0.
mod reasons {
    use super::{Counter, LossReason};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(of: &[Counter; LossReason::COUNT], to: S) -> Result<S::Ok, S::Error> {
        super::told(of).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[Counter; LossReason::COUNT], D::Error> {
        let list = Vec::<Counter>::deserialize(from)?;
        super::known(&list).ok_or_else(|| D::Error::custom("reasons that this release does not know"))
    }
}

/// Without the later ones that are 0, so that earlier releases read what they know.
fn told(of: &[Counter; LossReason::COUNT]) -> &[Counter] {
    let last = of.iter().rposition(|counter| !counter.is_zero()).map_or(0, |at| at + 1);
    &of[..last.max(FIRST_REASONS)]
}

fn known(list: &[Counter]) -> Option<[Counter; LossReason::COUNT]> {
    let mut all = [Counter::default(); LossReason::COUNT];
    all.get_mut(..list.len())?.copy_from_slice(list);
    Some(all)
}

impl Ledger {
    /// The reasons as they are told to other processes, see [`LossReason::ALL`]: later ones are left out where they are 0, so that
    /// earlier releases read what they know.
    pub fn told_reasons(&self) -> &[Counter] {
        told(&self.reasons)
    }

    /// The counters of a list that [`Ledger::told_reasons`] gave; `None` when there are more than this release knows, because
    /// frames under them would be in no term of the balance.
    pub fn known_reasons(list: &[Counter]) -> Option<[Counter; LossReason::COUNT]> {
        known(list)
    }

    /// Frames in a record or under a reason.
    pub fn accounted(&self) -> Counter {
        let mut sum = self.flows;
        sum.add(self.non_ip);
        for r in &self.reasons {
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
        for (mine, theirs) in self.reasons.iter_mut().zip(&other.reasons) {
            mine.add(*theirs);
        }
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
