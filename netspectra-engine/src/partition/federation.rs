//! The whole as one store: what owners of partitions know, and the blocks that are stored.

use netspectra_common::model::TimeRange;
use netspectra_common::ports::{
    BlockStore, BoxFuture, LivePartitions, LiveReport, PortError, Store, StoreBatch, Through,
};
use netspectra_common::query::{Partial, Plan};
use netspectra_common::report::Sparing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Answers from stored blocks and from those who own the partitions, every row once.
///
/// The owners are asked first, all at once: what they say is not stored, and up to where it is. Then the store is asked for
/// the blocks up to there. An owner that does not answer is left out, and the store answers for its partitions: its latest
/// seconds are missing then, and nothing else is. Of two that claim a partition the one counts that is further.
pub struct Federation {
    topic: Arc<str>,
    store: Arc<dyn BlockStore>,
    owners: Arc<dyn Owners>,
    warnings: Sparing,
}

/// Who is to be asked.
pub trait Owners: Send + Sync {
    /// Those that are known of now.
    fn list(&self) -> BoxFuture<'_, Vec<Arc<dyn LivePartitions>>>;
}

impl Owners for Vec<Arc<dyn LivePartitions>> {
    fn list(&self) -> BoxFuture<'_, Vec<Arc<dyn LivePartitions>>> {
        let all = self.clone();
        Box::pin(async move { all })
    }
}

impl Federation {
    /// Of `topic`, in `store`, owned by some of `owners`.
    pub fn new(topic: Arc<str>, store: Arc<dyn BlockStore>, owners: Arc<dyn Owners>) -> Self {
        Self { topic, store, owners, warnings: Sparing::default() }
    }

    /// What the owners say, one report for each partition at most. Reports of those that fail are left out.
    async fn reports(&self, plan: &Plan) -> Vec<LiveReport> {
        let mut asked = JoinSet::new();
        for owner in self.owners.list().await {
            let plan = plan.clone();
            asked.spawn(async move { owner.report(&plan).await });
        }
        let mut reports: Vec<LiveReport> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Some(report))) if report.topic == self.topic => reports.push(report),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => self.warn(&error),
                Err(error) => self.warn(&error),
            }
        }
        disjoint(reports)
    }

    /// Every question would say it again.
    fn warn(&self, error: &dyn std::error::Error) {
        if self.warnings.is_due(Instant::now()) {
            tracing::warn!(%error, "an engine did not answer: its partitions are answered from the store");
        }
    }
}

/// Leaves out reports of owners that are behind another one in a partition: they lost it and do not know yet. A report's rows
/// cannot be taken apart, so the store answers for their other partitions until they do.
fn disjoint(reports: Vec<LiveReport>) -> Vec<LiveReport> {
    let mut furthest: BTreeMap<u32, (Option<u64>, usize)> = BTreeMap::new();
    for (index, report) in reports.iter().enumerate() {
        for (partition, at) in &report.through {
            let best = furthest.entry(*partition).or_insert((*at, index));
            if best.0 < *at {
                *best = (*at, index);
            }
        }
    }
    let leads = |index: usize, report: &LiveReport| {
        report.through.keys().all(|partition| furthest.get(partition).is_some_and(|(_, best)| *best == index))
    };
    reports.into_iter().enumerate().filter(|(index, report)| leads(*index, report)).map(|(_, report)| report).collect()
}

impl Store for Federation {
    /// Refuses: only engines write.
    fn append<'a>(&'a self, _batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async { Err(PortError::permanent("answers cannot be written to: publish to the log")) })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move {
            let mut through = Through::new();
            let mut live: Option<Partial> = None;
            for report in self.reports(plan).await {
                through.extend(report.through);
                match &mut live {
                    Some(sum) => sum.merge(report.partial),
                    None => live = Some(report.partial),
                }
            }
            let mut partial = self.store.query_through(plan, &self.topic, &through).await?;
            if let Some(live) = live {
                partial.merge(live);
            }
            Ok(partial)
        })
    }

    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        self.store.last_generation(node, epoch)
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        self.store.extent()
    }
}
