//! Sends many frames through the loaded kernel program and through user space, and compares the tables (root).
//!
//! Ends with 0 when there is no difference, with 1 when there is one (the frame is written out) or a step failed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use netspectra_agent::table::Identity;
use netspectra_fuzz::differential::{self, Difference, Kernel, User};
use netspectra_fuzz::frames::{self, Frames};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Frames taken from captures at most; some 10 MB.
const CAPTURED: usize = 50_000;
/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Sends frames through the kernel program and through user space and compares what both counted.
#[derive(Debug, Parser)]
struct Args {
    /// The eBPF object.
    #[arg(long, value_name = "PATH")]
    object: PathBuf,
    /// Frames to send: half of them with the outer, half with the inner identity of tunnelled packets.
    #[arg(long, default_value_t = 10_000_000)]
    frames: u64,
    /// Which frames: the same number gives the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of captures whose frames are damaged beside the built ones.
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
    /// Where a frame that counts differently is written.
    #[arg(long, value_name = "PATH", default_value = "difference.bin")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let object = std::fs::read(&args.object).with_context(|| format!("cannot read `{}`", args.object.display()))?;
    let captured = match &args.captures {
        None => Vec::new(),
        Some(folder) => frames::from_captures(folder, CAPTURED)
            .with_context(|| format!("cannot read the captures in `{}`", folder.display()))?,
    };
    println!("differential: {} frames, seed {}, {} frames of captures", args.frames, args.seed, captured.len());
    for (name, identity) in [("outer", Identity::Outer), ("inner", Identity::Inner)] {
        compare(&args, &object, &captured, name, identity)?;
    }
    Ok(())
}

/// `name` is what `identity` is called in the configuration.
fn compare(args: &Args, object: &[u8], captured: &[Vec<u8>], name: &str, identity: Identity) -> Result<()> {
    let started = Instant::now();
    let mut last = started;
    let (summary, difference) = differential::run(
        &mut Frames::new(args.seed, captured),
        args.frames / 2,
        &|| Ok(Box::new(Kernel::load(object, identity)?)),
        &|| Ok(Box::new(User::new(identity))),
        &mut |n| {
            if last.elapsed() > PROGRESS {
                last = Instant::now();
                println!("differential, {name} identity: {n} frames, no difference");
            }
        },
    )?;
    if let Some(difference) = difference {
        return report(args, name, &difference);
    }
    println!(
        "differential, {name} identity: {} frames in {:.1} s, 0 differences: {} generations, {} flows, {} frames under reasons, {} orphan fragments",
        summary.frames,
        started.elapsed().as_secs_f64(),
        summary.generations,
        summary.flows,
        summary.without_flow,
        summary.orphan_fragments,
    );
    Ok(())
}

fn report(args: &Args, name: &str, difference: &Difference) -> Result<()> {
    std::fs::write(&args.out, &difference.frame).with_context(|| format!("cannot write `{}`", args.out.display()))?;
    eprintln!("{name} identity, frame {} (seed {}), behind {}:", difference.number, args.seed, difference.before);
    for row in &difference.rows {
        eprintln!("  {row}");
    }
    bail!("kernel and user space count differently: the frame is in `{}`", args.out.display());
}
