//! What an engine held of a partition at the end of a block, as bytes.

use super::blocks::Blocks;
use super::silence::Silence;
use crate::engine::{Engine, SnapshotError};
use crate::enrich::Enrichment;
use std::collections::BTreeSet;
use std::sync::Arc;

/// First bytes.
const MAGIC: [u8; 4] = *b"NSP2";

/// A state that was read.
#[derive(Debug)]
pub(super) struct State {
    engine: Engine,
    silence: Silence,
    cut: u64,
    /// Messages before the cut to be applied again.
    pub(super) waiting: BTreeSet<u64>,
}

/// Why bytes are no state of a partition.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Asked for before the end of the first block.
    #[error("a partition has no state before its first block")]
    Early,
    /// Cut short, or of something else.
    #[error("the state of the partition is damaged, or of another release")]
    Damaged,
    /// The engine's part.
    #[error("the state of the partition cannot be used")]
    Engine(#[from] SnapshotError),
}

impl Blocks {
    /// The state behind the block that ended last, to be made before another message is applied: the end of the block,
    /// the messages that wait, the nodes heard, the engine. Cost: a pass over the flows.
    pub(super) fn state(&self) -> Result<Vec<u8>, StateError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.cut().ok_or(StateError::Early)?.to_le_bytes());
        bytes.extend((self.waiting().len() as u32).to_le_bytes());
        self.waiting().for_each(|offset| bytes.extend(offset.to_le_bytes()));
        let mut bytes = postcard::to_extend(self.silence(), bytes).map_err(SnapshotError::Write)?;
        self.engine().snapshot(&mut bytes)?;
        Ok(bytes)
    }
}

impl State {
    /// Reads what [`Blocks::state`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(StateError::Damaged)?;
        let (last, rest) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
        let (count, rest) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
        let length = (u32::from_le_bytes(*count) as usize).saturating_mul(8);
        let (waiting, rest) = rest.split_at_checked(length).ok_or(StateError::Damaged)?;
        let (silence, engine) = postcard::take_from_bytes(rest).map_err(|_| StateError::Damaged)?;
        let waiting = waiting.as_chunks().0.iter().map(|offset| u64::from_le_bytes(*offset)).collect();
        Ok(Self { engine: Engine::restore(engine)?, silence, cut: u64::from_le_bytes(*last), waiting })
    }

    /// The first message to be read again.
    pub(super) fn resume(&self) -> u64 {
        self.waiting.first().map_or(self.cut + 1, |first| *first.min(&(self.cut + 1)))
    }

    /// Goes on from here.
    pub(super) fn into_blocks(
        mut self,
        enrichment: Enrichment,
        topic: Arc<str>,
        partition: u32,
        align: Option<u64>,
    ) -> Blocks {
        self.engine.enrich(enrichment);
        Blocks::at(self.engine, self.silence, topic, partition, Some(self.cut), align)
    }
}
