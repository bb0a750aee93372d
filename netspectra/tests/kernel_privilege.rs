//! What a running instance may do, while interfaces come and rules change.
//!
//! Needs root. Proves: which threads of the process have which capabilities, and that what is left is enough. Does not
//! prove that code which somebody brings into the process cannot use the capture thread's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use support::instance::Instance;
use support::net::{Pair, sh};
use support::packet_socket;
use support::traffic;

const BPF: u64 = 1 << 39;
const NET_ADMIN: u64 = 1 << 12;

/// A line of each thread's status: by name, the values of the threads of that name.
fn of_threads(pid: u32, field: &str) -> BTreeMap<String, Vec<u64>> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // One that ended meanwhile has no privileges.
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let line = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        let value = u64::from_str_radix(&line(&format!("{field}:")), 16).unwrap();
        all.entry(line("Name:")).or_default().push(value);
    }
    all
}

fn only_the_capture_has(pid: u32, expected: u64, others: u64) {
    for set in ["CapEff", "CapPrm"] {
        let mut threads = of_threads(pid, set);
        assert_eq!(threads.remove("capture"), Some(vec![expected]), "{set}");
        assert!(threads.len() > 1, "{threads:?}");
        assert!(threads.values().flatten().all(|set| *set == others), "{set}: {threads:?}");
    }
    assert!(of_threads(pid, "NoNewPrivs").values().flatten().all(|n| *n == 1));
}

#[test]
fn no_thread_but_the_capture_has_a_capability_while_interfaces_come_and_rules_change() {
    let pair = Pair::new();
    let data = tempfile::tempdir().unwrap();
    let rules = |action: &str| format!("[[capture.rules]]\naction = \"{action}\"\nproto = [\"udp\"]\n");
    std::fs::write(data.path().join("run.toml"), rules("include")).unwrap();
    let mut instance = Instance::start_with(&pair, "*", "auto", data);
    only_the_capture_has(instance.pid(), BPF | NET_ADMIN, 0);

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
    only_the_capture_has(instance.pid(), BPF | NET_ADMIN, 0);
    let (status, text) = instance.stop();
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
    only_the_capture_has(instance.pid(), BPF | NET_ADMIN, DAC_OVERRIDE | DAC_READ_SEARCH);
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
    let threads = of_threads(instance.pid(), "CapEff");
    assert!(threads.keys().any(|name| name.starts_with("capture-")), "{threads:?}");
    assert!(threads.values().flatten().all(|set| *set == 0), "{threads:?}");
    let (status, text) = instance.stop();
    assert!(status.success(), "{text}");
}
