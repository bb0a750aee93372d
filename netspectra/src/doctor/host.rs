//! Checks of the kernel and of this process.

use super::{Check, Status};
use crate::object;
use netspectra_agent::source::af_packet;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource, effective_capabilities};
use std::fs;
use std::path::Path;

const BTF: &str = "kernel BTF";
const LOAD: &str = "load programs";
const PRIVILEGES: &str = "privileges";
const PACKET_SOCKETS: &str = "packet sockets";

/// Every check, and the programs when they could be loaded.
pub(super) fn checks() -> (Vec<Check>, Option<XdpSource>) {
    let (load, source) = load();
    let version = version();
    let mut all = vec![kernel(version), btf(), privileges(), unprivileged(), bpffs()];
    // From 5.11 on memory of maps belongs to the control group.
    if version < (5, 11) {
        all.push(memlock());
    }
    all.extend([ebpf_object(), jit(), load, packet_sockets()]);
    (all, source)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Major and minor number of the kernel; 0 where it does not say.
fn version() -> (u32, u32) {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(version: (u32, u32)) -> Check {
    let release = read("/proc/sys/kernel/osrelease");
    let name = "kernel";
    if version < (5, 15) {
        Check::with(Status::Bad, name, release, "expected Linux 5.15 or newer: upgrade the kernel, or use `analyze`")
    } else if version < (6, 6) {
        Check::with(Status::Note, name, release, "no TCX before 6.6: TC programs are at clsact, which works as well")
    } else {
        Check::good(name, release)
    }
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        Check::good(BTF, path)
    } else {
        Check::with(Status::Bad, BTF, format!("`{path}` is missing"), "use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    }
}

/// What `run` needs, by the bit in the effective set.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
const SYS_ADMIN: u32 = 21;

fn privileges() -> Check {
    let effective = effective_capabilities();
    let has = |bit: u32| effective & (1 << bit) != 0;
    let missing: Vec<&str> = CAPABILITIES.iter().filter(|(_, bit)| !has(*bit)).map(|(name, _)| *name).collect();
    let name = PRIVILEGES;
    // CAP_SYS_ADMIN contains CAP_BPF and CAP_PERFMON (capabilities(7)).
    if missing.is_empty() || (has(SYS_ADMIN) && missing.iter().all(|m| *m != "CAP_NET_ADMIN")) {
        Check::good(name, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
    } else {
        Check::with(
            Status::Bad,
            name,
            format!("missing: {}", missing.join(", ")),
            "run as root, or give the binary what is missing (`setcap cap_bpf,cap_net_admin,cap_perfmon=ep`)",
        )
    }
}

fn unprivileged() -> Check {
    let name = "unprivileged BPF";
    match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_str() {
        "0" => Check::with(
            Status::Note,
            name,
            "allowed: not needed, and every user of this host may load programs",
            "sysctl kernel.unprivileged_bpf_disabled=2",
        ),
        "" => Check::good(name, "the kernel has no switch for it"),
        _ => Check::good(name, "switched off"),
    }
}

fn bpffs() -> Check {
    let mounted = read("/proc/self/mounts").lines().any(|l| l.split(' ').nth(2) == Some("bpf"));
    if mounted {
        Check::good("bpffs", "mounted")
    } else {
        Check::with(
            Status::Note,
            "bpffs",
            "not mounted: `run` mounts one of its own at `/run/netspectra/bpf`, to keep counting over a kill",
            "mount -t bpf bpf /sys/fs/bpf",
        )
    }
}

fn memlock() -> Check {
    let limits = read("/proc/self/limits");
    let soft =
        limits.lines().find_map(|l| l.strip_prefix("Max locked memory")).and_then(|l| l.split_whitespace().next());
    match soft {
        Some("unlimited") => Check::good("locked memory", "unlimited"),
        other => Check::with(
            Status::Note,
            "locked memory",
            format!("limited to {} bytes, which maps count against before Linux 5.11", other.unwrap_or("?")),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)",
        ),
    }
}

fn ebpf_object() -> Check {
    if object::embedded() {
        Check::good("eBPF programs", "part of this binary")
    } else {
        Check::with(
            Status::Bad,
            "eBPF programs",
            "this binary was built without them",
            "build by `cargo xtask build`, or name the object in NETSPECTRA_BPF_OBJECT",
        )
    }
}

fn jit() -> Check {
    match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
        "0" => Check::with(
            Status::Note,
            "eBPF JIT",
            "off: programs are interpreted, several times slower",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        // Not readable: the kernel has no switch because the JIT is always on.
        _ => Check::good("eBPF JIT", "on"),
    }
}

/// The proof is in the loading: programs and maps, attached to nothing.
fn load() -> (Check, Option<XdpSource>) {
    let name = LOAD;
    let bytes = match object::bytes() {
        Ok(bytes) => bytes,
        Err(_) => return (Check::with(Status::Bad, name, "not tried", "needs the eBPF programs"), None),
    };
    match XdpSource::load(&bytes, &XdpConfig::default()) {
        Ok(source) => (Check::good(name, "the kernel's verifier accepts them"), Some(source)),
        Err(e) => {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            (Check::with(Status::Bad, name, first, "run as root, or see the message above"), None)
        }
    }
}

fn packet_sockets() -> Check {
    match af_packet::is_permitted() {
        Ok(()) => Check::good(PACKET_SOCKETS, "permitted: what `run` falls back on where the kernel refuses eBPF"),
        Err(e) => Check::with(Status::Note, PACKET_SOCKETS, e.to_string(), "needed only where the kernel refuses eBPF"),
    }
}

/// Where packet sockets are permitted, a kernel that refuses eBPF is no obstacle: says so, and whether it is the case.
pub(super) fn by_sockets_only(checks: &mut [Check]) -> bool {
    if !checks.iter().any(|c| c.name == PACKET_SOCKETS && c.status == Status::Good) {
        return false;
    }
    let mut any = false;
    for check in
        checks.iter_mut().filter(|c| [BTF, LOAD, PRIVILEGES].contains(&c.name.as_str()) && c.status == Status::Bad)
    {
        check.status = Status::Note;
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(name: &str) -> Check {
        Check::with(Status::Bad, name, "", "")
    }

    #[test]
    fn packet_sockets_make_up_for_a_kernel_that_refuses_ebpf_and_for_nothing_else() {
        let mut checks = [bad(BTF), bad(LOAD), bad(PRIVILEGES), bad("eBPF programs"), Check::good(PACKET_SOCKETS, "")];
        assert!(by_sockets_only(&mut checks));
        assert_eq!(checks.map(|c| c.status), [Status::Note, Status::Note, Status::Note, Status::Bad, Status::Good]);
        let mut without = [bad(LOAD), Check::with(Status::Note, PACKET_SOCKETS, "", "")];
        assert!(!by_sockets_only(&mut without));
        assert_eq!(without[0].status, Status::Bad);
    }
}
