//! Whether the object was built from what is there now.
//!
//! By content, not by time: a checkout, a copy or a restored cache changes times and nothing else.

use anyhow::{Context as _, Result};
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// What the programs are built from, relative to the workspace's root. Folders are taken whole.
const INPUTS: [&str; 9] = [
    "Cargo.toml",
    "netspectra-ebpf/Cargo.toml",
    "netspectra-ebpf/Cargo.lock",
    "netspectra-ebpf/src",
    "netspectra-common/Cargo.toml",
    "netspectra-common/src/lib.rs",
    "netspectra-common/src/abi",
    "netspectra-common/src/wire",
    "netspectra-common/src/flow",
];

/// A text that changes when any input, the toolchain's `identity` or a flag changes.
///
/// # Errors
/// An input cannot be read.
pub(super) fn inputs(root: &Path, identity: &str, flags: &[String]) -> Result<String> {
    let mut text = format!("{identity}\n{}\n", flags.join("\n"));
    for input in INPUTS {
        let mut files = Vec::new();
        collect(&root.join(input), &mut files)?;
        files.sort();
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
            let name = file.strip_prefix(root).unwrap_or(&file).display();
            text.push_str(&format!("{:016x} {} {name}\n", hash(&bytes), bytes.len()));
        }
    }
    Ok(text)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.display()))? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// Whether `object` is there, whole, and built from `inputs`.
pub(super) fn is_fresh(object: &Path, inputs: &str) -> bool {
    let (Ok(bytes), Ok(kept)) = (fs::read(object), fs::read_to_string(stamp_path(object))) else { return false };
    kept == stamp(&bytes, inputs)
}

/// Copies `built` to `object` and remembers the inputs. Readers of `object` see the old one or the new one, whole.
///
/// # Errors
/// A file cannot be written.
pub(super) fn install(built: &Path, object: &Path, inputs: &str) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("cannot read `{}`", built.display()))?;
    let folder = object.parent().context("the object has no folder")?;
    fs::create_dir_all(folder)?;
    let partial = object.with_extension("partial");
    fs::write(&partial, &bytes).with_context(|| format!("cannot write `{}`", partial.display()))?;
    fs::rename(&partial, object).with_context(|| format!("cannot write `{}`", object.display()))?;
    fs::write(stamp_path(object), stamp(&bytes, inputs)).context("cannot write the object's stamp")
}

fn stamp(bytes: &[u8], inputs: &str) -> String {
    format!("object {:016x} {}\n{inputs}", hash(bytes), bytes.len())
}

fn stamp_path(object: &Path) -> PathBuf {
    object.with_extension("inputs")
}

#[allow(
    clippy::disallowed_types,
    reason = "the stamp lives in the target folder, as long as one compiler's build does"
)]
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn checkout() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for input in INPUTS {
            let path = folder.path().join(input);
            if path.extension().is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, input).unwrap();
            } else {
                fs::create_dir_all(path.join("deep")).unwrap();
                fs::write(path.join("deep/file.rs"), input).unwrap();
            }
        }
        folder
    }

    #[test]
    fn an_object_is_fresh_until_anything_it_was_built_from_changes() {
        let folder = checkout();
        let root = folder.path();
        let (built, object) = (root.join("built"), root.join("target/bpf/x.bpf.o"));
        fs::write(&built, "elf").unwrap();
        let now = inputs(root, "rustc 1", &["-Ca".into()]).unwrap();
        assert!(!is_fresh(&object, &now), "nothing is built yet");
        install(&built, &object, &now).unwrap();
        assert!(is_fresh(&object, &inputs(root, "rustc 1", &["-Ca".into()]).unwrap()));

        assert!(!is_fresh(&object, &inputs(root, "rustc 2", &["-Ca".into()]).unwrap()), "another compiler");
        assert!(!is_fresh(&object, &inputs(root, "rustc 1", &["-Cb".into()]).unwrap()), "another flag");
        for changed in ["netspectra-common/src/wire/deep/file.rs", "netspectra-ebpf/Cargo.lock"] {
            let old = fs::read(root.join(changed)).unwrap();
            fs::write(root.join(changed), "changed").unwrap();
            assert!(!is_fresh(&object, &inputs(root, "rustc 1", &["-Ca".into()]).unwrap()), "{changed}");
            fs::write(root.join(changed), old).unwrap();
        }
        fs::write(root.join("netspectra-ebpf/src/new.rs"), "").unwrap();
        assert!(!is_fresh(&object, &inputs(root, "rustc 1", &["-Ca".into()]).unwrap()), "a new file");
    }

    #[test]
    fn a_damaged_object_is_not_fresh() {
        let folder = checkout();
        let (built, object) = (folder.path().join("built"), folder.path().join("x.bpf.o"));
        fs::write(&built, "elf").unwrap();
        install(&built, &object, "inputs").unwrap();
        assert!(is_fresh(&object, "inputs"));
        fs::write(&object, "el").unwrap();
        assert!(!is_fresh(&object, "inputs"));
    }

    #[test]
    fn a_missing_input_is_an_error_that_names_it() {
        let folder = checkout();
        fs::remove_file(folder.path().join("netspectra-ebpf/Cargo.lock")).unwrap();
        let error = inputs(folder.path(), "", &[]).unwrap_err().to_string();
        assert!(error.contains("netspectra-ebpf/Cargo.lock"), "{error}");
    }
}
