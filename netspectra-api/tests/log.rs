//! What a request leaves in the log. In a process of its own: whether a call site is on is kept per process, and tests
//! that run beside this one without a subscriber would switch it off.
#![allow(clippy::unwrap_used, reason = "tests")]

use axum::body::Body;
use axum::http::{Request, StatusCode};
use netspectra_api::{Auth, Check, Deps, Health, Limits, router};
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::ports::{BoxFuture, Clock, PortError, Store, StoreBatch};
use netspectra_common::query::{Partial, Plan};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

const TOKEN: &str = "a-secret-0123456789";

struct Broken;

impl Store for Broken {
    fn append<'a>(&'a self, _: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }

    fn query<'a>(&'a self, _: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        let cause = io::Error::other("checksum of row group 3");
        Box::pin(async { Err(PortError::permanent("segment `7` is corrupt").because(cause)) })
    }

    fn last_generation<'a>(&'a self, _node: &'a str, _epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Clock for Broken {
    fn now(&self) -> Nanos {
        Nanos::from_secs(1_769_860_800)
    }
}

impl Health for Broken {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// What was logged, shared with the test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_is_logged_in_a_span_with_causes_and_without_its_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let router = router(Deps {
        store: Arc::new(Broken),
        live: None,
        board: None,
        clock: Arc::new(Broken),
        auth: Auth::bearer([TOKEN]).unwrap(),
        health: Arc::new(Broken),
        metrics: Default::default(),
        limits: Limits::default(),
    });
    let request = Request::builder()
        .uri("/api/v1/ledger")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-request-id", "mine-1");
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains(TOKEN));
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let line = |message: &str| lines.iter().find(|l| l["fields"]["message"] == message).unwrap();
    let cause = line("query failed");
    assert_eq!(cause["fields"]["causes"], ": checksum of row group 3");
    assert_eq!(cause["span"]["id"], "mine-1", "the cause is found by the id that the client has");
    let span = &line("request failed")["span"];
    assert_eq!(
        (&span["method"], &span["route"], &span["status"], &span["id"]),
        (&json!("GET"), &json!("/api/v1/ledger"), &json!(500), &json!("mine-1"))
    );
    assert!(span["latency_us"].is_u64());
}
