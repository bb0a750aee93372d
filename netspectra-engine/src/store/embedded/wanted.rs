//! What of the stored rows a plan needs: the rest need not be read.

use super::rows::{Record, WindowDecoder};
use super::segment::Keep;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use netspectra_common::model::{
    Alert, AppMessage, FlowRecord, LedgerEntry, Nanos, Resolution, Rollup, TimeRange, WindowState,
};
use netspectra_common::query::{Filter, Plan, Query, Row, Source};
use netspectra_common::schema::{Dimension, SKETCHES};
use std::collections::BTreeSet;

/// What a scan may leave out. Folding decides about every row; this only has to contain what folding takes.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Rows outside may be left out.
    pub(super) range: TimeRange,
    /// Windows of other lengths are left out.
    pub(super) resolution: Option<Resolution>,
    /// The columns that folding looks at; `None` for all.
    pub(super) columns: Option<Vec<&'static str>>,
    /// Rows that it does not hold for may be left out.
    pub(super) filter: Filter,
}

impl Wanted {
    /// Every row, whole.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self { range: TimeRange::ALL, resolution: None, columns: None, filter: Filter::ALL }
    }

    /// What `plan` needs.
    pub(super) fn of(plan: &Plan) -> Self {
        // Answers begin and end with whole windows and whole points.
        let mut slack = Resolution::S60.duration();
        let mut range = plan.range;
        let mut columns = None;
        match &plan.query {
            Query::Series { step, .. } => {
                slack = slack.max(*step);
                columns = Some(rollup_columns(plan));
            }
            Query::Top { .. } | Query::Cardinality { .. } => columns = Some(rollup_columns(plan)),
            // What comes after a page is older than its last row.
            Query::Flows { after: Some(after), .. }
            | Query::Alerts { after: Some(after), .. }
            | Query::Messages { after: Some(after), .. } => {
                range.to = range.to.min(Nanos(after.at.0.saturating_add(1)))
            }
            Query::Flows { after: None, .. }
            | Query::Alerts { after: None, .. }
            | Query::Messages { after: None, .. }
            | Query::Quantiles { .. }
            | Query::Ledger => {}
        }
        let mut resolution = None;
        let mut filter = plan.filter.clone();
        match plan.source() {
            Source::Windows(length) => {
                resolution = Some(length);
                filter = Filter::ALL;
                // The sketches are most of a window; one of them answers, or none.
                columns = Some(totals().into_iter().chain(plan.sketch()).collect());
            }
            Source::Ledger => (columns, filter) = (None, Filter::ALL),
            Source::Flows | Source::Rollups | Source::Alerts | Source::Messages => {}
        }
        let range = TimeRange { from: range.from.minus(slack), to: range.to.plus(slack) };
        Self { range, resolution, columns, filter }
    }
}

/// The columns of windows that are no sketches.
fn totals() -> Vec<&'static str> {
    let all = ["node", "resolution_seconds", "start", "packets", "bytes", "new_flows", "protocols"];
    debug_assert!(!all.iter().any(|c| SKETCHES.contains(c)));
    all.to_vec()
}

/// The columns of roll-ups that hold the plan's dimensions and those of its filter, besides what every folding may look
/// at: what is counted, and what tells whether a row has ports, and of which protocol.
fn rollup_columns(plan: &Plan) -> Vec<&'static str> {
    let mut columns = BTreeSet::from(["window", "src_ip", "proto", "packets", "bytes", "new_flows"]);
    columns.extend(plan.dimensions().iter().map(|d| d.name()));
    add_filter(&plan.filter, &mut columns);
    columns.into_iter().collect()
}

/// Dimensions are called as their columns. Ports and protocols are none where there is no address.
fn add_filter(filter: &Filter, columns: &mut BTreeSet<&'static str>) {
    match filter {
        Filter::And(some) | Filter::Or(some) => some.iter().for_each(|f| add_filter(f, columns)),
        Filter::Not(inner) => add_filter(inner, columns),
        Filter::Is(predicate) => {
            columns.insert(Dimension::SrcIp.name());
            columns.extend(predicate.any_of.iter().map(|d| d.name()));
        }
    }
}

/// What scanning needs to know of a row beyond [`Record`].
pub(super) trait Scan: Record {
    /// A decoder that skips what is not wanted.
    fn decoder(_wanted: &Wanted) -> Self::Decoder {
        Self::Decoder::default()
    }

    /// Whether a row in memory is wanted.
    fn is_wanted(&self, wanted: &Wanted) -> bool {
        let span = self.span();
        span.from < wanted.range.to && wanted.range.from < span.to
    }

    /// The condition under which a stored row is read as a whole. Rows older than `floor` are not.
    fn keep(_wanted: &Wanted, _floor: Option<Nanos>) -> Option<Keep> {
        None
    }
}

impl Scan for LedgerEntry {}

impl Scan for Alert {}

impl Scan for AppMessage {}

impl Scan for WindowState {
    fn decoder(wanted: &Wanted) -> WindowDecoder {
        WindowDecoder::only(wanted.resolution)
    }

    fn is_wanted(&self, wanted: &Wanted) -> bool {
        let start = self.start < wanted.range.to && wanted.range.from < self.span().to;
        start && wanted.resolution.is_none_or(|r| r == self.resolution)
    }
}

impl Scan for Rollup {
    fn keep(wanted: &Wanted, _floor: Option<Nanos>) -> Option<Keep> {
        keep(wanted, |_: &Self| true)
    }
}

impl Scan for FlowRecord {
    fn keep(wanted: &Wanted, floor: Option<Nanos>) -> Option<Keep> {
        keep(wanted, move |row: &Self| floor.is_none_or(|floor| row.last_seen >= floor))
    }
}

/// The filter as a condition on columns. Only the columns it needs are decoded for it.
fn keep<R: Record + Row>(wanted: &Wanted, and: impl Fn(&R) -> bool + Send + 'static) -> Option<Keep> {
    if wanted.filter.is_all() {
        return None;
    }
    let mut columns = BTreeSet::from([R::TIME.lower, R::TIME.upper]);
    add_filter(&wanted.filter, &mut columns);
    let filter = wanted.filter.clone();
    let mut decoder = R::Decoder::default();
    let condition = move |columns: RecordBatch| {
        let mut holds = Vec::with_capacity(columns.num_rows());
        R::decode(&mut decoder, &columns, &mut |row| holds.push(and(&row) && filter.matches(&row)))
            .map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
        Ok(BooleanArray::from(holds))
    };
    Some(Keep { columns: columns.into_iter().collect(), condition: Box::new(condition) })
}
