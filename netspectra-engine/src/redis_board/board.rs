//! What is on the board: of one partition, and of all.

use crate::engine::EngineStats;
use netspectra_common::model::{Counter, Nanos, Resolution, WindowSketches, WindowState};
use netspectra_common::ports::StoreBatch;
use netspectra_common::sketch::{Estimate, TopEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Closed windows that a partition keeps: nodes close a window one after the other, and a node whose clock is wrong has
/// windows of its own.
const WINDOWS: usize = 4;

/// A closed 10 s window of several nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoardWindow {
    /// Begin.
    pub start: Nanos,
    /// Nodes that have closed it.
    pub nodes: u64,
    /// Packets.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
    /// Flows that began.
    pub new_flows: u64,
    /// Distinct values, top lists, and spreads.
    pub sketches: WindowSketches,
}

/// What one partition publishes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartitionState {
    pub(super) active_flows: u64,
    pub(super) nodes: u64,
    /// The one that was changed last comes last.
    pub(super) windows: Vec<BoardWindow>,
}

/// The windows of one partition. A function of the batches: no clock.
#[derive(Debug, Default)]
pub(super) struct Board {
    windows: Vec<(BoardWindow, BTreeSet<Arc<str>>)>,
}

impl Board {
    /// Takes the 10 s windows of a batch; returns what is now to be published.
    pub(super) fn apply(&mut self, batch: &StoreBatch, stats: &EngineStats) -> PartitionState {
        for window in batch.windows.iter().filter(|w| w.resolution == Resolution::S10) {
            self.take(window);
        }
        PartitionState {
            active_flows: stats.active_flows as u64,
            nodes: stats.nodes as u64,
            windows: self.windows.iter().map(|(window, _)| window.clone()).collect(),
        }
    }

    /// Parts of a node's window, written early for want of room, add up.
    fn take(&mut self, window: &WindowState) {
        let (mut of_start, mut nodes) = match self.windows.iter().position(|(w, _)| w.start == window.start) {
            Some(place) => self.windows.remove(place),
            None => (BoardWindow::empty(window.start), BTreeSet::new()),
        };
        nodes.insert(window.node.clone());
        of_start.nodes = nodes.len() as u64;
        of_start.count(window.total, window.new_flows);
        if let Some(sketches) = &window.sketches {
            of_start.sketches.merge(sketches);
        }
        self.windows.push((of_start, nodes));
        if self.windows.len() > WINDOWS {
            self.windows.remove(0);
        }
    }
}

impl BoardWindow {
    fn empty(start: Nanos) -> Self {
        Self { start, nodes: 0, packets: 0, bytes: 0, new_flows: 0, sketches: WindowSketches::default() }
    }

    fn count(&mut self, total: Counter, new_flows: u64) {
        self.packets = self.packets.saturating_add(total.packets);
        self.bytes = self.bytes.saturating_add(total.bytes);
        self.new_flows = self.new_flows.saturating_add(new_flows);
    }

    /// Distinct addresses, of senders and receivers.
    pub fn active_addresses(&self) -> Estimate {
        self.sketches.ips.estimate()
    }

    /// The `n` addresses (16 bytes, IPv4 mapped) that sent most bytes, heaviest first.
    pub fn top_senders(&self, n: usize) -> Vec<TopEntry> {
        self.sketches.top_src_bytes.top(n)
    }
}

/// All partitions as one.
#[derive(Debug, Default)]
pub struct BoardAnswer {
    /// Partitions that have published lately.
    pub partitions: u64,
    /// Those of another version, or damaged; they are in no other number.
    pub unreadable: u64,
    /// Flows being watched.
    pub active_flows: u64,
    /// Nodes known.
    pub nodes: u64,
    windows: Vec<BoardWindow>,
}

impl BoardAnswer {
    /// The current window: of those that most nodes have closed, the latest. `None` while no window was closed.
    ///
    /// [`BoardWindow::nodes`] is less than [`BoardAnswer::nodes`] while nodes are silent, or late by more than a window.
    pub fn window(&self) -> Option<&BoardWindow> {
        self.windows.iter().max_by_key(|window| (window.nodes, window.start))
    }

