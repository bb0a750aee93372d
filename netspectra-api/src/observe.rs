//! What is kept of every request: its id, a span, and counts.

use crate::app::App;
use crate::routes::route_label;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tracing::Instrument;

/// The header that names a request, in the request, the answer and the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of the longest id that is taken over from a client.
const MAX_ID_LEN: usize = 64;
/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OnRoute {
    route: &'static str,
}

/// The API's own metrics. Labels come from closed sets, so their number is bounded.
pub(crate) struct RequestMetrics {
    requests: Family<Answered, Counter>,
    latency: Family<OnRoute, Histogram>,
    in_flight: Gauge,
    ids: AtomicU64,
}

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            ids: AtomicU64::new(0),
        };
        registry.register("netspectra_api_requests", "Requests answered, by route and status", new.requests.clone());
        registry.register(
            "netspectra_api_request_duration_seconds",
            "Time from a request's head to its answer's head",
            new.latency.clone(),
        );
        registry.register("netspectra_api_requests_in_flight", "Requests being answered", new.in_flight.clone());
        new
    }
}

/// Takes one off the gauge also when the client goes away and the request is dropped half-way.
struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Runs a request inside its span and counts it.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A monotonic reading for latency only; no answer depends on it.
    let begun = Instant::now();
    let metrics = &app.requests;
    let route = route_label(request.uri().path());
    let id = clients_id(request.headers()).unwrap_or_else(|| {
        let n = metrics.ids.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{:x}-{n:x}", app.clock.now().0)).unwrap_or(HeaderValue::from_static("none"))
    });
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        route,
        id = id.to_str().unwrap_or_default(),
        status = tracing::field::Empty,
        latency_us = tracing::field::Empty,
    );
    metrics.in_flight.inc();
    let in_flight = InFlight(&metrics.in_flight);
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    let (status, latency) = (response.status(), begun.elapsed());
    metrics.requests.get_or_create(&Answered { route, status: status.as_u16() }).inc();
    metrics.latency.get_or_create(&OnRoute { route }).observe(latency.as_secs_f64());
    span.record("status", status.as_u16());
    span.record("latency_us", u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!("request failed");
        } else {
            tracing::debug!("request answered");
        }
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The client's id, when it is short and safe to write to a log.
fn clients_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    ((1..=MAX_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(safe)).then(|| id.clone())
}
