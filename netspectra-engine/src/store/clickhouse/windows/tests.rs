//! Merged rows stand for windows: each window counts once, and answers are the same with them and without.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::cover::{Cover, Minute, through};
use super::merge::due;
use super::*;
use crate::store::clickhouse::ClickHouseStore;
use crate::store::clickhouse::tests::{drop_database, embedded, store, text};
use netspectra_common::model::{BlockId, Counter, Nanos, WindowSketches};
use netspectra_common::ports::{BlockStore, Store, StoreBatch, Through};
use netspectra_common::query::keys::pair;
use netspectra_common::query::{Filter, Metric, Quantity, Query};
use netspectra_common::schema::Dimension;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// A begin of an hour.
const T0: i64 = 1_700_006_400_000_000_000;
/// After everything.
pub(in crate::store::clickhouse) const NOW: Nanos = Nanos(2_000_000_000_000_000_000);

fn key(length: i64, start: i64, id: u64, blocks: &[(u32, u64)]) -> MergedKey {
    let (partitions, throughs) = blocks.iter().copied().unzip();
    MergedKey { id, length_seconds: (length / 1_000_000_000) as u32, start, partitions, throughs }
}

/// A window: partition, minute, block.
type Window = (u32, i64, u64);

fn minutes_of(windows: &[Window], cuts: &BTreeMap<u32, u64>) -> Vec<Minute> {
    let mut all: BTreeMap<(i64, u32), Minute> = BTreeMap::new();
    for (partition, start, block) in windows.iter().filter(|(p, _, block)| cuts.get(p).is_some_and(|cut| block <= cut))
    {
        let minute = all.entry((*start, *partition)).or_insert(Minute {
            partition: *partition,
            start: *start,
            last: 0,
            rows: 0,
        });
        minute.last = minute.last.max(*block);
        minute.rows += 1;
    }
    all.into_values().collect()
}

proptest! {
    #[test]
    fn every_window_of_the_blocks_asked_for_is_in_one_row(
        windows in prop::collection::vec((0u32..3, 0i64..150, 0u64..8), 0..80),
        keys in prop::collection::vec((any::<bool>(), 0i64..150, prop::collection::btree_map(0u32..3, 0u64..8, 0..4)), 0..12),
        cuts in prop::collection::btree_map(0u32..3, 0u64..8, 0..4),
        (from, length) in (0i64..9000, 1i64..9000),
    ) {
        let windows: Vec<Window> = windows.into_iter().map(|(p, m, b)| (p, T0 + m * MINUTE, b)).collect();
        let keys: Vec<MergedKey> = keys
            .into_iter()
            .enumerate()
            .map(|(id, (hour, minute, blocks))| {
                let length = if hour { HOUR } else { MINUTE };
                key(length, begin(T0 + minute * MINUTE, length), id as u64, &blocks.into_iter().collect::<Vec<_>>())
            })
            .collect();
        let second = |s: i64| Nanos((T0 + s * 1_000_000_000) as u64);
        let range = TimeRange { from: second(from), to: second(from + length) };
        let cover = Cover::of(range, &cuts, &minutes_of(&windows, &cuts), &keys);
        for (partition, start, block) in windows {
            let of = TimeRange { from: Nanos(start as u64), to: Nanos((start + MINUTE) as u64) };
            let wanted = cuts.get(&partition).is_some_and(|cut| block <= *cut) && of.from < range.to && of.to > range.from;
            let in_merged = cover.merged.iter().filter(|key| {
                let length = i64::from(key.length_seconds) * 1_000_000_000;
                (key.start..key.start + length).contains(&start) && through(key, partition).is_some_and(|t| block <= t)
            });
            let in_rest = cover.rest.iter().filter(|rest| {
                rest.partitions.contains(&partition)
                    && (rest.from..rest.to).contains(&start)
                    && rest.after.is_none_or(|after| block > after)
            });
            // What is not asked for is kept out by the queries' own conditions where it is in a rest, and must be in no merged row.
            let (merged, rest) = (in_merged.count(), in_rest.count());
            if wanted {
                prop_assert_eq!(merged + rest, 1, "partition {}, minute {}, block {}", partition, (start - T0) / MINUTE, block);
            } else {
                prop_assert_eq!(merged, 0, "partition {}, minute {}, block {}", partition, (start - T0) / MINUTE, block);
            }
        }
    }
}

