//! `kill -9` of `netspectra run` at random instants, again and again, while traffic runs: nothing is lost, nothing is
//! counted twice, nothing stays in the kernel.
//!
//! Needs root and a BPF file system. `NETSPECTRA_KILLS` says how many kills, 40 unless told. Does not prove: a power
//! failure, which takes what the kernel has not handed over.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::print_stderr, reason = "tests")]

mod support;

use netspectra_agent::source::xdp::instances_folder;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::instance::Instance;
use support::kill::{Cleanup, Traffic, Victim, random};
use support::net::{MON, Pair, sh};

/// A start takes less, also on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Longest life of a process after it is ready, in milliseconds: more than a generation.
const LIFE: u64 = 1500;
/// When, after it is ready, it is at work on its first generation, in milliseconds.
const AT_WORK: std::ops::Range<u64> = 960..1100;

fn number(v: &Value, field: &str) -> u64 {
    v[field].as_u64().unwrap_or_else(|| panic!("`{field}` in {v}"))
}

/// The one folder of this test's instance.
fn folder(node: &str) -> PathBuf {
    let all = std::fs::read_dir(instances_folder().unwrap()).unwrap();
    let is_mine = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with(node);
    let mine: Vec<PathBuf> = all.map(|e| e.unwrap().path()).filter(is_mine).collect();
    assert_eq!(mine.len(), 1, "{mine:?}");
    mine.into_iter().next().unwrap()
}

/// What the folder pins: identifiers of maps, and of links.
fn pinned(folder: &Path) -> Vec<(bool, u32)> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_link = name.starts_with("xdp-") || name.starts_with("tcx-");
        ids.push((is_link, bpf::id_of(&path, is_link)));
    }
    ids
}

#[test]
fn after_kills_at_random_instants_every_packet_is_in_a_flow_or_under_a_reason_once() {
    let kills: u64 = std::env::var("NETSPECTRA_KILLS").map_or(40, |n| n.parse().unwrap());
    let node = format!("kill{}-", std::process::id());
    let _cleanup = Cleanup(node.clone());
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let mut first = Victim::start(&pair, &node, data.path());
    assert!(first.is_ready_within(START));
    pair.up();
    let traffic = Traffic::start(&pair);
    first.kill();
    let mut unready = 0;
    for kill in 1..kills {
        let mut victim = Victim::start(&pair, &node, data.path());
        // One in three while it starts, one while it hands a generation over, one at any time.
        if kill % 3 == 0 {
            unready += u64::from(!victim.is_ready_within(Duration::from_millis(random(2 * LIFE))));
        } else {
            assert!(victim.is_ready_within(START));
            let life = if kill % 3 == 1 { AT_WORK.start + random(AT_WORK.end - AT_WORK.start) } else { random(LIFE) };
            std::thread::sleep(Duration::from_millis(life));
        }
        victim.kill();
    }
    let instance = Instance::start_as(&pair, &[], MON, "native", &node, data);
    let folder = folder(&node);
    let ids = pinned(&folder);
    let sent = traffic.stop();
    pair.down();
    let peer = pair.peer_counters();
    // See `kernel_live`: with native XDP on the other end veth counts what was sent without the link header.
    let packets = peer.rx_packets + peer.tx_packets;
    let bytes = peer.rx_bytes + peer.tx_bytes + 14 * peer.tx_packets;
    let ledger = instance.wait("ledger", &["--from", "0"], |l| number(&l["seen"], "packets") >= packets);
    eprintln!(
        "{kills} kills, {unready} before it was ready; {sent} datagrams; the peer's link: {packets} packets, {bytes} bytes; {} generations",
        ledger["generations"]
    );
    assert_eq!((number(&ledger["seen"], "packets"), number(&ledger["seen"], "bytes")), (packets, bytes), "{ledger:#}");
    assert_eq!(ledger["accounted"], ledger["seen"]);
    assert_eq!(
        number(&ledger, "chain_breaks"),
        0,
        "every manifest follows the one before it, over all kills: {ledger:#}"
    );
    assert!(packets >= sent, "{packets} {sent}");

    let flows = instance.query("flows", &["--from", "0", "--limit", "10000"]);
    let items = flows["items"].as_array().unwrap();
    let (mut p, mut b) = (0, 0);
    let mut rows = BTreeSet::new();
    for f in items {
        p += number(f, "packets") + number(f, "reverse_packets");
        b += number(f, "bytes") + number(f, "reverse_bytes");
        assert!(rows.insert((f["flow_id"].to_string(), f["first_seen"].to_string())), "twice: {f:#}");
    }
    assert_eq!((p, b), (packets, bytes), "{} rows", items.len());

    let (status, log) = instance.stop();
    assert!(status.success(), "{log}");
    assert!(!folder.exists(), "the end leaves no pins");
    for (is_link, id) in ids {
        bpf::wait_until_gone(is_link, id);
    }
    let link = sh("ip", &["-n", &pair.mon, "-d", "link", "show", "dev", MON]);
    assert!(!link.contains("xdp"), "{link}");
}

/// The few calls that tell what the kernel holds.
mod bpf {
    use std::ffi::CString;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::path::Path;
    use std::time::{Duration, Instant};

    const OBJ_GET: libc::c_long = 7;
    const MAP_GET_FD_BY_ID: libc::c_long = 14;
    const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    const LINK_GET_FD_BY_ID: libc::c_long = 30;

    fn call<T>(command: libc::c_long, attr: &T) -> std::io::Result<i32> {
        let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
        if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(rc as i32) }
    }

    /// The identifier of a pinned map, or link.
    pub(super) fn id_of(path: &Path, _is_link: bool) -> u32 {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        let fd = call(OBJ_GET, &[name.as_ptr() as u64, 0]).unwrap();
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Type and identifier come first in both.
        let mut info = [0u32; 64];
        let attr = [u64::from(fd.as_raw_fd() as u32) | (size_of_val(&info) as u64) << 32, (&raw mut info) as u64];
        call(OBJ_GET_INFO_BY_FD, &attr).unwrap();
        info[1]
    }

    /// Waits until the kernel has freed what nobody refers to, which takes it a grace period.
    pub(super) fn wait_until_gone(is_link: bool, id: u32) {
        let command = if is_link { LINK_GET_FD_BY_ID } else { MAP_GET_FD_BY_ID };
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match call(command, &[u64::from(id), 0]) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return,
                Err(e) => panic!("{e}"),
                Ok(fd) => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
            }
            assert!(Instant::now() < end, "{} {id} is still there", if is_link { "link" } else { "map" });
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
