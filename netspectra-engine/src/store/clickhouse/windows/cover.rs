//! Which rows answer for a range: merged ones where there are any, and of the windows those that are in none of them.

use super::super::rows::MergedKey;
use super::{HOUR, MINUTE, begin};
use netspectra_common::model::TimeRange;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Conditions that a query has at most; a range that needs more is answered from the windows alone.
const MOST_RESTS: usize = 500;

/// Windows of a minute that a partition has of one begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clickhouse::Row)]
pub(super) struct Minute {
    pub(super) partition: u32,
    pub(super) start: i64,
    /// The last block with one of them.
    pub(super) last: u64,
    pub(super) rows: u64,
}

/// Windows that are read one by one: those that begin from `from` on and before `to`, of blocks behind `after`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rest {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) after: Option<u64>,
    pub(super) partitions: Vec<u32>,
}

/// The rows that answer for a range.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) merged: Vec<MergedKey>,
    pub(super) rest: Vec<Rest>,
}

/// Whether the windows of a minute that begin in the `length` from `start` on all share an instant with `range`.
fn whole(range: TimeRange, start: i64, length: i64) -> bool {
    let (from, to) = bounds(range);
    start.saturating_add(MINUTE) > from && start.saturating_add(length - MINUTE) < to
}

fn bounds(range: TimeRange) -> (i64, i64) {
    let time = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    (time(range.from.0), time(range.to.0))
}

/// The merged row to be taken for each length and begin: of those whose blocks are all asked for, that of the most.
pub(super) fn usable<'a>(cuts: &BTreeMap<u32, u64>, merged: &'a [MergedKey]) -> BTreeMap<(i64, i64), &'a MergedKey> {
    let asked = |key: &MergedKey| {
        key.partitions.len() == key.throughs.len()
            && key
                .partitions
                .iter()
                .zip(&key.throughs)
                .all(|(p, through)| cuts.get(p).is_some_and(|cut| through <= cut))
    };
    let blocks = |key: &MergedKey| (key.throughs.iter().fold(0u128, |sum, t| sum + u128::from(*t) + 1), key.id);
    let mut best: BTreeMap<(i64, i64), &MergedKey> = BTreeMap::new();
    for key in merged.iter().filter(|key| asked(key)) {
        let length = i64::from(key.length_seconds) * 1_000_000_000;
        let place = best.entry((length, key.start)).or_insert(key);
        if blocks(key) > blocks(place) {
            *place = key;
        }
    }
    best
}

/// The block of `partition` up to which `key` has everything.
pub(super) fn through(key: &MergedKey, partition: u32) -> Option<u64> {
    let at = key.partitions.iter().position(|p| *p == partition)?;
    key.throughs.get(at).copied()
}

impl Cover {
    /// Of the windows `minutes` (of blocks up to `cuts`) that share an instant with `range`: each one is in exactly one of
    /// the rows.
    pub(super) fn of(range: TimeRange, cuts: &BTreeMap<u32, u64>, minutes: &[Minute], merged: &[MergedKey]) -> Self {
        let best = usable(cuts, merged);
        let key_of = |start: i64| {
            let hour = begin(start, HOUR);
            let of_hour = best.get(&(HOUR, hour)).filter(|_| whole(range, hour, HOUR));
            of_hour.or_else(|| best.get(&(MINUTE, start))).copied()
        };
        let mut taken: BTreeSet<(u32, i64)> = BTreeSet::new();
        let mut cover = Self::default();
        let mut rest: Vec<(u32, Option<u64>, i64)> = Vec::new();
        for minute in minutes.iter().filter(|m| whole(range, m.start, MINUTE)) {
            let key = key_of(minute.start);
            let after = key.and_then(|key| through(key, minute.partition));
            if after.is_none_or(|after| minute.last > after) {
                rest.push((minute.partition, after, minute.start));
            }
            if let Some(key) = key
                && taken.insert((key.length_seconds, key.start))
            {
                cover.merged.push(key.clone());
            }
        }
        cover.merged.sort_by_key(|key| (key.start, key.length_seconds));
        cover.rest = joined(rest);
        if cover.rest.len() > MOST_RESTS { Self::of(range, cuts, minutes, &[]) } else { cover }
    }
}

/// Minutes next to each other as one, then partitions of which the same is asked.
fn joined(mut minutes: Vec<(u32, Option<u64>, i64)>) -> Vec<Rest> {
    minutes.sort_unstable();
    let mut of_partitions: Vec<(u32, Option<u64>, i64, i64)> = Vec::new();
    for (partition, after, start) in minutes {
        match of_partitions.last_mut() {
            Some((p, a, _, to)) if (*p, *a, *to) == (partition, after, start) => *to = start + MINUTE,
            _ => of_partitions.push((partition, after, start, start + MINUTE)),
        }
    }
    let mut rests: BTreeMap<(i64, i64, Option<u64>), Vec<u32>> = BTreeMap::new();
    for (partition, after, from, to) in of_partitions {
        rests.entry((from, to, after)).or_default().push(partition);
    }
    rests.into_iter().map(|((from, to, after), partitions)| Rest { from, to, after, partitions }).collect()
}
