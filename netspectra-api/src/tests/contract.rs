//! The OpenAPI document against the API itself.

use super::fake::*;
use crate::Limits;
use crate::openapi::{answer_schema, document};
use crate::routes::{Endpoint, ROUTES};
use axum::http::StatusCode;
use netspectra_common::model::Shown;
use netspectra_common::schema::{ALERT_FIELDS, FLOW_FIELDS, MESSAGE_FIELDS};
use serde_json::Value;

/// Why `value` does not fit `schema`; knows the keywords that the document uses. Fields that the schema does not name
/// are misfits, so that an answer cannot grow silently.
fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#')?);
        return match target {
            Some(target) => misfit(document, target, value, at),
            None => Some(format!("{at}: `{reference}` does not exist")),
        };
    }
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    let types: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
    if !types.iter().any(|t| *t == is || (*t == "number" && is == "integer")) {
        return Some(format!("{at}: is {is}, expected {types:?}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{at}: {value} is not in {}", schema["enum"]));
    }
    if let Some(items) = value.as_array() {
        return items
            .iter()
            .enumerate()
            .find_map(|(i, v)| misfit(document, &schema["items"], v, &format!("{at}[{i}]")));
    }
    let fields = value.as_object()?;
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(missing) = required.iter().filter_map(Value::as_str).find(|r| !fields.contains_key(*r)) {
        return Some(format!("{at}: `{missing}` is missing"));
    }
    let properties = schema["properties"].as_object()?;
    fields.iter().find_map(|(name, v)| match properties.get(name) {
        Some(property) => misfit(document, property, v, &format!("{at}.{name}")),
        None => Some(format!("{at}: `{name}` is not documented")),
    })
}

#[tokio::test]
async fn the_document_has_every_route_with_every_parameter_and_nothing_else() {
    let served = get(&bench().router, "/api/v1/openapi.json").await.json();
    assert_eq!(served["openapi"], "3.1.0");
    let paths = served["paths"].as_object().unwrap();
    assert_eq!(paths.len(), ROUTES.len());
    for route in &ROUTES {
        let operation = &paths[route.path]["get"];
        let documented: Vec<_> = operation["parameters"].as_array().unwrap().iter().collect();
        let names: Vec<_> = documented.iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, route.params.iter().map(|p| p.name).collect::<Vec<_>>(), "{}", route.path);
        assert!(documented.iter().all(|p| p["in"] == "query" && p["schema"]["type"].is_string()));
        let secured = operation["security"].as_array().unwrap().len();
        assert_eq!(secured, usize::from(route.endpoint.protected()), "{}", route.path);
        assert_eq!(operation["responses"]["401"].is_object(), route.endpoint.protected());
        assert_eq!(operation["responses"]["504"].is_object(), route.endpoint.asks());
    }
}

#[tokio::test]
async fn every_documented_default_and_example_is_taken() {
    let bench = bench_with(Limits { requests_per_second: 10_000, ..Limits::default() });
    let document = document();
    let text = |v: &Value| match v {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|v| v.to_string().replace('"', "")).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => v.to_string(),
    };
    let mut taken = 0;
    for route in &ROUTES {
        let parameters = document["paths"][route.path]["get"]["parameters"].as_array().unwrap();
        // A required parameter has no default: a dimension, or the quantity that can be filtered, will do.
        let value = |p: &Value| match p["schema"]["enum"].as_array() {
            Some(words) => text(words.iter().find(|w| **w == "flow_duration").unwrap_or(&words[words.len() - 1])),
            None => text(&p["schema"]["items"]["enum"][0]),
        };
        for p in parameters {
            let examples = p["schema"]["examples"].as_array().cloned().unwrap_or_default();
            for given in
                p["schema"].get("default").into_iter().chain(&examples).filter(|v| **v != "all" || p["name"] == "from")
            {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair(p["name"].as_str().unwrap(), &text(given));
                // Examples of `from` lie in the past of the fake clock or at it; `to` must then be later.
                match p["name"].as_str() {
                    Some("from") => query.append_pair("to", "now+1h"),
                    Some("to") => query.append_pair("from", "0"),
                    _ => &mut query,
                };
                for needed in parameters.iter().filter(|p| p["required"] == true) {
                    query.append_pair(needed["name"].as_str().unwrap(), &value(needed));
                }
                let uri = format!("{}?{}", route.path, query.finish());
                let reply = get(&bench.router, &uri).await;
                assert_eq!(reply.status, StatusCode::OK, "{uri}: {}", reply.text());
                taken += 1;
            }
        }
    }
    assert!(taken > 50, "the document holds defaults and examples");
}

#[tokio::test]
async fn every_answer_fits_its_schema() {
    let bench = bench();
    let document = document();
    for route in &ROUTES {
        let query = match route.endpoint {
            Endpoint::Cardinality => "?of=src_ip",
            Endpoint::Quantiles => "?of=packet_size",
            Endpoint::Top | Endpoint::Series => "?by=src_ip,vlan",
            Endpoint::Index
            | Endpoint::Live
            | Endpoint::Ready
            | Endpoint::Metrics
            | Endpoint::Schema
            | Endpoint::Flows
            | Endpoint::Alerts
            | Endpoint::Messages
            | Endpoint::Ledger
            | Endpoint::Now => "",
            // The document does not describe itself.
            Endpoint::OpenApi => continue,
        };
        let Some(schema) = answer_schema(route.endpoint) else { continue };
        let reply = get(&bench.router, &format!("{}{query}", route.path)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", route.path);
        let schema = &document["components"]["schemas"][schema];
        assert_eq!(misfit(&document, schema, &reply.json(), route.path), None);
    }
    let problem = &document["components"]["schemas"]["Problem"];
    for uri in ["/api/v1/flows?filter=(", "/api/v1/flows?limit=0", "/nowhere", "/api/v1/top?x=1"] {
        let reply = get(&bench.router, uri).await;
        assert_eq!(misfit(&document, problem, &reply.json(), uri), None);
        assert_eq!(reply.json()["status"], reply.status.as_u16());
    }
}

#[test]
fn every_reference_of_the_document_resolves_and_every_schema_is_used() {
    let document = document();
    let mut references = Vec::new();
    let mut todo = vec![&document];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(fields) => {
                references.extend(fields.get("$ref").and_then(Value::as_str));
                todo.extend(fields.values());
            }
            Value::Array(items) => todo.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for reference in &references {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(references.contains(&format!("#/components/schemas/{name}").as_str()), "{name} is not used");
    }
}

#[test]
fn the_documented_fields_of_rows_are_those_they_have() {
    let rows = [
        (serde_json::to_value(record()).unwrap(), &FLOW_FIELDS[..]),
        (serde_json::to_value(Shown(&alert())).unwrap(), &ALERT_FIELDS[..]),
        (serde_json::to_value(Shown(&message())).unwrap(), &MESSAGE_FIELDS[..]),
    ];
    for (row, fields) in rows {
        let mut has: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let mut documented: Vec<&str> = fields.iter().map(|f| f.name).collect();
        has.sort_unstable();
        documented.sort_unstable();
        assert_eq!(has, documented);
    }
}
