//! The one binary of NetSpectra: command line and wiring, nothing else.

mod analyze;
mod cli;
mod client;
#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod detach;
mod doctor;
mod object;
mod output;
mod overflow;
mod run;
mod serve;

use clap::Parser;
use std::process::ExitCode;

/// Records and messages are many small texts: the system's allocator takes a sixth of the time of a capture's report.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc, which its bindings have no name for: milliseconds, 10 unless set.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// The input was damaged, or a check failed; what could be done was done.
const FAILED: u8 = 1;
/// The command line or the environment was wrong; nothing was done.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        cli::Command::Run(args) => run::main(args),
        cli::Command::Analyze(args) => {
            suit_a_short_life();
            analyze::main(&args)
        }
        cli::Command::Doctor(args) => doctor::main(&args),
        cli::Command::Detach(args) => detach::main(&args),
        #[cfg(feature = "cluster")]
        cli::Command::Agent(args) => cluster::agent(*args),
        #[cfg(feature = "cluster")]
        cli::Command::Engine(args) => cluster::engine(args),
        #[cfg(feature = "cluster")]
        cli::Command::Api(args) => cluster::api(args),
        #[cfg(feature = "cluster")]
        cli::Command::Admin(args) => cluster::admin(args),
        cli::Command::Serve(args) => serve::main(&args),
        cli::Command::Query(args) => client::query(&args),
        cli::Command::Top(args) => client::top(&args),
    };
    match result {
        Ok(code) => code,
        Err(Failure { code, error }) => {
            output::error(&format!("netspectra: {}", output::chain(&error)));
            ExitCode::from(code)
        }
    }
}

/// Sets memory up for a process that works through files and ends.
///
/// What is freed is kept for a second: each generation of a file takes the memory that the one before it gave back, and having the kernel
/// clear it in between takes a sixth of an analysis. Not for ever: what is too small for what comes next would add up, beyond
/// `--memory`. And no huge pages: of two mebibytes that are cleared, and count, a few kibibytes are used here and there.
fn suit_a_short_life() {
    // SAFETY: the call sets a number that the allocator reads, and may be made at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 1000) };
    // A kernel that has none need not be told.
    _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// An error and the exit status that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Exit status 2: the caller has to change something first.
    pub(crate) fn misuse(error: impl Into<anyhow::Error>) -> Self {
        Self { code: MISUSE, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<ExitCode, Failure>;
