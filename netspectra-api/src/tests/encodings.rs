//! The exact bytes of answers.

use super::fake::*;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use netspectra_common::query::RowCursor;
use serde_json::json;
use std::io::Read;
use std::time::Duration;

fn completeness() -> serde_json::Value {
    json!({
        "seen_packets": 100, "seen_bytes": 10_000, "accounted_packets": 100, "accounted_bytes": 10_000,
        "without_flow_packets": 6, "without_flow_bytes": 600, "chain_breaks": 0, "complete": false,
    })
}

fn last_hour() -> serde_json::Value {
    json!({ "from": "2026-01-31T11:00:00.000000000Z", "to": "2026-01-31T12:00:00.000000000Z" })
}

fn estimate() -> serde_json::Value {
    json!({ "estimate": 1500.0, "low": 1490.0, "high": 1510.0, "confidence": 0.99 })
}

#[tokio::test]
async fn flows_as_json() {
    let reply = get(&bench().router, "/api/v1/flows").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let mut flow = json!({
        "src_ip": "10.0.0.1", "dst_ip": "2001:db8::1", "src_port": 40_000, "dst_port": 443, "proto": 6,
        "ether_type": 0x86dd, "icmp_type": null, "icmp_code": null, "vlan": 7, "inner_vlan": null, "tunnel": null,
        "tunnel_id": null, "packets": 10, "bytes": 1_000, "l3_bytes": 860, "reverse_packets": 8,
        "reverse_bytes": 9_000, "reverse_l3_bytes": 8_888, "tcp_flags": 0x1b, "reverse_tcp_flags": 0x12,
        "retransmitted": 1, "reverse_retransmitted": 2, "out_of_order": 3, "reverse_out_of_order": 4,
        "zero_windows": 5, "reverse_zero_windows": 6, "server_rtt_us": 700, "client_rtt_us": null,
        "first_seen": "2026-01-31T12:00:00.000000000Z", "last_seen": "2026-01-31T12:00:01.000000005Z",
        "flow_start": "2026-01-31T12:00:00.000000000Z", "state": "closed", "end_reason": "fin",
        "initiator_by": "syn", "node": "edge,1", "iface": "eth0", "flow_id": "0000000000000abc",
    });
    let places = json!({
        "src_country": null, "dst_country": "NZ", "src_as": null, "dst_as": 64_496, "src_network": "office",
        "dst_network": null, "sampling": 1, "src_name": null, "dst_name": null, "src_pod": null, "dst_pod": null,
        "src_namespace": null, "dst_namespace": null, "src_workload": null, "dst_workload": null, "src_process": null,
        "dst_process": null, "src_cgroup": null, "dst_cgroup": null, "service": "https",
    });
    flow.as_object_mut().unwrap().extend(places.as_object().unwrap().clone());
    let whole = json!({ "items": [flow], "next_cursor": null, "range": last_hour(), "completeness": completeness() });
    assert_eq!(reply.json(), whole);
}

#[tokio::test]
async fn flows_as_csv() {
    let bench = bench();
    bench.answers.flows.lock().unwrap().next = Some(RowCursor::of_flow(&record()));
    let reply = get(&bench.router, "/api/v1/flows?format=csv").await;
    assert_eq!(reply.header("content-type"), Some("text/csv"));
    assert_eq!(reply.header("netspectra-complete"), Some("false"));
    assert_eq!(reply.header("netspectra-next-cursor").map(str::len), Some(106));
    let expected = "src_ip,dst_ip,src_port,dst_port,proto,ether_type,icmp_type,icmp_code,vlan,inner_vlan,tunnel,\
        tunnel_id,packets,bytes,l3_bytes,reverse_packets,reverse_bytes,reverse_l3_bytes,tcp_flags,reverse_tcp_flags,\
        retransmitted,reverse_retransmitted,out_of_order,reverse_out_of_order,zero_windows,reverse_zero_windows,\
        server_rtt_us,client_rtt_us,first_seen,last_seen,flow_start,state,end_reason,initiator_by,node,iface,flow_id,\
        src_country,dst_country,src_as,dst_as,src_network,dst_network,sampling,src_name,dst_name,src_pod,dst_pod,\
        src_namespace,dst_namespace,src_workload,dst_workload,src_process,dst_process,src_cgroup,dst_cgroup,service\r\n\
        10.0.0.1,2001:db8::1,40000,443,6,34525,,,7,,,,10,1000,860,8,9000,8888,27,18,1,2,3,4,5,6,700,,2026-01-31T12:00:00.000000000Z,\
        2026-01-31T12:00:01.000000005Z,2026-01-31T12:00:00.000000000Z,closed,fin,syn,\"edge,1\",eth0,0000000000000abc,,NZ,,64496,office,,1,,,,,,,,,,,,,https\r\n";
    assert_eq!(reply.text(), expected);
}

