//! Nodes that went silent, by how far the partition's log has come without them.

use netspectra_common::model::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time of the log without a message of a node after which its flows are over. Part of the format, as is [`GAP`].
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// A longer time between two messages counts as this much: nobody could write then, which says nothing of a node.
pub(super) const GAP: Duration = Duration::from_secs(10);

/// When each node was heard last.
///
/// Times are those at which the brokers wrote the messages, so that clocks of nodes do not matter and who reads the log
/// again comes to the same. Where nobody writes, whoever owns the partition writes ticks, so that its log has time.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silence {
    written: Nanos,
    /// Time of the log, gaps left out.
    time: Duration,
    heard: BTreeMap<Arc<str>, Duration>,
}

impl Silence {
    /// Something was written at `written`; 0 where that is not known.
    pub(super) fn tick(&mut self, written: Nanos) {
        if self.written != Nanos(0) {
            self.time += written.since(self.written).min(GAP);
        }
        self.written = self.written.max(written);
    }

    /// A message of `node` was written at `written`; 0 where that is not known.
    pub(super) fn hear(&mut self, node: &Arc<str>, written: Nanos) {
        self.tick(written);
        match self.heard.get_mut(node) {
            Some(at) => *at = self.time,
            None => drop(self.heard.insert(node.clone(), self.time)),
        }
    }

    /// Whether there is a node of which something may have to end.
    pub(super) fn is_listening(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Whether a node is silent for too long by now. Cost: a pass over the nodes.
    pub(super) fn is_due(&self) -> bool {
        self.heard.values().any(|at| self.time.saturating_sub(*at) >= SILENCE)
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
    fn ticks_are_time_and_nobody() {
        let one: Arc<str> = "one".into();
        let mut silence = Silence::default();
        silence.tick(Nanos(SECOND));
        assert!(!silence.is_listening());
        silence.hear(&one, Nanos(SECOND));
        for s in (5..=SILENCE.as_secs()).step_by(5) {
            assert!(silence.is_listening() && !silence.is_due(), "after {s} s");
            silence.tick(Nanos((1 + s) * SECOND));
        }
        assert!(silence.is_due());
        assert_eq!(silence.take_silent(), [one]);
        assert!(!silence.is_listening() && !silence.is_due());
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
