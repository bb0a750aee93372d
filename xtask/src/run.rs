//! The verb `run`: from a checkout to a running monitor.

mod interface;

use crate::build;
use crate::cli::Usage;
use crate::process::{as_root, say, shown};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::os::unix::process::CommandExt as _;

/// Builds for release and becomes `netspectra run args`, so that signals and the exit code are that program's own.
/// Only that program runs as root; building is done as the user.
///
/// # Errors
/// No interface to watch ([`Usage`]), a build failed, or no way to become root.
pub(crate) fn run(ws: &Workspace, mut args: Vec<String>) -> Result<()> {
    if let Some(name) = interface_to_add(&args)? {
        say(format!(
            "watching `{name}`, the interface of the default route; another: `cargo xtask run -- --iface NAME`"
        ));
        args.extend(["--iface".to_owned(), name]);
    }
    let binary = build::build(ws, true)?;
    let mut command = as_root(&binary, "attaching eBPF programs")
        .with_context(|| format!("the binary is built: start `{} run {}` as root", binary.display(), args.join(" ")))?;
    command.arg("run").args(&args);
    say(format!("starting `{}`; Ctrl-C ends it", shown(&command)));
    Err(command.exec()).with_context(|| format!("cannot start `{}`", shown(&command)))
}

/// The interface that must be named to `netspectra run`, if the user named none and asks for a capture at all.
fn interface_to_add(args: &[String]) -> Result<Option<String>> {
    if names_interface(args) {
        return Ok(None);
    }
    if let Some(name) = interface::of_default_route() {
        return Ok(Some(name));
    }
    Err(Usage(format!(
        "there is no default route to choose an interface by: name one, as in `cargo xtask run -- --iface lo`; there are `{}`",
        interface::all().join("`, `")
    ))
    .into())
}

/// Whether the arguments choose interfaces themselves (a configuration file may), or start no capture.
fn names_interface(args: &[String]) -> bool {
    const OPTIONS: [&str; 6] = ["--iface", "--config", "--check", "--dump", "--help", "-h"];
    args.iter()
        .any(|arg| OPTIONS.contains(&arg.as_str()) || arg.starts_with("--iface=") || arg.starts_with("--config="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_added_only_when_none_is_named() {
        let named = |args: &[&str]| names_interface(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert!(!named(&[]) && !named(&["--listen", "127.0.0.1:8080"]) && !named(&["--ifaces"]));
        assert!(named(&["--iface", "eth0"]) && named(&["--iface=lo"]) && named(&["--config=/etc/x"]) && named(&["-h"]));
    }
}
