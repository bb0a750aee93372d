//! bpf-linker: its released binary, or built against an LLVM that is installed.

use super::fetch::fetch;
use super::toolchain::first_that_starts;
use crate::process::{capture, find_program, run_within, say};
use crate::workspace::{Workspace, cargo};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The version that was tried with the pinned compilers.
pub(super) const VERSION: &str = "0.13.0";
/// The LLVM that the pinned compilers use.
pub(super) const LLVM: &str = "22";
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
/// Two to three minutes of one core, and a slow network.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// The linker of `PATH` or of the tools. That of the private toolchain serves the private compiler only.
pub(super) fn find(ws: &Workspace) -> Option<PathBuf> {
    first_that_starts(&[&ws.tools()])
}

/// Installs it into the tools' folder.
///
/// # Errors
/// Neither the download nor the build worked.
pub(super) fn install(ws: &Workspace) -> Result<()> {
    if find(ws).is_some() {
        return Ok(());
    }
    let by_download = match download(ws) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    say(format!("no released bpf-linker: {by_download:#}; building it"));
    let Some(config) = find_program(&format!("llvm-config-{LLVM}")) else {
        bail!("bpf-linker cannot be fetched, and LLVM {LLVM} is not installed to build it with");
    };
    let prefix = capture(Command::new(config).arg("--prefix"))?;
    build(Path::new(prefix.trim()), &ws.tools())
}

fn download(ws: &Workspace) -> Result<()> {
    let url = format!(
        "https://github.com/aya-rs/bpf-linker/releases/download/v{VERSION}/bpf-linker-{}-unknown-linux-musl.tar.zst",
        std::env::consts::ARCH
    );
    let bin = ws.tools().join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create `{}`", bin.display()))?;
    let archive = bin.join("bpf-linker.tar.zst");
    let fetched = fetch(&url, &archive, DOWNLOAD_LIMIT).and_then(|()| {
        run_within(Command::new("tar").arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(&bin), DOWNLOAD_LIMIT)
    });
    // It may be there or not; what counts is the linker.
    let _ = fs::remove_file(&archive);
    fetched?;
    if find(ws).is_none() {
        bail!("`{url}` has no linker that starts here");
    }
    Ok(())
}

/// Builds it against the LLVM in `llvm` and installs it into `root/bin`.
///
/// # Errors
/// The registry does not answer, or the build fails.
pub(super) fn build(llvm: &Path, root: &Path) -> Result<()> {
    let mut command = cargo();
    command.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--no-default-features"]);
    command.args(["--features", &format!("llvm-{LLVM}"), "--root"]).arg(root);
    // Not the project's target folder: its settings and lock have nothing to do with this tool.
    command.env("LLVM_PREFIX", llvm).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").current_dir(root);
    run_within(&mut command, BUILD_LIMIT)
}
