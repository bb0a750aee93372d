//! What a side counted in a generation, ready to be compared.

use anyhow::{Result, bail};
use netspectra_common::abi::{Counter, FLAG_OPENS, FlowKey, FlowStats, GenTotals, LossReason};
use netspectra_common::model::FlowDelta;
use std::collections::HashMap;
use std::fmt::Debug;

/// Lines of a report at most: one fault can move thousands of rows.
const ROWS: usize = 20;

/// Flows and totals without times, which no two clocks have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    flows: HashMap<FlowKey, FlowStats>,
    seen: Counter,
    reasons: [Counter; LossReason::COUNT],
    orphan_fragments: u64,
    sizes: Vec<u64>,
}

impl Counted {
    /// Of `flows` (each key once) and `totals`. Events lost are left out: no events are made in test runs.
    pub fn new(flows: &[FlowDelta], totals: &GenTotals) -> Self {
        Self {
            flows: flows.iter().map(|d| (d.key, timeless(d.stats))).collect(),
            seen: totals.seen,
            reasons: totals.reasons,
            orphan_fragments: totals.orphan_fragments,
            sizes: totals.sizes.to_vec(),
        }
    }

    /// Flows.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Frames under a reason.
    pub fn without_flow(&self) -> u64 {
        self.reasons.iter().map(|c| c.packets).sum()
    }

    /// Later fragments without a first one.
    pub fn orphan_fragments(&self) -> u64 {
        self.orphan_fragments
    }

    /// Every frame is in a flow or under a reason, packets and bytes, and in the size histogram; none met a full or a
    /// missing table.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check_ledger(&self) -> Result<()> {
        let mut sum = Counter::default();
        for stats in self.flows.values() {
            sum.add(Counter::new(stats.packets, stats.bytes));
        }
        for reason in self.reasons {
            sum.add(reason);
        }
        if sum != self.seen {
            bail!("seen {:?}, in flows and under reasons {sum:?}", self.seen);
        }
        let sized: u64 = self.sizes.iter().sum();
        if sized != self.seen.packets {
            bail!("{sized} frames in the size histogram, {} seen", self.seen.packets);
        }
        for reason in [LossReason::TableFull, LossReason::NoTable] {
            let counter = self.reasons.get(reason as usize).copied().unwrap_or_default();
            if !counter.is_zero() {
                bail!("{counter:?} under `{}`: a table of the test's own size is at fault", reason.name());
            }
        }
        Ok(())
    }

    /// Where this, the kernel's, differs from `user`; some lines.
    pub fn differences(&self, user: &Self) -> Vec<String> {
        let mut rows = Vec::new();
        compare(&mut rows, "seen", &self.seen, &user.seen);
        for reason in LossReason::ALL {
            let of = |side: &Self| side.reasons.get(reason as usize).copied();
            compare(&mut rows, reason.name(), &of(self), &of(user));
        }
        compare(&mut rows, "orphan fragments", &self.orphan_fragments, &user.orphan_fragments);
        for (bin, (a, b)) in self.sizes.iter().zip(&user.sizes).enumerate() {
            compare(&mut rows, &format!("size bin {bin}"), a, b);
        }
        for (key, stats) in &self.flows {
            compare(&mut rows, &format!("{key:?}"), &Some(stats), &user.flows.get(key));
        }
        for (key, stats) in user.flows.iter().filter(|(key, _)| !self.flows.contains_key(key)) {
            compare(&mut rows, &format!("{key:?}"), &None, &Some(stats));
        }
        rows.truncate(ROWS);
        rows
    }
}

/// `stats` without what depends on when its packets came.
fn timeless(stats: FlowStats) -> FlowStats {
    // The delay of an ACK is a time; whether there was one is not.
    let mark = if stats.tcp_flags & FLAG_OPENS != 0 { u32::from(stats.mark != 0) } else { stats.mark };
    // Whether a segment is out of order or sent again is told by the time since the gap.
    let retransmitted = stats.retransmitted.saturating_add(stats.out_of_order);
    FlowStats { first_seen: 0, last_seen: 0, gap_at: 0, out_of_order: 0, retransmitted, mark, ..stats }
}

fn compare<T: PartialEq + Debug>(rows: &mut Vec<String>, what: &str, kernel: &T, user: &T) {
    if kernel != user && rows.len() < ROWS {
        rows.push(format!("{what}: kernel {kernel:?}, user space {user:?}"));
    }
}
