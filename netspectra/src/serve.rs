//! `netspectra serve`: a store as it is, behind the API.

use crate::cli::ServeArgs;
use crate::run::health::Alive;
use crate::run::metrics::build_info;
use crate::run::{EndSignals, SystemClock, init_log, listen, on_runtime, serve_api, token};
use crate::{Failure, Outcome};
use anyhow::{Context, anyhow};
use netspectra_api::{Auth, Deps, Limits};
use netspectra_common::model::Nanos;
use netspectra_common::ports::{Clock, Store as _};
use netspectra_engine::store::embedded::{Config, EmbeddedStore};
use std::sync::Arc;
use std::time::Instant;

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
    on_runtime(serve(args))
}

async fn serve(args: &ServeArgs) -> Outcome {
    let signals = EndSignals::watch()?;
    let listener = listen(args.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let token_file = args.token_file.clone().unwrap_or_else(|| args.data_dir.join("token"));
    let token = token::load_or_make(&token_file).map_err(Failure::misuse)?;
    let store = EmbeddedStore::open(&args.data_dir, Config::keeping_everything())
        .with_context(|| format!("cannot open the store in `{}`", args.data_dir.display()))
        .map_err(Failure::misuse)?;
    let extent = store.extent().await.context("the store cannot be read")?;
    let end = extent.map_or_else(|| SystemClock.now(), |extent| extent.to);
    let deps = Deps {
        store: Arc::new(store),
        live: None,
        board: None,
        clock: Arc::new(SinceTheEnd { end, started: Instant::now() }),
        auth: Auth::bearer([&token]).map_err(Failure::misuse)?,
        health: Arc::new(Alive { name: "store", detail: "open" }),
        metrics: build_info(),
        limits: Limits::default(),
    };
    tracing::info!(token_file = %token_file.display(), "listening on http://{address} with bearer token {token}");
    serve_api(listener, deps, signals).await
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
