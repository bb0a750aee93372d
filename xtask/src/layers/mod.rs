//! The verb `layers`: the structure that the design promises, checked against the sources.

mod crates;
mod fences;
mod modules;
mod source;

use crate::process::say;
use crate::workspace::{Workspace, metadata};
use anyhow::{Context as _, Result, bail};
use source::Source;
use std::fmt;
use std::path::{Path, PathBuf};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Relative to the workspace's root.
    file: PathBuf,
    /// Counted from 1.
    line: usize,
    /// What is there, what was expected, and what to do.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Checks every rule and prints each violation as `file:line: message`.
///
/// # Errors
/// A rule is broken, or sources cannot be read.
pub(crate) fn check(ws: &Workspace) -> Result<()> {
    let packages = crates::packages(&metadata(&ws.root.join("Cargo.toml"))?, &ws.root)?;
    let ebpf = crates::packages(&metadata(&ws.ebpf_manifest())?, &ws.root)?;
    let mut found = Vec::new();
    let mut files = 0;
    for package in packages.iter().chain(&ebpf) {
        let manifest = package.folder.join("Cargo.toml");
        let text = read(&ws.root, &manifest)?;
        found.extend(crates::dependencies(package, &manifest, &text));
        if !ebpf.contains(package) {
            // Lints are inherited inside a workspace; the eBPF programs are a workspace of their own.
            found.extend(crates::inherits_lints(package, &manifest, &text));
        }
        for source in source::read_all(&ws.root, &package.folder.join("src"))? {
            found.extend(fences::check(package, &source));
            if package.name == "netspectra-common" {
                found.extend(modules::check(&source));
            }
            files += 1;
        }
    }
    found.sort();
    for violation in &found {
        println!("{violation}");
    }
    if !found.is_empty() {
        bail!("{} violations of the layers (DESIGN: who may use whom)", found.len());
    }
    say(format!("layers hold: {} crates, {files} files", packages.len() + ebpf.len()));
    Ok(())
}

fn read(root: &Path, file: &Path) -> Result<String> {
    std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read `{}`", file.display()))
}

impl Source {
    fn violation(&self, at: usize, message: String) -> Violation {
        Violation { file: self.file.clone(), line: self.line_of(at), message }
    }
}
