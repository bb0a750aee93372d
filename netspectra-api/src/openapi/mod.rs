//! The OpenAPI 3.1 document, made from the table of routes and the schema catalogue.

mod schemas;

pub(crate) use schemas::value_kind;

use crate::encode::Format;
use crate::params::rollup_dimensions;
use crate::problem::KINDS;
use crate::routes::{Endpoint, FORMAT, Kind, Param, ROUTES, Route};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// The interface as an OpenAPI 3.1 document; what `GET /api/v1/openapi.json` answers.
///
/// Cost: built anew at each call, about a hundred small allocations.
pub fn document() -> Value {
    let paths: Map<String, Value> =
        ROUTES.iter().map(|route| (route.path.to_owned(), json!({ "get": operation(route) }))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "NetSpectra",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Network traffic by flow, host and time. Every answer says how complete it is, and every \
                estimate has bounds. Parameters that a path does not list are refused.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::all(),
        },
    })
}

/// The name of the schema of an endpoint's JSON answer; `None` where it is not JSON.
pub(crate) const fn answer_schema(endpoint: Endpoint) -> Option<&'static str> {
    match endpoint {
        Endpoint::Index | Endpoint::Metrics => None,
        Endpoint::Live => Some("Liveness"),
        Endpoint::Ready => Some("Readiness"),
        Endpoint::OpenApi => Some("OpenApi"),
        Endpoint::Schema => Some("Catalogue"),
        Endpoint::Flows => Some("Flows"),
        Endpoint::Alerts => Some("Alerts"),
        Endpoint::Messages => Some("Messages"),
        Endpoint::Top => Some("Top"),
        Endpoint::Series => Some("Series"),
        Endpoint::Cardinality => Some("Cardinality"),
        Endpoint::Quantiles => Some("Quantiles"),
        Endpoint::Ledger => Some("Ledger"),
        Endpoint::Now => Some("Now"),
    }
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": format!("{:?}", route.endpoint).to_lowercase(),
        "summary": route.summary,
        "parameters": route.params.iter().map(|p| parameter(p)).collect::<Vec<_>>(),
        "responses": responses(route),
        "security": [],
    });
    if route.endpoint.protected() {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

fn parameter(p: &Param) -> Value {
    let mut schema = parameter_schema(p.kind);
    if let Some(default) = p.default {
        schema["default"] = match p.kind {
            Kind::Integer(..) | Kind::Flag => serde_json::from_str(default).unwrap_or_else(|_| json!(default)),
            Kind::Dimensions | Kind::Fractions => {
                let words = default.split(',').map(|w| serde_json::from_str(w).unwrap_or_else(|_| json!(w)));
                words.collect::<Vec<Value>>().into()
            }
            Kind::Time | Kind::Filter(_) | Kind::Word(_) | Kind::Step | Kind::Cursor => json!(default),
        };
    }
    let mut parameter =
        json!({ "name": p.name, "in": "query", "required": p.required, "description": p.doc, "schema": schema });
    if matches!(p.kind, Kind::Dimensions | Kind::Fractions) {
        parameter["style"] = json!("form");
        parameter["explode"] = json!(false);
    }
    parameter
}

fn parameter_schema(kind: Kind) -> Value {
    match kind {
        Kind::Time => {
            json!({ "type": "string", "examples": ["2026-01-31T12:00:00Z", "1769860800", "-15m", "now-1h", "all"] })
        }
        Kind::Filter(example) => json!({ "type": "string", "maxLength": 8192, "examples": [example] }),
        Kind::Dimensions => json!({
            "type": "array", "uniqueItems": true, "minItems": 1,
            "items": { "type": "string", "enum": rollup_dimensions().collect::<Vec<_>>() },
        }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Fractions => json!({
            "type": "array", "minItems": 1, "maxItems": 32, "items": { "type": "number", "minimum": 0, "maximum": 1 },
        }),
        Kind::Step => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)?$" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Cursor => json!({ "type": "string" }),
    }
}

fn responses(route: &Route) -> Value {
    let mut content = Map::new();
    match answer_schema(route.endpoint) {
        Some(name) => {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            content.insert(Format::Json.media_type().to_owned(), json!({ "schema": schema }));
        }
        None if route.endpoint == Endpoint::Index => {
            content.insert("text/html".to_owned(), json!({ "schema": { "type": "string" } }));
        }
        None => {
            content.insert("application/openmetrics-text".to_owned(), json!({ "schema": { "type": "string" } }));
        }
    }
    if route.takes(&FORMAT) {
        for format in [Format::Ndjson, Format::Csv] {
            content.insert(format.media_type().to_owned(), json!({ "schema": { "type": "string" } }));
        }
    }
    let mut responses = json!({ "200": { "description": "the answer", "content": content } });
    if matches!(route.endpoint, Endpoint::Live | Endpoint::Ready) {
        responses["503"] = json!({ "description": "not so; the same document", "content": content });
    }
    for (status, titles) in refusals(route.endpoint) {
        responses[status.as_str()] = json!({
            "description": titles,
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
    }
    responses
}

/// The problems that a route can have, by status.
fn refusals(endpoint: Endpoint) -> Vec<(StatusCode, String)> {
    let mut by_status: Vec<(StatusCode, String)> = Vec::new();
    for (_, status, title) in KINDS {
        let possible = match *status {
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => true,
            StatusCode::UNAUTHORIZED => endpoint.protected(),
            StatusCode::NOT_FOUND => false,
            _ => endpoint.asks(),
        };
        match by_status.iter_mut().find(|(s, _)| s == status) {
            _ if !possible => {}
            Some((_, titles)) => {
                titles.push_str("; ");
                titles.push_str(title);
            }
            None => by_status.push((*status, (*title).to_owned())),
        }
    }
    by_status
}
