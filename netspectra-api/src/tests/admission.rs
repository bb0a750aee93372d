//! Who and what is let in, and what the refusals say.

use super::fake::*;
use crate::routes::ROUTES;
use crate::{Auth, Deps, Limits, router};
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

async fn stranger(router: &axum::Router, uri: &str, authorization: Option<&str>) -> Reply {
    let mut builder = Request::builder().uri(uri);
    if let Some(value) = authorization {
        builder = builder.header(header::AUTHORIZATION, value);
    }
    send(router, builder.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_route_but_the_probes_the_document_and_the_index_needs_a_token() {
    let bench = bench();
    let mut open = Vec::new();
    for route in &ROUTES {
        let reply = stranger(&bench.router, route.path, None).await;
        if reply.status == StatusCode::UNAUTHORIZED {
            assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"netspectra\""), "{}", route.path);
            assert_eq!(reply.json()["type"], "urn:netspectra:problem:unauthorized");
        } else {
            open.push(route.path);
        }
    }
    assert_eq!(open, ["/", "/api/v1/openapi.json", "/healthz", "/readyz"]);
    assert!(bench.answers.plans.lock().unwrap().is_empty(), "nothing was asked for a stranger");
}

#[tokio::test]
async fn a_wrong_token_is_told_from_a_missing_one() {
    let bench = bench();
    let reply = stranger(&bench.router, "/api/v1/ledger", Some("Bearer wrong-token-0123456")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let challenge = "Bearer realm=\"netspectra\", error=\"invalid_token\"";
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
    assert!(!reply.text().contains("wrong-token"));
    let reply = stranger(&bench.router, "/api/v1/ledger", Some("Bearer another-token-456789")).await;
    assert_eq!(reply.status, StatusCode::OK, "every token of the list is good");
}

#[tokio::test]
async fn without_authentication_everyone_may_ask() {
    let router = router(Deps { auth: Auth::open(), ..deps(Limits::default()) });
    assert_eq!(stranger(&router, "/api/v1/schema", None).await.status, StatusCode::OK);
    assert_eq!(stranger(&router, "/metrics", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_the_routes() {
    let reply = get(&bench().router, "/api/v1/flow").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let paths: Vec<_> = ROUTES.iter().map(|r| r.path).collect();
    assert_eq!(reply.json()["routes"], json!(paths));
}

#[tokio::test]
async fn other_methods_are_refused_on_every_route() {
    let bench = bench();
    for route in &ROUTES {
        let reply = send(&bench.router, request(Method::POST, route.path).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{}", route.path);
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn a_large_body_is_refused_whether_its_length_is_announced_or_not() {
    let bench = bench_with(Limits { max_body_bytes: 10, ..Limits::default() });
    let announced = request(Method::GET, "/api/v1/ledger").body(Body::from("x".repeat(11))).unwrap();
    assert_eq!(send(&bench.router, announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let streamed = request(Method::GET, "/api/v1/ledger").body(Body::new(Chunks(3))).unwrap();
    let reply = send(&bench.router, streamed).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.json()["detail"], "the body is larger than 10 bytes");
    let small = request(Method::GET, "/api/v1/ledger").body(Body::from("x".repeat(10))).unwrap();
    assert_eq!(send(&bench.router, small).await.status, StatusCode::OK);
}

/// So many chunks of five bytes; the length is not announced.
struct Chunks(usize);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let more = self.0.checked_sub(1);
        self.0 = more.unwrap_or(0);
        Poll::Ready(more.map(|_| Ok(hyper::body::Frame::data(Bytes::from_static(b"12345")))))
    }
}

#[tokio::test]
async fn a_token_that_asks_too_fast_is_told_when_to_come_back() {
    let bench = bench_with(Limits { requests_per_second: 2, ..Limits::default() });
    for _ in 0..4 {
        assert_eq!(get(&bench.router, "/api/v1/ledger").await.status, StatusCode::OK);
    }
    let reply = get(&bench.router, "/api/v1/ledger").await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.header("retry-after"), Some("1"));
    let other = stranger(&bench.router, "/api/v1/ledger", Some("Bearer another-token-456789")).await;
    assert_eq!(other.status, StatusCode::OK, "the other token has its own rate");
    assert_eq!(get(&bench.router, "/metrics").await.status, StatusCode::OK, "metrics are not limited");
    bench.clock.0.fetch_add(500_000_000, Ordering::SeqCst);
    assert_eq!(get(&bench.router, "/api/v1/ledger").await.status, StatusCode::OK);
}

#[tokio::test]
async fn more_requests_at_once_than_there_is_room_for_are_refused_and_room_comes_back() {
    let bench = bench_with(Limits { concurrent_requests: 1, ..Limits::default() });
    bench.answers.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let router = bench.router.clone();
    let first = tokio::spawn(async move { get(&router, "/api/v1/ledger").await });
    bench.answers.begun.acquire().await.unwrap().forget();
    let reply = get(&bench.router, "/api/v1/top").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.json()["type"], "urn:netspectra:problem:overloaded");
    assert_eq!(get(&bench.router, "/healthz").await.status, StatusCode::OK, "probes always have room");
    bench.answers.gate.add_permits(10);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(get(&bench.router, "/api/v1/ledger").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_given_up() {
    let router = over(FakeStore::new(Does::Hang), None);
    let begun = tokio::time::Instant::now();
    let reply = get(&router, "/api/v1/ledger").await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reply.json()["detail"], "there was no answer within 30 s");
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
}
