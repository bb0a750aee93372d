//! The seams: traits that single-host and cluster mode hand different implementations to.

use crate::model::{
    Alert, AppMessage, BlockId, BusMessage, FlowRecord, GenerationId, LedgerEntry, Nanos, Rollup, TimeRange,
    WindowState,
};
use crate::query::wire::{self, WireError};
use crate::query::{Partial, Plan, Source};
use crate::sketch::Estimate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future, so that ports are object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a port failed. The text names the thing and the remedy; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct PortError {
    what: String,
    /// The same call may succeed later (a server away, a disk full).
    pub transient: bool,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error that will not go away by itself.
    pub fn permanent(what: impl Into<String>) -> Self {
        Self { what: what.into(), transient: false, source: None }
    }

    /// An error that may go away.
    pub fn transient(what: impl Into<String>) -> Self {
        Self { what: what.into(), transient: true, source: None }
    }

    /// With its cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

/// Wall-clock time. Cores take `now` as an argument; only adapters hold a clock.
pub trait Clock: Send + Sync {
    /// Unix time.
    fn now(&self) -> Nanos;
}

/// What a cluster shows of the present, from memory: no store is asked.
pub trait Board: Send + Sync {
    /// What was published lately, with the `top` largest senders.
    fn present(&self, top: usize) -> BoxFuture<'_, Result<Present, PortError>>;
}

/// The present of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// Partitions that published lately.
    pub partitions: u64,
    /// Those whose state cannot be read, of another release for instance: they are in no other number.
    pub unreadable: u64,
    /// Nodes known.
    pub nodes: u64,
    /// Flows being watched.
    pub active_flows: u64,
    /// The latest window that most nodes have closed; `None` while there is none.
    pub window: Option<PresentWindow>,
}

/// A closed window of several nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct PresentWindow {
    /// From its begin to its end.
    pub range: TimeRange,
    /// Nodes that have closed it.
    pub nodes: u64,
    /// Packets.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
    /// Flows that began.
    pub new_flows: u64,
    /// Distinct addresses, of senders and receivers.
    pub active_addresses: Estimate,
    /// Senders by bytes, largest first.
    pub top_senders: Vec<(IpAddr, Estimate)>,
}

/// The agent's way out: ordered per node, acknowledged, bounded.
pub trait Publisher: Send + Sync {
    /// Hands over the messages of one generation, in order, and resolves when they need not be sent again.
    ///
    /// Waits while the bus is full (back-pressure); never drops. Sending the same generation again is allowed.
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>>;
}

/// What one manifest, or the manifests of one block, let the engine close; written as one.
#[derive(Clone, Debug, Default)]
pub struct StoreBatch {
    /// Where in a shared log this comes from; `None` where an engine keeps its own journal.
    pub block: Option<BlockId>,
    /// The generation whose manifest closed the batch; `None` at the end of input, and for a block, which may hold many.
    pub closed_by: Option<GenerationId>,
    /// Flow records.
    pub flows: Vec<FlowRecord>,
    /// Roll-ups of closed windows.
    pub rollups: Vec<Rollup>,
    /// Closed windows.
    pub windows: Vec<WindowState>,
    /// Ledgers of the generations.
    pub ledger: Vec<LedgerEntry>,
    /// Messages of application protocols. Hints: flows and ledger do not depend on them.
    pub messages: Vec<AppMessage>,
    /// What detectors said.
    pub alerts: Vec<Alert>,
}

impl StoreBatch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
            && self.rollups.is_empty()
            && self.windows.is_empty()
            && self.ledger.is_empty()
            && self.messages.is_empty()
            && self.alerts.is_empty()
    }

    /// Folds the rows that `plan` asks for into `partial`; the others are not looked at.
    pub fn fold(&self, plan: &Plan, partial: &mut Partial) {
        match plan.source() {
            Source::Flows => self.flows.iter().for_each(|row| partial.fold_flow(plan, row)),
            Source::Rollups => self.rollups.iter().for_each(|row| partial.fold_rollup(plan, row)),
            Source::Windows(_) => self.windows.iter().for_each(|window| partial.fold_window(plan, window)),
            Source::Ledger => self.ledger.iter().for_each(|entry| partial.fold_ledger(plan, entry)),
            Source::Alerts => self.alerts.iter().for_each(|alert| partial.fold_alert(plan, alert)),
            Source::Messages => self.messages.iter().for_each(|message| partial.fold_message(plan, message)),
        }
    }

    /// Takes over the rows of `other`; both keep their own names.
    pub fn absorb(&mut self, other: Self) {
        let Self { block: _, closed_by: _, flows, rollups, windows, ledger, messages, alerts } = other;
        self.flows.extend(flows);
        self.rollups.extend(rollups);
        self.windows.extend(windows);
        self.ledger.extend(ledger);
        self.messages.extend(messages);
        self.alerts.extend(alerts);
    }
}

/// Durable answers.
pub trait Store: Send + Sync {
    /// Writes `batch`; when it resolves to `Ok`, a crash loses nothing of it.
    fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>>;

    /// Runs `plan` over what is stored.
    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>>;

    /// The number of the last generation of a node's run whose batch is stored; `None` when there is none. A batch of a
    /// lower number is stored, too: batches of a run come in order.
    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>>;

    /// The time that stored rows cover; `None` when there are none.
    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>>;
}

/// Up to which offset, inclusive, partitions of a log are to be answered for; `None`: nothing of that partition.
pub type Through = BTreeMap<u32, Option<u64>>;

/// A store that several engines write side by side, each the partitions of a log that it owns.
///
/// A block that is written again, by the same engine or by another, changes nothing.
pub trait BlockStore: Store {
    /// Offset of the last message of the last stored block of a partition; `None` when there is none. Blocks of a
    /// partition come in order: every block before it is stored too.
    fn stored_through<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Option<u64>, PortError>>;

    /// As [`Store::query`], over those blocks of the partitions in `through` that end at or before their offset, and all
    /// blocks of partitions that are not in it.
    fn query_through<'a>(
        &'a self,
        plan: &'a Plan,
        topic: &'a str,
        through: &'a Through,
    ) -> BoxFuture<'a, Result<Partial, PortError>>;

    /// Keeps what an engine held of a partition after the message at `offset`. Older states of it may go.
    fn save_state<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        offset: u64,
        state: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>>;

    /// The state of the highest offset, with that offset; `None` when none was kept.
    #[allow(clippy::type_complexity, reason = "a pair, once: a name for it would say less")]
    fn load_state<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<Option<(u64, Vec<u8>)>, PortError>>;
}

/// What engines know that is not stored yet, of the partitions that they own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveReport {
    /// The log's name.
    pub topic: Arc<str>,
    /// The partitions that `partial` is of, and up to which offset the store is to be asked beside it.
    pub through: Through,
    /// Rows of none of the blocks up to there, and of all behind them that were applied.
    pub partial: Partial,
}

impl LiveReport {
    /// As bytes, for another process of the same release.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode("report", self)
    }

    /// What [`LiveReport::encode`] wrote.
    ///
    /// # Errors
    /// [`WireError`]: another release, or bytes of something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode("report", bytes)
    }
}

/// A process that owns partitions.
pub trait LivePartitions: Send + Sync {
    /// Runs `plan` over what is not stored of the partitions owned; `None` when none is.
    fn report<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>>;
}

/// Answers from what is not stored yet: active flows and open windows.
pub trait LiveState: Send + Sync {
    /// Runs `plan` over the live state. What it sees is disjoint from what [`Store`] holds.
    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>>;
}
