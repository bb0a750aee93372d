//! The parts of a cluster as processes: `agent`, `engine`, `api`, `admin`. Wiring only.

mod admin;
mod agent;
mod api;
mod engine;
mod metrics;
mod owners;
mod settings;
#[cfg(test)]
mod testing;

pub(crate) use admin::main as admin;
pub(crate) use agent::main as agent;
pub(crate) use api::main as api;
pub(crate) use engine::main as engine;

use crate::run::init_log;
use crate::{Failure, Outcome};
use anyhow::Context;
use std::net::SocketAddr;
use std::time::Duration;

/// Runs `serve` on a runtime of its own, with the log on standard error.
fn run(serve: impl Future<Output = Outcome>) -> Outcome {
    init_log(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(serve);
    // What still blocks must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on `{address}`: name a free address with --listen"))
        .map_err(Failure::misuse)
}
