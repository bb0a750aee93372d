//! Windows: as engines write them, one a node, and merged over nodes and time.
//!
//! A merged row is the sum of all windows of a minute in its minute or hour, of the blocks that it names. It is made of stored
//! windows and stands for them: an answer is the same with it and without, but for the order in which sketches are merged, and
//! takes less to read. One that is missing, or there twice, or older than a late window, changes nothing.

mod cover;
mod merge;
#[cfg(test)]
pub(super) mod tests;

pub use merge::{Merged, Merging};

use super::query::{BLOCKS, Blocks, failed, fields, strange};
use super::rows::{MergedKey, MergedRow, WindowRow, time};
use clickhouse::Row;
use clickhouse::query::RowCursor as Rows;
use cover::{Cover, Minute, Rest};
use netspectra_common::model::{Resolution, TimeRange, WindowState};
use netspectra_common::ports::PortError;
use netspectra_common::query::Plan;
use netspectra_common::schema::SKETCHES;

/// Lengths of merged rows, in nanoseconds.
const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// The begin of the `length` that `at` is in.
const fn begin(at: i64, length: i64) -> i64 {
    at - at.rem_euclid(length)
}

/// An instant as SQL.
fn at(nanos: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({nanos}))")
}

/// Sketches that are read; the other ones are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sketches {
    None,
    One(&'static str),
    All,
}

impl Sketches {
    pub(super) fn of(plan: &Plan) -> Self {
        plan.sketch().map_or(Self::None, Self::One)
    }

    /// The columns of a row, those of other sketches as empty.
    fn columns<R: Row>(self) -> String {
        let wanted = |name: &str| match self {
            Self::None => false,
            Self::One(one) => one == name,
            Self::All => true,
        };
        let column = |name: &&str| match SKETCHES.contains(name) && !wanted(name) {
            true => format!("'' AS {name}"),
            false => (*name).to_owned(),
        };
        R::COLUMN_NAMES.iter().map(column).collect::<Vec<_>>().join(", ")
    }
}

/// What is read.
pub(super) struct Wanted {
    pub(super) resolution: Resolution,
    pub(super) range: TimeRange,
    pub(super) sketches: Sketches,
}

impl Wanted {
    /// The condition that a window shares an instant with the range; binds nothing.
    fn condition(&self) -> String {
        let TimeRange { from, to } = self.range;
        let length = self.resolution.duration();
        // Half-open on both sides, as windows and ranges are.
        let first = if from.0 == 0 { -1 } else { time(from).saturating_sub(length.as_nanos() as i64) };
        format!("start > {} AND start < {}", at(first), at(time(to)))
    }
}

/// Gives the windows of `blocks` that share an instant with a range, in an order that depends on nothing but them, each with
/// the time that it is of. Windows of a minute whose sketches are asked for come merged as far as they are.
pub(super) async fn read(
    blocks: &Blocks<'_>,
    wanted: &Wanted,
    mut fold: impl FnMut(&WindowState, TimeRange),
) -> Result<(), PortError> {
    if wanted.resolution != Resolution::S60 || wanted.sketches == Sketches::None {
        return read_windows(blocks, wanted, "", &mut fold).await;
    }
    let minutes = minutes(blocks, wanted).await?;
    let merged = keys(blocks, wanted).await?;
    read_cover(blocks, wanted, &Cover::of(wanted.range, &blocks.cuts, &minutes, &merged), fold).await
}

/// [`read`], of windows of a minute, by the rows of `cover`.
async fn read_cover(
    blocks: &Blocks<'_>,
    wanted: &Wanted,
    cover: &Cover,
    mut fold: impl FnMut(&WindowState, TimeRange),
) -> Result<(), PortError> {
    fold_merged(blocks, &cover.merged, wanted, &mut fold).await?;
    if cover.rest.is_empty() {
        return Ok(());
    }
    let only = format!(" AND ({})", cover.rest.iter().map(condition).collect::<Vec<_>>().join(" OR "));
    read_windows(blocks, wanted, &only, &mut fold).await
}

