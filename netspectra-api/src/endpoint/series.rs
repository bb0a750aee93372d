use super::Ask;
use crate::answers::{ask, mismatch, off_runtime};
use crate::encode::List;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::query::{Answer, Query};
use std::time::Duration;

/// Points that a step chosen here leads to, at most.
const AUTO_POINTS: u64 = 400;
/// Steps that are chosen, in seconds.
const AUTO_STEPS: [u64; 9] = [10, 30, 60, 300, 900, 3_600, 21_600, 86_400, 604_800];

/// Totals over time.
pub(crate) async fn series(Ask { app, params, format }: Ask) -> Result<Response, Problem> {
    let by = params.dimensions(&routes::SERIES_BY)?;
    let filter = params.filter()?;
    let now = app.clock.now();
    let step = params.step()?;
    let range = params.range(now)?;
    let span = bounded(range, app.answers.extent().await?, now);
    let step = step.unwrap_or_else(|| auto_step(span));
    let limit = app.limits.series_points;
    let points = span.to.since(span.from).as_nanos().div_ceil(step.as_nanos().max(1));
    if points > limit as u128 {
        let detail = format!("`step` of {} s makes {points} points: expected at most {limit}", step.as_secs_f64());
        return Err(Problem::param("step", detail).hint("take a longer `step`, a shorter range, or leave `step` out"));
    }
    let query = Query::Series { step, by: by.clone() };
    let (answer, completeness) = ask(&*app.answers, range, filter, query).await?;
    let Answer::Series(answer) = answer else { return Err(mismatch()) };
    if answer.points.len() > limit {
        let detail = format!("the series has {} points: expected at most {limit}", answer.points.len());
        return Err(Problem::param("by", detail).hint("group by less, filter, or take a longer `step`"));
    }
    off_runtime(move || {
        let items: Vec<_> = answer
            .points
            .iter()
            .map(|p| view::SeriesItem {
                start: p.start.to_string(),
                key: view::Key { dimensions: &by, values: &p.key },
                packets: p.packets,
                bytes: p.bytes,
                new_flows: p.new_flows,
            })
            .collect();
        let keys = by.iter().map(|d| format!("key.{}", d.name()));
        let columns: Vec<String> = std::iter::once("start".to_owned())
            .chain(keys)
            .chain(["packets", "bytes", "new_flows"].map(str::to_owned))
            .collect();
        let list = List { columns: &columns, items: &items, completeness: &completeness, next_cursor: None };
        let whole = view::Series {
            items: &items,
            step_seconds: answer.step_seconds,
            range: answer.range.into(),
            completeness: &completeness,
        };
        list.respond(format, &whole)
    })
    .await?
}

/// `range` without the empty time before the first stored row and after now, so that `from=all` has a length to choose
/// a step by. The question itself keeps its range: live data may lie outside.
fn bounded(range: TimeRange, extent: Option<TimeRange>, now: Nanos) -> TimeRange {
    if range.from > Nanos(0) && range.to <= now {
        return range;
    }
    // What is not stored yet began at most an hour ago: windows close and are written far sooner.
    let hour = Duration::from_secs(3_600);
    let (first, last) = extent.map_or((now.minus(hour), now), |e| (e.from.min(now), e.to.max(now)));
    let bounded = TimeRange { from: range.from.max(first), to: range.to.min(last.plus(hour)) };
    if bounded.from < bounded.to { bounded } else { range }
}

/// The shortest of [`AUTO_STEPS`] that makes no more than [`AUTO_POINTS`].
fn auto_step(range: TimeRange) -> Duration {
    let seconds = range.to.since(range.from).as_secs();
    let fits = AUTO_STEPS.into_iter().find(|s| seconds.div_ceil(*s) <= AUTO_POINTS);
    // Beyond the table: whole weeks.
    let week = 604_800;
    Duration::from_secs(fits.unwrap_or_else(|| seconds.div_ceil(AUTO_POINTS).div_ceil(week) * week))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> TimeRange {
        TimeRange { from: Nanos::from_secs(from), to: Nanos::from_secs(to) }
    }

    #[test]
    fn the_chosen_step_is_the_shortest_that_keeps_the_points_few() {
        for (seconds, step) in [
            (1, 10),
            (3_600, 10),
            (4_000, 10),
            (4_001, 30),
            (86_400, 300),
            (31_536_000, 86_400),
            (18_000_000_000, 45_360_000),
        ] {
            let chosen = auto_step(range(0, seconds));
            assert_eq!(chosen, Duration::from_secs(step), "{seconds}");
            assert!(seconds.div_ceil(chosen.as_secs()) <= AUTO_POINTS);
        }
    }

    #[test]
    fn an_open_range_is_cut_to_what_is_stored() {
        let now = Nanos::from_secs(1_000_000);
        let all = TimeRange::ALL;
        assert_eq!(bounded(all, Some(range(500, 900)), now), range(500, 1_003_600));
        assert_eq!(bounded(all, None, now), range(996_400, 1_003_600));
        assert_eq!(bounded(range(0, 700), Some(range(500, 900)), now), range(500, 700));
        assert_eq!(bounded(range(0, 400), Some(range(500, 900)), now), range(0, 400), "never turned around");
        assert_eq!(bounded(range(7, 400), Some(range(500, 900)), now), range(7, 400));
    }
}
