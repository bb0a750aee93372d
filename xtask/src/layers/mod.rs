//! x
use crate::workspace::Workspace;
use anyhow::Result;
pub(crate) fn check(_ws: &Workspace) -> Result<()> {
    Ok(())
}
