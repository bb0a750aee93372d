//! What a running instance may do, while interfaces come and rules change.
//!
//! Needs root. Proves: which processes and threads have which capabilities, users and groups, that what is left is enough, and
//! that a loader or a process that dies takes the other one with it. Does not prove that the kernel has no other way up.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use support::instance::Instance;
use support::net::{Pair, sh};
use support::packet_socket;
use support::traffic;

const BPF: u64 = 1 << 39;
const NET_RAW: u64 = 1 << 13;
const NET_ADMIN: u64 = 1 << 12;

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// A line of each thread's status: by name, the values of the threads of that name.
fn of_threads(pid: u32, field: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // One that ended meanwhile has no privileges.
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let line = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        all.entry(line("Name:")).or_default().push(line(&format!("{field}:")));
    }
    all
}

/// A set of capabilities of each thread, by the thread's name.
fn set_of_threads(pid: u32, set: &str) -> Vec<(String, u64)> {
    let each = of_threads(pid, set).into_iter();
    let number = |set: &String| u64::from_str_radix(set, 16).unwrap();
    each.flat_map(|(name, sets)| sets.iter().map(|s| (name.clone(), number(s))).collect::<Vec<_>>()).collect()
}

/// The loader of process `pid`: its one child.
fn loader_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children: Vec<u32> = children.split_whitespace().map(|c| c.parse().unwrap()).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// No thread has anything but `others`, and the loader has exactly what it needs.
fn only_the_loader_may(pid: u32, others: u64) {
    for set in SETS {
        let expected = if ["CapPrm", "CapEff"].contains(&set) { others } else { 0 };
        let threads = set_of_threads(pid, set);
        assert!(threads.len() > 2, "{threads:?}");
        // The capture has no files.
        let of = |name: &str| if name == "capture" { 0 } else { expected };
        assert!(threads.iter().all(|(name, set)| *set == of(name)), "{set}: {threads:?}");
    }
    let loader = loader_of(pid);
    for set in SETS {
        let expected = if ["CapPrm", "CapEff"].contains(&set) { BPF | NET_ADMIN } else { 0 };
        assert_eq!(set_of_threads(loader, set), [("netspectra-load".to_owned(), expected)], "{set}");
    }
    for pid in [pid, loader] {
        let fixed = of_threads(pid, "NoNewPrivs");
        assert!(fixed.values().flatten().all(|n| n == "1"), "{fixed:?}");
    }
}

#[test]
fn nothing_but_the_loader_has_a_capability_while_interfaces_come_and_rules_change() {
    interfaces_come_and_rules_change(|pair, data| Instance::start_with(pair, "*", "auto", data), |_| {});
}

#[test]
fn as_another_user_everything_but_the_loader_has_neither_capabilities_nor_root_nor_its_groups() {
    let nobody = |text: &str| text.split_whitespace().all(|id| id == "65534");
    let start = |pair: &Pair, data: tempfile::TempDir| {
        std::os::unix::fs::chown(data.path(), Some(65_534), Some(65_534)).unwrap();
        Instance::start_for(pair, "*", "65534:65534", data)
    };
    interfaces_come_and_rules_change(start, |instance| {
        for field in ["Uid", "Gid"] {
            let ids = of_threads(instance.pid(), field);
            assert!(ids.values().flatten().all(|ids| nobody(ids)), "{field}: {ids:?}");
        }
        let groups = of_threads(instance.pid(), "Groups");
        assert!(groups.values().flatten().all(String::is_empty), "{groups:?}");
        for entry in std::fs::read_dir(instance.data.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&entry.metadata().unwrap()), 65_534, "{entry:?}");
        }
    });
}

/// Does what the name says with what `start` starts; `also` holds before and after.
fn interfaces_come_and_rules_change(start: impl Fn(&Pair, tempfile::TempDir) -> Instance, also: impl Fn(&Instance)) {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let rules = |action: &str| format!("[[capture.rules]]\naction = \"{action}\"\nproto = [\"udp\"]\n");
    let file = data.path().join("run.toml");
    std::fs::write(&file, rules("include")).unwrap();
    std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
    let mut instance = start(&pair, data);
    only_the_loader_may(instance.pid(), 0);
    also(&instance);

    sh("ip", &["-n", &pair.mon, "link", "add", "late0", "type", "veth", "peer", "name", "late1"]);
    for end in ["late0", "late1"] {
        sh("ip", &["-n", &pair.mon, "link", "set", end, "up"]);
    }
    let frames = vec![traffic::udp_frame(9, &[0; 50]); 20];
    let gained = |l: &serde_json::Value, field: &str| {
        let nics = l["nics"].as_array().unwrap();
        nics.iter()
            .filter(|n| n["iface"] == "late0" || n["iface"] == "late1")
            .filter_map(|n| n[field].as_u64())
            .sum::<u64>()
    };
    // Until the interface is watched: what came before that is nobody's.
    let by = ["--from", "0", "--by", "iface", "--metric", "packets"];
    instance.wait("top", &by, |top| {
        pair.inside(&pair.mon, || packet_socket::raw("late0", &frames));
        top["items"].as_array().unwrap().iter().any(|i| i["key"]["iface"] == "late0" || i["key"]["iface"] == "late1")
    });
    let ledger = instance.wait("ledger", &["--from", "0"], |l| gained(l, "tx_packets") > 0);
    assert_eq!((ledger["chain_breaks"].as_u64(), &ledger["completeness"]["chain_breaks"]), (Some(0), &0.into()));

    std::fs::write(instance.data.path().join("run.toml"), rules("exclude")).unwrap();
    instance.reload("other capture rules are in force");
    pair.inside(&pair.mon, || packet_socket::raw("late0", &frames));
    let excluded = |l: &serde_json::Value| l["reasons"]["excluded"]["packets"].as_u64().unwrap();
    instance.wait("ledger", &["--from", "0"], |l| excluded(l) >= 20);
    only_the_loader_may(instance.pid(), 0);
    also(&instance);
    let loader = loader_of(instance.pid());
    let (status, text) = instance.stop();
    assert!(!std::path::Path::new(&format!("/proc/{loader}")).exists(), "the loader ends with it");
    assert!(status.success(), "{text}");
    assert!(text.contains("unaccounted 0 packets, 0 bytes"), "{text}");
}

