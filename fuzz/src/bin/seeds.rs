//! Writes inputs to begin with, a folder for each target.
#![allow(clippy::print_stdout, reason = "a command-line tool talks to its terminal")]

use anyhow::{Context as _, Result};
use clap::Parser;
use netspectra_fuzz::{seeds, targets};
use std::path::PathBuf;

/// Writes inputs for the fuzz targets.
#[derive(Debug, Parser)]
struct Args {
    /// Where the targets' folders are made.
    out: PathBuf,
    /// Folder of captures to take frames and files from.
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    for target in targets::ALL {
        let mut inputs = seeds::generated(target.name)?;
        if let Some(captures) = &args.captures {
            inputs.extend(seeds::captured(target.name, captures)?);
        }
        let folder = args.out.join(target.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        for (n, input) in inputs.iter().enumerate() {
            let path = folder.join(format!("seed-{n:05}"));
            std::fs::write(&path, input).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        println!("{}: {} inputs", target.name, inputs.len());
    }
    Ok(())
}
