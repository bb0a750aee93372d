//! Rows and windows folded into partials, partials into answers.

mod distinct;
mod groups;
mod nics;
mod page;
mod peers;
#[cfg(test)]
mod tests;
mod top;

pub use distinct::EXACT_DISTINCT;
pub use groups::MAX_GROUPS;
pub use nics::MAX_NICS;

use super::source::{ROLLUP, SketchSet, window_overlaps};
use super::{
    Answer, CardinalityAnswer, LedgerAnswer, Metric, Plan, PlanError, QuantilesAnswer, Quantity, Query, RowCursor,
    RowsAnswer, SeriesAnswer, Source, keys,
};
use crate::model::{
    Alert, AppMessage, EndReason, FlowFields, FlowRecord, Ledger, LedgerEntry, Nanos, Rollup, TimeRange, WindowState,
};
use crate::sketch::{Hll, Quantiles};
use distinct::Distinct;
use groups::{Groups, SeriesSums};
use nics::NicSums;
use page::Page;
use peers::Counterparts;
use serde::{Deserialize, Serialize};
use top::{RankedGroups, SketchedTop};

/// What one part of the data says to a plan; partials merge into the answer.
///
/// Merging is commutative, and associative as far as the sketches are: the answer does not depend on how rows are
/// spread over partials, but each row must be folded once. Memory is bounded whatever is folded: by the limit, by
/// [`MAX_GROUPS`], by [`EXACT_DISTINCT`], or by the size of one sketch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partial {
    source: Source,
    covered: TimeRange,
    /// From the first to the last row folded.
    seen: Option<TimeRange>,
    state: State,
    /// Partials of different plans were merged.
    mixed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    Flows(Page<FlowFields>),
    Alerts(Page<Alert>),
    Messages(Page<AppMessage>),
    Groups(RankedGroups),
    SketchedTop(SketchedTop),
    Peers(Counterparts),
    Series(Groups<SeriesSums>),
    Distinct(Distinct),
    Sketched(Hll),
    Quantiles(Quantiles),
    Ledger(Box<LedgerSum>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct LedgerSum {
    ledger: Ledger,
    generations: u64,
    chain_breaks: u64,
    nics: NicSums,
    span: Option<TimeRange>,
}

impl Partial {
    /// The empty partial of `plan`.
    ///
    /// # Errors
    /// As [`Plan::validate`].
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        plan.validate()?;
        let source = plan.source();
        let windows = matches!(source, Source::Windows(_));
        let state = match &plan.query {
            Query::Flows { limit, .. } => State::Flows(Page::new(*limit)),
            Query::Alerts { limit, .. } => State::Alerts(Page::new(*limit)),
            Query::Messages { limit, .. } => State::Messages(Page::new(*limit)),
            Query::Top { metric: Metric::Peers, .. } if windows => State::Peers(Counterparts::of_windows()),
            Query::Top { metric: Metric::Peers, exact, .. } => State::Peers(Counterparts::of_rollups(*exact)),
            Query::Top { .. } if windows => State::SketchedTop(SketchedTop::default()),
            Query::Top { .. } => State::Groups(RankedGroups::default()),
            Query::Series { .. } => State::Series(Groups::default()),
            Query::Cardinality { .. } if windows => State::Sketched(Hll::default()),
            Query::Cardinality { .. } => State::Distinct(Distinct::default()),
            Query::Quantiles { .. } => State::Quantiles(Quantiles::default()),
            Query::Ledger => State::Ledger(Box::default()),
        };
        Ok(Self { source, covered: plan.covered(), seen: None, state, mixed: false })
    }

    /// Folds one flow record. Records of other times, that the filter rules out, or that the plan does not ask
    /// for, change nothing.
    pub fn fold_flow(&mut self, plan: &Plan, row: &FlowRecord) {
        if self.source != Source::Flows || !plan.filter.matches(row) {
            return;
        }
        match (&mut self.state, &plan.query) {
            (State::Flows(page), Query::Flows { after, .. }) if plan.range.overlaps(row.first_seen, row.last_seen) => {
                page.add(RowCursor::of_flow(row), *after, || FlowFields(row.clone()));
            }
            (State::Quantiles(quantiles), Query::Quantiles { of, .. }) => {
                if let Some((at, value)) = measured(row, *of)
                    && plan.range.contains(at)
                {
                    quantiles.add(value, 1);
                    self.see(row.first_seen, Nanos(row.last_seen.0.saturating_add(1)));
                }
            }
            _ => {}
        }
    }

    /// Folds one roll-up row; changes nothing where the plan does not ask for it.
    pub fn fold_rollup(&mut self, plan: &Plan, row: &Rollup) {
        let wanted = self.source == Source::Rollups
            && window_overlaps(plan.range, row.window, ROLLUP.duration())
            && plan.filter.matches(row);
        if !wanted {
            return;
        }
        self.see(row.window, row.window.plus(ROLLUP.duration()));
        match (&mut self.state, &plan.query) {
            (State::Groups(groups), Query::Top { by, metric, .. }) => groups.add(row, by, *metric),
            (State::Peers(peers), _) => peers.add(row),
            (State::Series(groups), Query::Series { step, by }) => {
                let sums = SeriesSums { packets: row.packets, bytes: row.bytes, new_flows: Some(row.new_flows) };
                groups.add_point(row.window.floor(*step), sums, |key| keys::group(key, row, by));
            }
            // Windows do not know who was only going to send: see `new_flows` of a roll-up.
            (State::Distinct(distinct), Query::Cardinality { of }) if row.packets > 0 => distinct.add(row, of),
            _ => {}
        }
    }

    /// Folds one window; changes nothing where the plan does not ask for it, or for another length.
    ///
    /// Cost: that of merging one sketch.
    pub fn fold_window(&mut self, plan: &Plan, window: &WindowState) {
        let wanted = self.source == Source::Windows(window.resolution)
            && window_overlaps(plan.range, window.start, window.resolution.duration());
        if wanted {
            self.fold_windows(plan, window, window.range());
        }
    }

    /// Folds windows that were merged into one, which is of all those that are in `of`: the caller knows that the plan asks for
    /// them.
    pub fn fold_windows(&mut self, plan: &Plan, window: &WindowState, of: TimeRange) {
        self.see(of.from, of.to);
        let sketches = window.sketches.as_deref();
        match (&mut self.state, &plan.query) {
            (State::Series(groups), Query::Series { step, by }) => {
                groups.add_window(window, window.start.floor(*step), by);
            }
            (State::SketchedTop(top), Query::Top { by, metric, .. }) => top.add(window, by, *metric),
            (State::Peers(peers), _) => peers.add_window(window),
            (State::Sketched(hll), Query::Cardinality { of }) => {
                if let (Some(sketches), Some(set)) = (sketches, SketchSet::of(of)) {
                    hll.merge(match set {
                        SketchSet::SrcIps => &sketches.src_ips,
                        SketchSet::DstIps => &sketches.dst_ips,
                        SketchSet::DstPorts => &sketches.dst_ports,
                        SketchSet::Pairs => &sketches.pairs,
                        SketchSet::Flows => &sketches.flows,
                    });
                }
            }
            (State::Quantiles(quantiles), Query::Quantiles { of, .. }) => {
                if let Some(sketches) = sketches {
                    quantiles.merge(match of {
                        Quantity::PacketSize => &sketches.packet_size,
                        Quantity::FlowDuration => &sketches.flow_duration,
                        Quantity::ServerRtt => &sketches.server_rtt,
                        Quantity::ClientRtt => &sketches.client_rtt,
                        Quantity::DnsLatency => &sketches.dns_latency,
                    });
                }
            }
            _ => {}
        }
    }

    /// Folds one alert; of another time, or that the filter rules out, changes nothing.
    pub fn fold_alert(&mut self, plan: &Plan, alert: &Alert) {
        if let (State::Alerts(page), Query::Alerts { after, .. }) = (&mut self.state, &plan.query)
            && plan.range.contains(alert.at)
            && plan.filter.matches(alert)
        {
            page.add(RowCursor::of_alert(alert), *after, || alert.clone());
        }
    }

    /// Folds one message; of another time, or that the filter rules out, changes nothing.
    pub fn fold_message(&mut self, plan: &Plan, message: &AppMessage) {
        if let (State::Messages(page), Query::Messages { after, .. }) = (&mut self.state, &plan.query)
            && plan.range.contains(message.at)
            && plan.filter.matches(message)
        {
            page.add(RowCursor::of_message(message), *after, || message.clone());
        }
    }

    /// Folds one ledger entry, when its generation shares an instant with the range.
    pub fn fold_ledger(&mut self, plan: &Plan, entry: &LedgerEntry) {
        let State::Ledger(sum) = &mut self.state else { return };
        // Half-open as windows are; a generation without length is the instant of its begin.
        let until = entry.end.max(Nanos(entry.start.0.saturating_add(1)));
        if entry.start >= plan.range.to || until <= plan.range.from {
            return;
        }
        sum.add(&LedgerSum {
            ledger: entry.ledger.clone(),
            generations: 1,
            chain_breaks: entry.chain_break.into(),
            nics: NicSums::of(entry),
            span: Some(TimeRange { from: entry.start, to: entry.end.max(entry.start) }),
        });
    }

    /// Merges another partial of the same plan.
    ///
    /// One of another plan makes [`answer`] fail: the sum would mean nothing.
    pub fn merge(&mut self, other: Self) {
        self.mixed |= other.mixed || other.source != self.source || other.covered != self.covered;
        if let Some(seen) = other.seen {
            self.see(seen.from, seen.to);
        }
        match (&mut self.state, other.state) {
            (State::Flows(mine), State::Flows(theirs)) => mine.merge(theirs),
            (State::Alerts(mine), State::Alerts(theirs)) => mine.merge(theirs),
            (State::Messages(mine), State::Messages(theirs)) => mine.merge(theirs),
            (State::Groups(mine), State::Groups(theirs)) => mine.merge(theirs),
            (State::SketchedTop(mine), State::SketchedTop(theirs)) => mine.merge(&theirs),
            (State::Peers(mine), State::Peers(theirs)) => mine.merge(&theirs),
            (State::Series(mine), State::Series(theirs)) => mine.merge(theirs, SeriesSums::add),
            (State::Distinct(mine), State::Distinct(theirs)) => mine.merge(theirs),
            (State::Sketched(mine), State::Sketched(theirs)) => mine.merge(&theirs),
            (State::Quantiles(mine), State::Quantiles(theirs)) => mine.merge(&theirs),
            (State::Ledger(mine), State::Ledger(theirs)) => mine.add(&theirs),
            _ => self.mixed = true,
        }
    }

    /// The time (`last_seen` of flow records, `at` of alerts and messages) below which a further row changes nothing;
    /// `None` while any may.
    ///
    /// Who delivers rows newest first may stop there.
    pub fn page_floor(&self) -> Option<Nanos> {
        match &self.state {
            State::Flows(page) => page.floor(),
            State::Alerts(page) => page.floor(),
            State::Messages(page) => page.floor(),
            State::Groups(_)
            | State::SketchedTop(_)
            | State::Peers(_)
            | State::Series(_)
            | State::Distinct(_)
            | State::Sketched(_)
            | State::Quantiles(_)
            | State::Ledger(_) => None,
        }
    }

    fn see(&mut self, from: Nanos, to: Nanos) {
        self.seen = hull(self.seen, Some(TimeRange { from, to }));
    }

    /// What the answer covers: the plan's range out to whole windows; an end that the plan left open is that of the rows.
    fn range(&self) -> TimeRange {
        let Some(seen) = self.seen else { return self.covered };
        TimeRange {
            from: if self.covered.from == TimeRange::ALL.from { seen.from } else { self.covered.from },
            to: if self.covered.to == TimeRange::ALL.to { seen.to } else { self.covered.to },
        }
    }
}

