//! `netspectra engine`: from Kafka to ClickHouse, the partitions that are this one's.

use super::merging::{self, MergingStats};
use super::metrics::{Watched, engine_registry};
use super::settings::{Needs, cluster_token, live_board, load, set};
use crate::cli::cluster::EngineArgs;
use crate::config::Config;
use crate::run::health::Alive;
use crate::run::{EndSignals, closed, engine_config, listen, part, refresh};
use crate::{Failure, Outcome, output};
use anyhow::Context;
use netspectra_api::{Auth, Limits, ServiceDeps, serve_service};
use netspectra_common::model::LogEntry;
use netspectra_common::ports::StoreBatch;
use netspectra_common::proto;
use netspectra_engine::EngineStats;
use netspectra_engine::bus::kafka::{KafkaNotes, Member};
use netspectra_engine::partition::{AfterBlock, PartitionSet, run_group};
use netspectra_engine::redis_board::{LiveBoard, PartitionBoard};
use netspectra_engine::remote_write::RemoteWrite;
use netspectra_engine::store::clickhouse::ClickHouseStore;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Wait before the schema is looked at again.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn main(args: EngineArgs) -> Outcome {
    let change = |config: &mut Config| {
        args.log.apply(config);
        if args.instance.is_some() {
            config.kafka.instance.clone_from(&args.instance);
        }
        args.tables.apply(config);
        set(&mut config.cluster.listen, &args.listen);
        if args.redis.is_some() {
            config.cluster.redis.clone_from(&args.redis);
        }
        if args.cluster_token_file.is_some() {
            config.cluster.token_file.clone_from(&args.cluster_token_file);
        }
    };
    match load(&args.common, Needs { kafka: true, clickhouse: true }, change)? {
        Ok(config) => super::run(serve(config)),
        Err(status) => Ok(status),
    }
}

fn decode(bytes: &[u8]) -> Result<LogEntry, String> {
    proto::decode(bytes).map_err(|error| output::chain(&anyhow::Error::new(error)))
}

async fn serve(config: Config) -> Outcome {
    let mut signals = EndSignals::watch()?;
    let listener = listen(config.cluster.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let auth = Auth::bearer([cluster_token(&config)?]).map_err(Failure::misuse)?;
    let store = Arc::new(ClickHouseStore::new(&config.clickhouse, &config.kafka.topic).map_err(Failure::misuse)?);
    let board = live_board(&config)?;
    let remote = RemoteWrite::start(&config.remote_write).map_err(Failure::misuse)?;
    let tick = proto::encode_tick(config.kafka.instance.as_deref().unwrap_or_default());
    let notes = Arc::new(KafkaNotes::new(&config.kafka, tick).map_err(Failure::misuse)?);
    let (stop, stopped) = watch::channel(false);
    tokio::select! {
        checked = wait_for_schema(&store) => checked?,
        () = signals.come() => return Ok(ExitCode::SUCCESS),
    }

    let member = Member::join(&config.kafka, decode).map_err(Failure::misuse)?;
    let set = PartitionSet::new(config.kafka.topic.as_str().into());
    let merged = Arc::new(MergingStats::default());
    let watched = Watched {
        set: set.clone(),
        member: member.stats(),
        merged: merged.clone(),
        board: board.clone(),
        remote: remote.clone(),
    };
    let deps = ServiceDeps {
        // An engine that does not live ends its process.
        health: Arc::new(Alive { name: "engine", detail: "a member of the group" }),
        metrics: engine_registry(watched),
        partitions: Some(Arc::new(set.clone())),
        auth,
        limits: Limits::default(),
    };
    let after: Arc<dyn AfterBlock> = Arc::new(Outlets { board, partitions: Mutex::default(), remote: remote.clone() });
    let (close, closing) = watch::channel(false);
    let merging = tokio::spawn(merging::run(store.clone(), set.clone(), merged));
    let engine_config = engine_config(&config)?;
    let refreshing = tokio::spawn(refresh(engine_config.enrich.clone()));
    let group = run_group(Box::new(member), engine_config, store, notes, set, after, stopped);
    let mut group = tokio::spawn(group);
    let mut service = tokio::spawn(serve_service(listener, deps, closed(closing)));
    tracing::info!(
        brokers = config.kafka.brokers,
        topic = config.kafka.topic,
        clickhouse = config.clickhouse.url,
        "reading from Kafka, writing to ClickHouse; health and metrics on http://{address}"
    );
    let ended_early = tokio::select! {
        () = signals.come() => None,
        r = &mut group => Some(part("engine", r.map(|r| r.map_err(anyhow::Error::new)))),
        r = &mut service => Some(part("service", r.map(|r| r.map_err(anyhow::Error::new)))),
    };
    let _ = stop.send(true);
    // A row is there or not, whenever this ends.
    merging.abort();
    refreshing.abort();
    if let Some(error) = ended_early {
        return Err(error.into());
    }
    tracing::info!("ending: giving the partitions back");
    group.await.context("the engine was lost")?.context("the engine did not end well")?;
    if let Some(remote) = remote {
        remote.close().await;
    }
    let _ = close.send(true);
    service.await.context("the service was lost")?.context("the service did not end well")?;
    Ok(ExitCode::SUCCESS)
}

/// Until ClickHouse has this release's schema; a newer one is refused.
async fn wait_for_schema(store: &ClickHouseStore) -> anyhow::Result<()> {
    use netspectra_engine::store::clickhouse::SchemaError;
    loop {
        match store.check().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() || matches!(error, SchemaError::Old { .. }) => {
                tracing::warn!(error = %output::chain(&anyhow::Error::new(error)), "waiting for ClickHouse");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error).context("ClickHouse cannot be used"),
        }
    }
}

/// Where stored blocks go besides: the live boards of the partitions that are ours, and time series.
struct Outlets {
    board: Option<LiveBoard>,
    partitions: Mutex<HashMap<u32, PartitionBoard>>,
    remote: Option<RemoteWrite>,
}

impl AfterBlock for Outlets {
    fn stored(&self, partition: u32, batch: &StoreBatch, stats: &EngineStats) {
        if let Some(board) = &self.board {
            let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            partitions.entry(partition).or_insert_with(|| board.partition(partition)).publish(batch, stats);
        }
        if let Some(remote) = &self.remote {
            remote.offer(batch);
        }
    }

    fn released(&self, partition: u32) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}
