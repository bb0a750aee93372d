//! The verb `test-vm`: the built programs on other kernels, each in an emulated machine of its own.
//!
//! `kernels` finds and unpacks them, `initramfs` packs what a machine starts with, `boot` runs it, `outcome` reads what the
//! guest says, `sizes` holds the programs' sizes against those on record.

mod boot;
mod initramfs;
mod kernels;
mod outcome;
mod sizes;

use crate::cli::TestVmArgs;
use crate::process::{as_root, capture, run, say};
use crate::workspace::Workspace;
use crate::{ebpf, setup};
use anyhow::{Context as _, Result, bail};
use kernels::Kernel;
use sizes::Size;
use std::fs;
use std::path::{Path, PathBuf};

/// The target that the guest is linked for: static, because the machine has no libraries.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The guest's program.
const GUEST: &str = "netspectra-vm-guest";
/// Instead of a version: the kernel that this host runs.
const HOST: &str = "host";

/// Checks the programs on every kernel that `args` names.
///
/// # Errors
/// No such kernel, the guest cannot be built, a check in a machine failed, or (without `--record`) a program has grown by
/// more than the tolerance.
pub(crate) fn test_vm(ws: &Workspace, args: &TestVmArgs) -> Result<()> {
    let object = ebpf::build(ws)?;
    let (mut failed, mut sizes) = (Vec::new(), Vec::new());
    let mut keep = |name: &str, result: Result<Vec<Size>>| match result {
        Ok(found) => sizes.extend(found),
        Err(error) => {
            say(format!("Linux {name}: FAILED: {error:#}"));
            failed.push(name.to_owned());
        }
    };
    if args.kernel.iter().any(|k| k == HOST) {
        keep(HOST, host(ws, &object));
    }
    let versions: Vec<String> = args.kernel.iter().filter(|k| *k != HOST).cloned().collect();
    if !versions.is_empty() || args.kernel_image.is_some() {
        if std::env::consts::ARCH != "x86_64" {
            bail!("emulated machines are x86_64: run `cargo xtask test-vm` on such a host");
        }
        setup::ensure_programs(&["qemu-system-x86_64", "xz"])?;
        let folder = ws.cache.join("vm");
        let kernels = kernels::find(&folder, &versions, args)?;
        let parts = initramfs::Parts { busybox: kernels::busybox(&folder)?, object, guest: guest(ws)? };
        let work = ws.target.join("vm");
        fs::create_dir_all(&work).with_context(|| format!("cannot create `{}`", work.display()))?;
        for kernel in &kernels {
            keep(&kernel.release, check(kernel, &parts, &work));
        }
    }
    let recorded = sizes::check(&ws.root.join(sizes::FILE), &sizes, args.record);
    if !failed.is_empty() {
        bail!("the programs failed on Linux `{}`: see above", failed.join("`, `"));
    }
    recorded
}

/// Holds the programs' sizes on this host's kernel against the record.
///
/// # Errors
/// As [`test_vm`].
pub(crate) fn check_host(ws: &Workspace) -> Result<()> {
    sizes::check(&ws.root.join(sizes::FILE), &host(ws, &ebpf::build(ws)?)?, false)
}

fn host(ws: &Workspace, object: &Path) -> Result<Vec<Size>> {
    say("loading the programs into this host's kernel");
    let mut build = ws.cargo();
    run(build.args(["build", "--locked", "--package", "netspectra-fuzz", "--bin", GUEST]))?;
    let mut guest = as_root(ws.target.join("debug").join(GUEST), "loading eBPF programs")?;
    let outcome = outcome::read(&capture(guest.arg(object))?)?;
    let release = capture(std::process::Command::new("uname").arg("-r"))?;
    for line in outcome.shown(release.trim()) {
        say(line);
    }
    Ok(outcome.sizes(&sizes::Series::of(release.trim())?))
}

/// Boots `kernel` and reads what the guest says.
fn check(kernel: &Kernel, parts: &initramfs::Parts, work: &Path) -> Result<Vec<Size>> {
    let series = sizes::Series::of(&kernel.release)?;
    say(format!("Linux {}: packing and booting (emulated: one to three minutes)", kernel.release));
    let image = work.join(format!("{}.cpio", kernel.release));
    fs::write(&image, initramfs::pack(kernel, parts)?)
        .with_context(|| format!("cannot write `{}`", image.display()))?;
    let console = work.join(format!("{}.console", kernel.release));
    let booted = boot::boot(kernel, &image, &console);
    fs::remove_file(&image).with_context(|| format!("cannot remove `{}`", image.display()))?;
    let kept = || format!("the console's text is in `{}`", console.display());
    let outcome = outcome::read(&booted?).with_context(kept)?;
    for line in outcome.shown(&kernel.release) {
        say(line);
    }
    outcome.require_hooks(series).with_context(kept)?;
    Ok(outcome.sizes(&series))
}

/// Builds the guest's program, linked statically.
fn guest(ws: &Workspace) -> Result<PathBuf> {
    say("building the guest's program");
    let mut command = ws.cargo();
    command.args(["build", "--locked", "--package", "netspectra-fuzz", "--no-default-features", "--bin", GUEST]);
    command.args(["--target", TARGET]).env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    run(command.env_remove("CARGO_ENCODED_RUSTFLAGS")).context("the guest's program cannot be built")?;
    Ok(ws.target.join(TARGET).join("debug").join(GUEST))
}
