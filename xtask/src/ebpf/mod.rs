//! Builds the eBPF programs and checks the object.

mod btf;
mod counted;
mod freshness;
mod object;
mod program;
pub(crate) mod wrapper;

pub(crate) use object::check_object;

use crate::process::{run, say};
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The verb `build-ebpf`: [`build`], then a copy to `out`.
///
/// # Errors
/// As [`build`], or the copy fails.
pub(crate) fn build_and_copy(ws: &Workspace, out: Option<&Path>) -> Result<()> {
    let object = build(ws)?;
    if let Some(out) = out {
        if let Some(folder) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        fs::copy(&object, out).with_context(|| format!("cannot write `{}`", out.display()))?;
        say(format!("copied to `{}`", out.display()));
    }
    Ok(())
}

/// Builds the object unless its inputs (sources, manifests, flags, toolchain) are those that it was built from.
/// Installs a toolchain if there is none. Returns the object's path.
///
/// # Errors
/// No toolchain, the build fails, or the object breaks a rule of [`check_object`].
pub(crate) fn build(ws: &Workspace) -> Result<PathBuf> {
    let toolchain = setup::ebpf_toolchain(ws)?;
    let flags = flags(ws, &toolchain)?;
    let object = ws.object();
    let inputs = freshness::inputs(&ws.root, &toolchain.identity()?, &flags)?;
    if freshness::is_fresh(&object, &inputs) {
        say(format!("`{}` is up to date", object.display()));
        return Ok(object);
    }
    say(format!("building the eBPF programs into `{}`", object.display()));
    let target = ws.target.join("bpf/build");
    let mut command = toolchain.cargo_build(&flags)?;
    command.args(["--locked", "--manifest-path"]).arg(ws.ebpf_manifest()).arg("--target-dir").arg(&target);
    // The folder decides which `.cargo/config.toml` holds.
    command.current_dir(ws.root.join("netspectra-ebpf"));
    wrapper::apply(&mut command)?;
    run(&mut command)?;
    let built = target.join("bpfel-unknown-none/release/netspectra-ebpf");
    check_object(&built)?;
    freshness::install(&built, &object, &inputs)?;
    say(format!("built `{}` ({} KiB)", object.display(), fs::metadata(&object)?.len() / 1024));
    Ok(object)
}

/// The object with the programs that benchmarks measure beside; [`build`] makes it too.
pub(crate) fn bench_object(ws: &Workspace) -> PathBuf {
    ws.target.join("bpf/build/bpfel-unknown-none/release/netspectra-ebpf-bench")
}

/// Compiler flags. Paths of this machine are mapped away: the same sources give the same object anywhere.
fn flags(ws: &Workspace, toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    // The last one that fits wins, so the more special ones come later.
    let mut maps =
        vec![(setup::cargo_home()?, "/cargo"), (ws.root.clone(), "/netspectra"), (ws.target.clone(), "/target")];
    maps.extend(toolchain.std_sources()?.map(|sources| (sources, "/rust")));
    for (from, to) in maps {
        let from = from.to_str().with_context(|| format!("`{}` is not UTF-8", from.display()))?;
        flags.push(format!("--remap-path-prefix={from}={to}"));
    }
    Ok(flags)
}
