//! The verb `bench`: figures beside what they are compared with, in one run.

use crate::build::OBJECT_VARIABLE;
use crate::cluster::ForTests;
use crate::ebpf;
use crate::process::{is_root, run, say};
use crate::workspace::Workspace;
use anyhow::{Result, bail};

/// Tells the benchmark which object holds the programs that the hook is measured beside.
const BENCH_OBJECT_VARIABLE: &str = "NETSPECTRA_BPF_BENCH_OBJECT";

/// Builds for release and runs the benchmarks, the hook first.
///
/// # Errors
/// Not root (loading programs needs it), a build failed, a server of the cluster did not start, or a benchmark failed.
pub(crate) fn bench(ws: &Workspace) -> Result<()> {
    if !is_root()? {
        bail!("the benchmarks load eBPF programs: run `cargo xtask bench` as root");
    }
    let object = ebpf::build(ws)?;
    let beside = ebpf::bench_object(ws);
    for (package, bench) in [("netspectra-agent", "hook"), ("netspectra-agent", "live"), ("netspectra", "analyze")] {
        say(format!("measuring `{bench}`"));
        let mut command = ws.cargo();
        command.args(["bench", "--locked", "--package", package, "--bench", bench]);
        run(command.env(OBJECT_VARIABLE, &object).env(BENCH_OBJECT_VARIABLE, &beside))?;
    }
    say("measuring `cluster`");
    let servers = ForTests::start(ws)?;
    let mut command = ws.cargo();
    command.args(["bench", "--locked", "--package", "netspectra", "--bench", "cluster"]);
    let measured = servers.run(command.env(OBJECT_VARIABLE, &object));
    servers.end().and(measured)
}
