//! `netspectra doctor`: what this host can do, with remedies.

use crate::cli::{DoctorArgs, Format};
use crate::{FAILED, Outcome, object, output};
use netspectra_agent::source::af_packet;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource, default_route_interface, list_interfaces};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

const BTF: &str = "kernel BTF";
const LOAD: &str = "load programs";
const PACKET_SOCKETS: &str = "packet sockets";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    /// Works, with a limit worth knowing.
    Note,
    /// Live capture would not work.
    Bad,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "FAIL",
        }
    }
}

/// One finding.
struct Check {
    name: String,
    status: Status,
    found: String,
    remedy: Option<String>,
}

impl Check {
    fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Good, found: found.into(), remedy: None }
    }

    fn with(status: Status, name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), status, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) fn main(args: &DoctorArgs) -> Outcome {
    let mut checks = vec![kernel(), btf(), ebpf_object(), jit(), load(), packet_sockets()];
    let by_sockets = by_sockets_only(&mut checks);
    checks.extend(interfaces());
    checks.push(default_route());
    let bad = checks.iter().any(|c| c.status == Status::Bad);
    if args.format == Format::Json {
        let list: Vec<_> = checks
            .iter()
            .map(|c| json!({"check": c.name, "status": c.status.name(), "found": c.found, "remedy": c.remedy}))
            .collect();
        output::print(&(serde_json::to_string_pretty(&json!({"ok": !bad, "checks": list}))? + "\n"))?;
    } else {
        for c in &checks {
            output::print(&format!("{:<5} {:<24} {}\n", c.status.name(), c.name, c.found))?;
            if let Some(remedy) = &c.remedy {
                output::print(&format!("      {:<24} -> {remedy}\n", ""))?;
            }
        }
        let verdict = match (bad, by_sockets) {
            (true, _) => "live capture would not work here",
            (false, true) => "live capture works here, by packet sockets only",
            (false, false) => "live capture works here",
        };
        output::print(&format!("\n{verdict}\n"))?;
    }
    Ok(if bad { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn kernel() -> Check {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let name = "kernel";
    if version < (5, 15) {
        Check::with(Status::Bad, name, release, "expected Linux 5.15 or newer: upgrade the kernel, or use `analyze`")
    } else if version < (6, 6) {
        Check::with(Status::Note, name, release, "no TCX before 6.6: egress is seen at clsact, which works as well")
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
fn load() -> Check {
    let name = LOAD;
    let bytes = match object::bytes() {
        Ok(bytes) => bytes,
        Err(_) => return Check::with(Status::Bad, name, "not tried", "needs the eBPF programs"),
    };
    match XdpSource::load(&bytes, &XdpConfig::default()) {
        Ok(_) => Check::good(name, "the kernel's verifier accepts them"),
        Err(e) => {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            Check::with(Status::Bad, name, first, "run as root, or see the message above")
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
fn by_sockets_only(checks: &mut [Check]) -> bool {
    if !checks.iter().any(|c| c.name == PACKET_SOCKETS && c.status == Status::Good) {
        return false;
    }
    let mut any = false;
    for check in checks.iter_mut().filter(|c| [BTF, LOAD].contains(&c.name.as_str()) && c.status == Status::Bad) {
        check.status = Status::Note;
        any = true;
    }
    any
}

fn interfaces() -> Vec<Check> {
    list_interfaces()
        .into_iter()
        .map(|(_, iface)| {
            let base = format!("/sys/class/net/{iface}");
            let driver = fs::read_link(format!("{base}/device/driver"))
                .ok()
                .and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
                .unwrap_or_else(|| "virtual".into());
            let state = read(&format!("{base}/operstate"));
            let mtu: u32 = read(&format!("{base}/mtu")).parse().unwrap_or(0);
            let name = format!("interface {iface}");
            let found = format!("{driver}, {state}, MTU {mtu}");
            if mtu > 3498 {
                Check::with(
                    Status::Note,
                    name,
                    found,
                    "native XDP refuses an MTU above about 3,500 on most drivers: generic XDP is used then",
                )
            } else {
                Check::good(name, found)
            }
        })
        .collect()
}

fn default_route() -> Check {
    match default_route_interface() {
        Some(iface) => Check::good("default route", format!("`{iface}`: what `netspectra run` watches unless told")),
        None => Check::with(Status::Note, "default route", "none", "name the interfaces with --iface"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(name: &str) -> Check {
        Check::with(Status::Bad, name, "", "")
    }

    #[test]
    fn packet_sockets_make_up_for_a_kernel_that_refuses_ebpf_and_for_nothing_else() {
        let mut checks = [bad(BTF), bad(LOAD), bad("eBPF programs"), Check::good(PACKET_SOCKETS, "")];
        assert!(by_sockets_only(&mut checks));
        assert_eq!(checks.map(|c| c.status), [Status::Note, Status::Note, Status::Bad, Status::Good]);
        let mut without = [bad(LOAD), Check::with(Status::Note, PACKET_SOCKETS, "", "")];
        assert!(!by_sockets_only(&mut without));
        assert_eq!(without[0].status, Status::Bad);
    }
}