#[tokio::test]
async fn top_in_each_format() {
    let bench = bench();
    let reply = get(&bench.router, "/api/v1/top?by=src_ip,vlan&metric=packets").await;
    let whole = json!({
        "items": [{ "key": { "src_ip": "10.0.0.1", "vlan": null }, "value": estimate() }],
        "total": 3000, "metric": "packets", "range": last_hour(), "completeness": completeness(),
    });
    assert_eq!(reply.json(), whole);
    let reply = get(&bench.router, "/api/v1/top?by=src_ip,vlan&format=ndjson").await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let line = "{\"key\":{\"src_ip\":\"10.0.0.1\",\"vlan\":null},\
        \"value\":{\"estimate\":1500.0,\"low\":1490.0,\"high\":1510.0,\"confidence\":0.99}}\n";
    assert_eq!(reply.text(), line);
    let reply = get(&bench.router, "/api/v1/top?by=src_ip,vlan&format=csv").await;
    assert_eq!(reply.text(), "src_ip,vlan,estimate,low,high,confidence\r\n10.0.0.1,,1500.0,1490.0,1510.0,0.99\r\n");
}

#[tokio::test]
async fn series_in_each_format() {
    let bench = bench();
    let reply = get(&bench.router, "/api/v1/series?by=src_ip").await;
    let whole = json!({
        "items": [{
            "start": "2026-01-31T11:00:00.000000000Z", "key": { "src_ip": "10.0.0.1" },
            "packets": 3, "bytes": 300, "new_flows": 1,
        }],
        "step_seconds": 10, "range": last_hour(), "completeness": completeness(),
    });
    assert_eq!(reply.json(), whole);
    assert_eq!(
        get(&bench.router, "/api/v1/series?format=csv").await.text(),
        "start,packets,bytes,new_flows\r\n2026-01-31T11:00:00.000000000Z,3,300,1\r\n"
    );
}

#[tokio::test]
async fn numbers_as_json() {
    let bench = bench();
    let whole = json!({
        "of": ["src_ip", "dst_ip"], "value": estimate(), "range": last_hour(), "completeness": completeness(),
    });
    assert_eq!(get(&bench.router, "/api/v1/cardinality?of=src_ip,dst_ip").await.json(), whole);
    let whole = json!({
        "of": "packet_size", "count": 7, "items": [{ "q": 0.5, "value": estimate() }],
        "range": last_hour(), "completeness": completeness(),
    });
    assert_eq!(get(&bench.router, "/api/v1/quantiles?of=packet_size&q=0.5").await.json(), whole);
}

#[tokio::test]
async fn the_ledger_names_every_reason() {
    let zero = json!({ "packets": 0, "bytes": 0 });
    let exact = |n: f64| json!({ "estimate": n, "low": n, "high": n, "confidence": 1.0 });
    let overflow = json!({
        "packets": 6, "bytes": 600,
        "protocols": [{ "direction": "ingress", "proto": 17, "packets": 6, "bytes": 600 }],
        "sources": super::fake::ledger().overflow.map(|o| o.sources()),
        "prefixes": [{ "prefix": "198.51.100.0/24", "packets": exact(6.0), "bytes": exact(600.0) }],
        "unlisted_at_most": zero,
    });
    let whole = json!({
        "seen": { "packets": 100, "bytes": 10_000 },
        "accounted": { "packets": 100, "bytes": 10_000 },
        "flows": { "packets": 90, "bytes": 9_000 },
        "non_ip": { "packets": 4, "bytes": 400 },
        "reasons": {
            "truncated_link": zero, "truncated_ip": zero, "malformed_ip": zero, "too_deep": zero,
            "unsupported_link": zero, "table_full": { "packets": 6, "bytes": 600 }, "no_table": zero,
            "ring_full": zero, "excluded": zero, "sampled_out": zero,
        },
        "residual": zero,
        "orphan_fragments": 2, "events_lost": 1, "overflow": overflow, "generations": 5, "chain_breaks": 0,
        "nics": [{
            "node": "n1", "iface": "eth0", "rx_packets": 12, "rx_bytes": 1200, "tx_packets": 0, "tx_bytes": 0, "rx_missed": 1,
            "rx_dropped": 0, "rx_no_buffer": 0, "resets": 1,
        }],
        "range": last_hour(), "completeness": completeness(),
    });
    assert_eq!(get(&bench().router, "/api/v1/ledger").await.json(), whole);
}

#[tokio::test]
async fn the_parameter_wins_over_accept() {
    let bench = bench();
    let ask = |uri| request(Method::GET, uri).header("accept", "text/csv").body(Body::empty()).unwrap();
    assert_eq!(send(&bench.router, ask("/api/v1/top")).await.header("content-type"), Some("text/csv"));
    let reply = send(&bench.router, ask("/api/v1/top?format=ndjson")).await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let reply = send(&bench.router, ask("/api/v1/ledger")).await;
    assert_eq!(reply.header("content-type"), Some("application/json"), "no choice on this route");
}

