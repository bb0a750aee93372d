//! The command line.

use crate::{bench, build, ci, cluster, ebpf, fuzz, layers, lint, proto, run, setup, test, vm, workspace::Workspace};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::fmt;
use std::path::PathBuf;

/// Build, run, test and check NetSpectra.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const ENVIRONMENT: &str = "\
Environment:
  NETSPECTRA_CACHE     where toolchains and tools are kept; default $XDG_CACHE_HOME/netspectra, else ~/.cache/netspectra
  NETSPECTRA_CAPTURES  folder of external captures for tests
  NETSPECTRA_KAFKA, NETSPECTRA_CLICKHOUSE, NETSPECTRA_REDIS, NETSPECTRA_PROMETHEUS
                       servers that run already, for `cluster` and `test`: `host:port`, `http://…`, `redis://…`, `http://…`
  CARGO_TARGET_DIR     as for cargo

Exit codes: 0 done, 1 a step failed, 2 correct the command line first.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check for, and install, what building and testing need.
    ///
    /// eBPF toolchain, first that works: rustup nightly with rust-src and bpf-linker; the private toolchain in the
    /// cache; nightly by rustup; a private toolchain from Debian's packages, unpacked into the cache and nowhere else.
    #[command(
        after_help = "Examples:\n  cargo xtask setup\n  cargo xtask setup --ebpf-only\n  cargo xtask setup --check"
    )]
    Setup(SetupArgs),

    /// Build the eBPF programs into `target/bpf/netspectra.bpf.o`, if their sources changed.
    #[command(after_help = "Examples:\n  cargo xtask build-ebpf\n  cargo xtask build-ebpf --out /tmp/netspectra.bpf.o")]
    BuildEbpf(BuildEbpfArgs),

    /// Build the eBPF programs, then the `netspectra` binary with them inside.
    #[command(after_help = "Examples:\n  cargo xtask build\n  cargo xtask build --release")]
    Build(BuildArgs),

    /// Build for release and start `netspectra run`, with raised privilege for that process only.
    ///
    /// Without `--iface` (or `--config`) among the arguments it watches the interface of the default route.
    #[command(
        after_help = "Examples:\n  cargo xtask run\n  cargo xtask run -- --iface eth0\n  cargo xtask run --cluster -- --iface lo\n  cargo xtask run -- --help"
    )]
    Run(RunArgs),

    /// Set up, build, and run every test, including those that attach programs in network namespaces (root).
    ///
    /// Kafka, ClickHouse, Redis and Prometheus are started for the run, and ended after it, unless `cluster up` has started them.
    #[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --filter fragments")]
    Test(TestArgs),

    /// Start, end, show, kill and restart Kafka, ClickHouse, Redis and Prometheus on this host, for tests and for trying out.
    ///
    /// Each is what its variable names (see `cargo xtask --help`), else what is installed, else a container, else fetched: Kafka's
    /// jars from Maven Central, ClickHouse as a library from the npm registry, Redis by the package manager, Prometheus from Debian's
    /// package. They listen on 127.0.0.1, at ports that were free.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster up\n  cargo xtask cluster status\n  cargo xtask cluster kill kafka\n  cargo xtask cluster start kafka\n  cargo xtask cluster down"
    )]
    Cluster(ClusterArgs),

    /// Check who may depend on whom: crates, library fences, modules of netspectra-common, lint inheritance.
    #[command(after_help = "Example:\n  cargo xtask layers")]
    Layers,

    /// Make Rust of the messages in `proto/`, and hold their fields against those there have been.
    #[command(after_help = "Examples:\n  cargo xtask proto\n  cargo xtask proto --check")]
    Proto(ProtoArgs),

    /// Check a built eBPF object: no counting map evicts, and every way through a program counts its frame.
    #[command(after_help = "Examples:\n  cargo xtask check-object\n  cargo xtask check-object /tmp/netspectra.bpf.o")]
    CheckObject(CheckObjectArgs),

    /// Formatting, clippy, layers, licences and advisories.
    #[command(after_help = "Example:\n  cargo xtask lint")]
    Lint,

    /// All that a change must pass: lint, then test.
    #[command(after_help = "Example:\n  cargo xtask ci")]
    Ci,

    /// Measure the hook and `analyze` beside what they are compared with, in one run (root).
    #[command(after_help = "Examples:\n  cargo xtask bench\n  NETSPECTRA_BENCH_CAPTURE=big.pcap cargo xtask bench")]
    Bench,

    /// Check the programs on other kernels, each in an emulated machine (QEMU), and hold their sizes against the record.
    ///
    /// Kernels come from Debian's archive, unpacked into the cache; elsewhere name an image. In the machine the agent's
    /// loader loads every program, attaches them to a virtual link, and all counts are compared with what was sent.
    #[command(
        after_help = "Examples:\n  cargo xtask test-vm\n  cargo xtask test-vm --kernel host\n  cargo xtask test-vm --kernel host,6.1,6.12 --record\n  cargo xtask test-vm --kernel-image bzImage --kernel-release 6.6.9 --modules /lib/modules/6.6.9"
    )]
    TestVm(TestVmArgs),

    /// Search for inputs that break what must hold, at every boundary where bytes come in.
    ///
    /// Targets of libFuzzer: frame, capture, event, payload, filter, sketch, log. `differential` sends frames through the loaded
    /// kernel program and through user space and compares all tables (root). Seeds come from NETSPECTRA_CAPTURES too.
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz --seconds 300\n  cargo xtask fuzz frame capture\n  cargo xtask fuzz differential --frames 10000000 --seed 7"
    )]
    Fuzz(FuzzArgs),

    /// Run one test program, with privilege if it is a kernel test. Cargo calls this, see `test`.
    #[command(hide = true)]
    TestRunner(RunnerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Only what the eBPF programs need.
    #[arg(long)]
    pub(crate) ebpf_only: bool,
    /// Install nothing: report, and end with 1 if something is missing.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProtoArgs {
    /// Write nothing: end with 1 if something is stale.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuildEbpfArgs {
    /// Also copy the object to this path.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Optimise.
    #[arg(long)]
    pub(crate) release: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// An agent, two engines and two APIs over real servers (see `cluster`), instead of one process.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Arguments of `netspectra run`, or of `netspectra agent`.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    action: ClusterAction,
    /// Where data, logs and the state file are; default `cluster` in the target folder.
    #[arg(long, value_name = "DIR", global = true, env = cluster::FOLDER_VARIABLE)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Start what does not run, wait until each answers, and print the URLs.
    Up,
    /// End what `up` started, and remove its data.
    Down {
        /// Keep the data: the next `up` starts the same servers again, at the same ports.
        #[arg(long)]
        keep_data: bool,
    },
    /// Say what runs; ends with 1 when a server does not answer.
    Status,
    /// Kill one server (SIGKILL); its data stays.
    Kill {
        /// Which.
        server: cluster::Service,
    },
    /// Start one server that was killed: same data, same port.
    Start {
        /// Which.
        server: cluster::Service,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Targets; all of libFuzzer's when none is named.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Time for each target of libFuzzer.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Frames of the differential: half of them with the outer, half with the inner identity of tunnelled packets.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) frames: u64,
    /// Which inputs: the same number gives the same ones; libFuzzer takes the time when there is none.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct TestVmArgs {
    /// Kernels: versions of Debian's packages (`6.1`, `6.12.117`), `all` for the newest of each series, `host` for this one
    /// (programs are loaded, not attached; root).
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',', default_value = "all")]
    pub(crate) kernel: Vec<String>,
    /// A kernel image to boot instead of Debian's.
    #[arg(long, value_name = "PATH", requires = "kernel_release", conflicts_with = "kernel")]
    pub(crate) kernel_image: Option<PathBuf>,
    /// Release of that image, as `uname -r` has it.
    #[arg(long, value_name = "RELEASE", requires = "kernel_image")]
    pub(crate) kernel_release: Option<String>,
    /// Folder of that image's modules; without it veth, sch_ingress and cls_bpf must be built in.
    #[arg(long, value_name = "FOLDER", requires = "kernel_image")]
    pub(crate) modules: Option<PathBuf>,
    /// Put the programs' sizes on record, whatever they are.
    #[arg(long)]
    pub(crate) record: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckObjectArgs {
    /// The object; default is the one that `build-ebpf` makes.
    #[arg(value_name = "PATH")]
    pub(crate) object: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunnerArgs {
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

impl Verb {
    /// Does it.
    pub(crate) fn dispatch(self) -> Result<()> {
        let ws = Workspace::locate()?;
        match self {
            Self::Setup(args) => setup::setup(&ws, &args),
            Self::BuildEbpf(args) => ebpf::build_and_copy(&ws, args.out.as_deref()),
            Self::Build(args) => build::build(&ws, args.release).map(drop),
            Self::Run(args) if args.cluster => cluster::run_parts(&ws, &args.args),
            Self::Run(args) => run::run(&ws, &args.args),
            Self::Test(args) => test::test(&ws, args.filter.as_deref()),
            Self::Cluster(ClusterArgs { action, dir }) => match (action, dir.as_deref()) {
                (ClusterAction::Up, dir) => cluster::up(&ws, dir),
                (ClusterAction::Down { keep_data }, dir) => cluster::down(&ws, dir, keep_data),
                (ClusterAction::Status, dir) => cluster::status(&ws, dir),
                (ClusterAction::Kill { server }, dir) => cluster::kill(&ws, dir, server),
                (ClusterAction::Start { server }, dir) => cluster::start(&ws, dir, server),
            },
            Self::Layers => layers::check(&ws),
            Self::Proto(args) => proto::proto(&ws, args.check),
            Self::CheckObject(args) => ebpf::check_object(&args.object.unwrap_or_else(|| ws.object())),
            Self::Lint => lint::lint(&ws),
            Self::Ci => ci::ci(&ws),
            Self::Bench => bench::bench(&ws),
            Self::Fuzz(args) => fuzz::fuzz(&ws, &args),
            Self::TestVm(args) => vm::test_vm(&ws, &args),
            Self::TestRunner(args) => test::runner(args.command),
        }
    }
}

/// An error that the caller mends by another command line: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_public_verb_has_an_example() {
        Cli::command().debug_assert();
        for verb in Cli::command().get_subcommands().filter(|v| !v.is_hide_set()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("cargo xtask {}", verb.get_name())), "`{}` has no example", verb.get_name());
            assert!(verb.get_about().is_some(), "`{}` says nothing about itself", verb.get_name());
        }
    }
}