/// From the earlier begin to the later end.
fn hull(a: Option<TimeRange>, b: Option<TimeRange>) -> Option<TimeRange> {
    match (a, b) {
        (Some(a), Some(b)) => Some(TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) }),
        (a, b) => a.or(b),
    }
}

/// The answer that `partial` holds.
///
/// # Errors
/// [`PlanError::Unanswerable`] when there were more than [`MAX_GROUPS`] groups, when more records share one position than
/// a page can hold, or when partials of different plans were merged.
pub fn answer(plan: &Plan, partial: Partial) -> Result<Answer, PlanError> {
    let range = partial.range();
    let Partial { state, mixed, .. } = partial;
    let mismatch = || {
        PlanError::Unanswerable(
            "partials of different plans were merged: ask every part of the data the same plan".into(),
        )
    };
    if mixed {
        return Err(mismatch());
    }
    Ok(match (state, &plan.query) {
        (State::Flows(page), Query::Flows { .. }) => {
            let RowsAnswer { items, next } = page.answer()?;
            Answer::Flows(RowsAnswer { items: items.into_iter().map(|FlowFields(record)| record).collect(), next })
        }
        (State::Alerts(page), Query::Alerts { .. }) => Answer::Alerts(page.answer()?),
        (State::Messages(page), Query::Messages { .. }) => Answer::Messages(page.answer()?),
        (State::Peers(peers), Query::Top { by, limit, .. }) => Answer::Top(peers.answer(range, by, *limit)?),
        (State::Groups(groups), Query::Top { by, limit, .. }) => Answer::Top(groups.answer(range, by, *limit)?),
        (State::SketchedTop(top), Query::Top { by, limit, .. }) => Answer::Top(top.answer(range, by, *limit)),
        (State::Series(groups), Query::Series { step, by }) => {
            let points = groups.points(by)?;
            Answer::Series(SeriesAnswer { range, step_seconds: step.as_secs(), points })
        }
        (State::Distinct(distinct), Query::Cardinality { .. }) => {
            Answer::Cardinality(CardinalityAnswer { range, value: distinct.estimate() })
        }
        (State::Sketched(hll), Query::Cardinality { .. }) => {
            Answer::Cardinality(CardinalityAnswer { range, value: hll.estimate() })
        }
        (State::Quantiles(quantiles), Query::Quantiles { q, .. }) => {
            let items = q.iter().filter_map(|q| Some((*q, quantiles.quantile(*q)?))).collect();
            Answer::Quantiles(QuantilesAnswer { range, count: quantiles.count(), items })
        }
        (State::Ledger(sum), Query::Ledger) => Answer::Ledger(Box::new(LedgerAnswer {
            range: sum.span.unwrap_or(range),
            ledger: sum.ledger,
            generations: sum.generations,
            chain_breaks: sum.chain_breaks,
            nics: sum.nics.finish(),
        })),
        _ => return Err(mismatch()),
    })
}

