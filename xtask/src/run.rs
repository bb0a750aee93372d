//! The verb `run`: from a checkout to a running monitor.

use crate::build;
use crate::process::{as_root, say, shown};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::os::unix::process::CommandExt as _;

/// Builds for release and becomes `netspectra run args`, so that signals and the exit code are that program's own.
/// Only that program runs as root; building is done as the user. Which interface it watches is its own choice: that of
/// the default route unless the arguments say otherwise.
///
/// # Errors
/// A build failed, or no way to become root.
pub(crate) fn run(ws: &Workspace, args: &[String]) -> Result<()> {
    let binary = build::build(ws, true)?;
    let mut command = as_root(&binary, "attaching eBPF programs")
        .with_context(|| format!("the binary is built: start `{} run {}` as root", binary.display(), args.join(" ")))?;
    command.arg("run").args(args);
    say(format!("starting `{}`; Ctrl-C ends it", shown(&command)));
    Err(command.exec()).with_context(|| format!("cannot start `{}`", shown(&command)))
}