#[test]
fn what_is_merged_is_complete_and_worth_it_and_made_again_when_much_came_late() {
    let cuts = BTreeMap::from([(0, 100), (1, 100)]);
    let minute = |partition, m: i64, last, rows| Minute { partition, start: T0 + m * MINUTE, last, rows };
    let there = [minute(0, 0, 5, 1), minute(1, 0, 7, 1), minute(0, 1, 6, 1), minute(0, 61, 50, 3)];
    let newest = T0 + 63 * MINUTE;
    let starts = |length, newest, merged: &[MergedKey]| -> Vec<(i64, Vec<u32>)> {
        due(length, newest, &cuts, &there, merged).into_iter().map(|(s, p)| ((s - T0) / MINUTE, p)).collect()
    };
    // A minute with one window is as short as its sum would be; minute 61 may still get more.
    assert_eq!(starts(MINUTE, newest, &[]), [(0, vec![0, 1])]);
    assert_eq!(starts(MINUTE, newest + MINUTE, &[]), [(0, vec![0, 1]), (61, vec![0])]);
    assert_eq!(starts(HOUR, newest, &[]), [(0, vec![0, 1])]);
    assert_eq!(starts(HOUR, T0 + 61 * MINUTE, &[]), []);
    let merged = [key(MINUTE, T0, 1, &[(0, 5), (1, 7)]), key(HOUR, T0, 1, &[(0, 6), (1, 6)])];
    assert_eq!(starts(MINUTE, newest, &merged), []);
    // One late window of partition 1 is read beside the row.
    assert_eq!(starts(HOUR, newest, &merged), []);
    let late = |n: u32| (0..n).map(|p| minute(p + 1, 0, 8, 1)).collect::<Vec<_>>();
    let again = |n| due(MINUTE, newest, &cuts, &late(n), &merged).len();
    assert_eq!((again(15), again(16)), (0, 1));
}

/// Windows of two nodes a partition and minute, three partitions, blocks of ten minutes.
pub(in crate::store::clickhouse) fn blocks(minutes: std::ops::Range<i64>) -> Vec<StoreBatch> {
    let mut all: Vec<StoreBatch> = Vec::new();
    for partition in 0..3u32 {
        let mut batch = StoreBatch::default();
        for minute in minutes.clone() {
            for node in 0..2 {
                batch.windows.push(window(partition * 2 + node, minute));
            }
            if minute % 10 == 9 || minute + 1 == minutes.end {
                let first = minute as u64 / 10 * 10;
                batch.block = Some(BlockId { topic: "flows".into(), partition, first, last: minute as u64 });
                all.push(std::mem::take(&mut batch));
            }
        }
    }
    all
}

fn window(node: u32, minute: i64) -> WindowState {
    let mut sketches = WindowSketches::default();
    for n in 0..20u64 {
        let seed = u64::from(node) * 31 + minute as u64 * 17 + n * n;
        let (src, dst) = (u128::from(seed % 61).to_be_bytes(), u128::from(seed % 37).to_be_bytes());
        sketches.src_ips.insert(&src);
        sketches.dst_ips.insert(&dst);
        sketches.pairs.insert(&[src, dst].concat());
        sketches.peers.insert(&pair(&src, &dst));
        sketches.top_src_bytes.add(&src, 1 + seed % 1000);
        sketches.top_dst_packets.add(&dst, 1 + seed % 10);
        sketches.packet_size.add(60.0 + (seed % 1400) as f64, 3);
    }
    let counter = Counter::new(20 + minute as u64, 2000 + u64::from(node));
    WindowState {
        node: format!("node{node}").into(),
        resolution: Resolution::S60,
        start: Nanos((T0 + minute * MINUTE) as u64),
        total: counter,
        new_flows: 7,
        protocols: [(Some(6), counter), (None, Counter::new(1, 60))].into(),
        sketches: Some(Box::new(sketches)),
    }
}

