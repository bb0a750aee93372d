use super::RowCursor;
use crate::model::{Alert, AppMessage, Counter, FlowRecord, Ledger, Nanos, NicCounters, TimeRange};
use crate::sketch::Estimate;
use serde::Serialize;
use std::sync::Arc;

/// The values of a group's dimensions, as text ("" where a row has none), in the order asked for.
pub type GroupKey = Vec<String>;

/// How complete an answer is: what the ledger of the range says, and what could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Completeness {
    /// Frames seen in the range, by the ledger.
    pub seen_packets: u64,
    /// Bytes seen.
    pub seen_bytes: u64,
    /// Frames in records or under a reason.
    pub accounted_packets: u64,
    /// Bytes accounted.
    pub accounted_bytes: u64,
    /// Frames seen whose flow is not known (`reasons` of the ledger).
    pub without_flow_packets: u64,
    /// Bytes of these.
    pub without_flow_bytes: u64,
    /// Generations that did not follow the one before them: what is missing between is not in `seen_packets`.
    pub chain_breaks: u64,
    /// True when every frame of the range is in a record, and no generation is missing.
    pub complete: bool,
}

/// How complete answers are whose range is that of `ledger`.
///
/// Complete means: every frame seen is accounted for, all of them in records, and the chain of generations is whole.
pub fn completeness(answer: &LedgerAnswer) -> Completeness {
    let ledger = &answer.ledger;
    let accounted = ledger.accounted();
    let mut without_flow = Counter::default();
    for reason in ledger.reasons.all() {
        without_flow.add(*reason);
    }
    Completeness {
        seen_packets: ledger.seen.packets,
        seen_bytes: ledger.seen.bytes,
        accounted_packets: accounted.packets,
        accounted_bytes: accounted.bytes,
        without_flow_packets: without_flow.packets,
        without_flow_bytes: without_flow.bytes,
        chain_breaks: answer.chain_breaks,
        complete: ledger.residual() == (0, 0) && without_flow.is_zero() && answer.chain_breaks == 0,
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Query::Flows`](super::Query::Flows).
    Flows(RowsAnswer<FlowRecord>),
    /// To [`Query::Alerts`](super::Query::Alerts).
    Alerts(RowsAnswer<Alert>),
    /// To [`Query::Messages`](super::Query::Messages).
    Messages(RowsAnswer<AppMessage>),
    /// To [`Query::Top`](super::Query::Top).
    Top(TopAnswer),
    /// To [`Query::Series`](super::Query::Series).
    Series(SeriesAnswer),
    /// To [`Query::Cardinality`](super::Query::Cardinality).
    Cardinality(CardinalityAnswer),
    /// To [`Query::Quantiles`](super::Query::Quantiles).
    Quantiles(QuantilesAnswer),
    /// To [`Query::Ledger`](super::Query::Ledger).
    Ledger(Box<LedgerAnswer>),
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsAnswer<R> {
    /// Newest first, in the order of [`RowCursor`]. Rows at one position are never on two pages: a page may be
    /// shorter than its limit for that, and is longer when more rows than the limit share one position.
    pub items: Vec<R>,
    /// Where the next page begins, when there is one.
    pub next: Option<RowCursor>,
}

/// The largest groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopAnswer {
    /// The range that the windows used really cover; an end left open (the begin or end of time) is that of the data.
    pub range: TimeRange,
    /// Largest first; ties by key.
    pub items: Vec<TopRow>,
    /// Sum of the metric over all groups, exact.
    pub total: u64,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopRow {
    /// Values of the dimensions.
    pub key: GroupKey,
    /// The metric with its bounds; `low == high` when exact.
    pub value: Estimate,
}

/// Totals over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesAnswer {
    /// The range that the windows used really cover; an end left open (the begin or end of time) is that of the data.
    pub range: TimeRange,
    /// Length of a point, seconds.
    pub step_seconds: u64,
    /// By key, then time. Points without traffic are left out.
    pub points: Vec<SeriesPoint>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesPoint {
    /// Begin.
    pub start: Nanos,
    /// Values of the dimensions; empty when not grouped.
    pub key: GroupKey,
    /// Exact.
    pub packets: u64,
    /// Exact.
    pub bytes: u64,
    /// Flows that began. `None` where windows answered by protocol: they know it for all protocols together only.
    pub new_flows: Option<u64>,
}

/// A number of distinct values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CardinalityAnswer {
    /// The range that the windows used really cover; an end left open (the begin or end of time) is that of the data.
    pub range: TimeRange,
    /// With bounds.
    pub value: Estimate,
}

/// Quantiles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantilesAnswer {
    /// The range that the windows used really cover; an end left open (the begin or end of time) is that of the data.
    pub range: TimeRange,
    /// Values counted.
    pub count: u64,
    /// `(q, value)`; empty when nothing was counted.
    pub items: Vec<(f64, Estimate)>,
}

/// Where every frame of the range went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerAnswer {
    /// From the first to the last generation that overlaps the range.
    pub range: TimeRange,
    /// Sum of the generations.
    pub ledger: Ledger,
    /// Generations.
    pub generations: u64,
    /// Generations whose manifest did not follow the one before it: see [`LedgerEntry::chain_break`].
    ///
    /// [`LedgerEntry::chain_break`]: crate::model::LedgerEntry::chain_break
    pub chain_breaks: u64,
    /// What the devices of observed interfaces counted, by node and name; at most [`MAX_NICS`](super::MAX_NICS), and the
    /// sum of all others.
    pub nics: Vec<NicSum>,
}

/// What the device of one interface counted in the range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NicSum {
    /// Node.
    pub node: Arc<str>,
    /// The interface's name.
    pub iface: Arc<str>,
    /// What was gained.
    #[serde(flatten)]
    pub gained: NicCounters,
    /// Generations in which the device began anew: of them nothing is in `gained`.
    pub resets: u64,
}
