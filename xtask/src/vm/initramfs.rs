//! What a machine starts with: busybox, the guest's program, the eBPF object, and the modules of the network.

use super::kernels::Kernel;
use crate::process::say;
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Beginning of the line with which the machine says how the guest's program ended.
pub(super) const STATUS: &str = "netspectra-vm-status:";

/// Modules, where the kernel does not have them built in: the virtual link, what egress hangs on before TCX, and devices above
/// devices, each after those that it needs.
const MODULES: [&str; 10] = [
    "drivers/net/veth",
    "net/sched/sch_ingress",
    "net/sched/cls_bpf",
    "net/llc/llc",
    "net/802/stp",
    "net/802/garp",
    "net/802/mrp",
    "net/8021q/8021q",
    "net/tls/tls",
    "drivers/net/bonding/bonding",
];

/// What is the same for all kernels.
#[derive(Debug)]
pub(super) struct Parts {
    /// A static busybox.
    pub(super) busybox: PathBuf,
    /// The eBPF object.
    pub(super) object: PathBuf,
    /// The guest's program, static.
    pub(super) guest: PathBuf,
}

/// The archive for `kernel`.
///
/// # Errors
/// A part cannot be read, or a compressed module not be unpacked.
pub(super) fn pack(kernel: &Kernel, parts: &Parts) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for folder in ["bin", "dev", "proc", "sys", "modules"] {
        archive.add(folder, FOLDER, &[]);
    }
    archive.add("bin/busybox", PROGRAM, &read(&parts.busybox)?);
    archive.add("guest", PROGRAM, &read(&parts.guest)?);
    archive.add("netspectra.bpf.o", FILE, &read(&parts.object)?);
    let mut loads = String::new();
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        match find_module(kernel, module)? {
            Some(bytes) => {
                archive.add(&format!("modules/{name}.ko"), FILE, &bytes);
                let _ = writeln!(loads, "$B insmod /modules/{name}.ko");
            }
            None => say(format!("Linux {}: no module `{name}`: taken to be built in", kernel.release)),
        }
    }
    archive.add("init", PROGRAM, init(&loads).as_bytes());
    Ok(archive.finish())
}

/// The first process. The kernel names the second end of the link `veth0` or so: it is renamed.
fn init(loads: &str) -> String {
    let mut devices = String::new();
    // Names as the guest's `devices.rs` has them.
    for (end, peer) in [("b0", "p0"), ("b1", "p1")] {
        let _ = writeln!(
            devices,
            "$B ip link add name {end} type veth
for peer in /sys/class/net/veth*; do $B ip link set dev ${{peer##*/}} name {peer}; done"
        );
    }
    devices.push_str("[ -d /sys/class/net/bond0 ] || echo +bond0 > /sys/class/net/bonding_masters\n");
    devices.push_str("echo balance-rr > /sys/class/net/bond0/bonding/mode\n");
    devices.push_str("echo 100 > /sys/class/net/bond0/bonding/miimon\n");
    for end in ["b0", "b1"] {
        let _ = writeln!(devices, "echo +{end} > /sys/class/net/bond0/bonding/slaves");
    }
    for peer in ["p0", "p1", "bond0"] {
        let _ = writeln!(devices, "$B ip link set {peer} up");
    }
    for (below, tag) in [("ns0", 7), ("ns1", 7), ("bond0", 9), ("p0", 9), ("p1", 9)] {
        let _ = writeln!(devices, "$B ip link add link {below} name {below}.{tag} type vlan id {tag}");
        let _ = writeln!(devices, "$B ip link set {below}.{tag} up");
    }
    let networks = [("ns0.7", 7), ("ns1.7", 17), ("bond0", 8), ("bond0.9", 9), ("p0", 10), ("p1.9", 11)];
    for (device, network) in networks {
        let _ = writeln!(devices, "$B ip addr add 10.9.{network}.1/24 dev {device}");
    }
    // A bond's carrier comes some time after its devices'.
    devices.push_str("$B sleep 2\n");
    format!(
        "#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mount -t bpf bpf /sys/fs/bpf
{loads}$B ip link set lo up
$B ip link add name ns0 type veth
for peer in /sys/class/net/veth*; do $B ip link set dev ${{peer##*/}} name ns1; done
echo 0 > /proc/sys/net/ipv6/conf/ns0/accept_dad
$B ip addr add 10.9.0.1/24 dev ns0
$B ip link set ns0 up
$B ip link set ns1 up
/guest /netspectra.bpf.o ns0 ns1 && /guest --kill /netspectra.bpf.o ns0 && {{
{devices}/guest --devices /netspectra.bpf.o
}}
echo \"{STATUS} $?\"
$B poweroff -f
"
    )
}

fn find_module(kernel: &Kernel, module: &str) -> Result<Option<Vec<u8>>> {
    let Some(folder) = &kernel.modules else { return Ok(None) };
    let plain = folder.join("kernel").join(format!("{module}.ko"));
    if plain.is_file() {
        return read(&plain).map(Some);
    }
    let packed = plain.with_extension("ko.xz");
    if !packed.is_file() {
        return Ok(None);
    }
    let output =
        Command::new("xz").arg("-dc").arg(&packed).stdin(Stdio::null()).output().context("cannot start `xz`")?;
    if !output.status.success() {
        bail!("`{}` cannot be unpacked: {}", packed.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(Some(output.stdout))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// An archive as the kernel reads it: "new ASCII" cpio (`Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.inode += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, size, device (4), length of the name with its end, checksum.
        let fields = [self.inode, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_data_are_aligned_and_sized() {
        let mut archive = Cpio::default();
        archive.add("init", PROGRAM, b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("070701000000010000"), "{text}");
        // Header 110 + "init\0" = 115, to 116; data 5, to 124; trailer 110 + 11 = 121, to 124.
        assert_eq!(bytes.get(116..121), Some(&b"hello"[..]));
        assert_eq!(bytes.get(124..130), Some(&b"070701"[..]));
        assert_eq!(bytes.len(), 124 + 124);
    }

    #[test]
    fn the_first_process_loads_modules_before_it_makes_the_link() {
        let script = init("$B insmod /modules/veth.ko\n");
        let (load, link) = (script.find("insmod"), script.find("type veth"));
        assert!(load.is_some() && load < link, "{script}");
        assert!(script.contains("${peer##*/}"), "{script}");
    }
}
