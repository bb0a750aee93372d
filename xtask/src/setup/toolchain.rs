//! The two kinds of eBPF toolchain, and how cargo is told to use them.

use super::{linker, rustup};
use crate::process::{capture, find_program, is_executable, prepended};
use crate::workspace::{Workspace, cargo};
use anyhow::{Context as _, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler with a `core` for BPF, and a linker that fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// rustup's nightly with its sources: `core` is built along (`-Z build-std`).
    Nightly {
        /// rustup's name of it.
        name: String,
        /// Path of bpf-linker.
        linker: PathBuf,
    },
    /// A compiler with a prebuilt `core` for BPF, in the cache.
    Private {
        /// Folder with `bin` and `lib`.
        root: PathBuf,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { name, linker } => write!(f, "rustup's `{name}` with `{}`", linker.display()),
            Self::Private { root } => write!(f, "private, in `{}`", root.display()),
        }
    }
}

impl Toolchain {
    /// The preferred one of those that are installed and start.
    pub(crate) fn find(ws: &Workspace) -> Result<Option<Self>> {
        if let (Some(name), Some(linker)) = (rustup::nightly_with_sources(), linker::find(ws)) {
            return Ok(Some(Self::Nightly { name, linker }));
        }
        let private = Self::Private { root: private_root(ws) };
        Ok(private.starts()?.then_some(private))
    }

    fn starts(&self) -> Result<bool> {
        Ok(match self {
            Self::Nightly { .. } => true,
            Self::Private { root } => {
                is_executable(&root.join("bin/rustc"))
                    && is_executable(&root.join("bin/bpf-linker"))
                    && root.join("lib/rustlib/bpfel-unknown-none/lib").is_dir()
                    && self.identity().is_ok()
            }
        })
    }

    /// The versions of compiler and linker: an object built with others is stale.
    ///
    /// # Errors
    /// One of them does not start.
    pub(crate) fn identity(&self) -> Result<String> {
        let (mut rustc, mut linker) = match self {
            Self::Nightly { name, linker } => (rustup::run(name, "rustc")?, Command::new(linker)),
            Self::Private { root } => {
                let libraries = prepended("LD_LIBRARY_PATH", &root.join("lib"))?;
                let (mut rustc, mut linker) =
                    (Command::new(root.join("bin/rustc")), Command::new(root.join("bin/bpf-linker")));
                rustc.env("LD_LIBRARY_PATH", &libraries);
                linker.env("LD_LIBRARY_PATH", &libraries);
                (rustc, linker)
            }
        };
        Ok(format!("{}\n{}", capture(rustc.arg("-vV"))?, capture(linker.arg("--version"))?))
    }

    /// A `cargo build` for `bpfel-unknown-none` with `rustflags`; the caller adds the manifest and the folders.
    ///
    /// # Errors
    /// A path cannot be expressed in the environment.
    pub(crate) fn cargo_build(&self, rustflags: &[String]) -> Result<Command> {
        let mut command = match self {
            Self::Nightly { name, linker } => {
                let mut command = rustup::run(name, "cargo")?;
                command.args(["build", "-Z", "build-std=core"]);
                command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
                command.env_remove("RUSTC");
                command
            }
            Self::Private { root } => {
                let mut command = cargo();
                command.arg("build");
                command.env("RUSTC", root.join("bin/rustc"));
                command.env("LD_LIBRARY_PATH", prepended("LD_LIBRARY_PATH", &root.join("lib"))?);
                // A stable compiler; the programs need unstable features as the nightly one has them.
                command.env("RUSTC_BOOTSTRAP", "1");
                command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", root.join("bin/bpf-linker"));
                command
            }
        };
        command.args(["--release", "--target", "bpfel-unknown-none"]);
        command.env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}"));
        // Wrappers and settings meant for the host's build do not fit this compiler.
        for variable in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
            command.env_remove(variable);
        }
        Ok(command)
    }

    /// The folder of the standard library's sources, as it stands in debug information.
    pub(crate) fn std_sources(&self) -> Result<Option<PathBuf>> {
        match self {
            Self::Nightly { name, .. } => rustup::sysroot(name).map(|s| Some(s.join("lib/rustlib/src/rust"))),
            // Prebuilt: its paths are those of the packages' builder.
            Self::Private { .. } => Ok(None),
        }
    }
}

/// Where the private toolchain lives.
pub(super) fn private_root(ws: &Workspace) -> PathBuf {
    ws.cache.join("ebpf-toolchain")
}

/// The first of `bpf-linker` in `PATH` and in `folders` that starts.
pub(super) fn first_that_starts(folders: &[&Path]) -> Option<PathBuf> {
    find_program("bpf-linker")
        .into_iter()
        .chain(folders.iter().map(|f| f.join("bin/bpf-linker")))
        .find(|path| is_executable(path) && capture(Command::new(path).arg("--version")).is_ok())
}

/// Cargo's home folder: sources of dependencies are below it.
///
/// # Errors
/// Neither `CARGO_HOME` nor `HOME` is set.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("cargo's home folder is unknown: set `CARGO_HOME`")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn fake(root: &Path, programs: &[&str]) {
        fs::create_dir_all(root.join("bin")).unwrap();
        for name in programs {
            let path = root.join("bin").join(name);
            fs::write(&path, "#!/bin/sh\necho fake\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_private_toolchain_counts_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let private = Toolchain::Private { root: folder.path().to_owned() };
        assert!(!private.starts().unwrap());
        fake(folder.path(), &["rustc"]);
        fs::create_dir_all(folder.path().join("lib/rustlib/bpfel-unknown-none/lib")).unwrap();
        assert!(!private.starts().unwrap(), "no linker yet");
        fake(folder.path(), &["bpf-linker"]);
        assert!(private.starts().unwrap());
        fs::write(folder.path().join("bin/rustc"), "#!/bin/sh\nexit 127\n").unwrap();
        assert!(!private.starts().unwrap(), "the compiler does not start");
    }

    #[test]
    fn the_private_compiler_is_named_to_cargo_and_host_settings_are_taken_away() {
        let root = PathBuf::from("/cache/ebpf-toolchain");
        let command = Toolchain::Private { root }.cargo_build(&["-Ca".into(), "-Cb".into()]).unwrap();
        let env = |name: &str| command.get_envs().find(|(k, _)| *k == OsStr::new(name)).map(|(_, v)| v);
        assert_eq!(env("RUSTC"), Some(Some(OsStr::new("/cache/ebpf-toolchain/bin/rustc"))));
        assert_eq!(env("CARGO_ENCODED_RUSTFLAGS"), Some(Some(OsStr::new("-Ca\u{1f}-Cb"))));
        assert_eq!(env("RUSTC_WRAPPER"), Some(None));
    }
}
