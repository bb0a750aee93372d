//! The verb `fuzz`: searches for inputs that break what must hold.
//!
//! The targets are built for libFuzzer with the compiler's own coverage pass, which a stable compiler has too; on a nightly
//! `cargo fuzz` builds the same programs with a sanitizer besides. The differential needs no libFuzzer, but root.

use crate::cli::{FuzzArgs, Usage};
use crate::process::{as_root, run, run_within, say};
use crate::workspace::Workspace;
use crate::{ebpf, setup};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The targets; each is a program `fuzz-NAME` of the package.
const TARGETS: [&str; 8] = ["frame", "capture", "event", "payload", "filter", "sketch", "log", "message"];
/// Not one of libFuzzer's.
const DIFFERENTIAL: &str = "differential";
const PACKAGE: &str = "netspectra-fuzz";
/// Coverage as libFuzzer wants it: edges, counted in place, and what is compared.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Time beyond a target's own in which it must have ended.
const GRACE: Duration = Duration::from_secs(120);

/// Runs the targets that `args` names, all of libFuzzer's when it names none.
///
/// # Errors
/// No target of that name, a build failed, or a target found something: the input is kept and named.
pub(crate) fn fuzz(ws: &Workspace, args: &FuzzArgs) -> Result<()> {
    if let Some(unknown) = args.targets.iter().find(|t| !TARGETS.contains(&t.as_str()) && *t != DIFFERENTIAL) {
        let known = TARGETS.join("`, `");
        return Err(Usage(format!("no fuzz target `{unknown}`: there are `{known}` and `{DIFFERENTIAL}`")).into());
    }
    if args.targets.iter().any(|t| t == DIFFERENTIAL) {
        differential(ws, args)?;
    }
    let chosen: Vec<&str> =
        TARGETS.into_iter().filter(|t| args.targets.is_empty() || args.targets.iter().any(|a| a == t)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    setup::ensure_programs(&["c++"])?;
    let work = ws.target.join("fuzz-work");
    let corpus = work.join("corpus");
    write_seeds(ws, &work.join("seeds"))?;
    let programs = build(ws, &chosen)?;
    let mut found = Vec::new();
    for (name, program) in chosen.iter().zip(&programs) {
        say(format!("fuzzing `{name}` for {} s", args.seconds));
        let (own, kept) = (corpus.join(name), work.join("artifacts").join(name));
        for folder in [&own, &kept] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        let mut command = Command::new(program);
        command.arg(&own).arg(work.join("seeds").join(name));
        command.arg(format!("-max_total_time={}", args.seconds)).arg(format!("-artifact_prefix={}/", kept.display()));
        command.args(["-rss_limit_mb=2048", "-timeout=20", "-max_len=8192", "-print_final_stats=1", "-verbosity=1"]);
        if let Some(seed) = args.seed {
            command.arg(format!("-seed={seed}"));
        }
        // Many small files are read at the start, and one input may take its 20 s.
        if let Err(error) = run_within(&mut command, Duration::from_secs(args.seconds) + GRACE) {
            say(format!("`{name}`: {error:#}: the input is in `{}`", kept.display()));
            found.push(*name);
        }
    }
    if !found.is_empty() {
        bail!("fuzzing found something in `{}`: see above", found.join("`, `"));
    }
    say(format!("fuzzing found nothing in `{}`", chosen.join("`, `")));
    Ok(())
}

/// Builds the programs and returns their paths.
fn build(ws: &Workspace, targets: &[&str]) -> Result<Vec<PathBuf>> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // A folder of its own: with these flags everything is built anew.
    let target = ws.target.join("fuzz-work/build");
    let mut command = ws.cargo();
    command.args(["build", "--locked", "--package", PACKAGE, "--features", "libfuzzer", "--profile", "fuzz"]);
    // With a target named the flags leave build scripts alone, which have no libFuzzer to link to.
    command.args(["--target", &triple, "--target-dir"]).arg(&target);
    for name in targets {
        command.args(["--bin", &format!("fuzz-{name}")]);
    }
    say("building the fuzz targets with coverage (some minutes the first time)");
    run(command.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(targets.iter().map(|name| target.join(&triple).join("fuzz").join(format!("fuzz-{name}"))).collect())
}

/// Writes inputs to begin with.
fn write_seeds(ws: &Workspace, folder: &std::path::Path) -> Result<()> {
    let mut command = ws.cargo();
    command.args(["run", "--quiet", "--locked", "--package", PACKAGE, "--bin", "netspectra-fuzz-seeds", "--"]);
    run(with_captures(command.arg(folder)))
}

/// Sends frames through the loaded program and through user space.
fn differential(ws: &Workspace, args: &FuzzArgs) -> Result<()> {
    let object = ebpf::build(ws)?;
    let mut build = ws.cargo();
    build.args(["build", "--locked", "--package", PACKAGE, "--no-default-features", "--profile", "fuzz"]);
    run(build.args(["--bin", "netspectra-differential"]))?;
    let program = ws.target.join("fuzz/netspectra-differential");
    let mut command = as_root(program, "loading eBPF programs")?;
    command.arg("--object").arg(object).args(["--frames", &args.frames.to_string()]);
    command.args(["--seed", &args.seed.unwrap_or(1).to_string()]);
    command.arg("--out").arg(ws.target.join("difference.bin"));
    run(with_captures(&mut command))
}

fn with_captures(command: &mut Command) -> &mut Command {
    match std::env::var_os(crate::test::CAPTURES_VARIABLE).filter(|v| !v.is_empty()) {
        Some(folder) => command.arg("--captures").arg(folder),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_target_has_its_program() {
        let ws = Workspace::locate().unwrap();
        let manifest = fs::read_to_string(ws.root.join("fuzz/Cargo.toml")).unwrap();
        for name in TARGETS {
            assert!(manifest.contains(&format!("name = \"fuzz-{name}\"")), "{name}");
            assert!(ws.root.join(format!("fuzz/fuzz_targets/{name}.rs")).is_file(), "{name}");
        }
        assert_eq!(manifest.matches("name = \"fuzz-").count(), TARGETS.len(), "a target is not in the list");
    }

    #[test]
    fn a_misspelt_target_is_refused_with_the_list() {
        let ws = Workspace::locate().unwrap();
        let args = FuzzArgs { targets: vec!["frames".into()], seconds: 1, frames: 1, seed: None };
        let error = fuzz(&ws, &args).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("`differential`"), "{error}");
    }
}
