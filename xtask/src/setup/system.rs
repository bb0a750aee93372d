//! Programs and C headers that tests and builds use, from the system's packages.

use crate::process::{as_root, find_program, run_within, say};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

/// A program or a C header, why it is needed, and its package for apt, dnf and apk.
struct Need {
    what: What,
    why: &'static str,
    packages: [&'static str; 3],
}

/// What is looked for.
enum What {
    /// In `PATH` and the system's folders.
    Program(&'static str),
    /// Among the compiler's headers.
    Header(&'static str),
}

/// Folders of C headers; on Debian some are in one that is named after the machine.
const HEADERS: [&str; 4] =
    ["/usr/include", "/usr/local/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"];

impl Need {
    const fn program(name: &'static str, why: &'static str, packages: [&'static str; 3]) -> Self {
        Self { what: What::Program(name), why, packages }
    }

    const fn header(name: &'static str, why: &'static str, packages: [&'static str; 3]) -> Self {
        Self { what: What::Header(name), why, packages }
    }

    fn name(&self) -> &'static str {
        match self.what {
            What::Program(name) | What::Header(name) => name,
        }
    }

    fn is_missing(&self) -> bool {
        match self.what {
            What::Program(name) => find_program(name).is_none(),
            What::Header(name) => !HEADERS.iter().any(|folder| Path::new(folder).join(name).is_file()),
        }
    }
}

const LIBRDKAFKA: &str = "builds librdkafka, Kafka's C library";

/// Needed by tests and builds.
const NEEDS: [Need; 9] = [
    Need::program("cc", "links Rust programs", ["gcc", "gcc", "build-base"]),
    Need::program("c++", LIBRDKAFKA, ["g++", "gcc-c++", "build-base"]),
    Need::program("make", LIBRDKAFKA, ["make", "make", "make"]),
    Need::program("pkg-config", "finds OpenSSL for librdkafka", ["pkg-config", "pkgconf-pkg-config", "pkgconf"]),
    Need::header("openssl/ssl.h", LIBRDKAFKA, ["libssl-dev", "openssl-devel", "openssl-dev"]),
    Need::header("zlib.h", LIBRDKAFKA, ["zlib1g-dev", "zlib-devel", "zlib-dev"]),
    Need::program("ip", "makes the network of kernel tests", ["iproute2", "iproute", "iproute2"]),
    Need::program("tc", "attaches egress programs in kernel tests", ["iproute2", "iproute-tc", "iproute2"]),
    Need::program("nsenter", "enters network namespaces", ["util-linux", "util-linux-core", "util-linux"]),
];

/// Needed by some choices of toolchain and by some verbs only.
const SPECIAL: [Need; 6] = [
    Need::program("c++", "builds bpf-linker and libFuzzer", ["g++", "gcc-c++", "build-base"]),
    Need::program(
        "qemu-system-x86_64",
        "boots other kernels",
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86_64"],
    ),
    Need::program("xz", "unpacks kernel modules", ["xz-utils", "xz", "xz"]),
    Need::program("redis-server", "keeps the live state in tests", ["redis-server", "redis", "redis"]),
    Need::program("java", "runs Kafka", ["default-jre-headless", "java-21-openjdk-headless", "openjdk17-jre-headless"]),
    Need::program("mvn", "fetches Kafka", ["maven", "maven", "maven"]),
];

/// The programs and headers that are not there.
pub(super) fn missing() -> Vec<&'static str> {
    NEEDS.iter().filter(|need| need.is_missing()).map(Need::name).collect()
}

/// Installs what is missing of what tests and builds need, with the system's package manager.
///
/// # Errors
/// There is no known package manager, no way to become root, or the installation failed; the message says what to install.
pub(super) fn ensure() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| need.is_missing()).collect();
    if missing.is_empty() {
        say("system programs and headers: all there");
        return Ok(());
    }
    install(&missing)
}

/// Installs `program`, one of the special needs, if it is missing.
///
/// # Errors
/// As [`ensure`].
pub(super) fn ensure_one(program: &str) -> Result<()> {
    let missing: Vec<&Need> = SPECIAL.iter().filter(|need| need.name() == program && need.is_missing()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        say(format!("`{}` is missing ({})", need.name(), need.why));
    }
    let Some((index, manager)) =
        ["apt-get", "dnf", "apk"].into_iter().enumerate().find(|(_, m)| find_program(m).is_some())
    else {
        bail!("no known package manager: install {}", packages(missing, 0).join(", "));
    };
    let names = packages(missing, index);
    let hint = || format!("installing `{}`", names.join(" "));
    say(format!("installing by {manager}: {}", names.join(" ")));
    if manager == "apt-get" {
        run_within(as_root(manager, &hint())?.args(["-o", "Acquire::http::Timeout=30", "update"]), LIMIT)?;
    }
    let mut command = as_root(manager, &hint())?;
    run_within(install_arguments(&mut command, manager).args(&names), LIMIT)?;
    match missing.iter().find(|need| need.is_missing()) {
        None => Ok(()),
        Some(need) => bail!("`{}` is still missing after the installation", need.name()),
    }
}

fn packages(missing: &[&Need], manager: usize) -> Vec<&'static str> {
    missing.iter().map(|need| need.packages[manager]).collect::<BTreeSet<_>>().into_iter().collect()
}

fn install_arguments<'a>(command: &'a mut Command, manager: &str) -> &'a mut Command {
    match manager {
        "apt-get" => command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-o",
            "Acquire::http::Timeout=30",
            "install",
            "-y",
            "--no-install-recommends",
        ]),
        "dnf" => command.args(["install", "-y"]),
        _ => command.args(["add"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_two_missing_programs_is_named_once() {
        let of = |name: &str| NEEDS.iter().find(|need| need.name() == name).expect("listed");
        let (ip, tc) = (of("ip"), of("tc"));
        assert_eq!(packages(&[ip, tc], 0), ["iproute2"]);
        assert_eq!(packages(&[ip, tc], 1), ["iproute", "iproute-tc"]);
    }

    #[test]
    fn a_header_is_missing_where_no_folder_has_it() {
        let packages = ["a", "b", "c"];
        assert!(Need::header("netspectra/nothing.h", "a test", packages).is_missing());
        assert!(Need::program("netspectra-nothing", "a test", packages).is_missing());
        assert!(!Need::program("sh", "a test", packages).is_missing());
    }
}
