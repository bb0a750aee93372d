//! What the parameters become, and what is said about those that are wrong.

use super::fake::*;
use axum::http::StatusCode;
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::query::{Filter, Metric, Plan, Quantity, Query, RowCursor};
use netspectra_common::schema::Dimension;
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// The plan that `uri` leads to.
async fn plan(uri: &str) -> Plan {
    let bench = bench();
    let reply = get(&bench.router, uri).await;
    assert_eq!(reply.status, StatusCode::OK, "{uri}: {}", reply.text());
    let [plan] = bench.answers.asked().try_into().unwrap();
    plan
}

#[tokio::test]
async fn without_parameters_the_last_hour_is_asked() {
    let range = TimeRange { from: NOW.minus(HOUR), to: NOW };
    let whole = |query| Plan { range, filter: Filter::ALL, query };
    assert_eq!(plan("/api/v1/flows").await, whole(Query::Flows { limit: 100, after: None }));
    let top = Query::Top { by: vec![Dimension::SrcIp], metric: Metric::Bytes, limit: 10, exact: false };
    assert_eq!(plan("/api/v1/top").await, whole(top));
    let series = Query::Series { step: Duration::from_secs(10), by: vec![] };
    assert_eq!(plan("/api/v1/series").await, whole(series));
    let cardinality = Query::Cardinality { of: vec![Dimension::SrcIp, Dimension::DstPort] };
    assert_eq!(plan("/api/v1/cardinality?of=src_ip,dst_port").await, whole(cardinality));
    let quantiles = Query::Quantiles { of: Quantity::PacketSize, q: vec![0.5, 0.9, 0.99] };
    assert_eq!(plan("/api/v1/quantiles?of=packet_size").await, whole(quantiles));
}

#[tokio::test]
async fn every_parameter_reaches_the_plan() {
    let uri =
        "/api/v1/top?from=2026-01-31T10:00:00%2B02:00&to=now-15m&by=proto,%20dst_port&metric=flows&limit=3&exact=true";
    let expected = Plan {
        range: TimeRange { from: Nanos::from_secs(1_769_846_400), to: NOW.minus(HOUR / 4) },
        filter: Filter::ALL,
        query: Query::Top {
            by: vec![Dimension::Proto, Dimension::DstPort],
            metric: Metric::Flows,
            limit: 3,
            exact: true,
        },
    };
    assert_eq!(plan(uri).await, expected);
    for metric in Metric::ALL {
        let asked = plan(&format!("/api/v1/top?by=dst_ip&metric={}", metric.name())).await.query;
        assert!(matches!(asked, Query::Top { metric: found, .. } if found == metric), "{asked:?}");
    }
    let series = plan("/api/v1/series?step=1m&by=node&from=-2h").await;
    assert_eq!(series.query, Query::Series { step: Duration::from_secs(60), by: vec![Dimension::Node] });
    for of in Quantity::ALL {
        let asked = plan(&format!("/api/v1/quantiles?of={}&q=0.5", of.name())).await;
        assert_eq!(asked.query, Query::Quantiles { of, q: vec![0.5] });
    }
    let quantiles = plan("/api/v1/quantiles?of=flow_duration&q=0,1,.25").await;
    assert_eq!(quantiles.query, Query::Quantiles { of: Quantity::FlowDuration, q: vec![0.0, 1.0, 0.25] });
    for all in ["/api/v1/flows?from=0", "/api/v1/flows?from=all"] {
        assert_eq!(plan(all).await.range, TimeRange { from: Nanos(0), to: NOW });
    }
    assert_eq!(plan("/api/v1/flows?from=all&to=all&filter=").await.range, TimeRange::ALL);
}

#[tokio::test]
async fn a_series_of_all_time_has_a_step_that_fits_what_is_stored() {
    let all = plan("/api/v1/series?from=all").await;
    assert_eq!(all.range, TimeRange { from: Nanos(0), to: NOW });
    // Two hours are stored.
    assert_eq!(all.query, Query::Series { step: Duration::from_secs(30), by: vec![] });
}

