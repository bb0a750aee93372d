//! A private toolchain from Debian's packages: they are fetched and unpacked into the cache, nothing is installed.
//!
//! Debian ships a compiler with a prebuilt `core` for BPF (the `-web` packages, built for browsers). The names carry
//! versions, so they are asked of apt. Libraries that the compiler's LLVM needs and that this system lacks come along.

use super::{linker, system, toolchain::private_root};
use crate::process::{as_root, capture, find_program, is_root, run, run_within, say};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";
const BPF_CORE: &str = "libstd-rust-web-dev-bpf";
const UPDATE_LIMIT: Duration = Duration::from_secs(180);
/// 117 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);
const APT: [&str; 6] =
    ["-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30", "-o", "Acquire::Retries=2"];

/// Makes the private toolchain.
///
/// # Errors
/// Not a system with apt, packages not to be had, or a step failed. Nothing half-made stays behind under the final name.
pub(super) fn install(ws: &Workspace) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg", "dpkg-query"] {
        if find_program(program).is_none() {
            bail!("`{program}` is not installed: this is not a Debian system");
        }
    }
    let root = private_root(ws);
    // bpf-linker links LLVM, which is C++. Asked for before 117 MB are fetched.
    system::ensure_one("c++")?;
    if compiler_starts(&root) {
        say("the compiler is there already");
    } else {
        unpack(ws, &root)?;
    }
    say("building bpf-linker against the same LLVM (2-3 minutes)");
    linker::build(&root, &root)
}

/// Whether a run before this one came as far as the compiler.
fn compiler_starts(root: &Path) -> bool {
    let mut rustc = Command::new(root.join("bin/rustc"));
    rustc.arg("-vV").env("LD_LIBRARY_PATH", root.join("lib"));
    root.join("lib/rustlib/bpfel-unknown-none/lib").is_dir() && capture(&mut rustc).is_ok()
}

/// Fetches the packages and makes `root` of them, whole or not at all.
fn unpack(ws: &Workspace, root: &Path) -> Result<()> {
    let packages = packages()?;
    let work = ws.cache.join("ebpf-toolchain.partial");
    remove(&work)?;
    remove(root)?;
    let (debs, unpacked, made) = (work.join("debs"), work.join("unpacked"), work.join("made"));
    for folder in [&debs, &unpacked, &made] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }

    say(format!("fetching {} packages: {}", packages.len(), packages.join(" ")));
    let mut download = Command::new("apt-get");
    download.args(APT);
    if is_root()? {
        // Its sandbox user cannot write into root's folders.
        download.args(["-o", "APT::Sandbox::User=root"]);
    }
    run_within(download.arg("download").args(&packages).current_dir(&debs), DOWNLOAD_LIMIT)?;
    say("unpacking");
    for deb in entries(&debs)? {
        run(Command::new("dpkg").arg("-x").arg(&deb).arg(&unpacked))?;
    }
    assemble(&unpacked, &made)?;
    fs::rename(&made, root).with_context(|| format!("cannot move the toolchain to `{}`", root.display()))?;
    remove(&work)
}

/// The packages to fetch: the compiler's, and those libraries of its LLVM that are not installed.
fn packages() -> Result<Vec<String>> {
    let versioned = match library_packages() {
        Ok(names) => names,
        Err(_) => {
            say("the package lists may be old; refreshing them");
            let mut update = as_root("apt-get", "`apt-get update`")?;
            run_within(update.args(APT).arg("update"), UPDATE_LIMIT)?;
            library_packages()?
        }
    };
    let llvm = format!("libllvm{}", linker::LLVM);
    let mut packages: Vec<String> = [COMPILER, LIBRARY, BPF_CORE].map(str::to_owned).into();
    packages.extend(versioned);
    packages.push(llvm.clone());
    let closure = capture(Command::new("apt-cache").args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        &llvm,
    ]))?;
    packages.extend(closure.lines().filter(|l| is_package_name(l) && **l != *llvm && !installed(l)).map(str::to_owned));
    Ok(packages)
}

/// `libstd-rust-web-1.96` or whatever its version is today.
fn library_packages() -> Result<Vec<String>> {
    let text = capture(Command::new("apt-cache").args(["depends", LIBRARY]))?;
    let names = dependencies(&text, "libstd-rust-web-");
    if names.is_empty() || capture(Command::new("apt-cache").args(["show", "--no-all-versions", BPF_CORE])).is_err() {
        bail!("apt knows no `{LIBRARY}` and `{BPF_CORE}`: needs Debian 12 or later with its security archive");
    }
    Ok(names)
}

