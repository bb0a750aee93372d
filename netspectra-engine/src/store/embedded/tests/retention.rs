use super::sample::{BATCH_ROWS, T0, batch, exact, joined};
use super::{append, quiet, rows, run, segments};
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::{Config, EmbeddedStore, Forgotten};
use netspectra_common::model::{LedgerEntry, Nanos};
use std::time::Duration;

const HOUR: u64 = 3600;

/// Segments of one batch each, an hour apart.
fn hourly(dir: &std::path::Path, config: Config, hours: u64) -> EmbeddedStore {
    let store = EmbeddedStore::open(dir, config).unwrap();
    for n in 0..hours {
        append(&store, &batch(n * HOUR)).unwrap();
        run(store.seal()).unwrap();
    }
    store
}

fn at(secs: u64) -> Nanos {
    T0.plus(Duration::from_secs(secs))
}

#[test]
fn segments_past_their_age_are_unlinked() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention_age: Duration::from_secs(10 * HOUR), segment_age: Duration::MAX, ..quiet() };
    let store = hourly(dir.path(), config, 5);
    append(&store, &batch(5 * HOUR)).unwrap();
    assert_eq!(run(store.maintain(at(10 * HOUR))).unwrap().forgotten, Forgotten::default());
    let forgotten = run(store.maintain(at(13 * HOUR - 10))).unwrap().forgotten;
    assert_eq!((forgotten.segments, forgotten.rows), (18, 3 * BATCH_ROWS));
    let left = joined((3..6).map(|n| batch(n * HOUR)));
    assert_eq!(exact(&rows::<LedgerEntry>(&store)), exact(&left.ledger));
    assert_eq!(segments(dir.path(), Dataset::Ledger).len(), 2);
    let stats = store.stats();
    assert_eq!((stats.retired_segments, stats.retired_rows), (18, 3 * BATCH_ROWS));
    assert_eq!(stats.retired_bytes, forgotten.bytes);
    drop(store);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(exact(&rows::<LedgerEntry>(&store)), exact(&left.ledger), "after another start");
    assert_eq!(store.stats().damaged_segments, 0);
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = hourly(dir.path(), quiet(), 6);
    let full = store.stats();
    drop(store);
    let budget = (full.segment_bytes + full.log_bytes) / 2;
    let config = Config { retention_bytes: budget, retention_age: Duration::ZERO, ..quiet() };
    let store = EmbeddedStore::open(dir.path(), config).unwrap();
    let forgotten = run(store.maintain(at(1_000_000 * HOUR))).unwrap().forgotten;
    let stats = store.stats();
    assert!(forgotten.segments > 0);
    assert_eq!(stats.segments, 36 - forgotten.segments);
    assert_eq!(stats.segment_bytes, full.segment_bytes - forgotten.bytes);
    assert!(stats.segment_bytes + stats.log_bytes <= budget);
    let largest = full.segment_bytes / 6;
    assert!(stats.segment_bytes + stats.log_bytes + largest > budget, "no more than needed goes");
    let newest = batch(5 * HOUR).ledger;
    assert!(exact(&rows::<LedgerEntry>(&store)).contains(&exact(&newest)[0]), "the newest stay");
    assert_eq!(run(store.maintain(at(1_000_001 * HOUR))).unwrap().forgotten, Forgotten::default());
}

#[test]
fn zero_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention_age: Duration::ZERO, retention_bytes: 0, ..quiet() };
    let store = hourly(dir.path(), config, 2);
    assert_eq!(run(store.maintain(Nanos(u64::MAX))).unwrap().forgotten, Forgotten::default());
    assert_eq!(store.stats().segments, 12);
}
