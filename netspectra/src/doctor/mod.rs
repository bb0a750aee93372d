//! `netspectra doctor`: what this host can do, with remedies.

mod host;
mod interfaces;

use crate::cli::{DoctorArgs, Format};
use crate::{FAILED, Outcome, output};
use serde_json::{Value, json};
use std::process::ExitCode;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    /// Works, with a limit worth knowing.
    Note,
    /// Live capture would not work.
    Bad,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "FAIL",
        }
    }
}

/// One finding.
struct Check {
    name: String,
    status: Status,
    found: String,
    remedy: Option<String>,
    /// The same as values, for programs.
    details: Value,
}

impl Check {
    fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Good, found: found.into(), remedy: None, details: Value::Null }
    }

    fn with(status: Status, name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), status, found: found.into(), remedy: Some(remedy.into()), details: Value::Null }
    }
}

pub(crate) fn main(args: &DoctorArgs) -> Outcome {
    let (mut checks, mut source) = host::checks();
    let by_sockets = host::by_sockets_only(&mut checks);
    let probe = if args.probe { source.as_mut() } else { None };
    checks.extend(interfaces::checks(probe));
    let bad = checks.iter().any(|c| c.status == Status::Bad);
    if args.format == Format::Json {
        let list: Vec<_> = checks
            .iter()
            .map(|c| {
                json!({
                    "check": c.name,
                    "status": c.status.name(),
                    "found": c.found,
                    "remedy": c.remedy,
                    "details": c.details,
                })
            })
            .collect();
        output::print(&(serde_json::to_string_pretty(&json!({"ok": !bad, "checks": list}))? + "\n"))?;
    } else {
        for c in &checks {
            output::print(&format!("{:<5} {:<24} {}\n", c.status.name(), c.name, c.found))?;
            if let Some(remedy) = &c.remedy {
                output::print(&format!("      {:<24} -> {remedy}\n", ""))?;
            }
        }
        let verdict = match (bad, by_sockets) {
            (true, _) => "live capture would not work here",
            (false, true) => "live capture works here, by packet sockets only",
            (false, false) => "live capture works here",
        };
        output::print(&format!("\n{verdict}\n"))?;
    }
    Ok(if bad { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
