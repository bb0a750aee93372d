//! What engines know that is not stored.

use super::blocks::Blocks;
use super::task::PartitionStats;
use netspectra_common::ports::{BoxFuture, LivePartitions, LiveReport, PortError, StoreBatch, Through};
use netspectra_common::query::{Partial, Plan, PlanError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;

/// One partition in memory, shared between its task and queries.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) blocks: Blocks,
    /// The block that is being written.
    pub(super) pending: Option<Arc<StoreBatch>>,
    /// The store has the blocks up to here, and the engine has applied them.
    pub(super) settled: Option<u64>,
    /// Behind what the store has: the log is read again, and says nothing yet that is not stored.
    pub(super) again: bool,
    pub(super) stats: PartitionStats,
}

impl Held {
    fn live(&self, plan: &Plan) -> Result<Partial, PlanError> {
        let mut partial = self.blocks.live(plan)?;
        if let Some(batch) = &self.pending {
            batch.fold(plan, &mut partial);
        }
        Ok(partial)
    }
}

pub(super) type Shared = Arc<Mutex<Held>>;

/// The partitions that this process owns.
#[derive(Clone, Debug)]
pub struct PartitionSet {
    topic: Arc<str>,
    owned: Arc<Mutex<BTreeMap<u32, Shared>>>,
}

impl PartitionSet {
    /// None yet, of `topic`.
    pub fn new(topic: Arc<str>) -> Self {
        Self { topic, owned: Arc::default() }
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn insert(&self, partition: u32, shared: Shared) {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, shared);
    }

    /// Takes `partition` out, if it is still this one.
    pub(super) fn remove(&self, partition: u32, shared: &Shared) {
        let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        if owned.get(&partition).is_some_and(|there| Arc::ptr_eq(there, shared)) {
            owned.remove(&partition);
        }
    }

    /// Whether `partition` is this process's.
    pub fn owns(&self, partition: u32) -> bool {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&partition)
    }

    /// Counters and sizes, by partition. Cost: waits for what the engines are at.
    pub fn stats(&self) -> BTreeMap<u32, PartitionStats> {
        let stats = |(partition, shared): (u32, Shared)| {
            let held = shared.lock().ok()?;
            Some((partition, PartitionStats { engine: held.blocks.engine().stats(), ..held.stats.clone() }))
        };
        self.snapshot().into_iter().filter_map(stats).collect()
    }

    fn snapshot(&self) -> Vec<(u32, Shared)> {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned.iter().map(|(partition, shared)| (*partition, shared.clone())).collect()
    }
}

impl LivePartitions for PartitionSet {
    fn report<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>> {
        Box::pin(async move {
            let (plan, topic, owned) = (plan.clone(), self.topic.clone(), self.snapshot());
            let work = move || {
                let mut through = Through::new();
                let mut partial = Partial::new(&plan)?;
                for (partition, shared) in owned {
                    // A partition whose task met a fault has no live side: the store answers for it.
                    let Ok(held) = shared.lock() else { continue };
                    if !held.again {
                        partial.merge(held.live(&plan)?);
                        through.insert(partition, held.settled);
                    }
                }
                Ok::<_, PlanError>((!through.is_empty()).then_some(LiveReport { topic, through, partial }))
            };
            let report = spawn_blocking(work)
                .await
                .map_err(|error| PortError::permanent("the engine met a fault of its own").because(error))?;
            report.map_err(|error| PortError::permanent("the plan is not legal").because(error))
        })
    }
}
