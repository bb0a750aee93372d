//! The verb `proto`: Rust for the messages of the bus, made from their definitions and kept in the repository, so that
//! building needs no generator.

use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

/// The definitions, below `proto/`.
const DEFINITIONS: [&str; 1] = ["netspectra/v1/bus.proto"];
/// Where the Rust is.
const GENERATED: &str = "netspectra-common/src/proto/v1.rs";
/// Every field's place, number and type, one a line.
const LOCK: &str = "proto/fields.lock";

/// Writes the Rust, and fields that are new into the lock; with `check` says whether both are up to date.
///
/// # Errors
/// A definition that is none; a field that was removed, renumbered or given another type; with `check` anything stale.
pub(crate) fn proto(ws: &Workspace, check: bool) -> Result<()> {
    let files = protox::compile(DEFINITIONS, [ws.root.join("proto")]).context("`proto/` does not compile")?;
    let fields = fields(&files);
    let lock = ws.root.join(LOCK);
    let locked = fs::read_to_string(&lock).unwrap_or_default();
    for line in locked.lines() {
        if !fields.iter().any(|field| field == line) {
            bail!(
                "`{line}` of `{LOCK}` is not in the definitions any more: fields are added, and never removed or changed"
            );
        }
    }
    let out = tempfolder(ws)?;
    prost_build::Config::new().out_dir(&out).compile_fds(files).context("no Rust for `proto/`")?;
    let made = fs::read_to_string(out.join("netspectra.v1.rs")).context("no Rust for `proto/`")?;
    write(&ws.root.join(GENERATED), &made, check)?;
    write(&lock, &(fields.join("\n") + "\n"), check)
}

fn tempfolder(ws: &Workspace) -> Result<std::path::PathBuf> {
    let out = ws.target.join("proto");
    fs::create_dir_all(&out).with_context(|| format!("cannot create `{}`", out.display()))?;
    Ok(out)
}

fn write(path: &Path, text: &str, check: bool) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if check {
        bail!("`{}` is not what `proto/` gives: run `cargo xtask proto`", path.display());
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// `message.field = number type` of every field, and `enum.value = number`, in the order of the definitions.
fn fields(files: &prost_types::FileDescriptorSet) -> Vec<String> {
    let mut all = Vec::new();
    for file in &files.file {
        for message in &file.message_type {
            for field in &message.field {
                let kind = match field.type_name() {
                    "" => format!("{:?}", field.r#type()),
                    name => name.to_owned(),
                };
                let label = field.label();
                all.push(format!("{}.{} = {} {label:?} {kind}", message.name(), field.name(), field.number()));
            }
        }
        for list in &file.enum_type {
            all.extend(list.value.iter().map(|v| format!("{}.{} = {}", list.name(), v.name(), v.number())));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_in_the_repository_is_what_the_definitions_give_and_nothing_was_taken_away() {
        proto(&Workspace::locate().unwrap(), true).unwrap();
    }
}
