//! Engines for tests.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::run::health::Alive;
use netspectra_api::{Auth, Limits, ServiceDeps, serve_service};
use netspectra_common::ports::LivePartitions;
use std::net::SocketAddr;
use std::sync::Arc;

/// Serves `partitions` on a free port until the runtime ends.
pub(super) async fn serve_partitions(partitions: Arc<dyn LivePartitions>, token: &str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let deps = ServiceDeps {
        health: Arc::new(Alive { name: "test", detail: "runs" }),
        metrics: Default::default(),
        partitions: Some(partitions),
        auth: Auth::bearer([token]).unwrap(),
        limits: Limits::default(),
    };
    tokio::spawn(serve_service(listener, deps, std::future::pending()));
    address
}