impl LedgerSum {
    fn add(&mut self, other: &Self) {
        self.ledger.merge(&other.ledger);
        self.generations = self.generations.saturating_add(other.generations);
        self.chain_breaks = self.chain_breaks.saturating_add(other.chain_breaks);
        self.nics.merge(&other.nics);
        self.span = hull(self.span, other.span);
    }
}

/// What a record says of a quantity that flow records have, in seconds, and when it was so.
fn measured(row: &FlowRecord, of: Quantity) -> Option<(Nanos, f64)> {
    // Every record of a flow repeats its round-trip times: the first one counts.
    let rtt = |micros: Option<u32>| {
        let micros = micros.filter(|_| row.first_seen == row.flow_start)?;
        Some((row.flow_start, f64::from(micros) / 1e6))
    };
    match of {
        // A duration belongs to the time when the flow ended, as in windows.
        Quantity::FlowDuration => {
            has_ended(row.end_reason).then(|| (row.last_seen, row.last_seen.since(row.flow_start).as_secs_f64()))
        }
        Quantity::ServerRtt => rtt(row.server_rtt_us),
        Quantity::ClientRtt => rtt(row.client_rtt_us),
        Quantity::PacketSize | Quantity::DnsLatency => None,
    }
}

/// Whether the flow of a record with this reason is over.
const fn has_ended(reason: EndReason) -> bool {
    match reason {
        EndReason::None | EndReason::ActiveTimeout => false,
        EndReason::IdleTimeout
        | EndReason::Fin
        | EndReason::Rst
        | EndReason::EndOfInput
        | EndReason::LackOfResources => true,
    }
}