#[test]
fn a_data_folder_of_another_user_is_written_with_the_right_to_files_alone() {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(data.path(), Some(65_534), Some(65_534)).unwrap();
    let instance = Instance::start_on(&pair, "auto", data);
    assert!(instance.start_log().contains("the data folder is another user's"), "{}", instance.start_log());
    only_the_loader_may(instance.pid(), DAC_OVERRIDE | DAC_READ_SEARCH);
    pair.up();
    traffic::udp(&pair, false, 5000, 50, 100, 1);
    instance.wait("ledger", &["--from", "0"], |l| l["flows"]["packets"].as_u64().unwrap() >= 50);
    let (status, text) = instance.stop();
    assert!(status.success(), "{text}");
}

#[test]
fn packet_sockets_that_are_open_are_read_without_any_capability() {
    let pair = Pair::new();
    let instance = Instance::start(&pair, "af-packet");
    pair.up();
    traffic::udp(&pair, false, 5000, 50, 100, 1);
    instance.wait("ledger", &["--from", "0"], |l| l["flows"]["packets"].as_u64().unwrap() >= 50);
    let threads = set_of_threads(instance.pid(), "CapEff");
    assert!(threads.iter().any(|(name, _)| name.starts_with("capture-")), "{threads:?}");
    assert!(threads.iter().all(|(_, set)| *set == 0), "{threads:?}");
    // For interfaces that come.
    let loader = set_of_threads(loader_of(instance.pid()), "CapEff");
    assert_eq!(loader, [("netspectra-load".to_owned(), NET_RAW)]);
    let (status, text) = instance.stop();
    assert!(status.success(), "{text}");
}

#[test]
fn a_process_that_is_killed_takes_its_loader_along_and_a_loader_its_process() {
    let pair = Pair::new();
    let mut instance = Instance::start(&pair, "auto");
    let loader = loader_of(instance.pid());
    // SAFETY: signals the loader of the process that this test started, which is there.
    unsafe { libc::kill(loader as libc::pid_t, libc::SIGKILL) };
    let (status, text) = instance.wait_for_end();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("the process that attaches the programs does not answer: start again"), "{text}");

    let instance = Instance::start_on(&pair, "auto", instance.give_data());
    assert!(
        instance.start_log().contains("going on with what a process before this one left"),
        "{}",
        instance.start_log()
    );
    let loader = loader_of(instance.pid());
    let (_, data) = instance.kill_keeping_data();
    // It holds the instance's folder until it has ended, so the next one waits for that.
    let instance = Instance::start_on(&pair, "auto", data);
    let left = std::fs::read_to_string(format!("/proc/{loader}/status")).unwrap_or_default();
    // Nobody may have asked yet how it ended.
    assert!(left.is_empty() || left.contains("State:\tZ"), "{left}");
    // It takes signals by then.
    instance.wait("ledger", &["--from", "0"], |l| l["generations"].as_u64().unwrap() > 0);
    let (status, text) = instance.stop();
    assert!(status.success(), "{status}: {text}");
}

#[test]
fn a_user_who_is_not_there_and_a_folder_of_somebody_else_are_refused() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("token"), "x").unwrap();
    let refusal = |user: &str| {
        let mut run = std::process::Command::new(support::instance::BINARY);
        run.args(["run", "--iface", "lo", "--listen", "127.0.0.1:0", "--user", user, "--data-dir"]).arg(data.path());
        let out = run.output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        String::from_utf8(out.stderr).unwrap()
    };
    assert!(
        refusal("no-such-user").contains("`--user` (`capture.user`): there is no user `no-such-user` on this host")
    );
    assert!(refusal("root").contains("user `root` is root"));
    let folder = refusal("65534:65534");
    assert!(folder.contains("user 65534") && folder.contains("`chown -R 65534:65534 "), "{folder}");
    std::os::unix::fs::chown(data.path(), Some(65_534), Some(65_534)).unwrap();
    let file = refusal("65534:65534");
    assert!(file.contains("holds `token` of user 0, expected user 65534: `chown -R 65534:65534 "), "{file}");
}
