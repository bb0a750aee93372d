//! Merging stored windows over nodes and time, so that questions about long ranges have little to read.
//!
//! One engine does it: the one that has partition 0. No answer depends on it.

use crate::output;
use crate::run::SystemClock;
use netspectra_common::ports::Clock as _;
use netspectra_engine::partition::PartitionSet;
use netspectra_engine::store::clickhouse::{ClickHouseStore, Merging};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two passes.
const PERIOD: Duration = Duration::from_secs(60);
/// The partition whose owner merges.
const FIRST: u32 = 0;

/// Counters.
#[derive(Debug, Default)]
pub(super) struct MergingStats {
    pub(super) minutes: AtomicU64,
    pub(super) hours: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// Merges for as long as it is let.
pub(super) async fn run(store: Arc<ClickHouseStore>, set: PartitionSet, stats: Arc<MergingStats>) {
    let mut merging = Merging::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        if !set.owns(FIRST) {
            // Who has it meanwhile may leave gaps.
            merging = Merging::new();
            continue;
        }
        match merging.pass(&store, SystemClock.now()).await {
            Ok(made) => {
                stats.minutes.fetch_add(made.minutes, Ordering::Relaxed);
                stats.hours.fetch_add(made.hours, Ordering::Relaxed);
                tracing::debug!(minutes = made.minutes, hours = made.hours, "merged windows");
            }
            Err(error) => {
                stats.failures.fetch_add(1, Ordering::Relaxed);
                let error = output::chain(&anyhow::Error::new(error));
                tracing::warn!(error, "windows were not merged: until they are, long ranges take longer to answer");
            }
        }
    }
}
