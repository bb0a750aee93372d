//! Probes, metrics, request identity, index.

use super::fake::*;
use crate::routes::ROUTES;
use crate::{Check, Deps, Limits, router};
use axum::body::Body;
use axum::http::{Method, StatusCode};
use netspectra_common::schema::Dimension;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use std::sync::Arc;

fn with_health(live: bool, checks: Vec<Check>) -> axum::Router {
    router(Deps { health: Arc::new(FakeHealth(live, checks)), ..deps(Limits::default()) })
}

#[tokio::test]
async fn probes_say_what_health_says() {
    let check = |ok| Check { name: "store".into(), ok, detail: "3 segments".into() };
    let good = with_health(true, vec![check(true)]);
    let reply = get(&good, "/healthz").await;
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({ "live": true })));
    let reply = get(&good, "/readyz").await;
    let checks = json!([{ "name": "store", "ok": true, "detail": "3 segments" }]);
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({ "ready": true, "checks": checks })));
    let bad = with_health(false, vec![check(true), check(false)]);
    assert_eq!(get(&bad, "/healthz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let reply = get(&bad, "/readyz").await;
    assert_eq!((reply.status, &reply.json()["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
}

#[tokio::test]
async fn metrics_hold_the_process_and_the_requests() {
    let mut deps = deps(Limits::default());
    let frames: Counter = Counter::default();
    deps.metrics.register("netspectra_agent_frames", "Frames seen", frames.clone());
    frames.inc_by(42);
    let router = router(deps);
    get(&router, "/api/v1/flows?nonsense=1").await;
    get(&router, "/no/such/path").await;
    get(&router, "/another/path").await;
    let reply = get(&router, "/metrics").await;
    assert_eq!(reply.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    for line in [
        "netspectra_agent_frames_total 42",
        "netspectra_api_requests_total{route=\"/api/v1/flows\",status=\"400\"} 1",
        "netspectra_api_requests_total{route=\"unmatched\",status=\"404\"} 2",
        "netspectra_api_request_duration_seconds_count{route=\"unmatched\"} 2",
        "netspectra_api_requests_in_flight 1",
        "# EOF",
    ] {
        assert!(reply.text().lines().any(|l| l == line), "`{line}` in\n{}", reply.text());
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_half_way_is_no_longer_in_flight() {
    let bench = bench();
    bench.answers.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let router = bench.router.clone();
    let waiting = tokio::spawn(async move { get(&router, "/api/v1/ledger").await });
    bench.answers.begun.acquire().await.unwrap().forget();
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert!(get(&bench.router, "/metrics").await.text().contains("netspectra_api_requests_in_flight 1\n"));
}

#[tokio::test]
async fn a_request_keeps_a_safe_id_and_is_given_one_otherwise() {
    let bench = bench();
    let ask = |id: &str| request(Method::GET, "/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
    let reply = send(&bench.router, ask("trace-1_a.B")).await;
    assert_eq!(reply.header("x-request-id"), Some("trace-1_a.B"));
    let long = "x".repeat(65);
    let mut given = Vec::new();
    for unsafe_id in ["a b", "", "{}", &long] {
        let reply = send(&bench.router, ask(unsafe_id)).await;
        given.push(reply.header("x-request-id").unwrap().to_owned());
        assert_ne!(given.last().unwrap(), unsafe_id);
    }
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 4, "ids differ");
    assert!(get(&bench.router, "/none").await.header("x-request-id").is_some(), "also on refusals");
}

#[tokio::test]
async fn the_index_links_every_route() {
    let reply = get(&bench().router, "/").await;
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    for route in &ROUTES {
        assert!(reply.text().contains(&format!("href=\"{}\"", route.path)), "{}", route.path);
    }
}

#[tokio::test]
async fn the_schema_lists_the_catalogue() {
    let dimensions = get(&bench().router, "/api/v1/schema").await.json()["dimensions"].clone();
    let names: Vec<_> = dimensions.as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, Dimension::ALL.map(Dimension::name));
    let direction = json!({
        "name": "direction", "doc": Dimension::Direction.doc(), "kind": "word", "values": ["ingress", "egress"],
        "in_flows": false, "in_groups": true, "in_messages": false, "in_alerts": false,
    });
    assert!(dimensions.as_array().unwrap().contains(&direction));
}