#[tokio::test]
async fn what_is_wrong_is_refused_under_the_name_of_its_parameter() {
    let bench = bench();
    for (uri, param, says) in [
        ("/api/v1/flows?form=0", "form", "`form` is not a parameter here"),
        ("/api/v1/ledger?filter=proto%3D6", "filter", "`filter` is not a parameter here"),
        ("/healthz?x", "x", "`x` is not a parameter here"),
        ("/api/v1/flows?limit=1&limit=2", "limit", "`limit` is given twice: expected once"),
        ("/api/v1/flows?limit=0", "limit", "`limit` is `0`: expected an integer in 1..=10000"),
        ("/api/v1/flows?limit=10001", "limit", "`limit` is `10001`: expected an integer in 1..=10000"),
        ("/api/v1/top?limit=", "limit", "`limit` is ``: expected an integer in 1..=10000"),
        ("/api/v1/flows?format=xml", "format", "`format` is `xml`: expected `json`, `ndjson` or `csv`"),
        (
            "/api/v1/flows?cursor=zz",
            "cursor",
            "`cursor` is malformed: expected the `next_cursor` of an earlier answer, unchanged",
        ),
        ("/api/v1/top?by=src_ip,scr_ip", "by", "`scr_ip` in `by` is not a dimension that can be grouped by"),
        ("/api/v1/top?by=state", "by", "`state` in `by` is not a dimension that can be grouped by"),
        ("/api/v1/top?by=", "by", "`` in `by` is not a dimension that can be grouped by"),
        ("/api/v1/top?by=vlan,vlan", "by", "`vlan` is twice in `by`: expected once"),
        ("/api/v1/top?metric=bits", "metric", "`metric` is `bits`: expected `bytes`, `packets`, `flows` or `peers`"),
        ("/api/v1/top?exact=yes", "exact", "`exact` is `yes`: expected `true` or `false`"),
        ("/api/v1/series?step=0", "step", "`step` is `0`: expected a length such as `10s`, `1m`, `1h`, or seconds"),
        ("/api/v1/series?step=1y", "step", "`step` is `1y`: expected a length such as `10s`, `1m`, `1h`, or seconds"),
        (
            "/api/v1/quantiles?of=packet_size&q=0.5,1.1",
            "q",
            "`1.1` in `q` is not a quantile: expected a number in 0..=1",
        ),
        ("/api/v1/quantiles?of=packet_size&q=nan", "q", "`nan` in `q` is not a quantile: expected a number in 0..=1"),
        (
            "/api/v1/quantiles?of=rtt",
            "of",
            "`of` is `rtt`: expected `packet_size`, `flow_duration`, `server_rtt`, `client_rtt` or `dns_latency`",
        ),
        (
            "/api/v1/flows?from=200&to=200",
            "from",
            "`from` (1970-01-01T00:03:20.000000000Z) is not before `to` (1970-01-01T00:03:20.000000000Z)",
        ),
    ] {
        let reply = get(&bench.router, uri).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        let problem = reply.json();
        assert_eq!((problem["param"].as_str(), problem["detail"].as_str()), (Some(param), Some(says)), "{uri}");
        assert_eq!(problem["status"], 400);
    }
    for (uri, param) in [
        ("/api/v1/cardinality", "of"),
        ("/api/v1/quantiles", "of"),
        ("/api/v1/flows?from=yesterday", "from"),
        ("/api/v1/flows?to=2026-02-30T00:00:00Z", "to"),
        ("/api/v1/flows?from=-1parsec", "from"),
        ("/api/v1/series?step=500ms", "step"),
        ("/api/v1/series?step=1s&by=src_ip", "step"),
    ] {
        let reply = get(&bench.router, uri).await;
        assert_eq!((reply.status, reply.json()["param"].as_str()), (StatusCode::BAD_REQUEST, Some(param)), "{uri}");
    }
    assert!(bench.answers.plans.lock().unwrap().is_empty(), "nothing was asked");
    let unknown = get(&bench.router, "/api/v1/ledger?form=0").await.json();
    assert_eq!(unknown["hint"], "`/api/v1/ledger` takes from, to");
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_shown_with_a_caret() {
    let reply = get(&bench().router, "/api/v1/flows?filter=(proto+%3D+tcp").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let problem = reply.json();
    assert_eq!(problem["param"], "filter");
    let column = problem["column"].as_u64().unwrap() as usize;
    let [.., text, caret] = problem["detail"].as_str().unwrap().lines().collect::<Vec<_>>()[..] else {
        panic!("expected a message, the filter and a caret: {problem}");
    };
    assert_eq!(text, "(proto = tcp");
    assert_eq!(caret, format!("{}^", " ".repeat((column - 1).min(text.len()))));
}

#[tokio::test]
async fn a_filter_is_bounded() {
    let reply = get(&bench().router, &format!("/api/v1/flows?filter={}", "(".repeat(8_193))).await;
    assert_eq!(reply.json()["detail"], "`filter` has 8193 characters: expected at most 8192");
}

#[tokio::test]
async fn a_series_of_too_many_points_is_refused_with_a_remedy() {
    let bench = bench();
    let reply = get(&bench.router, "/api/v1/series?from=now-100000s&step=1s").await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = get(&bench.router, "/api/v1/series?from=now-100001s&step=1s").await;
    assert_eq!(reply.json()["detail"], "`step` of 1 s makes 100001 points: expected at most 100000");
    assert_eq!(reply.json()["param"], "step");
}

#[tokio::test]
async fn a_cursor_continues_where_the_page_ended_in_the_range_of_the_first() {
    let bench = bench();
    let after = RowCursor::of_flow(&record());
    bench.answers.flows.lock().unwrap().next = Some(after);
    let uri = "/api/v1/flows?from=-1h&limit=1";
    let cursor = get(&bench.router, uri).await.json()["next_cursor"].as_str().unwrap().to_owned();
    bench.clock.0.fetch_add(60_000_000_000, Ordering::SeqCst);
    bench.answers.flows.lock().unwrap().next = None;
    let last = get(&bench.router, &format!("{uri}&cursor={cursor}")).await;
    assert_eq!(last.json()["next_cursor"], serde_json::Value::Null);
    let asked = bench.answers.asked();
    assert_eq!(asked[1].range, asked[0].range, "`now` of the first page");
    assert_eq!(asked[1].query, Query::Flows { limit: 1, after: Some(after) });
    let other = get(&bench.router, &format!("/api/v1/flows?from=-2h&cursor={cursor}")).await;
    assert_eq!((other.status, other.json()["param"].as_str()), (StatusCode::BAD_REQUEST, Some("cursor")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn no_query_string_breaks_the_api(
        path in prop::sample::select(crate::routes::ROUTES.iter().map(|r| r.path).collect::<Vec<_>>()),
        name in prop_oneof![
            prop::sample::select(vec!["from", "to", "by", "of", "q", "step", "cursor", "limit", "filter"]),
            Just("x"),
        ],
        value in prop_oneof!["[ -~]{0,40}", "-?[0-9]{1,22}(ms|s|m|h|d|w)?", "now[-+]\\PC{0,4}", "\\PC{0,12}"],
    ) {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let reply = runtime.block_on(get(&bench().router, &format!("{path}?{query}")));
        prop_assert!(matches!(reply.status.as_u16(), 200 | 400), "{} {}: {}", path, query, reply.status);
    }
}
