//! A ClickHouse whose disk is full: the engine waits, says so, and in the end everything is there once.
//!
//! The disk is a tmpfs that the test mounts (root) and fills. Needs the variables that `cargo xtask cluster up` prints, and
//! `NETSPECTRA_CLUSTER_CTL`, by which it starts a ClickHouse of its own. One in a container keeps its data elsewhere: then
//! there is nothing to fill, and the test says so.
#![cfg(feature = "cluster")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests; what is not tried is said")]

mod support;
#[path = "cluster/traffic.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod traffic;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::cluster::{Cluster, ask, ledger, server, wait_for_all};
use traffic::captures;

/// Of the disk. The server needs some for itself.
const MIB: u64 = 96;
const SECONDS: u32 = 120;
const PER_SECOND: u32 = 150;

/// A file system of [`MIB`] on a folder.
struct Disk(PathBuf);

impl Disk {
    fn mount(on: &Path) -> Self {
        let size = format!("size={MIB}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(on).output().unwrap();
        assert!(done.status.success(), "mount: {}", String::from_utf8_lossy(&done.stderr));
        Self(on.to_owned())
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Writes until there is no room.
    fn fill(&self) -> u64 {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let (mut length, block) = (0, vec![0; 64 * 1024]);
        for size in [block.len(), 512] {
            while length < MIB << 20 {
                match file.write(&block[..size]) {
                    Ok(written) => length += written as u64,
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
                        break;
                    }
                }
            }
        }
        length
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A ClickHouse with its data in a folder, ended when the test ends.
struct Store {
    dir: PathBuf,
    url: String,
}

impl Store {
    fn start(dir: &Path) -> Self {
        let said = Self::control(dir, "up");
        let url = said.lines().find_map(|line| line.strip_prefix("export NETSPECTRA_CLICKHOUSE=")).unwrap().to_owned();
        Self { dir: dir.to_owned(), url }
    }

    /// The other servers are those of the run, by their variables; they are left alone.
    fn control(dir: &Path, verb: &str) -> String {
        let mut command = Command::new(server("NETSPECTRA_CLUSTER_CTL"));
        command.args(["cluster", verb, "--dir"]).arg(dir).env_remove("NETSPECTRA_CLICKHOUSE");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        Self::control(&self.dir, "down");
    }
}

#[test]
fn a_full_disk_of_the_store_is_waited_for_and_everything_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(dir.path());
    let store = Store::start(&dir.path().join("servers"));
    if !dir.path().join("servers/clickhouse/data").is_dir() {
        println!("not tried: this ClickHouse keeps its data elsewhere");
        return;
    }
    let cluster = Cluster::over("full", &server("NETSPECTRA_KAFKA"), &store.url, "");
    let files = captures(cluster.dir.path(), 4, SECONDS, PER_SECOND);
    let engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let token = cluster.token();
    let each = u64::from(SECONDS * PER_SECOND);
    cluster.agent("node0", &files[..1]).wait_for("Kafka has all of it");
    wait_for_all(&api, &token, each);

    let filled = disk.fill();
    let agents: Vec<_> = (1..4).map(|n| cluster.agent(&format!("node{n}"), &files[n..=n])).collect();
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    let line = engine.wait_for("a call failed for now: trying again");
    println!("{filled} bytes filled; the engine: {line}");
    assert!(line.contains("No space left on device") || line.contains("NOT_ENOUGH_SPACE"), "{line}");
    // It goes on trying, and lives: its metrics count the tries.
    std::thread::sleep(Duration::from_secs(3));
    let metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", cluster.engines[0])).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    let tries = metrics.lines().find_map(|line| line.strip_prefix("netspectra_engine_store_retries_total ")).unwrap();
    assert!(tries.parse::<u64>().unwrap() >= 2, "{tries}");

    std::fs::remove_file(disk.filler()).unwrap();
    wait_for_all(&api, &token, 4 * each);
    let all = ledger(&api, &token);
    assert_eq!((&all["accounted"], all["chain_breaks"].as_u64()), (&all["seen"], Some(0)), "{all:#}");
    engine.stop();
    // What the engine had open is in the store now, or is read again by the next one.
    let _next = cluster.engine(0);
    let question = "top?by=node&metric=packets&limit=9&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z";
    let until = std::time::Instant::now() + support::cluster::PATIENCE;
    loop {
        let (status, answer) = ask(&api, &token, question);
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let packets = |row: &serde_json::Value| row["value"]["estimate"].as_f64().unwrap() as u64;
        let found: Vec<u64> = answer["items"].as_array().unwrap().iter().map(packets).collect();
        if found == [each; 4] {
            break;
        }
        assert!(found.iter().all(|packets| *packets <= each), "more than there were: {answer:#}");
        assert!(std::time::Instant::now() < until, "expected {each} packets of each node: {answer:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
