//! The verb `ci`: all that a change must pass.

use crate::process::say;
use crate::workspace::Workspace;
use crate::{lint, test};
use anyhow::Result;
use std::time::Instant;

/// Lint, then test. Both use one target folder and the same features.
///
/// # Errors
/// Either failed. Tests are not started on a change that does not pass lint.
pub(crate) fn ci(ws: &Workspace) -> Result<()> {
    let started = Instant::now();
    lint::lint(ws)?;
    test::test(ws, None)?;
    say(format!("ci passed in {} s", started.elapsed().as_secs()));
    Ok(())
}
