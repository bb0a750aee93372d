//! This program as cargo's compiler wrapper for the eBPF build.
//!
//! Cargo derives a crate's identity, which is part of every symbol, from the absolute path of a package that lies
//! outside of the workspace, as netspectra-common does here. Given one identity per crate instead, the object has the same
//! bytes in whatever folder it is built.

use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Set for the build: start as the wrapper, not as a command line.
const VARIABLE: &str = "NETSPECTRA_XTASK_IS_RUSTC_WRAPPER";
/// Crates of this repository begin with it; others have an identity that no path is part of.
const OURS: &str = "netspectra_";

/// Makes `cargo_build` call this program in front of the compiler.
///
/// # Errors
/// The path of this program is unknown.
pub(super) fn apply(cargo_build: &mut Command) -> Result<()> {
    cargo_build.env(VARIABLE, "1").env("RUSTC_WRAPPER", std::env::current_exe().context("this program has no path")?);
    Ok(())
}

/// Whether cargo started this program as the wrapper.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Becomes the compiler.
///
/// # Errors
/// It cannot be started.
pub(crate) fn become_compiler() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let compiler = words.next().context("expected the compiler's path as first argument")?;
    let error = Command::new(&compiler).args(with_stable_identity(words.collect())).exec();
    Err(error).with_context(|| format!("cannot start `{}`", compiler.display()))
}

/// Replaces `-C metadata=…` for the crates of this repository.
fn with_stable_identity(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args.iter().position(|a| a == "--crate-name").and_then(|i| args.get(i + 1)).cloned();
    if let Some(name) = name.filter(|n| n.to_string_lossy().starts_with(OURS)) {
        for arg in args.iter_mut().filter(|a| a.to_string_lossy().starts_with("metadata=")) {
            *arg = format!("metadata={}", name.display()).into();
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(words: &str) -> String {
        let args = with_stable_identity(words.split(' ').map(OsString::from).collect());
        args.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_the_identity_of_our_crates_is_replaced() {
        assert_eq!(
            changed("--crate-name netspectra_common src/lib.rs -C metadata=1f -C extra-filename=-1f"),
            "--crate-name netspectra_common src/lib.rs -C metadata=netspectra_common -C extra-filename=-1f"
        );
        assert_eq!(changed("--crate-name zerocopy -C metadata=1f"), "--crate-name zerocopy -C metadata=1f");
        assert_eq!(changed("-vV"), "-vV");
    }
}
