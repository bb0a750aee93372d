//! Programs that tests and builds call, from the system's packages.

use crate::process::{as_root, find_program, run_within, say};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

/// A program, why it is needed, and its package for apt, dnf and apk.
struct Need {
    program: &'static str,
    why: &'static str,
    packages: [&'static str; 3],
}

/// Needed by tests and builds.
const NEEDS: [Need; 4] = [
    Need { program: "cc", why: "links Rust programs", packages: ["gcc", "gcc", "build-base"] },
    Need { program: "ip", why: "makes the network of kernel tests", packages: ["iproute2", "iproute", "iproute2"] },
    Need {
        program: "tc",
        why: "attaches egress programs in kernel tests",
        packages: ["iproute2", "iproute-tc", "iproute2"],
    },
    Need {
        program: "nsenter",
        why: "enters network namespaces",
        packages: ["util-linux", "util-linux-core", "util-linux"],
    },
];

/// Needed by some choices of toolchain and by some verbs only.
const SPECIAL: [Need; 3] = [
    Need { program: "c++", why: "builds bpf-linker and libFuzzer", packages: ["g++", "gcc-c++", "build-base"] },
    Need {
        program: "qemu-system-x86_64",
        why: "boots other kernels",
        packages: ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86_64"],
    },
    Need { program: "xz", why: "unpacks kernel modules", packages: ["xz-utils", "xz", "xz"] },
];

/// The programs that are not there.
pub(super) fn missing() -> Vec<&'static str> {
    NEEDS.iter().map(|need| need.program).filter(|program| find_program(program).is_none()).collect()
}

/// Installs what is missing of what tests and builds need, with the system's package manager.
///
/// # Errors
/// There is no known package manager, no way to become root, or the installation failed; the message says what to install.
pub(super) fn ensure() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| find_program(need.program).is_none()).collect();
    if missing.is_empty() {
        say("system programs: all there");
        return Ok(());
    }
    install(&missing)
}

/// Installs `program`, one of the special needs, if it is missing.
///
/// # Errors
/// As [`ensure`].
pub(super) fn ensure_one(program: &str) -> Result<()> {
    let missing: Vec<&Need> =
        SPECIAL.iter().filter(|n| n.program == program && find_program(n.program).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        say(format!("`{}` is missing ({})", need.program, need.why));
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
    match missing.iter().find(|need| find_program(need.program).is_none()) {
        None => Ok(()),
        Some(need) => bail!("`{}` is still missing after the installation", need.program),
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
        let (ip, tc) = (&NEEDS[1], &NEEDS[2]);
        assert_eq!(packages(&[ip, tc], 0), ["iproute2"]);
        assert_eq!(packages(&[ip, tc], 1), ["iproute", "iproute-tc"]);
    }
}
