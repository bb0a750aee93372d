//! The verb `test`: every test, those that need the kernel, root or servers included.
//!
//! A test program named `kernel*` attaches eBPF programs and makes network namespaces. When this process is not root,
//! cargo is given a runner (this program, verb `test-runner`) that starts those, and only those, through sudo.

use crate::build::OBJECT_VARIABLE;
use crate::cli::Usage;
use crate::process::{capture, find_program, is_root, run, say};
use crate::setup;
use crate::workspace::{Workspace, metadata};
use crate::{cli, cluster, ebpf};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Folder of external captures, for tests that replay them.
pub(crate) const CAPTURES_VARIABLE: &str = "NETSPECTRA_CAPTURES";
/// Test programs whose name begins with this run as root.
const KERNEL_PREFIX: &str = "kernel";

/// Sets up, builds the eBPF object and runs the tests whose name contains `filter`.
///
/// # Errors
/// A test failed; kernel tests cannot get root; a server does not start; the captures' folder is not there; no test has `filter` in its name.
/// What cannot be run is a failure, never a skip.
pub(crate) fn test(ws: &Workspace, filter: Option<&str>) -> Result<()> {
    setup::setup(ws, &cli::SetupArgs { ebpf_only: false, check: false })?;
    let object = ebpf::build(ws)?;
    ebpf::check_object(&object)?;

    let captures = std::env::var_os(CAPTURES_VARIABLE).filter(|v| !v.is_empty());
    match &captures {
        None => say(format!("`{CAPTURES_VARIABLE}` is not set: tests over external captures are left out")),
        Some(folder) if Path::new(folder).is_absolute() && Path::new(folder).is_dir() => {
            say(format!("external captures: `{}`", Path::new(folder).display()));
        }
        // Tests run in their crate's folder: a relative path would mean another one there.
        Some(folder) => {
            let shown = Path::new(folder).display();
            return Err(
                Usage(format!("`{CAPTURES_VARIABLE}` is `{shown}`, expected the absolute path of a folder")).into()
            );
        }
    }

    let mut command = ws.cargo();
    let kernel_tests = kernel_tests(&metadata(&ws.root.join("Cargo.toml"))?);
    if !kernel_tests.is_empty() && !is_root()? {
        let names = kernel_tests.join("`, `");
        if find_program("sudo").is_none() {
            bail!("the tests `{names}` need root, and there is no `sudo`: run `cargo xtask test` as root");
        }
        say(format!("the tests `{names}` need root: they are run through sudo"));
        run(Command::new("sudo").arg("-v"))?;
        command.args(["--config", &runner_config()?]);
    }
    // All results, also after a failure: one run says everything that is wrong.
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).env(OBJECT_VARIABLE, &object);
    if let Some(filter) = filter {
        require_a_match(ws, &object, filter)?;
        command.args(["--", filter]);
    }
    let servers = cluster::ForTests::start(ws).context("the servers that tests need")?;
    say("running the tests");
    let tested = servers.run(&mut command);
    let ended = servers.end();
    tested.and(ended)
}

/// A misspelt filter would otherwise be a run of no tests that succeeds.
fn require_a_match(ws: &Workspace, object: &Path, filter: &str) -> Result<()> {
    let list = capture(
        ws.cargo().args(["test", "--workspace", "--locked", "--", "--list", filter]).env(OBJECT_VARIABLE, object),
    )?;
    match list.lines().filter(|line| line.ends_with(": test")).count() {
        0 => {
            Err(Usage(format!("no test has `{filter}` in its name: `cargo test --workspace -- --list` shows all"))
                .into())
        }
        count => {
            say(format!("{count} tests have `{filter}` in their names"));
            Ok(())
        }
    }
}

/// `package::test` of the test programs that need root.
fn kernel_tests(metadata: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_test = target["kind"].as_array().into_iter().flatten().any(|kind| kind == "test");
            let name = target["name"].as_str().unwrap_or_default();
            if is_test && name.starts_with(KERNEL_PREFIX) {
                names.push(format!("{}::{name}", package["name"].as_str().unwrap_or_default()));
            }
        }
    }
    names
}

/// Makes this program cargo's runner of test programs. As a list, because paths may hold spaces.
fn runner_config() -> Result<String> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let program = program.to_str().with_context(|| format!("`{}` is not UTF-8", program.display()))?;
    // A JSON string is a TOML string too.
    Ok(format!("target.\"cfg(all())\".runner = [{}, \"test-runner\"]", Value::from(program)))
}

/// The hidden verb `test-runner`: becomes `command`, as root if it is a kernel test.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn runner(command: Vec<OsString>) -> Result<()> {
    let program = command.first().context("no program to run")?;
    let mut child = if needs_root(Path::new(program)) && !is_root()? {
        let mut sudo = Command::new("sudo");
        // By name, because a policy may refuse to keep the whole environment. A prompt would spoil the output.
        sudo.args(["-n", "env"]).args(kept_environment(std::env::vars_os())).arg(program);
        sudo
    } else {
        Command::new(program)
    };
    child.args(&command[1..]);
    Err(child.exec()).with_context(|| format!("cannot start `{}`", Path::new(program).display()))
}

/// Cargo names a test program after its source and a hash: `kernel_xdp-0123456789abcdef`.
fn needs_root(program: &Path) -> bool {
    program.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(KERNEL_PREFIX))
}

/// What tests read, as `NAME=value`.
fn kept_environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    all.filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("NETSPECTRA_") || name.starts_with("CARGO_") || name.starts_with("RUST_") || name == "PATH"
    })
    .map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn kernel_tests_are_the_test_programs_with_that_prefix() {
        let metadata = json!({"packages": [{"name": "agent", "targets": [
            {"name": "kernel_xdp", "kind": ["test"]},
            {"name": "pcap", "kind": ["test"]},
            {"name": "kernel", "kind": ["lib"]},
        ]}]});
        assert_eq!(kernel_tests(&metadata), ["agent::kernel_xdp"]);
        assert!(needs_root(Path::new("/t/debug/deps/kernel_xdp-0123456789abcdef")));
        assert!(!needs_root(Path::new("/t/kernel/deps/pcap-0123456789abcdef")));
    }

    #[test]
    fn sudo_gets_what_tests_read_and_nothing_else() {
        let vars = [
            ("NETSPECTRA_BPF_OBJECT", "/o"),
            ("SECRET", "x"),
            ("CARGO_MANIFEST_DIR", "/m"),
            ("NETSPECTRA_KAFKA", "h:1"),
            ("NETSPECTRA_CLUSTER_CTL", "/x"),
        ];
        let kept = kept_environment(vars.into_iter().map(|(k, v)| (k.into(), v.into())));
        let expected =
            ["NETSPECTRA_BPF_OBJECT=/o", "CARGO_MANIFEST_DIR=/m", "NETSPECTRA_KAFKA=h:1", "NETSPECTRA_CLUSTER_CTL=/x"];
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_runner_is_one_word_of_a_list() {
        let config = runner_config().unwrap();
        assert!(config.starts_with("target.\"cfg(all())\".runner = [\"/") && config.ends_with("\", \"test-runner\"]"));
    }
}
