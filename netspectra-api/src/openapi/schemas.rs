use crate::problem::KINDS;
use crate::routes::{Kind, METRIC, QUANTILES_OF};
use netspectra_common::abi::LossReason;
use netspectra_common::model::{AlertPhase, EndReason, FlowState, InitiatorBy, MessageKind, Severity};
use netspectra_common::schema::{ALERT_FIELDS, Dimension, FLOW_FIELDS, Field, FieldKind, MESSAGE_FIELDS, ValueKind};
use serde_json::{Map, Value, json};

/// The word for a dimension's kind of values, and the list of them where it is closed.
pub(crate) const fn value_kind(kind: ValueKind) -> (&'static str, Option<&'static [&'static str]>) {
    match kind {
        ValueKind::Address => ("address", None),
        ValueKind::U16 | ValueKind::U32 => ("number", None),
        ValueKind::Proto => ("protocol", None),
        ValueKind::Word(words) => ("word", Some(words)),
        ValueKind::Text => ("text", None),
    }
}

/// Every schema by name.
pub(crate) fn all() -> Map<String, Value> {
    let answers = [
        ("Estimate", estimate()),
        ("Counter", object(&[("packets", count("packets on the wire")), ("bytes", count("L2 bytes without FCS"))])),
        ("Range", object(&[("from", time("included")), ("to", time("not included"))])),
        ("Completeness", completeness()),
        ("Flow", row(&FLOW_FIELDS)),
        ("Flows", page("Flow")),
        ("Alert", row(&ALERT_FIELDS)),
        ("Alerts", page("Alert")),
        ("Message", row(&MESSAGE_FIELDS)),
        ("Messages", page("Message")),
        ("Key", key()),
        ("TopItem", object(&[("key", reference("Key")), ("value", reference("Estimate"))])),
        (
            "Top",
            object(&[
                ("items", list("TopItem")),
                ("total", count("sum over all groups")),
                ("metric", words(METRIC.kind)),
                ("range", reference("Range")),
                ("completeness", reference("Completeness")),
            ]),
        ),
        (
            "SeriesItem",
            object(&[
                ("start", time("begin of the point")),
                ("key", reference("Key")),
                ("packets", count("exact")),
                ("bytes", count("exact")),
                (
                    "new_flows",
                    json!({
                        "type": ["integer", "null"],
                        "minimum": 0,
                        "description": "flows that began; null by protocol alone: it is known for all protocols together"
                    }),
                ),
            ]),
        ),
        (
            "Series",
            object(&[
                ("items", list("SeriesItem")),
                ("step_seconds", count("length of a point")),
                ("range", reference("Range")),
                ("completeness", reference("Completeness")),
            ]),
        ),
        (
            "Cardinality",
            object(&[
                ("of", json!({ "type": "array", "items": { "type": "string" } })),
                ("value", reference("Estimate")),
                ("range", reference("Range")),
                ("completeness", reference("Completeness")),
            ]),
        ),
        ("QuantileItem", object(&[("q", json!({ "type": "number" })), ("value", reference("Estimate"))])),
        (
            "Quantiles",
            object(&[
                ("of", words(QUANTILES_OF.kind)),
                ("count", count("values counted")),
                ("items", list("QuantileItem")),
                ("range", reference("Range")),
                ("completeness", reference("Completeness")),
            ]),
        ),
        ("Ledger", ledger()),
        ("Sender", object(&[("address", json!({ "type": "string" })), ("bytes", reference("Estimate"))])),
        (
            "NowWindow",
            object(&[
                ("range", reference("Range")),
                ("nodes", count("nodes that have closed it")),
                ("packets", count("exact")),
                ("bytes", count("exact")),
                ("new_flows", count("flows that began")),
                ("active_addresses", reference("Estimate")),
                ("top_senders", list("Sender")),
            ]),
        ),
        (
            "Now",
            object(&[
                ("partitions", count("partitions that published lately")),
                ("unreadable", count("those whose state cannot be read: they are in no other number")),
                ("nodes", count("nodes known")),
                ("active_flows", count("flows being watched")),
                ("windows", list("NowWindow")),
            ]),
        ),
        ("Catalogue", object(&[("dimensions", list("Dimension"))])),
        ("Dimension", dimension()),
        ("Liveness", object(&[("live", json!({ "type": "boolean" }))])),
        ("Readiness", object(&[("ready", json!({ "type": "boolean" })), ("checks", list("Check"))])),
        (
            "Check",
            object(&[
                ("name", json!({ "type": "string" })),
                ("ok", json!({ "type": "boolean" })),
                ("detail", json!({ "type": "string" })),
            ]),
        ),
        ("OpenApi", json!({ "type": "object", "description": "an OpenAPI 3.1 document" })),
        ("Problem", problem()),
    ];
    answers.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// An object that has exactly these fields.
fn object(fields: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect();
    let names: Vec<&str> = fields.iter().map(|(n, _)| *n).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list(of: &str) -> Value {
    json!({ "type": "array", "items": reference(of) })
}

fn count(doc: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": doc })
}

fn time(doc: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": doc })
}

fn words(kind: Kind) -> Value {
    match kind {
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Time
        | Kind::Filter(_)
        | Kind::Dimensions
        | Kind::Integer(..)
        | Kind::Fractions
        | Kind::Step
        | Kind::Flag
        | Kind::Cursor => json!({ "type": "string" }),
    }
}

fn estimate() -> Value {
    let number = |doc: &str| json!({ "type": "number", "description": doc });
    object(&[
        ("estimate", number("best guess")),
        ("low", number("lower bound; equal to `high` when exact")),
        ("high", number("upper bound")),
        ("confidence", number("probability that the true value is in `low..=high`")),
    ])
}

fn completeness() -> Value {
    object(&[
        ("seen_packets", count("frames seen in the range, by the ledger")),
        ("seen_bytes", count("their bytes")),
        ("accounted_packets", count("frames in records or under a reason")),
        ("accounted_bytes", count("their bytes")),
        ("without_flow_packets", count("frames seen whose flow is not known")),
        ("without_flow_bytes", count("their bytes")),
        ("chain_breaks", count("generations that did not follow the one before them")),
        (
            "complete",
            json!({ "type": "boolean", "description": "every frame of the range is in a record, and no generation is missing" }),
        ),
    ])
}

/// A page of rows.
fn page(of: &str) -> Value {
    object(&[
        ("items", list(of)),
        ("next_cursor", json!({ "type": ["string", "null"], "description": "for `cursor`; null on the last page" })),
        ("range", reference("Range")),
        ("completeness", reference("Completeness")),
    ])
}

/// A row with fields of the catalogue.
fn row(fields: &[Field]) -> Value {
    let fields: Vec<(&str, Value)> = fields
        .iter()
        .map(|f| {
            let mut schema = match (f.name, f.kind) {
                ("state", _) => json!({ "type": "string", "enum": FlowState::ALL.map(FlowState::name) }),
                ("end_reason", _) => json!({ "type": "string", "enum": EndReason::ALL.map(EndReason::name) }),
                ("initiator_by", _) => json!({ "type": "string", "enum": InitiatorBy::ALL.map(InitiatorBy::name) }),
                ("phase", _) => json!({ "type": "string", "enum": AlertPhase::ALL.map(AlertPhase::name) }),
                ("severity", _) => json!({ "type": "string", "enum": Severity::ALL.map(Severity::name) }),
                ("message", _) => json!({ "type": "string", "enum": MessageKind::ALL.map(MessageKind::name) }),
                (_, FieldKind::Number) => json!({ "type": "number" }),
                (_, FieldKind::Object) => json!({ "type": "object" }),
                (_, FieldKind::Texts) => json!({ "type": "array", "items": { "type": "string" } }),
                (_, FieldKind::Integer) => json!({ "type": "integer", "minimum": 0 }),
                (_, FieldKind::IntegerOrNull) => json!({ "type": ["integer", "null"], "minimum": 0 }),
                (_, FieldKind::Text) => json!({ "type": "string" }),
                (_, FieldKind::TextOrNull) => json!({ "type": ["string", "null"] }),
                (_, FieldKind::Time) => json!({ "type": "string", "format": "date-time" }),
            };
            schema["description"] = json!(f.doc);
            (f.name, schema)
        })
        .collect();
    object(&fields)
}

/// The dimensions that were asked for, and no others; so none is required.
fn key() -> Value {
    let properties: Map<String, Value> = Dimension::ALL
        .into_iter()
        .filter(|d| d.in_rollups())
        .map(|d| (d.name().to_owned(), json!({ "type": ["string", "null"], "description": d.doc() })))
        .collect();
    json!({ "type": "object", "properties": properties })
}

fn ledger() -> Value {
    let reasons: Vec<(&str, Value)> = LossReason::ALL.map(|r| (r.name(), reference("Counter"))).to_vec();
    let signed = json!({ "type": "integer", "description": "0 unless the product is broken" });
    object(&[
        ("seen", reference("Counter")),
        ("accounted", reference("Counter")),
        ("flows", reference("Counter")),
        ("non_ip", reference("Counter")),
        ("reasons", object(&reasons)),
        ("residual", object(&[("packets", signed.clone()), ("bytes", signed)])),
        ("orphan_fragments", count("later fragments without their first one")),
        ("events_lost", count("hints lost; no count depends on them")),
        ("overflow", overflow()),
        ("generations", count("generations in the range")),
        (
            "chain_breaks",
            count(
                "generations whose manifest does not carry the hash of the one before it: one is missing or was altered",
            ),
        ),
        ("nics", json!({ "type": "array", "items": nic() })),
        ("range", reference("Range")),
        ("completeness", reference("Completeness")),
    ])
}

/// What a device counted itself.
fn nic() -> Value {
    let text = |doc: &str| json!({ "type": "string", "description": doc });
    object(&[
        ("node", text("node")),
        ("iface", text("interface; the sum of those beyond the first 1,000 is called `other`")),
        ("rx_packets", count("packets received, by the device's own count")),
        ("rx_bytes", count("bytes received")),
        ("tx_packets", count("packets sent")),
        ("tx_bytes", count("bytes sent")),
        ("rx_missed", count("packets that the device had no room for, before any hook")),
        ("rx_dropped", count("packets received, then dropped by the driver or the stack")),
        ("rx_no_buffer", count("packets lost because a receive queue had no buffer")),
        ("resets", count("generations in which the device began anew: what they gained is not known")),
    ])
}

/// What is known of packets whose flow found no room; null when every flow found some.
fn overflow() -> Value {
    let protocol = object(&[
        ("direction", json!({ "type": "string", "enum": ["ingress", "egress"] })),
        ("proto", json!({ "type": ["integer", "null"], "description": "null for frames that are not IP" })),
        ("packets", count("packets on the wire")),
        ("bytes", count("L2 bytes without FCS")),
    ]);
    let prefix = object(&[
        ("prefix", json!({ "type": "string", "description": "source /24 (IPv4) or /48 (IPv6)" })),
        ("packets", reference("Estimate")),
        ("bytes", reference("Estimate")),
    ]);
    let mut schema = object(&[
        ("packets", count("packets on the wire")),
        ("bytes", count("L2 bytes without FCS")),
        ("protocols", json!({ "type": "array", "items": protocol })),
        ("sources", reference("Estimate")),
        ("prefixes", json!({ "type": "array", "items": prefix })),
        ("unlisted_at_most", reference("Counter")),
    ]);
    schema["type"] = json!(["object", "null"]);
    schema
}

fn dimension() -> Value {
    let text = json!({ "type": "string" });
    let flag = json!({ "type": "boolean" });
    object(&[
        ("name", text.clone()),
        ("doc", text.clone()),
        ("kind", json!({ "type": "string", "enum": ["address", "number", "protocol", "word", "text"] })),
        ("values", json!({ "type": ["array", "null"], "items": text })),
        ("in_flows", flag.clone()),
        ("in_groups", flag.clone()),
        ("in_messages", flag.clone()),
        ("in_alerts", flag),
    ])
}

fn problem() -> Value {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, ..)| *kind).collect();
    let text = |doc: &str| json!({ "type": "string", "description": doc });
    let mut schema = object(&[
        ("type", json!({ "type": "string", "enum": kinds })),
        ("title", text("the kind in words")),
        ("status", json!({ "type": "integer" })),
        ("detail", text("what happened this time")),
        ("param", text("the parameter at fault")),
        ("column", json!({ "type": "integer", "minimum": 1, "description": "where in the parameter's value" })),
        ("hint", text("what to do")),
        ("routes", json!({ "type": "array", "items": { "type": "string" } })),
    ]);
    schema["required"] = json!(["type", "title", "status", "detail"]);
    schema
}
