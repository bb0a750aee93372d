//! The process dies; what was acknowledged is there, once.

use super::sample::{Rng, T0, batch, exact};
use super::{append, child, copy_of, memory_dir, quiet, rows, rows_in, run};
use crate::store::embedded::{Config, EmbeddedStore};
use netspectra_common::model::{FlowRecord, LedgerEntry, Nanos, Rollup, TimeRange, WindowState};
use netspectra_common::ports::Store;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const HOUR: u64 = 3600;

/// In a child: the directory to append to.
const DIR: &str = "NETSPECTRA_TEST_CRASH_DIR";
/// In a child: the number of its first batch.
const FIRST: &str = "NETSPECTRA_TEST_CRASH_FIRST";
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

fn tell(n: u64) {
    writeln!(std::io::stdout(), "acknowledged {n}").unwrap();
}

/// Appends for ever, four batches at a time, and says which were acknowledged.
fn append_until_killed(dir: &Path) {
    let store = Arc::new(EmbeddedStore::open(dir, busy()).unwrap());
    let next = Arc::new(AtomicU64::new(number(FIRST).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, next) = (Arc::clone(&store), Arc::clone(&next));
        let append = async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                store.append(&batch(n)).await.unwrap();
                tell(n);
            }
        };
        appending.spawn_on(append, runtime.handle());
    }
    // They append until this process is killed, so only a fault ends this.
    let fault: Option<Result<(), _>> = runtime.block_on(appending.join_next());
    fault.unwrap().unwrap();
}

/// Seven segments of each dataset, so that the next seal makes enough to merge, and a batch in the log.
fn prepared() -> tempfile::TempDir {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..7 {
        append(&store, &batch(n)).unwrap();
        run(store.seal()).unwrap();
    }
    append(&store, &batch(7)).unwrap();
    dir
}

/// Every kind of step once at least: start, append, seal, merge, retention.
fn take_every_step(dir: &Path) {
    let config = Config { retention_bytes: 0, retention_age: Duration::from_secs(HOUR), ..quiet() };
    let store = EmbeddedStore::open(dir, Config { merge_rows: u64::MAX, ..config }).unwrap();
    append(&store, &batch(8)).unwrap();
    tell(8);
    run(store.seal()).unwrap();
    // Merging goes on between other jobs.
    while store.stats().merges < 4 {
        run(store.maintain(T0)).unwrap();
    }
    append(&store, &batch(2 * HOUR)).unwrap();
    tell(2 * HOUR);
    run(store.seal()).unwrap();
    append(&store, &batch(2 * HOUR + 1)).unwrap();
    tell(2 * HOUR + 1);
    writeln!(std::io::stdout(), "forgetting").unwrap();
    run(store.maintain(T0.plus(Duration::from_secs(2 * HOUR)))).unwrap();
}

/// The store of `dir` holds every batch of `acknowledged` once, and others once or not, but whole.
///
/// Those below `kept` are not looked at, because retention takes datasets one by one.
fn assert_exactly_once(dir: &Path, acknowledged: &[u64], kept: u64, when: &str) {
    let store = EmbeddedStore::open(dir, quiet()).unwrap();
    let stats = store.stats();
    assert_eq!((stats.damaged_frames, stats.damaged_segments), (0, 0), "a crash is no damage, {when}");
    let mut ledger: BTreeMap<u64, Vec<LedgerEntry>> = BTreeMap::new();
    for entry in rows::<LedgerEntry>(&store).into_iter().filter(|e| e.generation >= kept) {
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
    let range = TimeRange { from: T0.plus(Duration::from_secs(kept)), to: Nanos(u64::MAX) };
    assert_eq!(exact(&rows_in::<FlowRecord>(&store, range, None)), exact(&expected.flows), "flows, {when}");
    assert_eq!(exact(&rows_in::<Rollup>(&store, range, None)), exact(&expected.rollups), "roll-ups, {when}");
    assert_eq!(exact(&rows_in::<WindowState>(&store, range, None)), exact(&expected.windows), "windows, {when}");
}

fn acknowledged(line: &str) -> Option<u64> {
    // Harness output may stand before it on the line.
    line.rsplit_once("acknowledged ")?.1.parse().ok()
}

#[test]
fn kill_9_at_any_moment_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(DIR) {
        append_until_killed(Path::new(&dir));
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
        assert_exactly_once(dir.path(), &acks, 0, &format!("round {round}"));
    }
}

#[test]
fn a_crash_between_any_two_steps_leaves_each_row_exactly_once() {
    const NAME: &str = "store::embedded::tests::crash::a_crash_between_any_two_steps_leaves_each_row_exactly_once";
    if let Some(dir) = std::env::var_os(DIR) {
        take_every_step(Path::new(&dir));
        return;
    }
    let prepared = prepared();
    let mut at = 1;
    loop {
        let dir = copy_of(prepared.path());
        let output = child(NAME, DIR, dir.path()).env(AT, at.to_string()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // What retention may forget from then on is not asked for.
        let kept = if said.contains("forgetting") { 2 * HOUR } else { 0 };
        let acks: Vec<u64> = (0..8).chain(said.lines().filter_map(acknowledged)).filter(|n| *n >= kept).collect();
        assert_exactly_once(dir.path(), &acks, kept, &format!("crash point {at}"));
        // Once more: what recovery itself did is sound too.
        assert_exactly_once(dir.path(), &acks, kept, &format!("crash point {at}, second start"));
        if output.status.success() {
            assert_eq!(acks, [2 * HOUR, 2 * HOUR + 1]);
            break;
        }
        at += 1;
    }
    assert!(at > 60, "crash points were reached: {at}");
}
