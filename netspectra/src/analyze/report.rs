//! The report, for people and as JSON.

use super::summary::{Finished, ether_type_name};
use crate::output::{bit_rate, bytes, grouped};
use crate::overflow::{self, with_bounds};
use netspectra_common::abi::LossReason;
use netspectra_common::model::Counter;
use netspectra_common::query::{Answer, QuantilesAnswer, TopAnswer};
use netspectra_common::schema::protocol_name;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// One JSON object.
pub(super) fn json(f: &Finished) -> anyhow::Result<String> {
    let ledger = &f.ledger;
    let accounted = ledger.accounted();
    let (residual_packets, residual_bytes) = ledger.residual();
    let mut reasons = Map::new();
    for reason in LossReason::ALL {
        let c = ledger.reasons[reason];
        reasons.insert(reason.name().into(), json!({"packets": c.packets, "bytes": c.bytes}));
    }
    let protocols: Vec<Value> = f
        .protocols
        .iter()
        .map(|(p, c)| json!({"proto": p, "name": name(*p), "packets": c.packets, "bytes": c.bytes}))
        .chain(f.non_ip.iter().map(|(e, c)| {
            json!({"proto": null, "ether_type": e, "name": non_ip_name(*e), "packets": c.packets, "bytes": c.bytes})
        }))
        .collect();
    let (mut cardinality, mut top, mut quantiles) = (Map::new(), Map::new(), Map::new());
    for (name, answer) in &f.answers {
        match answer {
            Answer::Top(t) => {
                let rows: Vec<Value> = t.items.iter().map(|r| json!({"key": r.key, "value": r.value})).collect();
                top.insert((*name).into(), json!({"total": t.total, "items": rows}));
            }
            Answer::Cardinality(c) => {
                cardinality.insert((*name).into(), json!(c.value));
            }
            Answer::Quantiles(q) => {
                let items: Vec<Value> = q.items.iter().map(|(q, v)| json!({"q": q, "value": v})).collect();
                quantiles.insert((*name).into(), json!({"count": q.count, "items": items}));
            }
            Answer::Flows(_) | Answer::Alerts(_) | Answer::Messages(_) | Answer::Series(_) | Answer::Ledger(_) => {}
        }
    }
    let states: Map<String, Value> = f.states.iter().map(|(s, n)| (s.name().into(), json!(n))).collect();
    let ends: Map<String, Value> = f.end_reasons.iter().map(|(s, n)| (s.name().into(), json!(n))).collect();
    let files: Vec<Value> = f
        .files
        .iter()
        .map(|(path, format, frames, error)| json!({"path": path, "format": format, "frames": frames, "error": error}))
        .collect();
    let mut object = json!({
        "packets": ledger.seen.packets,
        "bytes": ledger.seen.bytes,
        "time_range": {"first": f.first.map(|t| t.to_string()), "last": f.last.map(|t| t.to_string())},
        "ledger": {
            "seen": ledger.seen.packets,
            "accounted": accounted.packets,
            "seen_bytes": ledger.seen.bytes,
            "accounted_bytes": accounted.bytes,
            "flows": {"packets": ledger.flows.packets, "bytes": ledger.flows.bytes},
            "non_ip": {"packets": ledger.non_ip.packets, "bytes": ledger.non_ip.bytes},
            "reasons": reasons,
            "residual": {"packets": residual_packets as i64, "bytes": residual_bytes as i64},
            "orphan_fragments": ledger.orphan_fragments,
            "overflow": ledger.overflow.as_ref().map(|o| o.report(20)),
        },
        "flows": {"started": f.flows, "records": f.records, "states": states, "end_reasons": ends},
        "protocols": protocols,
        "cardinality": cardinality,
        "top": top,
        "quantiles": quantiles,
        "files": files,
    });
    if let (Some(applications), Value::Object(object)) = (&f.applications, &mut object) {
        applications.json(object);
    }
    if let (Some(alerts), Value::Object(object)) = (&f.alerts, &mut object) {
        alerts.json(object);
    }
    if let (Some(p), Value::Object(object)) = (f.payloads, &mut object) {
        let said = json!({
            "dropped_messages": p.dropped_messages,
            "evicted_flows": p.evicted_flows,
            "missing_stream_bytes": p.missing_bytes,
            "repeated_stream_bytes": p.repeated_bytes,
        });
        object.insert("payloads".into(), said);
    }
    Ok(serde_json::to_string_pretty(&object)? + "\n")
}

fn name(proto: u8) -> String {
    protocol_name(proto).map_or_else(|| format!("protocol {proto}"), str::to_owned)
}

fn non_ip_name(ether_type: u16) -> String {
    match ether_type_name(ether_type) {
        "" => format!("EtherType 0x{ether_type:04x}"),
        known => known.to_owned(),
    }
}

/// The report for people.
pub(super) fn text(f: &Finished) -> String {
    let mut t = String::new();
    totals(&mut t, f);
    protocols(&mut t, f);
    for (name, answer) in &f.answers {
        if let Answer::Top(top) = answer {
            top_list(&mut t, name, top);
        }
    }
    distinct(&mut t, f);
    for (name, answer) in &f.answers {
        if let Answer::Quantiles(q) = answer {
            quantiles(&mut t, name, q);
        }
    }
    if let Some(applications) = &f.applications {
        applications.text(&mut t, f.top);
    }
    if let Some(alerts) = &f.alerts {
        alerts.text(&mut t);
    }
    flow_states(&mut t, f);
    ledger(&mut t, f);
    t
}

