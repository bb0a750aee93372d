//! The cluster on this machine: what an engine takes from Kafka to ClickHouse, and how long a packet takes from the wire to an
//! answer.
//!
//! Needs root and the variables that `cargo xtask cluster up` prints. All servers and parts share the machine's cores, so rates are
//! given for the engine's CPU seconds beside the clock's.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod freshness;
mod load;
mod queries;
#[path = "../../tests/support/mod.rs"]
mod support;
mod throughput;

fn main() {
    // `cargo bench` and `cargo test --benches` pass arguments of their own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if is_wanted("throughput") {
        throughput::measure();
    }
    if is_wanted("freshness") {
        freshness::measure();
    }
    if is_wanted("queries") {
        queries::measure();
    }
}
