//! Nodes that went silent, by how far the partition's log has come without them.

use netspectra_common::model::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time of the log without a message of a node after which its flows are over. Part of the format, as is [`GAP`].
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// A longer time between two messages counts as this much: nobody could write then, which says nothing of a node.
const GAP: Duration = Duration::from_secs(10);

/// When each node was heard last.
///
/// Times are those at which the brokers wrote the messages, so that clocks of nodes do not matter and who reads the log
/// again comes to the same. A log in which nobody else writes has no time, and then nothing is known of its last node.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silence {
    written: Nanos,
    /// Time of the log, gaps left out.
    time: Duration,
    heard: BTreeMap<Arc<str>, Duration>,
}

impl Silence {
    /// A message of `node` was written at `written`; 0 where that is not known.
    pub(super) fn hear(&mut self, node: &Arc<str>, written: Nanos) {
        if self.written != Nanos(0) {
            self.time += written.since(self.written).min(GAP);
        }
        self.written = self.written.max(written);
        match self.heard.get_mut(node) {
            Some(at) => *at = self.time,
            None => drop(self.heard.insert(node.clone(), self.time)),
        }
    }

    /// The nodes that are silent for too long by now, by name; each once. Cost: a pass over the nodes.
    pub(super) fn take_silent(&mut self) -> Vec<Arc<str>> {
        let time = self.time;
        self.heard.extract_if(.., |_, at| time.saturating_sub(*at) >= SILENCE).map(|(node, _)| node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = Nanos::PER_SECOND;

    #[test]
    fn a_node_is_silent_once_the_others_went_on_for_long_enough() {
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let mut silence = Silence::default();
        silence.hear(&one, Nanos(1_000 * SECOND));
        for s in 1..SILENCE.as_secs() {
            silence.hear(&other, Nanos((1_000 + s) * SECOND));
            assert!(silence.take_silent().is_empty(), "after {s} s");
        }
        // Before what came last: time does not go back.
        silence.hear(&other, Nanos(0));
        assert!(silence.take_silent().is_empty());
        silence.hear(&other, Nanos((1_000 + SILENCE.as_secs()) * SECOND));
        assert_eq!(silence.take_silent(), [one]);
        assert!(silence.take_silent().is_empty());
    }

    #[test]
    fn an_outage_of_the_log_is_no_silence() {
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let mut silence = Silence::default();
        silence.hear(&one, Nanos(SECOND));
        for hour in 1..=80 {
            silence.hear(&other, Nanos(hour * 3600 * SECOND));
        }
        assert!(silence.take_silent().is_empty());
    }
}