pub(in crate::store::clickhouse) fn plans() -> Vec<Plan> {
    let at = |s: i64| Nanos((T0 + s * 1_000_000_000) as u64);
    let ranges = [
        TimeRange::ALL,
        TimeRange { from: at(0), to: at(4 * 3600) },
        TimeRange { from: at(59), to: at(2 * 3600 + 1) },
        TimeRange { from: at(1800), to: at(3 * 3600 - 1) },
        TimeRange { from: at(600), to: at(1700) },
    ];
    let top = |by, metric| Query::Top { by: vec![by], metric, limit: 100, exact: false };
    let queries = [
        top(Dimension::SrcIp, Metric::Bytes),
        top(Dimension::DstIp, Metric::Packets),
        top(Dimension::SrcIp, Metric::Peers),
        Query::Cardinality { of: vec![Dimension::SrcIp] },
        Query::Cardinality { of: vec![Dimension::SrcIp, Dimension::DstIp] },
        Query::Quantiles { of: Quantity::PacketSize, q: vec![0.1, 0.5, 0.99] },
        Query::Series { step: Duration::from_secs(60), by: vec![Dimension::Node] },
        Query::Series { step: Duration::from_secs(3600), by: vec![] },
    ];
    ranges
        .iter()
        .flat_map(|range| queries.iter().map(|query| Plan { range: *range, filter: Filter::ALL, query: query.clone() }))
        .collect()
}

async fn equal(store: &ClickHouseStore, blocks: &[StoreBatch], through: &Through) {
    let asked = |b: &&StoreBatch| {
        let id = b.block.as_ref().unwrap();
        through.get(&id.partition).is_none_or(|until| Some(id.last) <= *until)
    };
    let dir = tempfile::tempdir().unwrap();
    let other = embedded(dir.path(), &blocks.iter().filter(asked).cloned().collect::<Vec<_>>()).await;
    for plan in plans() {
        let found = store.query_through(&plan, "flows", through).await.unwrap();
        let expected = other.query(&plan).await.unwrap();
        assert_eq!(text(&plan, found), text(&plan, expected), "{through:?} {plan:?}");
    }
}

/// Merged rows that a question would take.
async fn taken(store: &ClickHouseStore) -> (usize, usize) {
    let cuts = super::super::query::cuts(store, "flows").await.unwrap();
    let blocks = Blocks { store, topic: "flows", cuts };
    let wanted = Wanted { resolution: Resolution::S60, range: TimeRange::ALL, sketches: Sketches::None };
    let minutes = minutes(&blocks, &wanted).await.unwrap();
    let merged = keys(&blocks, &wanted).await.unwrap();
    let cover = Cover::of(wanted.range, &blocks.cuts, &minutes, &merged);
    (cover.merged.len(), cover.rest.len())
}

#[tokio::test]
async fn answers_are_the_same_with_merged_windows_and_without() {
    let store = store("merged").await;
    // Two hours and ten minutes.
    let mut all = blocks(0..130);
    for block in &all {
        store.append(block).await.unwrap();
    }
    let everything = Through::new();
    equal(&store, &all, &everything).await;
    assert_eq!(taken(&store).await, (0, 1));
    assert_eq!(Merging::new().pass(&store, NOW).await.unwrap(), Merged { minutes: 127, hours: 2 });
    // Two hours, seven minutes, and what may still get more.
    assert_eq!(taken(&store).await, (9, 1));
    equal(&store, &all, &everything).await;
    // Who asks for fewer blocks gets none of the others by way of merged rows.
    equal(&store, &all, &Through::from([(0, Some(59)), (1, None)])).await;
    equal(&store, &all, &Through::from([(2, Some(129))])).await;
    assert_eq!(Merging::new().pass(&store, NOW).await.unwrap(), Merged::default());

    // A node that was far behind.
    let late = |last: u64, minutes: std::ops::Range<i64>| StoreBatch {
        windows: minutes.map(|m| window(9, m)).collect(),
        block: Some(BlockId { topic: "flows".into(), partition: 2, first: last, last }),
        ..StoreBatch::default()
    };
    for (last, minutes, again) in [
        (200, 50..60, Merged::default()),
        // With the ten from before they are enough: it is made anew.
        (201, 0..9, Merged { minutes: 0, hours: 1 }),
    ] {
        let block = late(last, minutes);
        store.append(&block).await.unwrap();
        all.push(block);
        equal(&store, &all, &everything).await;
        assert_eq!(Merging::new().pass(&store, NOW).await.unwrap(), again);
        equal(&store, &all, &everything).await;
    }
    // A node whose clock is days ahead makes nothing complete.
    let mut ahead = late(202, 200..201);
    ahead.windows.push(window(9, 9000));
    store.append(&ahead).await.unwrap();
    let now = Nanos((T0 + 129 * MINUTE) as u64);
    assert_eq!(Merging::new().pass(&store, now).await.unwrap(), Merged::default());
    all.push(ahead);
    equal(&store, &all, &everything).await;
    // The older row still answers who asks for what is in it.
    equal(&store, &all, &Through::from([(2, Some(150))])).await;
    drop_database(&store).await;
}
