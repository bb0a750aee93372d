use super::{Live, Shared, TaskError};
use crate::engine::EngineStats;
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::ports::{BoxFuture, LiveState, PortError, Store, StoreBatch};
use netspectra_common::query::{Partial, Plan, PlanError};
use std::sync::Arc;

/// What is not stored: unwritten flows, open windows, and the batch being written.
///
/// Disjoint from the store only between two writes: ask both through [`ConsistentView`].
#[derive(Clone, Debug)]
pub struct LiveView {
    shared: Arc<Shared>,
}

impl LiveView {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counters and sizes of the engine.
    ///
    /// # Errors
    /// When the engine stopped with a fault.
    pub async fn stats(&self) -> Result<EngineStats, PortError> {
        self.shared.with_live(|live| live.engine.stats()).await.map_err(port_error)
    }

    async fn extent(&self) -> Result<Option<TimeRange>, PortError> {
        self.shared.with_live(|live| live.extent()).await.map_err(port_error)
    }
}

impl LiveState for LiveView {
    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        let plan = plan.clone();
        Box::pin(async move {
            let partial = self.shared.with_live(move |live| live.query(&plan)).await.map_err(port_error)?;
            partial.map_err(|e| PortError::permanent("the plan is not legal").because(e))
        })
    }
}

impl Live {
    fn query(&self, plan: &Plan) -> Result<Partial, PlanError> {
        let mut partial = self.engine.live(plan)?;
        if let Some(batch) = &self.pending {
            batch.fold(plan, &mut partial);
        }
        Ok(partial)
    }

    /// The time that live and pending rows cover.
    fn extent(&self) -> Option<TimeRange> {
        let pending = self.pending.iter().flat_map(|batch| {
            let flows = batch.flows.iter().map(|f| TimeRange { from: f.first_seen, to: after(f.last_seen) });
            let windows = batch.windows.iter();
            let windows = windows.map(|w| TimeRange { from: w.start, to: w.start.plus(w.resolution.duration()) });
            let ledger = batch.ledger.iter().map(|e| TimeRange { from: e.start, to: e.end.max(after(e.start)) });
            flows.chain(windows).chain(ledger)
        });
        pending.chain(self.engine.extent()).reduce(union)
    }
}

/// Live side and store as one store: every row exactly once.
#[derive(Clone)]
pub struct ConsistentView {
    live: LiveView,
    store: Arc<dyn Store>,
}

impl ConsistentView {
    pub(super) const fn new(live: LiveView, store: Arc<dyn Store>) -> Self {
        Self { live, store }
    }
}

impl Store for ConsistentView {
    /// Refuses: only the engine writes.
    fn append<'a>(&'a self, _batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async { Err(PortError::permanent("a view cannot be written to: publish to the engine's bus")) })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move {
            let _no_handover = self.live.shared.handover.read().await;
            let mut partial = self.live.query(plan).await?;
            partial.merge(self.store.query(plan).await?);
            Ok(partial)
        })
    }

    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        self.store.last_generation(node, epoch)
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async move {
            let _no_handover = self.live.shared.handover.read().await;
            let (live, stored) = (self.live.extent().await?, self.store.extent().await?);
            Ok(live.into_iter().chain(stored).reduce(union))
        })
    }
}

fn after(at: Nanos) -> Nanos {
    Nanos(at.0.saturating_add(1))
}

fn union(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) }
}

fn port_error(error: TaskError) -> PortError {
    PortError::permanent("the engine does not answer").because(error)
}
