use super::sample::{BATCH_ROWS, T0, batch, exact, joined};
use super::{append, quiet, rows, rows_in, run, segments};
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::rows::Record;
use crate::store::embedded::{Config, EmbeddedStore};
use arrow::array::RecordBatch;
use netspectra_common::model::{
    Alert, AppMessage, FlowRecord, LedgerEntry, Nanos, Resolution, Rollup, TimeRange, WindowState,
};
use netspectra_common::ports::{Store, StoreBatch};
use std::time::Duration;

/// `store` holds the rows of `expected`, each once.
fn assert_holds(store: &EmbeddedStore, expected: &StoreBatch, place: &str) {
    assert_eq!(exact(&rows::<FlowRecord>(store)), exact(&expected.flows), "flows {place}");
    assert_eq!(exact(&rows::<Rollup>(store)), exact(&expected.rollups), "rollups {place}");
    assert_eq!(exact(&rows::<WindowState>(store)), exact(&expected.windows), "windows {place}");
    assert_eq!(exact(&rows::<LedgerEntry>(store)), exact(&expected.ledger), "ledger {place}");
    assert_eq!(exact(&rows::<Alert>(store)), exact(&expected.alerts), "alerts {place}");
    assert_eq!(exact(&rows::<AppMessage>(store)), exact(&expected.messages), "messages {place}");
}

#[test]
fn every_field_survives_memory_log_segment_and_merge() {
    let dir = tempfile::tempdir().unwrap();
    let all = joined((0..40).map(batch));
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..20 {
        append(&store, &batch(n)).unwrap();
    }
    assert_holds(&store, &joined((0..20).map(batch)), "in memory");
    assert!(run(store.seal()).unwrap());
    assert_holds(&store, &joined((0..20).map(batch)), "in segments");
    for n in 20..40 {
        append(&store, &batch(n)).unwrap();
    }
    assert_holds(&store, &all, "half in segments, half in memory");
    drop(store);
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(store.stats().recovered_batches, 20);
    assert_eq!(store.stats().memory_rows, 20 * BATCH_ROWS);
    assert_holds(&store, &all, "half in segments, half from the log");
    assert!(run(store.seal()).unwrap());
    assert_holds(&store, &all, "all in segments");
    assert_eq!(store.stats().memory_rows, 0);
    assert_eq!(store.stats().segment_rows, 40 * BATCH_ROWS);
    drop(store);
    let store = EmbeddedStore::open(dir.path(), Config::default()).unwrap();
    assert_holds(&store, &all, "after another start");
    assert!(!run(store.seal()).unwrap(), "there is nothing to seal");
}

#[test]
fn rows_written_before_tcp_was_measured_read_as_if_nothing_was_seen() {
    let all = batch(1).flows;
    let whole = FlowRecord::encode(&all.iter().collect::<Vec<_>>()).unwrap();
    let new = |name: &str| {
        ["retransmitted", "out_of_order", "zero_windows"].iter().any(|n| name.ends_with(n)) || name.ends_with("_rtt_us")
    };
    let old: Vec<usize> = (0..whole.num_columns()).filter(|i| !new(whole.schema().field(*i).name())).collect();
    assert_eq!(old.len() + 8, whole.num_columns());
    let mut read = Vec::new();
    FlowRecord::decode(&mut Default::default(), &whole.project(&old).unwrap(), &mut |r| read.push(r)).unwrap();
    let expected = all.into_iter().map(|r| FlowRecord {
        retransmitted: 0,
        reverse_retransmitted: 0,
        out_of_order: 0,
        reverse_out_of_order: 0,
        zero_windows: 0,
        reverse_zero_windows: 0,
        server_rtt_us: None,
        client_rtt_us: None,
        ..r
    });
    assert_eq!(read, expected.collect::<Vec<_>>());
}

#[test]
fn entries_and_windows_written_before_devices_and_times_were_measured_read_as_if_nothing_was_seen() {
    let all = batch(2);
    let old = |whole: &RecordBatch, new: &[&str]| {
        let kept = (0..whole.num_columns()).filter(|i| !new.contains(&whole.schema().field(*i).name().as_str()));
        let kept: Vec<usize> = kept.collect();
        assert_eq!(kept.len() + new.len(), whole.num_columns());
        whole.project(&kept).unwrap()
    };
    let whole = LedgerEntry::encode(&all.ledger.iter().collect::<Vec<_>>()).unwrap();
    let mut read = Vec::new();
    let before = old(&whole, &["nics", "chain_breaks"]);
    LedgerEntry::decode(&mut Default::default(), &before, &mut |r| read.push(r)).unwrap();
    let expected = all.ledger.into_iter().map(|e| LedgerEntry { nics: Vec::new(), chain_break: false, ..e });
    assert_eq!(read, expected.collect::<Vec<_>>());

    let whole = WindowState::encode(&all.windows.iter().collect::<Vec<_>>()).unwrap();
    let mut read: Vec<WindowState> = Vec::new();
    let before = old(&whole, &["server_rtt", "client_rtt", "dns_latency"]);
    WindowState::decode(&mut Default::default(), &before, &mut |r| read.push(r)).unwrap();
    let mut expected = all.windows;
    for s in expected.iter_mut().filter_map(|w| w.sketches.as_deref_mut()) {
        for sketch in [&mut s.server_rtt, &mut s.client_rtt, &mut s.dns_latency] {
            *sketch = Default::default();
        }
    }
    assert_eq!(exact(&read), exact(&expected));
}

