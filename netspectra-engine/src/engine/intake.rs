//! What comes in: who sends it, and what waits for its manifest, within bounds.

use super::inbox::{self, Dropped, Inbox};
use super::{Engine, Node};
use crate::window::Windows;
use netspectra_common::model::{Chunk, Nanos};
use std::sync::Arc;

impl Engine {
    /// Keeps a chunk until its manifest comes, if it is new and there is room.
    pub(super) fn keep(&mut self, chunk: &Arc<Chunk>) {
        let id = &chunk.id.generation;
        let Some(node) = self.node(&id.node) else { return };
        if !self.nodes[node as usize].inbox.is_new(chunk) {
            self.stats.duplicate_chunks += 1;
            return;
        }
        let cost = inbox::cost(chunk);
        if !self.make_room(cost, node, (id.epoch, id.generation)) {
            self.stats.abandoned_chunks += 1;
            return;
        }
        let dropped = self.nodes[node as usize].inbox.keep(chunk, self.messages);
        self.pending += cost;
        self.drop_pending(&dropped);
    }

    /// Gives up the longest waiting generations other than `current` of `node` until `cost` more fits.
    fn make_room(&mut self, cost: usize, node: u32, current: (u64, u64)) -> bool {
        while self.pending + cost > self.config.max_pending_deltas {
            let waiting = self.nodes.iter().enumerate().filter_map(|(at, n)| {
                let except = (at == node as usize).then_some(current);
                n.inbox.oldest(except).map(|since| (since, at))
            });
            let Some((since, at)) = waiting.min() else { return false };
            let dropped = self.nodes[at].inbox.give_up(Some(since));
            self.drop_pending(&dropped);
        }
        true
    }

    /// Books chunks that wait no longer.
    pub(super) fn drop_pending(&mut self, dropped: &Dropped) {
        self.pending = self.pending.saturating_sub(dropped.cost);
        self.stats.abandoned_chunks += dropped.chunks;
    }

    /// The number of the node called `name`, new if need be; `None` (counted) when there are too many. The one that was
    /// ended as silent longest ago goes first.
    pub(super) fn node(&mut self, name: &Arc<str>) -> Option<u32> {
        if let Some(at) = self.by_name.get(name) {
            self.nodes[*at as usize].ended = None;
            return Some(*at);
        }
        let at = if self.nodes.len() < self.config.max_nodes {
            self.nodes.push(Node::new(name));
            self.nodes.len() - 1
        } else {
            let ended = self.nodes.iter().enumerate().filter_map(|(at, node)| Some((node.ended?, at)));
            let Some((_, at)) = ended.min() else {
                self.stats.refused_messages += 1;
                return None;
            };
            let before = std::mem::replace(&mut self.nodes[at], Node::new(name));
            self.by_name.remove(&before.name);
            self.points.forget(&before.name);
            at
        };
        let at = at as u32;
        self.by_name.insert(name.clone(), at);
        Some(at)
    }
}

impl Node {
    fn new(name: &Arc<str>) -> Self {
        Self {
            name: name.clone(),
            time: Nanos(0),
            last_start: Nanos(0),
            inbox: Inbox::default(),
            ended: None,
            detectors: Default::default(),
            payload: Default::default(),
            windows: Windows::default(),
            slots: None,
            counted: (0, 0),
        }
    }
}
