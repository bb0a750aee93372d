use super::Filter;
use crate::model::{FlowRecord, Ledger, Nanos, TimeRange};
use crate::schema::Dimension;
use crate::sketch::Estimate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// L2 bytes.
    Bytes,
    /// Packets.
    Packets,
    /// Flows that began.
    Flows,
}

/// What quantiles are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Frame length, bytes. Whole windows only: it cannot be filtered.
    PacketSize,
    /// Seconds from a flow's first to its last packet, of flow records that ended.
    FlowDuration,
}

/// A question, checked: what the text of a request becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Time asked for.
    pub range: TimeRange,
    /// Which rows.
    pub filter: Filter,
    /// What of them.
    pub query: Query,
}

/// The kinds of questions.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Flow records that overlap the range, newest `last_seen` first.
    Flows {
        /// Rows of a page, 1..=10,000.
        limit: usize,
        /// Continue after this row.
        after: Option<FlowCursor>,
    },
    /// The largest groups.
    Top {
        /// Dimensions of a group, at least one.
        by: Vec<Dimension>,
        /// What ranks them.
        metric: Metric,
        /// Groups, 1..=10,000.
        limit: usize,
        /// Force an exact scan of roll-ups also where sketches could answer.
        exact: bool,
    },
    /// Totals over time.
    Series {
        /// Length of a point; a multiple of 1 s unfiltered and ungrouped, of 10 s otherwise.
        step: Duration,
        /// Dimensions of a group; empty for one line.
        by: Vec<Dimension>,
    },
    /// Distinct values.
    Cardinality {
        /// Of these dimensions together.
        of: Vec<Dimension>,
    },
    /// Quantiles.
    Quantiles {
        /// Of what.
        of: Quantity,
        /// Which, each in 0..=1.
        q: Vec<f64>,
    },
    /// Where every frame went.
    Ledger,
}

/// Position in the order of flow records: `(last_seen, flow_id, first_seen)` descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowCursor {
    /// Of the last row delivered.
    pub last_seen: Nanos,
    /// Of the last row delivered.
    pub flow_id: u64,
    /// Of the last row delivered.
    pub first_seen: Nanos,
}

impl FlowCursor {
    /// The position of `record`.
    pub fn of(record: &FlowRecord) -> Self {
        Self { last_seen: record.last_seen, flow_id: record.flow_id, first_seen: record.first_seen }
    }
}

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
    /// True when every frame of the range is in a record.
    pub complete: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Query::Flows`].
    Flows(FlowsAnswer),
    /// To [`Query::Top`].
    Top(TopAnswer),
    /// To [`Query::Series`].
    Series(SeriesAnswer),
    /// To [`Query::Cardinality`].
    Cardinality(CardinalityAnswer),
    /// To [`Query::Quantiles`].
    Quantiles(QuantilesAnswer),
    /// To [`Query::Ledger`].
    Ledger(LedgerAnswer),
}

/// A page of flow records.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowsAnswer {
    /// Newest first.
    pub items: Vec<FlowRecord>,
    /// Where the next page begins, when there is one.
    pub next: Option<FlowCursor>,
}

/// The largest groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopAnswer {
    /// The range that the windows used really cover.
    pub range: TimeRange,
    /// Largest first; ties by key.
    pub items: Vec<TopRow>,
    /// Sum of the metric over all groups.
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
    /// The range that the windows used really cover.
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
    /// Flows that began.
    pub new_flows: u64,
}

/// A number of distinct values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CardinalityAnswer {
    /// The range that the windows used really cover.
    pub range: TimeRange,
    /// With bounds.
    pub value: Estimate,
}

/// Quantiles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantilesAnswer {
    /// The range that the windows used really cover.
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
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An argument is outside its range.
    #[error("`{argument}` is {found}: expected {expected}")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// What it was.
        found: String,
        /// What is legal.
        expected: String,
    },
    /// The question cannot be answered from what is recorded.
    #[error("{0}")]
    Unanswerable(String),
}
