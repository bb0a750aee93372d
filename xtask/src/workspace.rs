//! Where things are.

use crate::process::capture;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout, its target folder, and the cache outside of it.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, absolute.
    pub(crate) target: PathBuf,
    /// Toolchains and tools that outlive checkouts.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    /// Asks cargo. Cost: one `cargo metadata --no-deps`, some 10 ms.
    ///
    /// # Errors
    /// Cargo fails, or neither a cache folder nor a home folder is known.
    pub(crate) fn locate() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not inside a workspace")?.to_owned();
        let meta = metadata(&root.join("Cargo.toml"))?;
        let target = meta["target_directory"].as_str().context("`cargo metadata` names no target folder")?.into();
        Ok(Self { root, target, cache: cache_folder(|name| std::env::var_os(name).map(PathBuf::from))? })
    }

    /// The built eBPF object.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/netspectra.bpf.o")
    }

    /// The eBPF workspace's manifest.
    pub(crate) fn ebpf_manifest(&self) -> PathBuf {
        self.root.join("netspectra-ebpf/Cargo.toml")
    }

    /// Where tools such as cargo-deny are installed (`bin` below it).
    pub(crate) fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// `cargo`, to be run in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// The cargo that started this program, else the one in `PATH`.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What cargo knows about the packages of the workspace of `manifest`, without resolving dependencies.
///
/// # Errors
/// Cargo fails or answers with something that is not JSON.
pub(crate) fn metadata(manifest: &Path) -> Result<Value> {
    let text = capture(cargo().args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest))?;
    serde_json::from_str(&text).context("`cargo metadata` did not answer with JSON")
}

fn cache_folder(var: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let set = |name| var(name).filter(|p| !p.as_os_str().is_empty());
    let folder = set("NETSPECTRA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("netspectra")))
        .or_else(|| set("HOME").map(|p| p.join(".cache/netspectra")))
        .context("no folder for toolchains: set `NETSPECTRA_CACHE`")?;
    std::path::absolute(&folder).with_context(|| format!("`{}` is not a path", folder.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_cache_is_the_first_that_is_set() {
        let with = |vars: &'static [(&str, &str)]| {
            cache_folder(move |name| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| PathBuf::from(v)))
        };
        assert_eq!(
            with(&[("NETSPECTRA_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]).unwrap(),
            Path::new("/a")
        );
        assert_eq!(with(&[("NETSPECTRA_CACHE", ""), ("XDG_CACHE_HOME", "/b")]).unwrap(), Path::new("/b/netspectra"));
        assert_eq!(with(&[("HOME", "/c")]).unwrap(), Path::new("/c/.cache/netspectra"));
        assert!(with(&[]).unwrap_err().to_string().contains("NETSPECTRA_CACHE"));
    }

    #[test]
    fn cargo_finds_this_workspace() {
        let ws = Workspace::locate().unwrap();
        assert!(ws.root.join("netspectra-common/Cargo.toml").is_file());
        assert!(ws.target.is_absolute() && ws.object().starts_with(&ws.target));
    }
}