fn dependencies(text: &str, prefix: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "))
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

fn is_package_name(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status.starts_with("installed"))
}

/// From the packages' layout to a compiler's sysroot: `bin/rustc`, `lib/*.so`, `lib/rustlib`.
fn assemble(unpacked: &Path, made: &Path) -> Result<()> {
    let usr = unpacked.join("usr");
    let (bin, lib) = (made.join("bin"), made.join("lib"));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&lib)?;
    let rustc = usr.join("bin/rustc");
    let rustc = fs::canonicalize(&rustc).with_context(|| format!("`{COMPILER}` has no `{}`", rustc.display()))?;
    fs::copy(rustc, bin.join("rustc"))?;
    fs::rename(usr.join("lib/rustlib"), lib.join("rustlib")).context("the packages have no `lib/rustlib`")?;
    // Libraries lie in a folder named after the machine; those of other packages may lie in `/lib`.
    for folder in [usr.join("lib"), unpacked.join("lib")] {
        collect_libraries(&folder, &lib)?;
        for sub in entries(&folder).unwrap_or_default() {
            if sub.is_dir() && sub.file_name().is_some_and(|n| n.to_string_lossy().ends_with("-linux-gnu")) {
                collect_libraries(&sub, &lib)?;
            }
        }
    }
    let llvm = entries(&lib)?
        .into_iter()
        .filter_map(|path| path.file_name().map(|n| n.to_string_lossy().into_owned()))
        .find(|name| name.starts_with("libLLVM.so."))
        .context("the packages have no `libLLVM.so`")?;
    let plain = lib.join("libLLVM.so");
    if !plain.exists() {
        // The name that bpf-linker's build looks for.
        symlink(llvm, plain)?;
    }
    Ok(())
}

/// Moves shared libraries, and links to them that stay inside the folder.
fn collect_libraries(from: &Path, to: &Path) -> Result<()> {
    for path in entries(from).unwrap_or_default() {
        let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        if !name.contains(".so") {
            continue;
        }
        let target = to.join(&name);
        match fs::read_link(&path) {
            Ok(link) if link.components().count() == 1 => symlink(link, &target),
            Ok(_) => Ok(()),
            Err(_) if path.is_file() => fs::rename(&path, &target),
            Err(_) => Ok(()),
        }
        .with_context(|| format!("cannot move `{}`", path.display()))?;
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut paths = list.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_versioned_library_is_read_from_apt() {
        let text = "libstd-rust-web-dev\n  Depends: libstd-rust-web-1.96\n  Conflicts: <rustup>\n |Depends: libc6\n";
        assert_eq!(dependencies(text, "libstd-rust-web-"), ["libstd-rust-web-1.96"]);
        assert!(dependencies("N: Unable to locate package\n", "libstd-rust-web-").is_empty());
    }

    #[test]
    fn virtual_packages_and_relations_are_no_names() {
        assert!(is_package_name("libz3-4"));
        assert!(!is_package_name("  Depends: libz3-4") && !is_package_name("<rustup>"));
    }

    #[test]
    fn the_packages_layout_becomes_a_sysroot() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("unpacked"), folder.path().join("made"));
        let machine = from.join("usr/lib/x86_64-linux-gnu");
        for dir in [&machine, &from.join("usr/bin"), &from.join("usr/lib/rustlib/bpfel-unknown-none/lib")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(from.join("usr/bin/rustc"), "compiler").unwrap();
        fs::write(machine.join("libLLVM.so.22.1"), "llvm").unwrap();
        symlink("libLLVM.so.22.1", machine.join("libLLVM-22.so")).unwrap();
        fs::write(machine.join("librustc_driver-0.so"), "driver").unwrap();
        assemble(&from, &to).unwrap();
        for name in ["libLLVM.so.22.1", "libLLVM-22.so", "libLLVM.so", "librustc_driver-0.so"] {
            assert!(to.join("lib").join(name).is_file(), "{name}");
        }
        assert_eq!(fs::read_to_string(to.join("bin/rustc")).unwrap(), "compiler");
        assert!(to.join("lib/rustlib/bpfel-unknown-none/lib").is_dir());
    }

    #[test]
    fn packages_without_a_compiler_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = assemble(&folder.path().join("unpacked"), &folder.path().join("made")).unwrap_err().to_string();
        assert!(error.contains("`rustc-web` has no"), "{error}");
    }
}
