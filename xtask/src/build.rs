//! The verb `build`.

use crate::ebpf;
use crate::process::{run, say};
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells the binary's build script which eBPF object to embed.
pub(crate) const OBJECT_VARIABLE: &str = "NETSPECTRA_BPF_OBJECT";

/// Builds the eBPF programs and the binary with them inside. Returns the binary's path.
///
/// # Errors
/// A build failed.
pub(crate) fn build(ws: &Workspace, release: bool) -> Result<PathBuf> {
    let object = ebpf::build(ws)?;
    say(format!("building `netspectra` ({})", if release { "release" } else { "debug" }));
    run(&mut command(ws, &object, release))?;
    let binary = ws.target.join(if release { "release" } else { "debug" }).join("netspectra");
    say(format!("built `{}`", binary.display()));
    Ok(binary)
}

fn command(ws: &Workspace, object: &Path, release: bool) -> Command {
    let mut command = ws.cargo();
    command.args(["build", "--locked", "--package", "netspectra"]).env(OBJECT_VARIABLE, object);
    if release {
        command.arg("--release");
    }
    command
}
