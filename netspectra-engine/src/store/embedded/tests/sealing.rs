use super::sample::{BATCH_ROWS, T0, batch, exact, joined};
use super::{append, collect, files, quiet, rows, run, segments};
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::log::LogFile;
use crate::store::embedded::recover::recover;
use crate::store::embedded::sealer::Sealer;
use crate::store::embedded::shared::{Shared, View};
use crate::store::embedded::stats::Counters;
use crate::store::embedded::wanted::Wanted;
use crate::store::embedded::writer::{Command, Writer};
use crate::store::embedded::{Config, EmbeddedStore, StoreError};
use netspectra_common::model::{FlowRecord, WindowState};
use netspectra_common::ports::Store;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_open_segment_is_sealed_by_rows_and_by_bytes() {
    for config in [Config { segment_rows: 3 * BATCH_ROWS, ..quiet() }, Config { segment_bytes: 20_000, ..quiet() }] {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), config).unwrap();
        (0..30).for_each(|n| append(&store, &batch(n)).unwrap());
        // Waits for what goes on.
        run(store.seal()).unwrap();
        let stats = store.stats();
        assert!(stats.seals >= 4, "{stats:?}");
        assert_eq!((stats.seal_failures, stats.segment_rows), (0, 30 * BATCH_ROWS));
        assert_eq!(stats.logs, 1, "sealed logs are unlinked");
        assert_eq!(files(dir.path(), "log-").len(), 1);
        assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&joined((0..30).map(batch)).flows));
    }
}

#[test]
fn the_open_segment_is_sealed_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_age: Duration::from_secs(600), retention_age: Duration::ZERO, ..quiet() };
    let store = EmbeddedStore::open(dir.path(), config).unwrap();
    let sealed = |secs| run(store.maintain(T0.plus(Duration::from_secs(secs)))).unwrap().sealed;
    assert!(!sealed(0), "nothing is there");
    append(&store, &batch(0)).unwrap();
    assert!(!sealed(1000), "seen for the first time");
    assert!(!sealed(1599));
    assert!(sealed(1600));
    assert!(!sealed(9000), "nothing is left");
    assert_eq!(store.stats().seals, 1);
}

#[test]
fn batches_that_wait_together_share_one_flush() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFile::create(dir.path(), 0).unwrap();
    let shared = Arc::new(Shared::new(dir.path().to_owned(), quiet(), Counters::default(), View::default()));
    let (commands, queue) = tokio::sync::mpsc::channel(16);
    let (jobs, _job_queue) = std::sync::mpsc::channel();
    let mut answers = Vec::new();
    for n in 0..10 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        commands.try_send(Command::Append { batch: Arc::new(batch(n)), reply }).ok().unwrap();
        answers.push(answer);
    }
    drop(commands);
    Writer::new(Arc::clone(&shared), queue, jobs, log).run(false);
    for answer in answers {
        run(answer).unwrap().unwrap();
    }
    let stats = shared.stats();
    assert_eq!((stats.appended_batches, stats.log_syncs), (10, 1));
    assert_eq!(stats.memory_rows, 10 * BATCH_ROWS);
}

#[test]
fn appends_of_many_tasks_are_all_stored() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_rows: 100, append_queue: 4, ..Config::default() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), config).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(&store);
            runtime.spawn(async move { store.append(&batch(n)).await })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&joined((0..40).map(batch)).flows));
}

/// Keeps `store` from writing the next segment of flows: a directory has its temporary name.
fn obstruct(store: &EmbeddedStore, next: u64) -> std::path::PathBuf {
    let path = store.shared.dir.join(format!("flows-{next:010}.tmp"));
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_failed_seal_keeps_rows_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &batch(0)).unwrap();
    let obstacle = obstruct(&store, 0);
    let error = run(store.seal()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    append(&store, &batch(1)).unwrap();
    let expected = joined((0..2).map(batch));
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&expected.flows));
    std::fs::remove_dir(obstacle).unwrap();
    assert!(run(store.maintain(T0)).unwrap().sealed, "a failed seal is tried again whatever the age");
    let stats = store.stats();
    assert_eq!((stats.seals, stats.seal_failures, stats.memory_rows, stats.logs), (1, 1, 0, 1));
    assert_eq!(exact(&rows::<WindowState>(&store)), exact(&expected.windows));
}

#[test]
fn memory_stays_bounded_while_sealing_fails() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_rows: 2 * BATCH_ROWS, ..quiet() };
    let store = EmbeddedStore::open(dir.path(), config).unwrap();
    // More numbers than it can try.
    let obstacles: Vec<_> = (0..100).map(|n| obstruct(&store, n)).collect();
    let (mut stored, mut refused) = (Vec::new(), None);
    for n in 0..20 {
        match append(&store, &batch(n)) {
            Ok(()) => stored.push(n),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("memory is bounded");
    assert!(error.transient);
    assert!(error.to_string().contains("cannot be sealed: cannot write"), "{error}");
    assert_eq!(stored.len(), 8, "four times the rows of a segment");
    obstacles.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    append(&store, &batch(99)).unwrap();
    stored.push(99);
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&joined(stored.into_iter().map(batch)).flows));
}

#[test]
fn small_neighbours_are_merged_and_running_queries_keep_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..8 {
        append(&store, &batch(n)).unwrap();
        run(store.seal()).unwrap();
    }
    assert_eq!(segments(dir.path(), Dataset::Flows).len(), 8);
    drop(store);
    // The sealing thread's work, step by step.
    let recovered = recover(dir.path()).unwrap();
    let shared = Shared::new(dir.path().to_owned(), Config::default(), recovered.counters, recovered.view);
    let shared = Arc::new(shared);
    let (_jobs, jobs) = std::sync::mpsc::channel();
    let mut sealer = Sealer { shared: Arc::clone(&shared), jobs, manifest: recovered.manifest };
    let snapshot = shared.snapshot();
    while sealer.merge_some() {}
    let stats = shared.stats();
    assert_eq!((stats.merges, stats.merge_failures, stats.segments), (6, 0, 6));
    for dataset in Dataset::ALL {
        let live = shared.snapshot();
        let [merged] = &live.segments.iter().filter(|s| s.meta.dataset == dataset).collect::<Vec<_>>()[..] else {
            panic!("one segment of {dataset:?}")
        };
        assert_eq!(merged.meta.level, 1);
    }
    let expected = joined((0..8).map(batch));
    let old: Vec<FlowRecord> = collect(&snapshot, &Wanted::all());
    assert_eq!(exact(&old), exact(&expected.flows), "the snapshot reads the old files");
    assert_eq!(segments(dir.path(), Dataset::Flows).len(), 9);
    drop(snapshot);
    assert_eq!(segments(dir.path(), Dataset::Flows).len(), 1, "unlinked once nobody reads them");
    drop((sealer, shared));
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&expected.flows));
    assert_eq!(exact(&rows::<WindowState>(&store)), exact(&expected.windows));
}
