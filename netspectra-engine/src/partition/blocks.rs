//! From the messages of one partition to blocks, as a function of the log: no clock, no socket, no async.

use super::silence::Silence;
use crate::engine::{Engine, EngineConfig};
use hashbrown::HashMap;
use netspectra_common::model::{BlockId, BusMessage, Nanos};
use netspectra_common::ports::StoreBatch;
use netspectra_common::query::{Partial, Plan, PlanError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time of one node that a block spans, by that node's manifests. Part of the format, as are the other two: other values
/// cut the same log at other places.
const SPAN: Duration = Duration::from_secs(2);
/// Generations of one node in a block, however short they are, or wherever its clock is set to.
const MOST_GENERATIONS: u32 = 64;
/// Flow deltas after which a block ends with the next manifest.
const MOST_DELTAS: u64 = 200_000;

/// One partition's engine and the block that is open.
///
/// A block ends with a manifest: the first one with which one of the nodes has [`SPAN`] or [`MOST_GENERATIONS`] in it, or
/// that follows [`MOST_DELTAS`] deltas. All of this is in the log, so whoever applies it again makes the same blocks,
/// whatever the engine's configuration. Clocks of different nodes are not compared. With each block end the flows of nodes
/// that went silent; where nobody writes any more, a tick ends the block.
#[derive(Debug)]
pub(super) struct Blocks {
    engine: Engine,
    topic: Arc<str>,
    partition: u32,
    /// Offset of the last message of the block before the open one; `None` before the first.
    cut: Option<u64>,
    open: StoreBatch,
    deltas: u64,
    /// Of each node, the begin of its first generation in the open block, and how many there are.
    spans: HashMap<Arc<str>, (Nanos, u32)>,
    /// Messages that wait for their generation's manifest, by offset: an engine's state does not hold them.
    waiting: BTreeMap<u64, Arc<str>>,
    silence: Silence,
    /// A block is known to end here, whatever the rules say: found in the store, when there was no state to go on from.
    align: Option<u64>,
}

impl Blocks {
    /// Begins a partition, at its first message that is still there. A block ends at `align`.
    pub(super) fn begin(config: EngineConfig, topic: Arc<str>, partition: u32, align: Option<u64>) -> Self {
        Self::at(Engine::new(config), Silence::default(), topic, partition, None, align)
    }

    /// Goes on behind `cut` with the engine and the nodes heard of that moment.
    pub(super) fn at(
        engine: Engine,
        silence: Silence,
        topic: Arc<str>,
        partition: u32,
        cut: Option<u64>,
        align: Option<u64>,
    ) -> Self {
        let align = align.filter(|align| cut.is_none_or(|last| *align > last));
        let (open, spans, waiting) = (StoreBatch::default(), HashMap::new(), BTreeMap::new());
        Self { engine, topic, partition, cut, open, deltas: 0, spans, waiting, silence, align }
    }

    /// Applies the message at `offset`, which was written at `written`; the block that it ends. Messages at or before the
    /// last cut change nothing.
    pub(super) fn apply(&mut self, offset: u64, written: Nanos, message: &BusMessage) -> Option<StoreBatch> {
        if self.cut.is_some_and(|last| offset <= last) {
            return None;
        }
        self.begin_block(offset);
        if let BusMessage::Chunk(chunk) = message {
            self.deltas += chunk.deltas.len() as u64;
        }
        let node = message.node();
        self.silence.hear(node, written);
        let batch = self.engine.apply(message);
        let BusMessage::Manifest(manifest) = message else {
            self.waiting.insert(offset, node.clone());
            return None;
        };
        self.waiting.retain(|_, waiting| waiting != node);
        if let Some(batch) = batch {
            self.open.absorb(batch);
        }
        let (from, count) = self.spans.entry(node.clone()).or_insert((manifest.start, 0));
        *count += 1;
        let is_long = manifest.end >= from.plus(SPAN) || *count >= MOST_GENERATIONS;
        (is_long || self.deltas >= MOST_DELTAS || self.align == Some(offset)).then(|| self.end_block(offset))
    }

    /// Applies the tick at `offset`, which was written at `written`; the block that it ends, when a node is silent for too long
    /// by now.
    pub(super) fn tick(&mut self, offset: u64, written: Nanos) -> Option<StoreBatch> {
        if self.cut.is_some_and(|last| offset <= last) {
            return None;
        }
        self.begin_block(offset);
        self.silence.tick(written);
        (self.silence.is_due() || self.align == Some(offset)).then(|| self.end_block(offset))
    }

    /// Applies a message again that waited for its manifest when the state was made.
    pub(super) fn wait_again(&mut self, offset: u64, message: &BusMessage) {
        // A manifest waits for nothing.
        if !matches!(message, BusMessage::Manifest(_)) {
            self.engine.apply(message);
            self.waiting.insert(offset, message.node().clone());
        }
    }

    /// Passes over a message that could not be read.
    pub(super) fn skip(&mut self, offset: u64) {
        if self.cut.is_none_or(|last| offset > last) {
            self.begin_block(offset);
        }
    }

    fn begin_block(&mut self, offset: u64) {
        if self.open.block.is_none() {
            let first = self.cut.map_or(offset, |last| last + 1);
            let (topic, partition) = (self.topic.clone(), self.partition);
            self.open.block = Some(BlockId { topic, partition, first, last: offset });
        }
    }

    fn end_block(&mut self, last: u64) -> StoreBatch {
        for node in self.silence.take_silent() {
            if let Some(batch) = self.engine.end_node(&node) {
                self.open.absorb(batch);
            }
            // The engine has given them up.
            self.waiting.retain(|_, waiting| **waiting != *node);
        }
        self.cut = Some(last);
        self.deltas = 0;
        self.spans.clear();
        let mut batch = std::mem::take(&mut self.open);
        if let Some(block) = &mut batch.block {
            block.last = last;
        }
        if self.align.is_some_and(|align| align <= last) {
            self.align = None;
        }
        batch
    }

    /// Answers from the engine and the open block.
    pub(super) fn live(&self, plan: &Plan) -> Result<Partial, PlanError> {
        let mut partial = self.engine.live(plan)?;
        self.open.fold(plan, &mut partial);
        Ok(partial)
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) const fn silence(&self) -> &Silence {
        &self.silence
    }

    /// Goes on with `config`, at the begin of a block.
    pub(super) fn reconfigure(&mut self, config: EngineConfig) {
        self.engine.reconfigure(config);
    }

    /// Offset at which the last block ended.
    pub(super) const fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// Offsets of messages before the cut that a state made now does not hold. Only between two blocks.
    pub(super) fn waiting(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.waiting.keys().copied()
    }
}