/// Windows as they are stored, those for which the condition `only` holds.
async fn read_windows(
    blocks: &Blocks<'_>,
    wanted: &Wanted,
    only: &str,
    fold: &mut impl FnMut(&WindowState, TimeRange),
) -> Result<(), PortError> {
    // Merging sketches in one order gives the same bytes each time.
    let sql = format!(
        "SELECT {} FROM windows WHERE {BLOCKS} AND resolution_seconds = {} AND {}{only} \
         ORDER BY start, node, log_partition, block_last",
        wanted.sketches.columns::<WindowRow>(),
        wanted.resolution.secs(),
        wanted.condition(),
    );
    let mut rows: Rows<WindowRow> = blocks.query(&sql).fetch().map_err(failed)?;
    while let Some(row) = rows.next().await.map_err(failed)? {
        let window = row.window().map_err(strange)?;
        fold(&window, window.range());
    }
    Ok(())
}

fn condition(rest: &Rest) -> String {
    let partitions: Vec<String> = rest.partitions.iter().map(u32::to_string).collect();
    let after = rest.after.map_or_else(String::new, |after| format!(" AND block_last > {after}"));
    format!(
        "(log_partition IN ({}) AND start >= {} AND start < {}{after})",
        partitions.join(", "),
        at(rest.from),
        at(rest.to)
    )
}

/// What windows of a minute there are.
async fn minutes(blocks: &Blocks<'_>, wanted: &Wanted) -> Result<Vec<Minute>, PortError> {
    let sql = format!(
        "SELECT log_partition AS partition, start, max(block_last) AS last, count() AS rows FROM windows \
         WHERE {BLOCKS} AND resolution_seconds = 60 AND {} GROUP BY log_partition, start ORDER BY start, log_partition",
        wanted.condition()
    );
    blocks.query(&sql).fetch_all::<Minute>().await.map_err(failed)
}

/// What merged rows there are.
async fn keys(blocks: &Blocks<'_>, wanted: &Wanted) -> Result<Vec<MergedKey>, PortError> {
    let sql = format!(
        "SELECT {} FROM merged_windows WHERE log_topic = {{topic:String}} AND {}",
        fields::<MergedKey>(),
        wanted.condition()
    );
    blocks.query(&sql).fetch_all::<MergedKey>().await.map_err(failed)
}

async fn fold_merged(
    blocks: &Blocks<'_>,
    keys: &[MergedKey],
    wanted: &Wanted,
    fold: &mut impl FnMut(&WindowState, TimeRange),
) -> Result<(), PortError> {
    /// Rows a query asks for: their names must fit into it.
    const AT_ONCE: usize = 1000;
    for some in keys.chunks(AT_ONCE) {
        let named: Vec<String> =
            some.iter().map(|key| format!("({}, {}, {})", key.length_seconds, at(key.start), key.id)).collect();
        let sql = format!(
            "SELECT {} FROM merged_windows WHERE log_topic = {{topic:String}} AND start >= {} AND start <= {} AND (length_seconds, start, id) IN ({}) \
             ORDER BY start, length_seconds LIMIT 1 BY start, length_seconds",
            wanted.sketches.columns::<MergedRow>(),
            at(some.first().map_or(0, |key| key.start)),
            at(some.last().map_or(0, |key| key.start)),
            named.join(", "),
        );
        let mut rows: Rows<MergedRow> = blocks.query(&sql).fetch().map_err(failed)?;
        let mut found = 0;
        while let Some(row) = rows.next().await.map_err(failed)? {
            let (window, of) = row.sum().map_err(strange)?;
            fold(&window, of);
            found += 1;
        }
        if found != some.len() {
            return Err(PortError::transient(format!(
                "ClickHouse gave {found} of {} merged windows that it has: rows went meanwhile, ask again",
                some.len()
            )));
        }
    }
    Ok(())
}
