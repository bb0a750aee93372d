//! `netspectra serve`: a store as it is, behind the API.

use crate::cli::ServeArgs;
use crate::run::metrics::build_info;
use crate::run::{SystemClock, closed, end_signal, init_log, part, token};
use crate::{Failure, Outcome};
use anyhow::{Context, anyhow};
use netspectra_api::{Auth, Check, Deps, Health, Limits};
use netspectra_common::model::Nanos;
use netspectra_common::ports::{Clock, Store as _};
use netspectra_engine::store::embedded::{Config, EmbeddedStore};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(crate) fn main(args: &ServeArgs) -> Outcome {
    init_log(false);
    // Opening makes a store where there is none, which is not what was asked for.
    if !args.data_dir.is_dir() {
        let text = format!(
            "there is no folder `{}`: `netspectra analyze --save {0} capture.pcap` makes one",
            args.data_dir.display()
        );
        return Err(Failure::misuse(anyhow!(text)));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn serve(args: &ServeArgs) -> Outcome {
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on `{}`: name a free address with --listen", args.listen))
        .map_err(Failure::misuse)?;
    let address = listener.local_addr().context("the listener has no address")?;
    let token_file = args.token_file.clone().unwrap_or_else(|| args.data_dir.join("token"));
    let token = token::load_or_make(&token_file).map_err(Failure::misuse)?;
    // Nothing is forgotten: nobody writes here.
    let config = Config { retention_age: Duration::MAX, retention_bytes: u64::MAX, ..Config::default() };
    let store = EmbeddedStore::open(&args.data_dir, config)
        .with_context(|| format!("cannot open the store in `{}`", args.data_dir.display()))
        .map_err(Failure::misuse)?;
    let extent = store.extent().await.context("the store cannot be read")?;
    let end = extent.map_or_else(|| SystemClock.now(), |extent| extent.to);
    let deps = Deps {
        store: Arc::new(store),
        live: None,
        clock: Arc::new(SinceTheEnd { end, started: Instant::now() }),
        auth: Auth::bearer([&token]).map_err(Failure::misuse)?,
        health: Arc::new(Alive),
        metrics: build_info(),
        limits: Limits::default(),
    };
    let (close, closing) = watch::channel(false);
    let mut api = tokio::spawn(netspectra_api::serve(listener, deps, closed(closing)));
    tracing::info!(token_file = %token_file.display(), "listening on http://{address} with bearer token {token}");
    tokio::select! {
        signal = end_signal() => signal?,
        r = &mut api => return Err(part("api", r.map(|r| r.map_err(anyhow::Error::new))).into()),
    }
    let _ = close.send(true);
    api.await.context("the API task was lost")?.context("the API did not end well")?;
    Ok(ExitCode::SUCCESS)
}

/// A clock that begins at the end of the data, so that `-15m` is its last quarter of an hour.
struct SinceTheEnd {
    end: Nanos,
    started: Instant,
}

impl Clock for SinceTheEnd {
    fn now(&self) -> Nanos {
        self.end.plus(self.started.elapsed())
    }
}

struct Alive;

impl Health for Alive {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        vec![Check { name: "store".into(), ok: true, detail: "open".into() }]
    }
}
