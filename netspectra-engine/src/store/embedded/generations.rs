//! Which generations are stored: the last one of each run, so that a batch that comes again is not stored twice.

use netspectra_common::model::LedgerEntry;
use serde::{Deserialize, Serialize};

/// Runs that are remembered; those that began first are forgotten.
const MOST: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    node: String,
    epoch: u64,
    last: u64,
}

/// The last stored generation of each run of each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Generations(Vec<Run>);

impl Generations {
    /// Notes the generations of stored ledger entries.
    pub(super) fn note<'a>(&mut self, entries: impl IntoIterator<Item = &'a LedgerEntry>) {
        for e in entries {
            match self.0.iter_mut().find(|run| run.epoch == e.epoch && *run.node == *e.node) {
                Some(run) => run.last = run.last.max(e.generation),
                None => {
                    self.0.push(Run { node: e.node.to_string(), epoch: e.epoch, last: e.generation });
                    if self.0.len() > MOST {
                        self.0.sort_by_key(|run| run.epoch);
                        self.0.remove(0);
                    }
                }
            }
        }
    }

    /// The last one of a run.
    pub(super) fn last(&self, node: &str, epoch: u64) -> Option<u64> {
        self.0.iter().find(|run| run.epoch == epoch && run.node == node).map(|run| run.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netspectra_common::model::{Ledger, Nanos};

    fn entry(node: &str, epoch: u64, generation: u64) -> LedgerEntry {
        let (start, end) = (Nanos(0), Nanos(0));
        LedgerEntry {
            node: node.into(),
            epoch,
            generation,
            start,
            end,
            ledger: Ledger::default(),
            nics: Vec::new(),
            chain_break: false,
        }
    }

    #[test]
    fn the_highest_number_of_a_run_is_its_last_and_old_runs_are_forgotten() {
        let mut g = Generations::default();
        g.note(&[entry("a", 1, 5), entry("a", 1, 4), entry("b", 1, 9), entry("a", 2, 0)]);
        assert_eq!((g.last("a", 1), g.last("b", 1), g.last("a", 2), g.last("b", 2)), (Some(5), Some(9), Some(0), None));
        (10..10 + MOST as u64).for_each(|epoch| g.note(&[entry("a", epoch, 1)]));
        assert_eq!((g.last("a", 1), g.last("a", 10), g.0.len()), (None, Some(1), MOST));
    }
}
