//! `netspectra api`: answers from ClickHouse and the engines.

use super::owners::Engines;
use super::settings::{Needs, cluster_token, live_board, load, set};
use crate::cli::cluster::ApiArgs;
use crate::config::Config;
use crate::run::metrics::build_info;
use crate::run::{EndSignals, SystemClock, listen, serve_api, token};
use crate::{Failure, Outcome};
use anyhow::Context;
use netspectra_api::{Auth, Check, Deps, Health, Limits};
use netspectra_common::ports::{Board, Store};
use netspectra_engine::partition::Federation;
use netspectra_engine::store::clickhouse::ClickHouseStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often ClickHouse is looked after.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) fn main(args: ApiArgs) -> Outcome {
    let change = |config: &mut Config| {
        args.tables.apply(config);
        set(&mut config.kafka.topic, &args.topic);
        set(&mut config.api.listen, &args.listen);
        if !args.engines.is_empty() {
            config.cluster.engines.clone_from(&args.engines);
        }
        if args.redis.is_some() {
            config.cluster.redis.clone_from(&args.redis);
        }
        if args.token_file.is_some() {
            config.api.token_file.clone_from(&args.token_file);
        }
        if args.cluster_token_file.is_some() {
            config.cluster.token_file.clone_from(&args.cluster_token_file);
        }
    };
    match load(&args.common, Needs { kafka: false, clickhouse: true }, change)? {
        Ok(config) => super::run(serve(config)),
        Err(status) => Ok(status),
    }
}

async fn serve(config: Config) -> Outcome {
    let signals = EndSignals::watch()?;
    let listener = listen(config.api.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let engines = Engines::new(&config.cluster.engines, &cluster_token(&config)?).map_err(Failure::misuse)?;
    let token_file = config.token_file();
    let token = token::load_or_make(&token_file).map_err(Failure::misuse)?;
    let store = Arc::new(ClickHouseStore::new(&config.clickhouse, &config.kafka.topic).map_err(Failure::misuse)?);
    let view: Arc<dyn Store> =
        Arc::new(Federation::new(config.kafka.topic.as_str().into(), store.clone(), Arc::new(engines)));
    let board = live_board(&config)?.map(|board| Arc::new(board) as Arc<dyn Board>);
    let health = Arc::new(Reachable(AtomicBool::new(false)));
    let deps = Deps {
        store: view,
        live: None,
        board,
        clock: Arc::new(SystemClock),
        auth: Auth::bearer([&token]).map_err(Failure::misuse)?,
        health: health.clone(),
        metrics: build_info(),
        limits: Limits::default(),
    };
    let look = tokio::spawn(look_after(store, health));
    if config.cluster.engines.is_empty() {
        tracing::warn!("no engines are named (--engines): answers are from what is stored, which is some seconds old");
    }
    tracing::info!(token_file = %token_file.display(), clickhouse = config.clickhouse.url, "listening on http://{address}");
    let outcome = serve_api(listener, deps, signals).await;
    look.abort();
    outcome
}

/// Whether ClickHouse answered when it was asked last.
struct Reachable(AtomicBool);

impl Health for Reachable {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        let ok = self.0.load(Ordering::Relaxed);
        let detail = if ok {
            "ClickHouse has a schema for this release"
        } else {
            "ClickHouse does not answer, or has another schema"
        };
        vec![Check { name: "clickhouse".into(), ok, detail: detail.into() }]
    }
}

async fn look_after(store: Arc<ClickHouseStore>, health: Arc<Reachable>) {
    loop {
        let checked = store.check().await;
        let was = health.0.swap(checked.is_ok(), Ordering::Relaxed);
        if let Err(error) = checked
            && was
        {
            tracing::warn!(error = %crate::output::chain(&anyhow::Error::new(error)), "ClickHouse cannot be asked");
        }
        tokio::time::sleep(LOOK).await;
    }
}
