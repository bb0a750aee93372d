//! The process dies; what was acknowledged is there, once.

use super::sample::{Rng, batch, exact};
use super::{child, rows};
use crate::store::embedded::{Config, EmbeddedStore};
use netspectra_common::model::{FlowRecord, LedgerEntry, Rollup, WindowState};
use netspectra_common::ports::Store;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// In a child: the directory to append to.
const DIR: &str = "NETSPECTRA_TEST_CRASH_DIR";
/// In a child: the number of its first batch.
const FIRST: &str = "NETSPECTRA_TEST_CRASH_FIRST";
/// In a child: how many batches; for ever when it is not set.
const BATCHES: &str = "NETSPECTRA_TEST_CRASH_BATCHES";
/// In a child: the crash point to die at, counted from 1.
const AT: &str = "NETSPECTRA_TEST_CRASH_AT";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Called at every crash point.
pub(in crate::store::embedded) fn reach() {
    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);
    if let Some(fatal) = FATAL.get_or_init(|| number(AT))
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *fatal
    {
        std::process::abort();
    }
}

/// Seals after every third batch, so that sealing and merging are under way most of the time.
fn busy() -> Config {
    Config { segment_rows: 39, ..Config::default() }
}

/// Appends batches and says which were acknowledged.
fn append_and_tell(dir: &Path, tasks: u64) {
    let store = std::sync::Arc::new(EmbeddedStore::open(dir, busy()).unwrap());
    let next = std::sync::Arc::new(AtomicU64::new(number(FIRST).unwrap()));
    let end = number(BATCHES).map_or(u64::MAX, |n| next.load(Ordering::Relaxed) + n);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let appending: Vec<_> = (0..tasks)
        .map(|_| {
            let (store, next) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&next));
            runtime.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= end {
                        break;
                    }
                    store.append(&batch(n)).await.unwrap();
                    writeln!(std::io::stdout(), "acknowledged {n}").unwrap();
                }
            })
        })
        .collect();
    for task in appending {
        runtime.block_on(task).unwrap();
    }
}

/// The store of `dir` holds every batch of `acknowledged` once, and others once or not, but whole.
fn assert_exactly_once(dir: &Path, acknowledged: &[u64], when: &str) {
    let store = EmbeddedStore::open(dir, busy()).unwrap();
    let stats = store.stats();
    assert_eq!((stats.damaged_frames, stats.damaged_segments), (0, 0), "a crash is no damage, {when}");
    let mut ledger: BTreeMap<u64, Vec<LedgerEntry>> = BTreeMap::new();
    for entry in rows::<LedgerEntry>(&store) {
        ledger.entry(entry.generation).or_default().push(entry);
    }
    for n in acknowledged {
        assert!(ledger.contains_key(n), "batch {n} was acknowledged and is lost, {when}");
    }
    let mut expected = netspectra_common::ports::StoreBatch::default();
    for (n, entries) in &ledger {
        assert_eq!(entries.len(), 1, "batch {n} is there {} times, {when}", entries.len());
        let one = batch(*n);
        expected.flows.extend(one.flows);
        expected.rollups.extend(one.rollups);
        expected.windows.extend(one.windows);
    }
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&expected.flows), "flows, {when}");
    assert_eq!(exact(&rows::<Rollup>(&store)), exact(&expected.rollups), "roll-ups, {when}");
    assert_eq!(exact(&rows::<WindowState>(&store)), exact(&expected.windows), "windows, {when}");
}

fn acknowledged(line: &str) -> Option<u64> {
    // Harness output may stand before it on the line.
    line.rsplit_once("acknowledged ")?.1.parse().ok()
}

#[test]
fn kill_9_at_any_moment_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(DIR) {
        append_and_tell(Path::new(&dir), 4);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(9);
    let mut acks = Vec::new();
    for round in 0..24 {
        let first = acks.iter().max().map_or(0, |n| n + 10);
        let mut process =
            child("store::embedded::tests::crash::kill_9_at_any_moment_loses_nothing_acknowledged", DIR, dir.path())
                .env(FIRST, first.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let wanted = 1 + rng.below(25);
        let mut heard = 0;
        while heard < wanted {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            if let Some(n) = acknowledged(&line) {
                acks.push(n);
                heard += 1;
            }
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // What it said before it died counts too; its last line may be cut.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        acks.extend(rest[..whole].iter().filter_map(|line| acknowledged(line)));
        assert_exactly_once(dir.path(), &acks, &format!("round {round}"));
    }
}

#[test]
fn a_crash_between_any_two_steps_leaves_each_row_exactly_once() {
    const NAME: &str = "store::embedded::tests::crash::a_crash_between_any_two_steps_leaves_each_row_exactly_once";
    if let Some(dir) = std::env::var_os(DIR) {
        append_and_tell(Path::new(&dir), 1);
        return;
    }
    let mut at = 1;
    loop {
        let dir = tempfile::tempdir().unwrap();
        // Eight seals and a merge of each dataset.
        let output =
            child(NAME, DIR, dir.path()).env(FIRST, "0").env(BATCHES, "26").env(AT, at.to_string()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let acks: Vec<u64> = said.lines().filter_map(acknowledged).collect();
        assert_exactly_once(dir.path(), &acks, &format!("crash point {at}"));
        // Once more: what recovery itself did is sound too.
        assert_exactly_once(dir.path(), &acks, &format!("crash point {at}, second start"));
        if output.status.success() {
            assert_eq!(acks, (0..26).collect::<Vec<_>>());
            break;
        }
        at += 1;
    }
    assert!(at > 100, "crash points were reached: {at}");
}