#[tokio::test]
async fn an_answer_is_compressed_when_asked() {
    let bench = bench();
    let ask = request(Method::GET, "/api/v1/flows").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let reply = send(&bench.router, ask).await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, get(&bench.router, "/api/v1/flows").await.text());
}

#[tokio::test]
async fn head_says_what_get_would_send() {
    let bench = bench();
    let got = get(&bench.router, "/api/v1/ledger").await;
    let head = send(&bench.router, request(Method::HEAD, "/api/v1/ledger").body(Body::empty()).unwrap()).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-length"), Some(got.body.len().to_string().as_str()));
    assert_eq!(head.header("content-type"), got.header("content-type"));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn alerts_as_json_and_csv() {
    let bench = bench();
    let reply = get(&bench.router, "/api/v1/alerts").await.json();
    let item = json!({
        "at": "2026-01-31T11:59:55.000000000Z", "phase": "updated", "severity": "high", "detector": "port_scan",
        "subject": "10.0.0.9", "why": "10.0.0.9 tried 4,000 ports of 10.0.0.1",
        "first_seen": "2026-01-31T11:58:55.000000000Z", "last_seen": "2026-01-31T11:59:54.000000000Z",
        "score": 4000.0, "threshold": 100.0, "evidence": { "ports": 4000.0 },
        "flows": ["0000000000000001", "0000000000000def"], "node": "edge,1", "id": "0000000000000abc",
    });
    assert_eq!(reply["items"], json!([item]));
    assert_eq!(reply["next_cursor"].as_str().map(str::len), Some(106));
    let reply = get(&bench.router, "/api/v1/alerts?format=csv").await;
    let line = "2026-01-31T11:59:55.000000000Z,updated,high,port_scan,10.0.0.9,\"10.0.0.9 tried 4,000 ports of 10.0.0.1\",\
        2026-01-31T11:58:55.000000000Z,2026-01-31T11:59:54.000000000Z,4000.0,100.0,\"{\"\"ports\"\":4000.0}\",\
        \"[\"\"0000000000000001\"\",\"\"0000000000000def\"\"]\",\"edge,1\",0000000000000abc";
    assert_eq!(reply.text().lines().nth(1), Some(line));
}

#[tokio::test]
async fn messages_as_json() {
    let reply = get(&bench().router, "/api/v1/messages").await.json();
    let item = json!({
        "at": "2026-01-31T11:59:51.000000000Z", "app": "http", "message": "response", "name": "example.com",
        "code": 503, "latency_us": 1234, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "src_port": 80,
        "dst_port": 40_000, "proto": 6, "vlan": null,
        "detail": {
            "status": 503, "minor_version": 1, "content_type": null, "content_length": null, "method": null,
            "host": "Example.com", "latency_ns": 1_234_567,
        },
        "node": "edge,1", "id": "0000000000000123",
    });
    let whole = json!({ "items": [item], "next_cursor": null, "range": last_hour(), "completeness": completeness() });
    assert_eq!(reply, whole);
}

#[tokio::test]
async fn a_filter_on_what_rows_do_not_have_names_what_they_have() {
    let bench = bench();
    for (uri, named) in [
        ("/api/v1/alerts?filter=src_ip=10.0.0.1", "dimensions of alerts: node, detector, severity, phase, subject"),
        (
            "/api/v1/messages?filter=state=closed",
            "dimensions of messages: src_ip, dst_ip, src_port, dst_port, proto, vlan, node, app",
        ),
        ("/api/v1/flows?filter=app=dns", "dimensions of flow records: src_ip"),
    ] {
        let reply = get(&bench.router, uri).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{uri}: {detail}");
    }
}

#[tokio::test]
async fn the_present_is_what_the_board_says_and_without_a_board_there_is_none() {
    let found = get(&bench().router, "/api/v1/now?limit=5").await;
    let expected = json!({
        "partitions": 2, "unreadable": 0, "nodes": 3, "active_flows": 7,
        "windows": [{
            "range": { "from": NOW.minus(Duration::from_secs(10)).to_string(), "to": NOW.to_string() },
            "nodes": 2, "packets": 30, "bytes": 3000, "new_flows": 4,
            "active_addresses": { "estimate": 5.0, "low": 4.0, "high": 6.0, "confidence": 0.95 },
            "top_senders": [{
                "address": "10.0.0.1",
                "bytes": { "estimate": 2000.0, "low": 2000.0, "high": 2000.0, "confidence": 1.0 },
            }],
        }],
    });
    assert_eq!(found.json(), expected);
    let alone = crate::router(crate::Deps { board: None, ..deps(crate::Limits::default()) });
    let none = get(&alone, "/api/v1/now").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.text().contains("cluster.redis"), "{}", none.text());
}
