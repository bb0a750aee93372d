//! What runs inside another kernel (`cargo xtask test-vm`): loads every program with the agent's loader, attaches them to a
//! pair of virtual interfaces, sends traffic, and compares every count with what was sent.
//!
//! The host reads standard output: lines that begin with `netspectra-vm:` and hold a JSON object each. The last one says
//! whether all of it was as expected.
#![allow(clippy::print_stdout, reason = "the console is how the guest answers")]

mod counts;
mod devices;
mod kill;
mod live;
mod traffic;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use netspectra_agent::source::xdp::{AttachMode, EgressChoice, XdpConfig};
use netspectra_agent::table::Identity;
use netspectra_fuzz::differential::{self, Kernel, User};
use netspectra_fuzz::frames::Frames;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Frames that go through kernel and user space: emulated machines are slow.
const DIFFERENTIAL: u64 = 20_000;
/// Both kinds of programs: the verifier sees other ways through each.
const IDENTITIES: [(&str, Identity); 2] = [("outer", Identity::Outer), ("inner", Identity::Inner)];

/// Checks the programs in `object` on this kernel.
#[derive(Debug, Parser)]
struct Args {
    /// The eBPF object.
    object: PathBuf,
    /// The interface that packets are sent on, and its peer. Without them the programs are loaded only.
    #[arg(num_args = 0..=2)]
    interfaces: Vec<String>,
    /// Checks what counts where devices are above devices, and nothing else: those of `devices.rs` must be there.
    #[arg(long)]
    devices: bool,
    /// Kills a process that watches the interface, and nothing else.
    #[arg(long, conflicts_with = "devices")]
    kill: bool,
    /// Watches the interface until it is killed.
    #[arg(long, hide = true)]
    hold: bool,
}

fn say(value: &Value) {
    println!("netspectra-vm: {value}");
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.hold {
        let held = std::fs::read(&args.object).map_err(anyhow::Error::new);
        let interface = args.interfaces.first().cloned().unwrap_or_default();
        let Err(error) = held.and_then(|object| kill::hold(&object, &interface)) else { return ExitCode::SUCCESS };
        println!("{error:#}");
        return ExitCode::FAILURE;
    }
    let result = check(&args);
    let error = result.as_ref().err().map(|e| format!("{e:#}"));
    say(&json!({ "ok": result.is_ok(), "error": error }));
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is loaded to be measured also compares kernel and user space: the verifier's work takes most of a guest's time.
fn check(args: &Args) -> Result<()> {
    let object = std::fs::read(&args.object).with_context(|| format!("cannot read `{}`", args.object.display()))?;
    let one = || args.interfaces.first().context("expected an interface");
    if args.devices {
        devices::check(&object)?.iter().for_each(say);
        return Ok(());
    }
    if args.kill {
        say(&kill::check(&args.object, &object, one()?)?);
        return Ok(());
    }
    for (name, identity) in IDENTITIES {
        let kernel = Kernel::load(&object, identity)?;
        for size in kernel.program_sizes()? {
            say(&json!({
                "program": size.name,
                "identity": name,
                "verified": size.verified,
                "instructions": size.instructions,
                "jited_bytes": size.jited_bytes,
            }));
        }
        if !args.interfaces.is_empty() {
            compare(kernel, name, identity)?;
        }
    }
    if args.interfaces.is_empty() {
        return Ok(());
    }
    for (mode, egress) in [(AttachMode::Native, EgressChoice::Auto), (AttachMode::Generic, EgressChoice::Clsact)] {
        let config =
            XdpConfig { interfaces: args.interfaces.clone(), mode, egress, max_flows: 4096, ..XdpConfig::default() };
        say(&live::check(&object, &config)?);
    }
    Ok(())
}

/// Sends frames through `kernel` and through user space.
fn compare(kernel: Kernel, name: &str, identity: Identity) -> Result<()> {
    let loaded = RefCell::new(Some(kernel));
    let (summary, difference) = differential::run(
        &mut Frames::new(1, &[]),
        DIFFERENTIAL,
        &|| match loaded.take() {
            Some(kernel) => Ok(Box::new(kernel)),
            None => bail!("more first fragments than one loading of the programs is good for: send fewer frames"),
        },
        &|| Ok(Box::new(User::new(identity))),
        &mut |_| (),
    )?;
    if let Some(d) = difference {
        bail!(
            "{name} identity: kernel and user space differ at frame {} ({:02x?}): {}",
            d.number,
            d.frame,
            d.rows.join("; ")
        );
    }
    say(&json!({ "identity": name, "differential_frames": summary.frames, "differences": 0 }));
    Ok(())
}
