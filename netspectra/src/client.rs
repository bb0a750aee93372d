//! `netspectra query` and `netspectra top`: questions to a running instance over its REST API.

use crate::cli::{Format, Instance, QueryArgs, Question, TopArgs};
use crate::{Failure, Outcome, output};
use anyhow::{Context, anyhow};
use comfy_table::{Table, presets};
use netspectra_common::query::keys::proto_text;
use serde_json::Value;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer.
const MAX_ANSWER: u64 = 256 << 20;

pub(crate) fn query(args: &QueryArgs) -> Outcome {
    let name = match args.question {
        Question::Flows => "flows",
        Question::Alerts => "alerts",
        Question::Messages => "messages",
        Question::Top => "top",
        Question::Series => "series",
        Question::Cardinality => "cardinality",
        Question::Quantiles => "quantiles",
        Question::Ledger => "ledger",
    };
    let limit = args.limit.map(|n| n.to_string());
    let format = match args.format {
        Format::Csv => Some("csv"),
        Format::Ndjson => Some("ndjson"),
        Format::Table | Format::Json => None,
    };
    let parameters = [
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
        ("filter", args.filter.as_deref()),
        ("by", args.by.as_deref()),
        ("metric", args.metric.as_deref()),
        ("limit", limit.as_deref()),
        ("step", args.step.as_deref()),
        ("of", args.of.as_deref()),
        ("q", args.q.as_deref()),
        ("format", format),
    ];
    let body = ask(&args.instance, name, &parameters)?;
    if args.format != Format::Table {
        output::print(&body)?;
        if !body.ends_with('\n') {
            output::print("\n")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Value = serde_json::from_str(&body).context("the answer is not JSON")?;
    output::print(&match args.question {
        Question::Flows => flow_table(&answer),
        Question::Alerts => {
            chosen(&answer, &["at", "phase", "severity", "detector", "subject", "why", "first_seen", "node"])
        }
        Question::Messages => {
            let columns = ["at", "app", "message", "name", "code", "latency_us", "src_ip", "dst_ip", "node"];
            chosen(&answer, &columns)
        }
        Question::Top | Question::Series | Question::Cardinality | Question::Quantiles | Question::Ledger => {
            table(&answer)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn top(args: &TopArgs) -> Outcome {
    let from = format!("-{}", args.window);
    let limit = args.limit.to_string();
    let mut shown = 0;
    loop {
        let parameters = [
            ("by", Some(args.by.as_str())),
            ("metric", Some(args.metric.as_str())),
            ("limit", Some(limit.as_str())),
            ("from", Some(from.as_str())),
            ("filter", args.filter.as_deref()),
        ];
        let body = ask(&args.instance, "top", &parameters)?;
        let answer: Value = serde_json::from_str(&body).context("the answer is not JSON")?;
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        output::print(&format!("{clear}top {} by {}, last {}\n{}", args.by, args.metric, args.window, table(&answer)))?;
        shown += 1;
        if shown == args.count {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

fn token(instance: &Instance) -> anyhow::Result<String> {
    if let Some(token) = &instance.token {
        return Ok(token.trim().to_owned());
    }
    let text = std::fs::read_to_string(&instance.token_file).with_context(|| {
        format!(
            "no token: `{}` cannot be read; name the running instance's token file with --token-file, or pass --token",
            instance.token_file.display()
        )
    })?;
    Ok(text.trim().to_owned())
}

fn ask(instance: &Instance, name: &str, parameters: &[(&str, Option<&str>)]) -> Result<String, Failure> {
    let token = token(instance).map_err(Failure::misuse)?;
    let url = format!("{}/api/v1/{name}", instance.url.trim_end_matches('/'));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
    let mut request = agent.get(&url).header("authorization", format!("Bearer {token}"));
    for (key, value) in parameters {
        if let Some(value) = value {
            request = request.query(key, value);
        }
    }
    let mut response = request.call().map_err(|e| {
        anyhow!(e).context(format!("no answer from `{url}`: is `netspectra run` running there? (--url names it)"))
    })?;
    let status = response.status();
    let body = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER)
        .read_to_string()
        .with_context(|| format!("reading the answer of `{url}`"))?;
    if status.is_success() {
        return Ok(body);
    }
    let problem = problem(&body).unwrap_or_else(|| body.trim().to_owned());
    Err(if status.is_client_error() {
        Failure::misuse(anyhow!("{problem}"))
    } else {
        anyhow!("`{url}` answered {status}: {problem}").into()
    })
}

/// The text of an RFC 9457 problem.
pub(crate) fn problem(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let detail = value.get("detail").or_else(|| value.get("title"))?.as_str()?;
    Some(match value.get("hint").and_then(Value::as_str) {
        Some(hint) => format!("{detail}\n{hint}"),
        None => detail.to_owned(),
    })
}

/// Flow records as the columns that fit a screen; `--format csv` has all of them.
fn flow_table(answer: &Value) -> String {
    let mut table = new_table();
    table.set_header(["first seen (UTC)", "proto", "source", "destination", "packets", "bytes", "state", "end"]);
    for f in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| f.get(name).map(plain).unwrap_or_default();
        let end = |ip: &str, port: &str| match (f.get(ip).and_then(Value::as_str), text(port)) {
            (None, _) => "-".to_owned(),
            (Some(ip), port) if port == "0" => ip.to_owned(),
            (Some(ip), port) if ip.contains(':') => format!("[{ip}]:{port}"),
            (Some(ip), port) => format!("{ip}:{port}"),
        };
        let proto = match f.get("proto").and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok()) {
            Some(n) => proto_text(n),
            None => format!("0x{:04x}", f.get("ether_type").and_then(Value::as_u64).unwrap_or(0)),
        };
        table.add_row([
            text("first_seen"),
            proto,
            end("src_ip", "src_port"),
            end("dst_ip", "dst_port"),
            format!("{}/{}", text("packets"), text("reverse_packets")),
            format!("{}/{}", text("bytes"), text("reverse_bytes")),
            text("state"),
            text("end_reason"),
        ]);
    }
    lines(&table)
}

/// The columns that fit a screen; `--format json` has all of them.
fn chosen(answer: &Value, columns: &[&str]) -> String {
    let mut table = new_table();
    table.set_header(columns);
    for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        table.add_row(columns.iter().map(|name| item.get(name).map(plain).unwrap_or_default()));
    }
    lines(&table)
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn lines(table: &Table) -> String {
    let mut text = table.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

/// A JSON answer as aligned columns: the rows of `items`, or the fields of the answer.
pub(crate) fn table(answer: &Value) -> String {
    let mut table = new_table();
    let Some(items) = answer.get("items").and_then(Value::as_array) else {
        for (name, value) in flatten("", answer) {
            table.add_row([name, value]);
        }
        return lines(&table);
    };
    let mut header: Vec<String> = Vec::new();
    let rows: Vec<Vec<(String, String)>> = items.iter().map(|r| flatten("", r)).collect();
    for (name, _) in rows.iter().flatten() {
        if !header.contains(name) {
            header.push(name.clone());
        }
    }
    table.set_header(&header);
    for row in rows {
        let cell = |name: &String| row.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str()).to_owned();
        table.add_row(header.iter().map(cell).collect::<Vec<_>>());
    }
    lines(&table)
}

/// Nested objects as `outer.inner`, the values of a group without their prefix, estimates with their bounds in one cell;
/// nulls and the ledger that comes with every answer are left out.
fn flatten(prefix: &str, value: &Value) -> Vec<(String, String)> {
    let Value::Object(map) = value else {
        return vec![(prefix.to_owned(), plain(value))];
    };
    if let Some(estimate) = estimate(map) {
        return vec![(prefix.to_owned(), estimate)];
    }
    let mut cells = Vec::new();
    for (key, value) in map {
        let name = if matches!(prefix, "" | "key") { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(_) if key == "completeness" => {}
            Value::Object(_) => cells.extend(flatten(&name, value)),
            Value::Array(nics) if key == "nics" => cells.extend(nics.iter().map(nic)),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => cells.push((name, plain(value))),
        }
    }
    cells
}

/// What the device of an interface counted, in one cell.
fn nic(value: &Value) -> (String, String) {
    let text = |name: &str| value.get(name).map(plain).unwrap_or_default();
    let mut cell = format!(
        "received {} packets, {} bytes; sent {} packets, {} bytes; missed {}, dropped {}, without buffer {}",
        text("rx_packets"),
        text("rx_bytes"),
        text("tx_packets"),
        text("tx_bytes"),
        text("rx_missed"),
        text("rx_dropped"),
        text("rx_no_buffer"),
    );
    if text("resets") != "0" {
        cell = format!("{cell}; began anew {} times", text("resets"));
    }
    (format!("nic.{}.{}", text("node"), text("iface")), cell)
}

/// `12345`, or `12345 (12000 to 12700)` where the bounds differ.
fn estimate(map: &serde_json::Map<String, Value>) -> Option<String> {
    let number = |name: &str| map.get(name)?.as_f64();
    let (value, low, high) = (number("estimate")?, number("low")?, number("high")?);
    let show = |x: f64| if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.3}") };
    Some(if low == high { show(value) } else { format!("{} ({} to {})", show(value), show(low), show(high)) })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ledger_shows_what_each_device_counted() {
        let mut nic = json!({"node": "n1", "iface": "eth0", "rx_packets": 3, "rx_bytes": 300, "tx_packets": 2,
            "tx_bytes": 200, "rx_missed": 1, "rx_dropped": 0, "rx_no_buffer": 5, "resets": 0});
        let cell = "received 3 packets, 300 bytes; sent 2 packets, 200 bytes; missed 1, dropped 0, without buffer 5";
        let shown = |nic: &Value| table(&json!({"chain_breaks": 0, "nics": [nic]}));
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(shown(&nic)), format!("chain_breaks 0 nic.n1.eth0 {cell}"));
        nic["resets"] = json!(2);
        assert_eq!(words(shown(&nic)), format!("chain_breaks 0 nic.n1.eth0 {cell}; began anew 2 times"));
    }

    #[test]
    fn estimates_show_their_bounds_and_groups_their_names() {
        let answer = json!({"items": [
            {"key": {"src_ip": "10.0.0.1"}, "value": {"estimate": 5.0, "low": 5.0, "high": 5.0, "confidence": 1.0}},
            {"key": {"src_ip": "10.0.0.2"}, "value": {"estimate": 4.5, "low": 4.0, "high": 5.0, "confidence": 0.95}},
        ], "completeness": {"complete": true}});
        let text = table(&answer);
        let words: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["src_ip", "value"]);
        assert_eq!(words[1], ["10.0.0.1", "5"]);
        assert_eq!(words[2], ["10.0.0.2", "4.500", "(4", "to", "5)"]);
    }
}
