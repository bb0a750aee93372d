//! Builds, runs, tests and checks NetSpectra.
//!
//! One verb a module. A verb says what it does before it does it, ends with 0 when it did all of it, with 1 when a
//! step failed, and with 2 when the command line must be corrected first.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod build;
mod ci;
mod cli;
mod cluster;
mod ebpf;
mod fuzz;
mod layers;
mod lint;
mod process;
mod proto;
mod run;
mod setup;
mod test;
mod vm;
mod workspace;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = if ebpf::wrapper::is_asked_for() {
        ebpf::wrapper::become_compiler()
    } else {
        cli::Cli::parse().verb.dispatch()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<cli::Usage>() { 2 } else { 1 })
        }
    }
}
