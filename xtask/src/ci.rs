//! The verb `ci`: all that a change must pass.

use crate::process::say;
use crate::workspace::Workspace;
use crate::{lint, test, vm};
use anyhow::Result;
use std::time::Instant;

/// Lint, then test, then the programs' sizes against the record. All use one target folder.
///
/// # Errors
/// One of them failed. Tests are not started on a change that does not pass lint.
pub(crate) fn ci(ws: &Workspace) -> Result<()> {
    let started = Instant::now();
    lint::lint(ws)?;
    test::test(ws, None)?;
    vm::check_host(ws)?;
    say(format!("ci passed in {} s", started.elapsed().as_secs()));
    Ok(())
}
