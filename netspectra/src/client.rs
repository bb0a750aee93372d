//! `netspectra query` and `netspectra top`: questions to a running instance over its REST API.

use crate::cli::{Format, Instance, QueryArgs, Question, TopArgs};
use crate::{Failure, Outcome, output};
use anyhow::{Context, anyhow};
use comfy_table::{Table, presets};
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
    output::print(&table(&answer))?;
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
fn problem(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let detail = value.get("detail").or_else(|| value.get("title"))?.as_str()?;
    Some(match value.get("hint").and_then(Value::as_str) {
        Some(hint) => format!("{detail}\n{hint}"),
        None => detail.to_owned(),
    })
}

/// A JSON answer as aligned columns: the rows of `items`, or the fields of the answer.
fn table(answer: &Value) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let rows = match answer.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![answer.clone()],
    };
    let mut header: Vec<String> = Vec::new();
    let flat: Vec<Vec<(String, String)>> = rows.iter().map(|r| flatten("", r)).collect();
    for row in &flat {
        for (name, _) in row {
            if !header.contains(name) {
                header.push(name.clone());
            }
        }
    }
    if answer.get("items").is_none() {
        for (name, value) in flat.into_iter().flatten() {
            table.add_row([name, value]);
        }
    } else {
        table.set_header(&header);
        for row in flat {
            let cell = |name: &String| row.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str()).to_owned();
            table.add_row(header.iter().map(cell).collect::<Vec<_>>());
        }
    }
    let mut text = table.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

/// Nested objects as `outer.inner`; nulls are left out.
fn flatten(prefix: &str, value: &Value) -> Vec<(String, String)> {
    let Value::Object(map) = value else {
        return vec![(prefix.to_owned(), plain(value))];
    };
    let mut cells = Vec::new();
    for (key, value) in map {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(_) => cells.extend(flatten(&name, value)),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => cells.push((name, plain(value))),
        }
    }
    cells
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Number(n) => match n.as_f64() {
            Some(f) if !n.is_u64() && !n.is_i64() => format!("{f:.3}"),
            _ => n.to_string(),
        },
        Value::Null => String::new(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
