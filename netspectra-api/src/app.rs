//! The router: what happens to a request, in order.

use crate::answers::{Answers, Merged};
use crate::auth::{Auth, Denied};
use crate::deps::{Deps, Health, Limits};
use crate::encode::Format;
use crate::endpoint::{self, Ask};
use crate::observe::{self, RequestMetrics};
use crate::params::Params;
use crate::problem::Problem;
use crate::rate::Rate;
use crate::routes::{self, Endpoint, ROUTES, Route};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use netspectra_common::ports::{Board, Clock};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;

/// What all requests share.
pub(crate) struct App {
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) board: Option<Arc<dyn Board>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) auth: Auth,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) metrics: Registry,
    pub(crate) limits: Limits,
    pub(crate) requests: RequestMetrics,
    rate: Rate,
    running: Semaphore,
}

/// The API as an axum router, to be served by [`crate::serve`] or called in tests.
///
/// Limits on connections and headers are the listener's and not part of it.
pub fn router(deps: Deps) -> Router {
    let answers = Arc::new(Merged { store: deps.store.clone(), live: deps.live.clone() });
    router_over(answers, deps)
}

/// [`router`] with other answers than those of the ports in `deps`.
pub(crate) fn router_over(answers: Arc<dyn Answers>, deps: Deps) -> Router {
    let Deps { board, clock, auth, health, mut metrics, limits, .. } = deps;
    let requests = RequestMetrics::register(&mut metrics);
    let rate = Rate::new(limits.requests_per_second, auth.callers());
    let running = Semaphore::new(limits.concurrent_requests.min(Semaphore::MAX_PERMITS));
    let app = Arc::new(App { answers, board, clock, auth, health, metrics, limits, requests, rate, running });
    let mut router = Router::new();
    for route in &ROUTES {
        router = router.route(
            route.path,
            any(move |State(app): State<Arc<App>>, request: Request| async move {
                handle(app, route, request).await.unwrap_or_else(IntoResponse::into_response)
            }),
        );
    }
    router
        .fallback(not_found)
        .layer(CompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn not_found() -> Problem {
    let mut problem = Problem::not_found("no route has this path").hint("take one of `routes`");
    problem.routes = ROUTES.iter().map(|r| r.path).collect();
    problem
}

/// Method, caller, rate, room, parameters, body, answer: the cheap refusals first, and none of the later ones tells a
/// stranger anything.
async fn handle(app: Arc<App>, route: &'static Route, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    if head.method != Method::GET && head.method != Method::HEAD {
        let detail = format!("`{}` takes GET and HEAD", route.path);
        return Err(Problem::method(detail));
    }
    if route.endpoint.protected() {
        let caller = app.auth.caller(&head.headers).map_err(denied)?;
        if route.endpoint.asks() {
            app.rate.take(caller, app.clock.now()).map_err(|wait| {
                let detail = format!("this token may send {} requests per second", app.limits.requests_per_second);
                Problem::rate_limited(detail).retry_after(wait.as_millis().div_ceil(1_000) as u64)
            })?;
        }
    }
    let params = Params::read(route, head.uri.query())?;
    let format = match route.takes(&routes::FORMAT) {
        true => Format::choose(&params, &head.headers)?,
        false => Format::Json,
    };
    let head_only = head.method == Method::HEAD;
    let ask = Ask { app: app.clone(), params, format };
    let mut response = if route.endpoint.asks() {
        let _room = app.running.try_acquire().map_err(|_| {
            let detail = format!("{} requests are being answered", app.limits.concurrent_requests);
            Problem::overloaded(detail).retry_after(1)
        })?;
        let answer = async {
            refuse_large(body, app.limits.max_body_bytes).await?;
            answer(route.endpoint, ask).await
        };
        tokio::time::timeout(app.limits.timeout, answer).await.map_err(|_| {
            Problem::timeout(format!("there was no answer within {} s", app.limits.timeout.as_secs_f64()))
                .hint("take a shorter range, or a filter")
        })??
    } else {
        answer(route.endpoint, ask).await?
    };
    if route.endpoint.protected() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(if head_only { without_body(response) } else { response })
}

async fn answer(endpoint: Endpoint, ask: Ask) -> Result<Response, Problem> {
    match endpoint {
        Endpoint::Index => Ok(endpoint::index()),
        Endpoint::Live => endpoint::live(&*ask.app.health),
        Endpoint::Ready => endpoint::ready(&*ask.app.health),
        Endpoint::Metrics => endpoint::metrics(&ask.app.metrics),
        Endpoint::OpenApi => endpoint::openapi(),
        Endpoint::Schema => endpoint::schema(),
        Endpoint::Flows => endpoint::flows(ask).await,
        Endpoint::Alerts => endpoint::alerts(ask).await,
        Endpoint::Messages => endpoint::messages(ask).await,
        Endpoint::Top => endpoint::top(ask).await,
        Endpoint::Series => endpoint::series(ask).await,
        Endpoint::Cardinality => endpoint::cardinality(ask).await,
        Endpoint::Quantiles => endpoint::quantiles(ask).await,
        Endpoint::Ledger => endpoint::ledger(ask).await,
        Endpoint::Now => endpoint::now(ask).await,
    }
}

pub(crate) fn denied(why: Denied) -> Problem {
    let (detail, challenge) = match why {
        Denied::Missing => ("there is no bearer token in the request", "Bearer realm=\"netspectra\""),
        Denied::Invalid => ("the token is not known", "Bearer realm=\"netspectra\", error=\"invalid_token\""),
    };
    let mut problem = Problem::unauthorized(detail).hint("send `Authorization: Bearer <token>`");
    problem.challenge = Some(challenge);
    problem
}

/// Reads and drops a body, which no route has a use for, so that the connection can go on.
async fn refuse_large(body: Body, max: usize) -> Result<(), Problem> {
    let too_large = || Problem::too_large(format!("the body is larger than {max} bytes"));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    axum::body::to_bytes(body, max).await.map(|_| ()).map_err(|_| too_large())
}

/// The answer to HEAD: what GET would say about its body, without it.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}
