//! Making merged rows of windows that no more are expected of.

use super::super::query::{self, Blocks};
use super::super::rows::{MergedKey, MergedRow, nanos, time};
use super::super::{ClickHouseStore, END, SEND, port_error};
use super::cover::{Cover, Minute, through, usable};
use super::{HOUR, MINUTE, Sketches, Wanted, begin, keys, minutes, read_cover};
use crate::window::merge_states;
use netspectra_common::model::{Nanos, Resolution, TimeRange, WindowState};
use netspectra_common::ports::PortError;
use netspectra_common::sketch::hash64;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// After its end, in the time of windows, a minute or an hour is left alone for this long: nodes are not equally fast.
const LAG: i64 = 2 * MINUTE;
/// What a pass looks at, back from the newest window: some hours, because an hour is merged when it has ended.
const RECENT: i64 = 3 * HOUR;
/// What a pass looks at of what was there before.
const DAY: i64 = 24 * HOUR;
/// Rows that are inserted together: each may take some 600 KB.
const AT_ONCE: usize = 32;
/// Minutes of partitions with late windows after which a merged row is made again.
const LATE: usize = 16;

/// What a pass made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows of a minute.
    pub minutes: u64,
    /// Rows of an hour.
    pub hours: u64,
}

impl AddAssign for Merged {
    fn add_assign(&mut self, other: Self) {
        self.minutes += other.minutes;
        self.hours += other.hours;
    }
}

/// How far windows are merged. Any number of processes may do it at any time, or none: answers do not depend on it.
#[derive(Debug, Default)]
pub struct Merging {
    /// Where what was not looked at yet ends; `None`: nothing was.
    older: Option<i64>,
}

impl Merging {
    /// Nothing was looked at yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Merges the windows of the last hours as far as they are complete, and those of a day of what was there before, each
    /// time an earlier one. `now`: windows that begin later are of nodes whose clocks are ahead.
    ///
    /// Memory: some windows with their sketches, 20 MB. Cost: every window's sketches are read twice.
    ///
    /// # Errors
    /// As any call; what was merged until then stays.
    pub async fn pass(&mut self, store: &ClickHouseStore, now: Nanos) -> Result<Merged, PortError> {
        let blocks = Blocks { store, topic: &store.topic, cuts: query::cuts(store, &store.topic).await? };
        let sql =
            format!("SELECT min(start), max(start) FROM windows WHERE {} AND resolution_seconds = 60", query::BLOCKS);
        let (first, last) = blocks.query(&sql).fetch_one::<(i64, i64)>().await.map_err(query::failed)?;
        // Also what it is where there is none.
        if last == 0 {
            return Ok(Merged::default());
        }
        let newest = last.min(time(now));
        let recent = begin(newest - RECENT, HOUR);
        let mut made = merge(&blocks, recent, newest + MINUTE, newest).await?;
        let until = self.older.unwrap_or(recent);
        if until > first {
            let of_before = merge(&blocks, until - DAY, until, newest).await?;
            made += of_before;
            self.older = Some(until - DAY);
        }
        Ok(made)
    }
}

/// Merges what begins from `from` on and before `to` and is not merged yet: minutes of which there are several windows, then
/// hours.
async fn merge(blocks: &Blocks<'_>, from: i64, to: i64, newest: i64) -> Result<Merged, PortError> {
    let mut made = Merged::default();
    // Whole hours, and nothing that only ends in it.
    let range = TimeRange { from: nanos(from), to: nanos(to) };
    let wanted = Wanted { resolution: Resolution::S60, range, sketches: Sketches::None };
    let there: Vec<Minute> = minutes(blocks, &wanted).await?.into_iter().filter(|m| m.start >= from).collect();
    for (length, count) in [(MINUTE, &mut made.minutes), (HOUR, &mut made.hours)] {
        let merged = keys(blocks, &wanted).await?;
        let due: Vec<(i64, Vec<u32>)> = due(length, newest, &blocks.cuts, &there, &merged).into_iter().collect();
        for some in due.chunks(AT_ONCE) {
            let mut rows = Vec::new();
            for (start, of) in some {
                let range = TimeRange { from: nanos(*start), to: nanos(start + length) };
                let cover = Cover::of(range, &blocks.cuts, &there, &merged);
                let key = key(blocks, length, *start, of);
                rows.extend(sum(blocks, range, &cover, &key).await?);
            }
            insert(blocks, &rows).await?;
            *count += rows.len() as u64;
        }
    }
    Ok(made)
}