// Writing to a string cannot fail, so the results of `writeln!` are dropped below.

pub(super) fn heading(t: &mut String, title: &str) {
    let _ = writeln!(t, "\n{title}");
}

fn totals(t: &mut String, f: &Finished) {
    for (path, format, frames, error) in &f.files {
        let damaged = if error.is_some() { ", damaged" } else { "" };
        let _ = writeln!(t, "{path}: {format}, {} frames{damaged}", grouped(*frames));
    }
    heading(t, "Totals");
    let seen = f.ledger.seen;
    let _ = writeln!(t, "  packets   {:>18}", grouped(seen.packets));
    let _ = writeln!(t, "  bytes     {:>18}  ({})", grouped(seen.bytes), bytes(seen.bytes));
    let _ = writeln!(t, "  flows     {:>18}", grouped(f.flows));
    if let (Some(first), Some(last)) = (f.first, f.last) {
        let seconds = last.since(first).as_secs_f64();
        let _ = writeln!(t, "  from      {first}");
        let _ = writeln!(t, "  to        {last}  ({seconds:.3} s)");
        if seconds > 0.0 {
            let _ = writeln!(
                t,
                "  rate      {:>18}  ({:.0} packets/s)",
                bit_rate(seen.bytes as f64 * 8.0 / seconds),
                seen.packets as f64 / seconds
            );
        }
    }
    let rate = seen.packets as f64 / f.elapsed.as_secs_f64().max(1e-9);
    let _ = writeln!(t, "  read in   {:>16.3} s  ({:.0} packets/s)", f.elapsed.as_secs_f64(), rate);
}

fn protocols(t: &mut String, f: &Finished) {
    heading(t, "Protocols                              packets             bytes   share of bytes");
    let total = f.ledger.seen.bytes.max(1) as f64;
    let mut line = |label: &str, c: &Counter| {
        let share = c.bytes as f64 * 100.0 / total;
        let _ = writeln!(t, "  {label:<28} {:>15} {:>17} {share:>15.2} %", grouped(c.packets), grouped(c.bytes));
    };
    for (proto, counter) in &f.protocols {
        line(&name(*proto), counter);
    }
    for (ether_type, counter) in &f.non_ip {
        line(&non_ip_name(*ether_type), counter);
    }
}

fn top_list(t: &mut String, name: &str, top: &TopAnswer) {
    heading(t, &sentence(name));
    for row in &top.items {
        let share = row.value.estimate * 100.0 / top.total.max(1) as f64;
        let _ = writeln!(t, "  {:<46} {:>22} {share:>8.2} %", row.key.join("/"), with_bounds(&row.value));
    }
}

fn distinct(t: &mut String, f: &Finished) {
    heading(t, "Distinct");
    for (name, answer) in &f.answers {
        if let Answer::Cardinality(c) = answer {
            let _ = writeln!(t, "  {:<46} {:>22}", sentence(name).to_lowercase(), with_bounds(&c.value));
        }
    }
}

fn quantiles(t: &mut String, name: &str, q: &QuantilesAnswer) {
    let unit = if name == "packet_size" { "bytes" } else { "seconds" };
    heading(t, &format!("{} ({unit}, {} values)", sentence(name), grouped(q.count)));
    for (q, v) in &q.items {
        let label = match *q {
            0.0 => "minimum".to_owned(),
            1.0 => "maximum".to_owned(),
            q => format!("p{}", q * 100.0),
        };
        let _ = writeln!(t, "  {label:<10} {:>14.3}  ({:.3} to {:.3})", v.estimate, v.low, v.high);
    }
}

fn flow_states(t: &mut String, f: &Finished) {
    heading(t, "Flow records");
    for (state, n) in &f.states {
        let _ = writeln!(t, "  {:<28} {:>15}", state.name(), grouped(*n));
    }
    heading(t, "Why records ended");
    for (reason, n) in &f.end_reasons {
        let _ = writeln!(t, "  {:<28} {:>15}", reason.name(), grouped(*n));
    }
}

fn ledger(t: &mut String, f: &Finished) {
    let l = &f.ledger;
    heading(t, "Ledger                                 packets             bytes");
    let mut line = |label: &str, c: Counter| {
        let _ = writeln!(t, "  {label:<28} {:>15} {:>17}", grouped(c.packets), grouped(c.bytes));
    };
    line("seen", l.seen);
    line("in IP flows", l.flows);
    line("by EtherType", l.non_ip);
    for reason in LossReason::ALL {
        let c = l.reasons[reason];
        if !c.is_zero() {
            line(reason.name(), c);
        }
    }
    let (packets, bytes) = l.residual();
    let _ = writeln!(t, "  {:<28} {packets:>15} {bytes:>17}", "unaccounted");
    if let Some(overflow) = &l.overflow {
        heading(t, "Without room in the flow table");
        for line in overflow::lines(overflow) {
            let _ = writeln!(t, "  {line}");
        }
    }
}

/// `top_sources_by_bytes` as `Top sources by bytes`.
fn sentence(name: &str) -> String {
    let mut text = name.replace('_', " ");
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text
}