#[test]
fn times_to_the_end_of_their_range_survive() {
    let dir = tempfile::tempdir().unwrap();
    let mut odd = batch(1);
    odd.flows[0].first_seen = Nanos(u64::MAX);
    odd.flows[0].last_seen = Nanos(u64::MAX);
    odd.flows[1].first_seen = Nanos(0);
    odd.flows[1].last_seen = Nanos(i64::MAX as u64 + 7);
    // A clock that was set back.
    odd.flows[2].last_seen = odd.flows[2].first_seen.minus(Duration::from_secs(100));
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &odd).unwrap();
    run(store.seal()).unwrap();
    assert_holds(&store, &odd, "in segments");
    let late = TimeRange { from: Nanos(i64::MAX as u64), to: Nanos(u64::MAX) };
    let found: Vec<FlowRecord> = rows_in(&store, late, None);
    assert!(found.contains(&odd.flows[1]), "a time beyond 2262 is not pruned away");
}

#[test]
fn a_range_reads_what_overlaps_it_and_prunes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    let day = Duration::from_secs(86_400);
    for n in [0, 86_400, 2 * 86_400] {
        append(&store, &batch(n)).unwrap();
        run(store.seal()).unwrap();
    }
    append(&store, &batch(3 * 86_400)).unwrap();
    let second = TimeRange { from: T0.plus(day), to: T0.plus(day + Duration::from_secs(60)) };
    assert_eq!(exact(&rows_in::<FlowRecord>(&store, second, None)), exact(&batch(86_400).flows));
    assert_eq!(exact(&rows_in::<LedgerEntry>(&store, second, None)), exact(&batch(86_400).ledger));
    let last = TimeRange { from: T0.plus(3 * day), to: Nanos(u64::MAX) };
    assert_eq!(exact(&rows_in::<Rollup>(&store, last, None)), exact(&batch(3 * 86_400).rollups), "memory too");
    for resolution in Resolution::ALL {
        let found: Vec<WindowState> = rows_in(&store, TimeRange::ALL, Some(resolution));
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|w| w.resolution == resolution));
    }
}

#[test]
fn the_extent_covers_memory_and_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    assert_eq!(run(store.extent()).unwrap(), None);
    let entry = |secs: u64| {
        let mut only = StoreBatch { ledger: batch(secs).ledger, ..StoreBatch::default() };
        only.ledger[0].start = Nanos::from_secs(secs);
        only.ledger[0].end = Nanos::from_secs(secs + 1);
        only
    };
    append(&store, &entry(100)).unwrap();
    run(store.seal()).unwrap();
    append(&store, &entry(50)).unwrap();
    let extent = TimeRange { from: Nanos::from_secs(50), to: Nanos(101 * Nanos::PER_SECOND + 1) };
    assert_eq!(run(store.extent()).unwrap(), Some(extent));
}

#[test]
fn an_empty_batch_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    let before = store.stats();
    append(&store, &StoreBatch::default()).unwrap();
    assert_eq!(store.stats(), before);
}

#[test]
fn a_plain_parquet_reader_reads_segments() {
    use arrow::array::AsArray;
    use arrow::datatypes::{TimestampNanosecondType, UInt64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    append(&store, &batch(7)).unwrap();
    run(store.seal()).unwrap();
    let mut expected = batch(7).flows;
    expected.sort_by_key(|f| (f.last_seen, f.flow_id));
    let [path] = &segments(dir.path(), Dataset::Flows)[..] else { panic!("one segment of flows") };
    let file = std::fs::File::open(path).unwrap();
    let columns = ParquetRecordBatchReader::try_new(file, 1024).unwrap().next().unwrap().unwrap();
    assert_eq!(columns.num_rows(), expected.len());
    let ips = columns.column_by_name("src_ip").unwrap().as_string::<i32>();
    let bytes = columns.column_by_name("bytes").unwrap().as_primitive::<UInt64Type>();
    let last = columns.column_by_name("last_seen").unwrap().as_primitive::<TimestampNanosecondType>();
    assert_eq!(last.timezone(), Some("UTC"));
    for (i, flow) in expected.iter().enumerate() {
        let ip = ips.iter().nth(i).unwrap().map(str::to_owned);
        assert_eq!(ip, flow.src_ip.map(|ip| ip.to_string()));
        assert_eq!(bytes.value(i), flow.bytes);
        assert_eq!(last.value(i) as u64, flow.last_seen.0);
    }
    for dataset in Dataset::ALL {
        assert_eq!(segments(dir.path(), dataset).len(), 1, "{dataset:?}");
    }
}
