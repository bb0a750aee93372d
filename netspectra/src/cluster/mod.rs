//! The parts of a cluster as processes: `agent`, `engine`, `api`, `admin`. Wiring only.

mod admin;
mod agent;
mod api;
mod engine;
mod merging;
mod metrics;
mod owners;
mod settings;
#[cfg(test)]
mod testing;

pub(crate) use admin::main as admin;
pub(crate) use agent::main as agent;
pub(crate) use api::main as api;
pub(crate) use engine::main as engine;

use crate::Outcome;
use crate::run::{init_log, on_runtime};

/// Runs `serve` on a runtime of its own, with the log on standard error.
fn run(serve: impl Future<Output = Outcome>) -> Outcome {
    init_log(false);
    on_runtime(serve)
}
