//! The engine's state as bytes: everything that decides what later messages give, and nothing that follows from it.
//!
//! Left out are counters of [`EngineStats`](super::EngineStats), which begin again, what waits for its manifest, and the
//! sessions of dissectors, which give hints: a message that began before and ends after is not read.

use super::{Engine, EngineConfig, Node, PREFIX_FLOWS, Points};
use crate::detect;
use crate::dissect::{self, Dissectors, Prefixes};
use crate::enrich::Enrichment;
use crate::lifecycle::FlowTable;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// Version of the bytes; raised with every change of a structure in them (a test says when).
const VERSION: u32 = 9;

/// Why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another version wrote them.
    #[error("the engine's state has version {found}, expected {VERSION}")]
    Version {
        /// What is there.
        found: u32,
    },
    /// They are not what was written.
    #[error("the engine's state is damaged")]
    Damaged(#[source] postcard::Error),
    /// They cannot be written.
    #[error("the engine's state cannot be written")]
    Write(#[source] postcard::Error),
}

/// What is written; the same fields as [`Owned`], in their order.
#[derive(Serialize)]
struct Borrowed<'a> {
    config: &'a EngineConfig,
    nodes: &'a [Node],
    points: &'a Points,
    flows: &'a FlowTable,
    messages: u64,
}

/// What is read back.
#[derive(Deserialize)]
struct Owned {
    config: EngineConfig,
    nodes: Vec<Node>,
    points: Points,
    flows: FlowTable,
    messages: u64,
}

impl Engine {
    /// Writes the state into `to`, between two generations. Cost: a pass over flows and open rows; about 300 bytes a flow,
    /// 90 a row.
    ///
    /// # Errors
    /// [`SnapshotError::Write`] when `to` fails.
    pub fn snapshot(&self, mut to: impl Write) -> Result<(), SnapshotError> {
        let io = |_| SnapshotError::Write(postcard::Error::SerializeBufferFull);
        to.write_all(&VERSION.to_le_bytes()).map_err(io)?;
        let state = Borrowed {
            config: &self.config,
            nodes: &self.nodes,
            points: &self.points,
            flows: &self.flows,
            messages: self.messages,
        };
        postcard::to_io(&state, to).map(drop).map_err(SnapshotError::Write)
    }

    /// The engine that [`Engine::snapshot`] wrote, with the configuration that it had. The same messages give the same
    /// batches from now on.
    ///
    /// # Errors
    /// [`SnapshotError::Version`], [`SnapshotError::Damaged`].
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (version, bytes) = bytes.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let found = u32::from_le_bytes(*version);
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        let owned: Owned = postcard::from_bytes(bytes).map_err(SnapshotError::Damaged)?;
        let mut engine = Self::new(owned.config);
        engine.points = owned.points;
        engine.points.reindex();
        engine.flows = owned.flows;
        engine.flows.reindex();
        engine.messages = owned.messages;
        engine.by_name = owned.nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at as u32)).collect();
        engine.nodes = owned.nodes;
        (0..engine.nodes.len() as u32).for_each(|at| engine.recount(at));
        Ok(engine)
    }

    /// Knows this of addresses from now on: of rows that are made again, too, because it is no part of the state.
    pub fn enrich(&mut self, enrichment: Enrichment) {
        self.points.enrichment = enrichment.clone();
        self.config.enrich = enrichment;
    }

    /// Goes on with `config`. Flows that are over by it end with the next generation.
    pub fn reconfigure(&mut self, config: EngineConfig) {
        if self.config != config {
            self.flows.reschedule(&config);
            if self.config.detect != config.detect {
                self.kinds = detect::builtin(&config.detect);
                self.nodes.iter_mut().for_each(|node| node.detectors.put_aside());
            }
            if self.config.http_queries != config.http_queries {
                let dissectors = Dissectors::new(dissect::builtin_with(config.http_queries));
                self.prefixes = Prefixes::new(dissectors, PREFIX_FLOWS);
            }
            self.enrich(config.enrich.clone());
            self.config = config;
        }
    }
}
