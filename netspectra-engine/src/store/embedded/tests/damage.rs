use super::sample::{batch, exact, joined};
use super::{append, copy_of, files, memory_dir, quiet, rows, run, segments};
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::log::path_of;
use crate::store::embedded::{EmbeddedStore, StoreError};
use netspectra_common::model::{FlowRecord, LedgerEntry};
use netspectra_common::ports::{PortError, Store};
use std::path::Path;

fn open_error(dir: &Path) -> StoreError {
    match EmbeddedStore::open(dir, quiet()) {
        Ok(_) => panic!("the store must not open"),
        Err(error) => error,
    }
}

#[test]
fn a_second_opener_is_refused_and_told_who_holds_it() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    let error = open_error(dir.path());
    let StoreError::Locked { pid, lock, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, std::process::id().to_string());
    assert_eq!(*lock, dir.path().join("LOCK"));
    assert!(!PortError::from(error).transient);
    append(&store, &batch(0)).unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&batch(0).flows));
}

#[test]
fn damage_in_the_log_is_counted_once_and_kept_aside() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    (0..3).for_each(|n| append(&store, &batch(n)).unwrap());
    drop(store);
    let path = path_of(dir.path(), 0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() * 3 / 5;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(store.stats().damaged_frames, 1);
    let left = exact(&rows::<LedgerEntry>(&store));
    assert_eq!(left.len(), 2);
    run(store.seal()).unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(store.stats().damaged_frames, 0, "the damaged log is sealed and gone");
    assert_eq!(exact(&rows::<LedgerEntry>(&store)), left);
    assert_eq!(files(&dir.path().join("quarantine"), "log-").len(), 1);
}

#[test]
fn a_damaged_manifest_is_refused_and_nothing_is_removed() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &batch(0)).unwrap();
    run(store.seal()).unwrap();
    append(&store, &batch(1)).unwrap();
    drop(store);
    let path = dir.path().join("MANIFEST");
    let whole = std::fs::read(&path).unwrap();
    let before = files(dir.path(), "").len();
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        std::fs::write(&path, &bytes).unwrap();
        let error = open_error(dir.path());
        let known = matches!(error, StoreError::Manifest { .. } | StoreError::Version { .. });
        assert!(known, "byte {at}: {error}");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(open_error(dir.path()), StoreError::Manifest { .. }));
    std::fs::remove_file(&path).unwrap();
    let error = open_error(dir.path());
    assert!(error.to_string().contains("is missing, although there is"), "{error}");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(files(dir.path(), "").len(), before);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&joined((0..2).map(batch)).flows));
}

#[test]
fn a_manifest_cannot_name_files_elsewhere() {
    let dir = memory_dir();
    drop(EmbeddedStore::open(dir.path(), quiet()).unwrap());
    let body = r#"{"log_floor":0,"next_segment":1,"segments":[{"file":"flows-../../etc/x.parquet","dataset":"flows","rows":1,"bytes":1,"from":0,"to":1,"level":0}]}"#;
    let text = format!("netspectra-manifest 1 {:08x}\n{body}", crc32fast::hash(body.as_bytes()));
    std::fs::write(dir.path().join("MANIFEST"), text).unwrap();
    let error = open_error(dir.path());
    assert!(error.to_string().contains("which is no name of a segment"), "{error}");
}

#[test]
fn a_missing_or_short_segment_costs_its_rows_only_and_is_counted() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..3 {
        append(&store, &batch(n)).unwrap();
        run(store.seal()).unwrap();
    }
    drop(store);
    let flows = segments(dir.path(), Dataset::Flows);
    std::fs::remove_file(&flows[0]).unwrap();
    let short = std::fs::read(&flows[1]).unwrap();
    std::fs::write(&flows[1], &short[..short.len() - 1]).unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(store.stats().damaged_segments, 2);
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&batch(2).flows));
    assert_eq!(exact(&rows::<LedgerEntry>(&store)), exact(&joined((0..3).map(batch)).ledger));
    assert_eq!(files(&dir.path().join("quarantine"), "flows-").len(), 1);
    drop(store);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(store.stats().damaged_segments, 0, "said once");
}

#[test]
fn a_segment_with_other_bytes_is_an_error_that_names_it() {
    use netspectra_common::model::TimeRange;
    use netspectra_common::query::{Filter, Plan, Query};
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &batch(0)).unwrap();
    run(store.seal()).unwrap();
    let [path] = &segments(dir.path(), Dataset::Flows)[..] else { panic!("one segment") };
    let whole = std::fs::read(path).unwrap();
    let query = Query::Flows { limit: 10, after: None };
    let plan = Plan { range: TimeRange::ALL, filter: Filter::ALL, query };
    let mut errors = 0;
    for at in (0..whole.len()).step_by(101) {
        let mut bytes = whole.clone();
        bytes[at..].iter_mut().take(40).for_each(|b| *b = b.wrapping_mul(31).wrapping_add(7));
        std::fs::write(path, &bytes).unwrap();
        // A fresh view of the file each time: the footer is kept once it was read.
        let fresh = EmbeddedStore::open(copy_of(dir.path()).path(), quiet()).unwrap();
        if let Err(error) = run(fresh.query(&plan)) {
            errors += 1;
            let text = error.to_string();
            assert!(text.contains("flows-") || text.contains("query"), "{text}");
            assert!(!error.transient);
        }
    }
    assert!(errors > 10, "most of it is noticed: {errors}");
}

#[test]
fn what_a_crash_left_half_done_is_removed() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &batch(0)).unwrap();
    run(store.seal()).unwrap();
    drop(store);
    let sealed = segments(dir.path(), Dataset::Flows).remove(0);
    let leftovers =
        ["flows-0000000009.tmp", "MANIFEST.tmp", "flows-0000000009-1-2.parquet", "log-0000000000000000.nslog"];
    for name in leftovers {
        std::fs::copy(&sealed, dir.path().join(name)).unwrap();
    }
    let unrelated = dir.path().join("notes.txt");
    std::fs::write(&unrelated, "mine").unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for name in leftovers {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    assert!(unrelated.exists());
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&batch(0).flows));
}
