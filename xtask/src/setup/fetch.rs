//! Downloads over HTTPS, by the program that is there.

use crate::process::{find_program, run_within};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Fetches `url` into the file `to`.
///
/// # Errors
/// No program for it, or it fails or takes longer than `limit`.
pub(crate) fn fetch(url: &str, to: &Path, limit: Duration) -> Result<()> {
    let mut command = if let Some(curl) = find_program("curl") {
        let mut command = Command::new(curl);
        command.args(["--proto", "=https", "--fail", "--silent", "--show-error", "--location"]);
        command.args(["--connect-timeout", "20", "--output"]).arg(to);
        command
    } else if let Some(wget) = find_program("wget") {
        let mut command = Command::new(wget);
        command.args(["--quiet", "--https-only", "--tries=2", "--timeout=20", "--output-document"]).arg(to);
        command
    } else {
        bail!("neither `curl` nor `wget` is installed");
    };
    run_within(command.arg(url), limit)
}
