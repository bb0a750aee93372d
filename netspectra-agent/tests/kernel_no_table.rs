//! A frame on a CPU without its counting tables is counted as just that, in the real kernel.
//!
//! Needs root and the eBPF object. Alone in its process: it takes tables away by the names of the process's maps.
#![allow(clippy::unwrap_used, reason = "tests")]

use aya::maps::{MapFd, loaded_maps};
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};
use netspectra_common::abi::{Counter, LossReason, SLOTS, maps};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};

/// The identities of the maps that this process has open.
fn own_maps() -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = entries.filter_map(|e| std::fs::read_to_string(e.unwrap().path()).ok());
    let id = |text: String| text.lines().find_map(|l| l.strip_prefix("map_id:")?.trim().parse().ok());
    texts.filter_map(id).collect()
}

/// This process's map `name`, and how many elements it has at most.
fn own_map(name: &str) -> (MapFd, u32) {
    let own = own_maps();
    let map = loaded_maps()
        .map(Result::unwrap)
        .find(|m| own.contains(&m.id()) && m.name_as_str() == Some(name))
        .unwrap_or_else(|| panic!("this process has no map `{name}`"));
    (map.fd().unwrap(), map.max_entries())
}

/// A `command` on element `at` of a map, with `value` where the command takes one.
fn element(command: libc::c_long, map: &MapFd, at: u32, value: Option<&u64>) {
    let value = value.map_or(0, |value| std::ptr::from_ref(value) as u64);
    let attr = [map.as_fd().as_raw_fd() as u64, &raw const at as u64, value, 0];
    // SAFETY: the words are a whole `bpf_attr` of these commands: descriptor and padding, key, value, flags; key and value
    // outlive the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) };
    assert_eq!(rc, 0, "command {command}, element {at}: {}", std::io::Error::last_os_error());
}

/// Deletes element `at` of this process's map `name`, as `bpf(BPF_MAP_DELETE_ELEM)` does.
fn delete(name: &str, at: u32) {
    element(3, &own_map(name).0, at, None);
}

/// Marks every place in front of the tables of slot 0 as another flow's, as `bpf(BPF_MAP_UPDATE_ELEM)` does.
fn fill_rows() {
    let (fd, rows) = own_map(maps::MARKS);
    for at in 0..rows / SLOTS {
        element(2, &fd, at, Some(&u64::MAX));
    }
}

#[test]
fn a_frame_on_a_cpu_without_tables_is_counted_as_that() {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    let object = std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"));
    let mut source = XdpSource::load(&object, &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"));
    let runner = source.test_runner().unwrap();
    // An IPv4 packet, and an ARP frame for the other flow table.
    let mut ip = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0x88, 0, 80, 0, 8, 0, 0]);
    let mut arp = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x06];
    arp.resize(60, 0);
    let cpus = aya::util::nr_cpus().unwrap() as u32;
    let bytes = (ip.len() + arp.len()) as u64;
    let run = |n: u32| [&ip, &arp].map(|frame| runner.run(frame, n).unwrap());

    // Slot 0 is filled first. What has a place in front of the tables needs none, so there are no such places. Without flow
    // tables the totals still know the frames.
    fill_rows();
    run(1);
    for name in [maps::FLOWS4, maps::FLOWS] {
        (0..cpus).for_each(|cpu| delete(name, cpu));
    }
    run(5);
    // Without totals nothing of a frame has a place in the generation.
    (0..cpus).for_each(|cpu| delete(maps::TOTALS, cpu));
    run(7);
    let generation = source.generation().unwrap().unwrap();
    assert_eq!(generation.totals.seen, Counter::new(2 * 13, 13 * bytes));
    assert_eq!(generation.totals.reasons[LossReason::NoTable as usize], Counter::new(2 * 12, 12 * bytes));
    let in_flows: u64 = generation.flows.iter().map(|f| f.stats.packets).sum();
    assert_eq!(in_flows, 2, "what was counted before the tables went");

    // The other slot never lacked any, and recycling gives fresh ones to this one.
    source.recycle().unwrap();
    for _ in 0..2 {
        run(3);
        let generation = source.generation().unwrap().unwrap();
        assert_eq!(generation.totals.seen, Counter::new(6, 3 * bytes));
        assert_eq!(generation.flows.iter().map(|f| f.stats.packets).sum::<u64>(), 6);
        source.recycle().unwrap();
    }
}
