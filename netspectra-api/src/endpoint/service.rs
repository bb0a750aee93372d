use crate::deps::Health;
use crate::encode::{json, with_type};
use crate::openapi::value_kind;
use crate::problem::Problem;
use crate::routes::ROUTES;
use axum::http::StatusCode;
use axum::response::Response;
use netspectra_common::schema::Dimension;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::fmt::Write;

/// What is here, for people.
pub(crate) fn index() -> Response {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>NetSpectra</title>\n\
         <h1>NetSpectra</h1>\n<p>Network traffic by flow, host and time. Every answer says how complete it is.</p>\n\
         <p>Paths under <code>/api/v1</code> and <code>/metrics</code> take <code>Authorization: Bearer &lt;token&gt;</code>.\
         </p>\n<dl>\n",
    );
    for route in &ROUTES {
        // Writing to a string cannot fail; texts of the table hold no markup.
        let _ = writeln!(page, "<dt><a href=\"{0}\"><code>{0}</code></a></dt><dd>{1}</dd>", route.path, route.summary);
    }
    page.push_str("</dl>\n</html>\n");
    with_type(page, "text/html; charset=utf-8")
}

/// Whether the process does its work.
pub(crate) fn live(health: &dyn Health) -> Result<Response, Problem> {
    let live = health.live();
    status(live, json!({ "live": live }))
}

/// Whether questions can be answered.
pub(crate) fn ready(health: &dyn Health) -> Result<Response, Problem> {
    let checks = health.ready();
    let ready = checks.iter().all(|c| c.ok);
    status(ready, json!({ "ready": ready, "checks": checks }))
}

fn status(ok: bool, document: Value) -> Result<Response, Problem> {
    let mut response = json(&document)?;
    if !ok {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Metrics of the process.
pub(crate) fn metrics(metrics: &Registry) -> Result<Response, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, metrics).map_err(|error| {
        tracing::error!(%error, "metrics could not be written");
        Problem::internal("the metrics could not be written")
    })?;
    Ok(with_type(text, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
}

/// The OpenAPI document.
pub(crate) fn openapi() -> Result<Response, Problem> {
    json(&crate::openapi::document())
}

/// The dimensions.
pub(crate) fn schema() -> Result<Response, Problem> {
    let dimensions: Vec<Value> = Dimension::ALL
        .into_iter()
        .map(|d| {
            let (kind, values) = value_kind(d.kind());
            json!({
                "name": d.name(), "doc": d.doc(), "kind": kind, "values": values,
                "in_flows": d.in_flows(), "in_groups": d.in_rollups(),
                "in_messages": d.in_messages(), "in_alerts": d.in_alerts(),
            })
        })
        .collect();
    json(&json!({ "dimensions": dimensions }))
}
