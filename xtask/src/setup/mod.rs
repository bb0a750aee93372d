//! Gets what building and testing need: what is installed first, then the first source that answers.

mod debian;
mod fetch;
mod linker;
mod rustup;
mod system;
mod toolchain;

pub(crate) use fetch::fetch;
pub(crate) use toolchain::{Toolchain, cargo_home};

use crate::cli::SetupArgs;
use crate::process::say;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};

/// The verb `setup`.
///
/// # Errors
/// Something is missing and could not be (or, with `--check`, may not be) installed.
pub(crate) fn setup(ws: &Workspace, args: &SetupArgs) -> Result<()> {
    if args.check {
        return report(ws, args.ebpf_only);
    }
    ebpf_toolchain(ws)?;
    if !args.ebpf_only {
        system::ensure()?;
    }
    say("everything needed is there");
    Ok(())
}

/// Installs those of `programs`, special needs of some verbs, that are missing.
///
/// # Errors
/// As [`setup`].
pub(crate) fn ensure_programs(programs: &[&str]) -> Result<()> {
    programs.iter().try_for_each(|program| system::ensure_one(program))
}

fn report(ws: &Workspace, ebpf_only: bool) -> Result<()> {
    match Toolchain::find(ws)? {
        Some(found) => say(format!("eBPF toolchain: {found}")),
        None => bail!("no eBPF toolchain: run `cargo xtask setup`"),
    }
    let missing = if ebpf_only { Vec::new() } else { system::missing() };
    if !missing.is_empty() {
        bail!(
            "programs or headers that builds and tests need are missing: `{}`: run `cargo xtask setup`",
            missing.join("`, `")
        );
    }
    say("everything needed is there");
    Ok(())
}

/// The eBPF toolchain, installed if there is none. Only one process installs at a time; others wait.
///
/// # Errors
/// No source of a toolchain worked; the message has the reason of each.
pub(crate) fn ebpf_toolchain(ws: &Workspace) -> Result<Toolchain> {
    if let Some(found) = Toolchain::find(ws)? {
        say(format!("eBPF toolchain: {found}"));
        return Ok(found);
    }
    fs::create_dir_all(&ws.cache)
        .with_context(|| format!("cannot create the cache folder `{}`", ws.cache.display()))?;
    let lock = File::create(ws.cache.join("setup.lock")).context("cannot create the cache's lock file")?;
    lock.lock().context("cannot lock the cache")?;
    // Another process may have installed it while this one waited.
    if let Some(found) = Toolchain::find(ws)? {
        say(format!("eBPF toolchain: {found}"));
        return Ok(found);
    }

    say("no eBPF toolchain found; first choice: bpf-linker with nightly Rust by rustup");
    // The linker first: it is the smaller download, and a nightly alone is of no use.
    let by_rustup = match rustup::present().and_then(|()| linker::install(ws)).and_then(|()| rustup::install()) {
        Ok(()) => None,
        Err(error) => {
            say(format!("that did not work: {error:#}"));
            say("second choice: Debian's packages, unpacked into the cache");
            Some(error)
        }
    };
    if let Some(by_rustup) = by_rustup
        && let Err(by_debian) = debian::install(ws)
    {
        bail!("no eBPF toolchain could be installed. By rustup: {by_rustup:#}. From Debian's packages: {by_debian:#}");
    }
    let found = Toolchain::find(ws)?.context("the toolchain just installed does not start: see the messages above")?;
    say(format!("eBPF toolchain: {found}"));
    Ok(found)
}
