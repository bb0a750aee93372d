use crate::model::{Rollup, TimeRange, WindowState};
use crate::query::source::peers_of;
use crate::query::{PlanError, TopAnswer, TopRow, keys};
use crate::schema::Dimension;
use crate::sketch::PairSample;
use serde::{Deserialize, Serialize};

/// Pairs of roll-ups that are kept; up to here an answer is exact.
const SAMPLED: usize = 1 << 16;
/// Pairs that are kept for an answer that must be exact. Memory: 60 bytes each.
const EXACT_PAIRS: usize = 1 << 20;

/// Who had how many counterparts, from a sample of the pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Counterparts {
    sample: PairSample,
    exact: bool,
    /// A window of an earlier release has no sample.
    lacking: bool,
}

impl Counterparts {
    pub(super) fn of_windows() -> Self {
        Self { sample: PairSample::default(), exact: false, lacking: false }
    }

    pub(super) fn of_rollups(exact: bool) -> Self {
        let capacity = if exact { EXACT_PAIRS } else { SAMPLED };
        Self { sample: PairSample::with_capacity(capacity), exact, lacking: false }
    }

    pub(super) fn add(&mut self, row: &Rollup) {
        // Windows do not know who was only going to send: see `new_flows` of a roll-up.
        if let (Some(src), Some(dst), true) = (row.src_ip, row.dst_ip, row.packets > 0) {
            self.sample.insert(&keys::pair(&keys::address(src), &keys::address(dst)));
        }
    }

    pub(super) fn add_window(&mut self, window: &WindowState) {
        self.lacking |= window.lacks_peers();
        if let Some(sketches) = window.sketches.as_deref() {
            self.sample.merge(&sketches.peers);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.lacking |= other.lacking;
        self.sample.merge(&other.sample);
    }

    pub(super) fn answer(&self, range: TimeRange, by: &[Dimension], limit: usize) -> Result<TopAnswer, PlanError> {
        if self.lacking {
            return Err(PlanError::Unanswerable(
                "some windows of the range were stored by a release that kept no pairs of addresses: ask with `exact`, or for \
                 a later range"
                    .into(),
            ));
        }
        if self.exact && !self.sample.is_exact() {
            return Err(PlanError::Unanswerable(format!(
                "there are more than {EXACT_PAIRS} pairs of addresses: leave `exact` out, or narrow the range or `filter`"
            )));
        }
        let Some(side) = peers_of(by) else { return Ok(TopAnswer { range, items: Vec::new(), total: 0 }) };
        let row = |p: crate::sketch::Peers| TopRow {
            key: vec![keys::address_text(&p.address).unwrap_or_default()],
            value: p.peers,
        };
        // All of them: which of equal ones come first is decided by text, as everywhere.
        let mut items: Vec<TopRow> = self.sample.top(side, usize::MAX).into_iter().map(row).collect();
        items.sort_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate).then_with(|| a.key.cmp(&b.key)));
        items.truncate(limit);
        Ok(TopAnswer { range, items, total: self.sample.pairs().estimate as u64 })
    }
}
