//! What agents and engines serve: health, metrics, and, to the API, what an engine knows that is not stored.

use crate::app::denied;
use crate::auth::Auth;
use crate::deps::{Health, Limits};
use crate::endpoint;
use crate::problem::Problem;
use crate::serve::{ApiError, serve_router};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use netspectra_common::ports::LivePartitions;
use netspectra_common::query::decode_plan;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Where an engine takes plans, as bytes, and answers with a [`netspectra_common::ports::LiveReport`], as bytes.
pub const REPORT_PATH: &str = "/internal/v1/report";

/// What such a service is made of.
pub struct ServiceDeps {
    /// What `/healthz` and `/readyz` say.
    pub health: Arc<dyn Health>,
    /// What `/metrics` says.
    pub metrics: Registry,
    /// The partitions that are owned; `None` where there are none to own.
    pub partitions: Option<Arc<dyn LivePartitions>>,
    /// Who may ask for them: the API, by a token that all parts share.
    pub auth: Auth,
    /// What is refused.
    pub limits: Limits,
}

/// Serves until `shutdown` resolves, as [`crate::serve`] does.
///
/// # Errors
/// [`ApiError`] before the first connection is taken, never after.
pub async fn serve_service(
    listener: TcpListener,
    deps: ServiceDeps,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ApiError> {
    let limits = deps.limits.clone();
    serve_router(listener, router(deps), &limits, shutdown).await
}

type Shared = State<Arc<ServiceDeps>>;

pub(crate) fn router(deps: ServiceDeps) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(|State(deps): Shared| async move { answer(endpoint::live(&*deps.health)) }))
        .route("/readyz", get(|State(deps): Shared| async move { answer(endpoint::ready(&*deps.health)) }))
        .route("/metrics", get(|State(deps): Shared| async move { answer(endpoint::metrics(&deps.metrics)) }));
    if deps.partitions.is_some() {
        router =
            router.route(REPORT_PATH, post(|deps: Shared, request| async move { answer(report(deps, request).await) }));
    }
    router.with_state(Arc::new(deps))
}

fn answer(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

/// 200 with a report, or 204 when no partition is owned.
async fn report(State(deps): Shared, request: axum::extract::Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    deps.auth.caller(&head.headers).map_err(denied)?;
    let body = read(body, deps.limits.max_body_bytes).await?;
    let plan = decode_plan(&body).map_err(|error| Problem::bad_parameter(format!("the body is no plan: {error}")))?;
    let Some(partitions) = &deps.partitions else { return Err(Problem::not_found("nothing is owned here")) };
    let report = tokio::time::timeout(deps.limits.timeout, partitions.report(&plan));
    let report = report.await.map_err(|_| Problem::timeout("the engine did not answer in time"))??;
    let Some(report) = report else { return Ok(axum::http::StatusCode::NO_CONTENT.into_response()) };
    let bytes = crate::answers::off_runtime(move || report.encode()).await?;
    let bytes = bytes.map_err(|error| Problem::internal(format!("the report cannot be written: {error}")))?;
    let octets = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, octets)], bytes).into_response())
}

/// A whole body of at most `most` bytes.
async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    let read = axum::body::to_bytes(body, most).await;
    read.map_err(|_| Problem::too_large(format!("the body is larger than {most} bytes, or ended early")))
}
