//! The verb `lint`.

use crate::layers;
use crate::process::{find_program, is_executable, run, run_within, say};
use crate::workspace::{Workspace, cargo};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The cargo-deny that is installed when there is none.
const DENY_VERSION: &str = "0.20.2";
/// Two minutes on two cores, and a slow network.
const DENY_INSTALL_LIMIT: Duration = Duration::from_secs(1800);
/// The database of advisories is a few megabytes.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// Runs every check, also after one failed, and says at the end which did.
///
/// # Errors
/// A check failed.
pub(crate) fn lint(ws: &Workspace) -> Result<()> {
    type Check = fn(&Workspace) -> Result<()>;
    let checks: [(&str, Check); 4] = [("fmt", fmt), ("layers", layers::check), ("deny", deny), ("clippy", clippy)];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(format!("lint: {name}"));
        if let Err(error) = check(ws) {
            say(format!("lint: {name} failed: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: `{}`: see above", failed.join("`, `"));
    }
    say("lint passed");
    Ok(())
}

fn fmt(ws: &Workspace) -> Result<()> {
    let host = run(ws.cargo().args(["fmt", "--all", "--check"]));
    let ebpf = run(ws.cargo().args(["fmt", "--check", "--manifest-path"]).arg(ws.ebpf_manifest()));
    host.and(ebpf).context("run `cargo fmt --all`, also in `netspectra-ebpf`")
}

/// The eBPF programs are checked as if for the host: same source, and the private compiler has no clippy.
fn clippy(ws: &Workspace) -> Result<()> {
    let deny_warnings = ["--", "--deny", "warnings"];
    run(ws.cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(deny_warnings))?;
    let mut ebpf = ws.cargo();
    ebpf.args(["clippy", "--locked", "--manifest-path"]).arg(ws.ebpf_manifest());
    run(ebpf.arg("--target-dir").arg(ws.target.join("bpf/clippy")).args(deny_warnings))
}

fn deny(ws: &Workspace) -> Result<()> {
    let program = cargo_deny(ws)?;
    let config = ws.root.join("deny.toml");
    let fetched = run_within(in_root(&program, ws).arg("--config").arg(&config).args(["fetch", "db"]), FETCH_LIMIT);
    let mut what = vec!["bans", "licenses", "sources"];
    match &fetched {
        Ok(()) => what.push("advisories"),
        Err(error) => say(format!("ADVISORIES ARE NOT CHECKED: their database cannot be fetched: {error:#}")),
    }
    for manifest in [ws.root.join("Cargo.toml"), ws.ebpf_manifest()] {
        let mut command = in_root(&program, ws);
        command.arg("--manifest-path").arg(manifest).arg("--config").arg(&config);
        run(command.args(["--locked", "check"]).args(&what))?;
    }
    Ok(())
}

fn in_root(program: &Path, ws: &Workspace) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&ws.root);
    command
}

/// cargo-deny from `PATH`, from the tools' folder, or installed there.
fn cargo_deny(ws: &Workspace) -> Result<PathBuf> {
    let ours = ws.tools().join("bin/cargo-deny");
    if let Some(found) = find_program("cargo-deny").or_else(|| is_executable(&ours).then(|| ours.clone())) {
        return Ok(found);
    }
    say(format!("installing cargo-deny {DENY_VERSION} into `{}` (about two minutes)", ws.tools().display()));
    std::fs::create_dir_all(ws.tools()).with_context(|| format!("cannot create `{}`", ws.tools().display()))?;
    let mut command = cargo();
    command.args(["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--root"]).arg(ws.tools());
    // Link-time optimisation of a tool that runs for a second costs more than it saves.
    command.env("CARGO_PROFILE_RELEASE_LTO", "false").env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    run_within(command.current_dir(ws.tools()), DENY_INSTALL_LIMIT).context("cargo-deny could not be installed")?;
    Ok(ours)
}
