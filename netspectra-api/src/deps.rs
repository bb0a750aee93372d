//! What the API is made of: ports, credentials and limits, handed in by the binary.

use crate::auth::Auth;
use netspectra_common::ports::{Board, Clock, LiveState, Store};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Everything the API needs.
pub struct Deps {
    /// Durable answers.
    pub store: Arc<dyn Store>,
    /// Answers from what is not stored yet; `None` where there is no engine in this process.
    pub live: Option<Arc<dyn LiveState>>,
    /// What a cluster shows of the present; `None` where there is none.
    pub board: Option<Arc<dyn Board>>,
    /// Wall-clock time: `now` in requests, and the pace of the rate limit.
    pub clock: Arc<dyn Clock>,
    /// Who may ask.
    pub auth: Auth,
    /// What `/healthz` and `/readyz` say.
    pub health: Arc<dyn Health>,
    /// What `/metrics` says: the metrics of the whole process, to which the API adds its own (`netspectra_api_*`).
    /// Values that are not kept in metric objects come in through `prometheus_client::collector::Collector`.
    pub metrics: Registry,
    /// What the API refuses.
    pub limits: Limits,
}

/// One readiness check.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// Stable name, such as `store`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found. Shown without authentication: no secrets.
    pub detail: String,
}

/// The state of the process. Both are called on the runtime for each probe: they read flags and must not block.
pub trait Health: Send + Sync {
    /// Whether the process does its work; `false` asks the supervisor to restart it.
    fn live(&self) -> bool;

    /// Whether questions can be answered now, check by check. Ready when all are `ok`.
    fn ready(&self) -> Vec<Check>;
}

/// What the API refuses, so that no client exhausts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes, else 413. No route reads a body today. Default 64 KiB; 0 refuses every body.
    pub max_body_bytes: usize,
    /// Time a request under `/api/v1` may take, else 504. Default 30 s; must not be zero.
    pub timeout: Duration,
    /// Requests under `/api/v1` that are answered at the same time, else 503. Default 64; at least 1.
    pub concurrent_requests: usize,
    /// Requests per second and token, else 429; bursts of twice as many pass. Default 50; 0 is no limit.
    pub requests_per_second: u32,
    /// Open connections; more wait in the listener's backlog. Default 1024; at least 1.
    pub connections: usize,
    /// Time a client may take to send a request's head; also how long an idle connection is kept.
    /// Default 30 s; must not be zero.
    pub header_timeout: Duration,
    /// Points of one series, else 400. Default 100,000; at least 1.
    pub series_points: usize,
    /// Time that requests in flight have after shutdown began. Default 10 s; zero cuts them off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            timeout: Duration::from_secs(30),
            concurrent_requests: 64,
            requests_per_second: 50,
            connections: 1024,
            header_timeout: Duration::from_secs(30),
            series_points: 100_000,
            drain: Duration::from_secs(10),
        }
    }
}
