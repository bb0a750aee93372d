//! The engine: bus messages in, flow records, roll-ups and windows out, and live answers in between.
//!
//! [`Engine`] is the core, a function of the log without clock, socket or async. [`task`] runs it between an in-process
//! bus and a store, [`store`] has the store of one host, [`journal`] keeps what is not stored yet over a kill.
#![forbid(unsafe_code)]

pub mod bus;
pub mod detect;
pub mod dissect;
pub mod engine;
pub mod enrich;
pub mod journal;
mod lifecycle;
mod live;
pub mod partition;
#[cfg(feature = "redis")]
pub mod redis_board;
#[cfg(feature = "remote-write")]
pub mod remote_write;
pub mod store;
pub mod task;
#[cfg(all(test, feature = "kubernetes"))]
#[path = "../tests/support/tls.rs"]
mod test_tls;
#[cfg(test)]
mod testing;
#[cfg(any(feature = "clickhouse", feature = "kubernetes", feature = "remote-write"))]
mod tls;
mod window;

pub use engine::{Engine, EngineConfig, EngineStats, SnapshotError, Wanted};