/// The begins of what is to be merged, with the partitions that have windows there.
pub(super) fn due(
    length: i64,
    newest: i64,
    cuts: &BTreeMap<u32, u64>,
    there: &[Minute],
    merged: &[MergedKey],
) -> BTreeMap<i64, Vec<u32>> {
    let best = usable(cuts, merged);
    let mut of: BTreeMap<i64, Vec<&Minute>> = BTreeMap::new();
    for minute in there {
        of.entry(begin(minute.start, length)).or_default().push(minute);
    }
    of.retain(|start, minutes| {
        let key = best.get(&(length, *start));
        let late = |m: &&&Minute| key.and_then(|key| through(key, m.partition)).is_none_or(|through| m.last > through);
        let worth_it = match key {
            Some(_) => minutes.iter().filter(late).count() >= LATE,
            None => minutes.iter().map(|m| m.rows).sum::<u64>() > 1,
        };
        *start + length + LAG <= newest && worth_it
    });
    let partitions = |minutes: Vec<&Minute>| {
        let mut partitions: Vec<u32> = minutes.iter().map(|m| m.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    };
    of.into_iter().map(|(start, minutes)| (start, partitions(minutes))).collect()
}

/// What names the row of `length` from `start` on, with all that there is of the partitions `of`.
fn key(blocks: &Blocks<'_>, length: i64, start: i64, of: &[u32]) -> MergedKey {
    let (partitions, throughs): (Vec<u32>, Vec<u64>) =
        of.iter().filter_map(|p| blocks.cuts.get(p).map(|cut| (*p, *cut))).unzip();
    let bytes: Vec<u8> = partitions
        .iter()
        .zip(&throughs)
        .flat_map(|(p, t)| [u64::from(*p).to_be_bytes(), t.to_be_bytes()])
        .flatten()
        .collect();
    MergedKey { id: hash64(&bytes), length_seconds: (length / 1_000_000_000) as u32, start, partitions, throughs }
}

/// The sum of the windows of `range`, which are in the rows of `cover`.
async fn sum(
    blocks: &Blocks<'_>,
    range: TimeRange,
    cover: &Cover,
    key: &MergedKey,
) -> Result<Option<MergedRow>, PortError> {
    let mut sum: Option<(WindowState, TimeRange)> = None;
    let fold = |window: &WindowState, of: TimeRange| match &mut sum {
        Some((sum, range)) => {
            merge_states(sum, window);
            *range = TimeRange { from: range.from.min(of.from), to: range.to.max(of.to) };
        }
        None => sum = Some((window.clone(), of)),
    };
    read_cover(blocks, &Wanted { resolution: Resolution::S60, range, sketches: Sketches::All }, cover, fold).await?;
    let Some((sum, TimeRange { from, to })) = sum else { return Ok(None) };
    Ok(Some(MergedRow::of(blocks.topic, key, (from, to.minus(Resolution::S60.duration())), &sum)))
}

async fn insert(blocks: &Blocks<'_>, rows: &[MergedRow]) -> Result<(), PortError> {
    let failed = |error| port_error("ClickHouse did not take a merged window", error);
    let insert = blocks.store.client.insert::<MergedRow>("merged_windows").await.map_err(failed)?;
    let mut insert = insert.with_timeouts(Some(SEND), Some(END));
    for row in rows {
        insert.write(row).await.map_err(failed)?;
    }
    insert.end().await.map_err(failed)
}