    /// Adds one partition. A node is in one partition at a time, so nothing is counted twice.
    pub(super) fn add(&mut self, state: PartitionState) {
        self.partitions += 1;
        self.active_flows = self.active_flows.saturating_add(state.active_flows);
        self.nodes = self.nodes.saturating_add(state.nodes);
        for window in state.windows {
            let Some(mine) = self.windows.iter_mut().find(|mine| mine.start == window.start) else {
                self.windows.push(window);
                continue;
            };
            mine.nodes = mine.nodes.saturating_add(window.nodes);
            mine.count(Counter::new(window.packets, window.bytes), window.new_flows);
            mine.sketches.merge(&window.sketches);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::EngineConfig;
    use crate::testing::{ACK, Bench, at, tcp};

    /// The batches of a node that sees `flows` new flows in each of `windows` windows of 10 s.
    pub(in super::super) fn batches(node: &str, windows: u32, flows: u8) -> Vec<(StoreBatch, EngineStats)> {
        let mut bench = Bench::new(EngineConfig::default());
        bench.agent = crate::testing::Agent::new(node);
        (0..=windows)
            .map(|n| {
                let from = f64::from(n) * 10.0;
                let deltas: Vec<_> =
                    (0..flows).map(|f| tcp((f, 1000), (200, 80), ACK, (from + 1.0, from + 2.0))).collect();
                let batch = bench.feed((from, from + 9.0), &deltas);
                (batch, bench.engine.stats())
            })
            .collect()
    }

    fn state_of(batches: &[(StoreBatch, EngineStats)]) -> PartitionState {
        let mut board = Board::default();
        batches.iter().map(|(batch, stats)| board.apply(batch, stats)).last().unwrap()
    }

    #[test]
    fn a_partition_shows_its_flows_and_its_latest_closed_window() {
        let mut answer = BoardAnswer::default();
        answer.add(state_of(&batches("n1", 2, 5)));
        assert_eq!((answer.partitions, answer.nodes, answer.active_flows), (1, 1, 5));
        let window = answer.window().unwrap();
        assert_eq!((window.start, window.nodes), (Nanos(at(10.0)), 1));
        assert_eq!((window.packets, window.bytes), (50, 5000));
        assert_eq!(window.active_addresses().estimate.round(), 6.0, "five senders and one receiver");
        assert_eq!(window.top_senders(9).len(), 5);
    }

    #[test]
    fn partitions_add_up() {
        let (one, two) = (batches("n1", 2, 5), batches("n2", 2, 7));
        let mut answer = BoardAnswer::default();
        answer.add(state_of(&one));
        answer.add(state_of(&two));
        let window = answer.window().unwrap();
        assert_eq!((answer.partitions, answer.active_flows, window.nodes), (2, 12, 2));
        assert_eq!((window.packets, window.bytes), (120, 12_000));
        // The same hosts in both: distinct is not a sum, bytes are.
        assert_eq!(window.active_addresses().estimate.round(), 8.0);
        let top = window.top_senders(1);
        assert_eq!(top[0].value.estimate, 2000.0);
    }

    #[test]
    fn a_window_that_only_some_nodes_have_closed_is_not_yet_the_current_one() {
        let mut answer = BoardAnswer::default();
        answer.add(state_of(&batches("n1", 3, 1)));
        answer.add(state_of(&batches("n2", 2, 1)));
        let window = answer.window().unwrap();
        assert_eq!((window.start, window.nodes), (Nanos(at(10.0)), 2));
    }

    #[test]
    fn a_partition_keeps_few_windows_and_a_wrong_clock_does_not_hide_the_others() {
        let mut board = Board::default();
        let good = batches("n1", 12, 2);
        let mut ahead = batches("n2", 12, 1);
        for window in ahead.iter_mut().flat_map(|(batch, _)| &mut batch.windows) {
            window.start = window.start.plus(std::time::Duration::from_secs(3600));
        }
        let mut last = None;
        for ((batch, stats), (batch_ahead, _)) in good.iter().zip(&ahead) {
            board.apply(batch_ahead, stats);
            last = Some(board.apply(batch, stats));
        }
        let last = last.unwrap();
        assert_eq!(last.windows.len(), WINDOWS);
        assert!(last.windows.iter().any(|window| window.start == Nanos(at(110.0))));
    }

    #[test]
    fn parts_of_a_window_add_up_and_are_one_node() {
        let (batch, stats) = batches("n1", 1, 3).pop().unwrap();
        let mut board = Board::default();
        board.apply(&batch, &stats);
        let state = board.apply(&batch, &stats);
        assert_eq!((state.windows.len(), state.windows[0].nodes, state.windows[0].bytes), (1, 1, 6000));
    }
}
