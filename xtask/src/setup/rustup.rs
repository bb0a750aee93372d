//! The nightly compiler that rustup manages.

use crate::process::{capture, find_program, run_within};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The nightly that is installed when there is none with sources: its LLVM (22) is one that the pinned bpf-linker reads.
const PINNED: &str = "nightly-2026-05-20";
/// A download of some 150 MB.
const LIMIT: Duration = Duration::from_secs(600);

/// An installed nightly that has the component `rust-src`; the pinned one before others.
pub(super) fn nightly_with_sources() -> Option<String> {
    let list = capture(Command::new(find_program("rustup")?).args(["toolchain", "list"])).ok()?;
    nightlies(&list).into_iter().find(|name| {
        sysroot(name).is_ok_and(|root| root.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file())
    })
}

fn nightlies(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| !name.starts_with(PINNED));
    names
}

/// `program` of toolchain `name`.
///
/// # Errors
/// There is no rustup.
pub(super) fn run(name: &str, program: &str) -> Result<Command> {
    let mut command = Command::new(find_program("rustup").context("`rustup` is not installed")?);
    command.args(["run", name, program]);
    Ok(command)
}

/// The toolchain's folder.
///
/// # Errors
/// It does not start.
pub(super) fn sysroot(name: &str) -> Result<PathBuf> {
    Ok(capture(run(name, "rustc")?.args(["--print", "sysroot"]))?.trim().into())
}

/// Whether there is a rustup at all.
///
/// # Errors
/// There is none.
pub(super) fn present() -> Result<()> {
    find_program("rustup").map(drop).context("`rustup` is not installed (https://rustup.rs)")
}

/// Installs the pinned nightly with its sources.
///
/// # Errors
/// No rustup, no network, or it takes longer than ten minutes.
pub(super) fn install() -> Result<()> {
    if nightly_with_sources().is_some() {
        return Ok(());
    }
    let rustup = find_program("rustup").context("`rustup` is not installed (https://rustup.rs)")?;
    let mut command = Command::new(rustup);
    command.args(["toolchain", "install", PINNED, "--profile", "minimal", "--component", "rust-src"]);
    run_within(command.arg("--no-self-update"), LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_nightly_comes_first_and_stable_never() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n\
                    nightly-2026-05-20-x86_64-unknown-linux-gnu\n1.95.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(
            nightlies(list),
            ["nightly-2026-05-20-x86_64-unknown-linux-gnu", "nightly-x86_64-unknown-linux-gnu"]
        );
        assert!(nightlies("no installed toolchains\n").is_empty());
    }
}
