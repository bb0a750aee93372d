//! Kernels to test on: Debian's packages, unpacked into the cache and nowhere else, or files that the caller names.

use crate::cli::{TestVmArgs, Usage};
use crate::process::{as_root, capture, find_program, is_root, run, run_within, say};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A kernel is some 35 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const UPDATE_LIMIT: Duration = Duration::from_secs(180);
/// The leanest flavour: it boots fastest.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that can be booted.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// The compressed image.
    pub(super) image: PathBuf,
    /// The folder of its modules, when it has any.
    pub(super) modules: Option<PathBuf>,
}

/// The kernels of `versions` (`6.1`, `6.12`; `all`: the newest of each series that the archive offers), and the image that
/// `args` names.
///
/// # Errors
/// Not a system with apt, no such kernel in its archive, or it cannot be fetched.
pub(super) fn find(cache: &Path, versions: &[String], args: &TestVmArgs) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    if let Some(image) = &args.kernel_image {
        let release = args.kernel_release.clone();
        let release = release.ok_or_else(|| Usage("`--kernel-image` needs `--kernel-release`".to_owned()))?;
        kernels.push(Kernel { release, image: image.clone(), modules: args.modules.clone() });
    }
    if !versions.is_empty() {
        for package in packages(versions)? {
            kernels.push(unpacked_kernel(&unpack(cache, &package)?)?);
        }
    }
    Ok(kernels)
}

/// A static busybox: the one in `PATH` if it is, else Debian's.
///
/// # Errors
/// There is none to be had.
pub(super) fn busybox(cache: &Path) -> Result<PathBuf> {
    // A static program names no interpreter; `ldd` says so by failing.
    if let Some(found) = find_program("busybox").filter(|p| capture(Command::new("ldd").arg(p)).is_err()) {
        return Ok(found);
    }
    need_apt().context("no static `busybox` in `PATH`")?;
    let folder = unpack(cache, "busybox-static")?;
    ["bin/busybox", "usr/bin/busybox"]
        .iter()
        .map(|p| folder.join(p))
        .find(|p| p.is_file())
        .with_context(|| format!("package `busybox-static` has no busybox in `{}`", folder.display()))
}

fn need_apt() -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg"] {
        if find_program(program).is_none() {
            bail!("`{program}` is not installed: elsewhere than on Debian name a kernel with `--kernel-image`");
        }
    }
    Ok(())
}

/// The newest package of each of `versions`.
fn packages(versions: &[String]) -> Result<Vec<String>> {
    need_apt()?;
    let search =
        || capture(Command::new("apt-cache").args(["search", "--names-only", "^linux-image-[0-9].*-cloud-amd64$"]));
    let mut offered = names(&search()?);
    if offered.is_empty() {
        say("apt knows no kernels; refreshing the package lists");
        let mut update = as_root("apt-get", "`apt-get update`")?;
        run_within(update.args(["-o", "Acquire::http::Timeout=30", "update"]), UPDATE_LIMIT)?;
        offered = names(&search()?);
    }
    let mut series: Vec<String> = versions.to_vec();
    if versions.iter().any(|v| v == "all") {
        series = offered
            .iter()
            .filter_map(|n| Some(numbers(n)?.get(..2)?.iter().map(u32::to_string).collect::<Vec<_>>().join(".")))
            .collect();
        series.dedup();
    }
    series
        .iter()
        .map(|version| {
            newest(&offered, version).cloned().ok_or_else(|| {
                Usage(format!("no kernel {version} among the packages: apt offers {}", offered.join(", "))).into()
            })
        })
        .collect()
}

/// Package names of `apt-cache search`, oldest first. Meta-packages have no full version and are left out.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| numbers(name).is_some_and(|n| n.len() >= 3))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| numbers(name));
    names
}

/// The numbers of the version in a package's name: `linux-image-6.1.0-56-cloud-amd64` has 6, 1, 0, 56.
fn numbers(name: &str) -> Option<Vec<u32>> {
    let version = name.strip_prefix("linux-image-")?.strip_suffix(FLAVOUR)?;
    // What Debian appends (`+deb12`) says nothing about the age.
    let version = version.split('+').next()?;
    version.split(['.', '-']).map(|n| n.parse().ok()).collect()
}

fn newest<'a>(offered: &'a [String], version: &str) -> Option<&'a String> {
    let wanted: Vec<u32> = version.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    offered.iter().rev().find(|name| numbers(name).is_some_and(|n| n.starts_with(&wanted)))
}

/// Fetches `package` and unpacks it into a folder of its own below `cache`, unless it is there.
fn unpack(cache: &Path, package: &str) -> Result<PathBuf> {
    let folder = cache.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    let work = cache.join(format!("{package}.partial"));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove `{}`", work.display()))?;
    }
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot create `{}`", unpacked.display()))?;
    say(format!("fetching `{package}` into the cache (it is not installed)"));
    let mut download = Command::new("apt-get");
    download.args(["-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2"]);
    if is_root()? {
        // Its sandbox user cannot write into root's folders.
        download.args(["-o", "APT::Sandbox::User=root"]);
    }
    run_within(download.args(["download", package]).current_dir(&work), DOWNLOAD_LIMIT)?;
    let deb = entries(&work)?
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "deb"))
        .with_context(|| format!("apt fetched no package into `{}`", work.display()))?;
    run(Command::new("dpkg").arg("-x").arg(deb).arg(&unpacked))?;
    fs::rename(&unpacked, &folder).with_context(|| format!("cannot move the package to `{}`", folder.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove `{}`", work.display()))?;
    Ok(folder)
}

fn unpacked_kernel(folder: &Path) -> Result<Kernel> {
    let image = entries(&folder.join("boot"))?
        .into_iter()
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("`{}` holds no kernel image", folder.display()))?;
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let release = name.trim_start_matches("vmlinuz-").to_owned();
    let modules = [folder.join("lib/modules"), folder.join("usr/lib/modules")]
        .iter()
        .map(|m| m.join(&release))
        .find(|m| m.is_dir());
    Ok(Kernel { release, image, modules })
}

/// What is in `folder`, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut paths = list.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SEARCH: &str = "\
linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
linux-image-6.12-cloud-amd64 - Linux for x86-64 cloud (meta-package)
linux-image-6.12.115+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-image-6.12.94+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
";

    #[test]
    fn the_newest_package_of_a_series_is_taken() {
        let offered = names(SEARCH);
        assert_eq!(offered.len(), 4, "no meta-package");
        assert_eq!(newest(&offered, "6.1").unwrap(), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(newest(&offered, "6.12").unwrap(), "linux-image-6.12.115+deb12-cloud-amd64");
        assert_eq!(newest(&offered, "6.12.94").unwrap(), "linux-image-6.12.94+deb12-cloud-amd64");
        assert_eq!(newest(&offered, "6.2"), None);
        assert_eq!(newest(&offered, "six"), None);
    }
}
