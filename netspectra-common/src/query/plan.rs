//! The typed plan: what the text of a request becomes, and which data answers it.

use super::Filter;
use crate::model::{FlowRecord, Nanos, Resolution, TimeRange};
use crate::schema::Dimension;
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

/// Rows of an answer at most.
pub const MAX_LIMIT: usize = 10_000;
/// Groups that a question may have at most; a question with more is refused rather than answered by half.
pub const MAX_GROUPS: usize = 1_000_000;
/// Points of a series at most.
pub const MAX_POINTS: usize = 1_000_000;

/// The dataset that answers a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Flow records.
    Flows,
    /// Roll-ups.
    Rollups,
    /// Windows of this length.
    Windows(Resolution),
    /// Ledger entries.
    Ledger,
}

impl Plan {
    /// The dataset that answers this plan. A function of the plan alone, so that every store takes the same.
    ///
    /// Sketches answer what they were made for, and only without a filter; everything else is added up from roll-ups.
    pub fn source(&self) -> Source {
        let all = self.filter.is_all();
        match &self.query {
            Query::Flows { .. } => Source::Flows,
            Query::Top { by, metric, exact: false, .. } if all && sketched_top(by, *metric) => self.sketches(),
            Query::Top { .. } => Source::Rollups,
            Query::Series { step, by } if all && (by.is_empty() || by == &[Dimension::Proto]) => {
                let fits = |r: &&Resolution| step.as_secs().is_multiple_of(u64::from(r.secs()));
                Source::Windows(Resolution::ALL.iter().rev().find(fits).copied().unwrap_or(Resolution::S1))
            }
            Query::Series { .. } => Source::Rollups,
            Query::Cardinality { of } if all && sketched_cardinality(of) => self.sketches(),
            Query::Cardinality { .. } => Source::Rollups,
            Query::Quantiles { of: Quantity::FlowDuration, .. } if !all => Source::Flows,
            Query::Quantiles { .. } => self.sketches(),
            Query::Ledger => Source::Ledger,
        }
    }

    /// Short ranges are answered at ten seconds, long ones at a minute.
    fn sketches(&self) -> Source {
        let hour = Duration::from_secs(3600);
        Source::Windows(if self.range.to.since(self.range.from) > hour { Resolution::S60 } else { Resolution::S10 })
    }

    /// Checks everything that can be checked without data.
    ///
    /// # Errors
    /// Names the argument, what was found, and what is legal.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.range.from >= self.range.to {
            return Err(argument("to", self.range.to.to_string(), "a time after `from`"));
        }
        let limit = |limit: usize| {
            if (1..=MAX_LIMIT).contains(&limit) {
                Ok(())
            } else {
                Err(argument("limit", limit.to_string(), "1 to 10000"))
            }
        };
        let rollups = |by: &[Dimension], argument_name: &'static str| {
            if let Some(d) = by.iter().find(|d| !d.in_rollups()) {
                let known: Vec<&str> = Dimension::ALL.iter().filter(|d| d.in_rollups()).map(|d| d.name()).collect();
                return Err(argument(argument_name, d.name(), known.join(", ")));
            }
            if let Some(n) = (1..by.len()).find(|n| by[..*n].contains(&by[*n])) {
                return Err(argument(argument_name, format!("`{}` twice", by[n].name()), "each dimension once"));
            }
            self.filter.check(Dimension::in_rollups, "this question (flows has it)")
        };
        match &self.query {
            Query::Flows { limit: n, .. } => {
                limit(*n)?;
                self.filter.check(Dimension::in_flows, "flow records (top and series have it)")
            }
            Query::Top { by, limit: n, .. } => {
                limit(*n)?;
                if by.is_empty() {
                    return Err(argument("by", "empty", "at least one dimension"));
                }
                rollups(by, "by")
            }
            Query::Series { step, by } => {
                rollups(by, "by")?;
                let unit = if self.source() == Source::Rollups { 10 } else { 1 };
                let whole = step.subsec_nanos() == 0 && step.as_secs() > 0 && step.as_secs().is_multiple_of(unit);
                if !whole {
                    let expected = if unit == 1 {
                        "a multiple of 1 s"
                    } else {
                        "a multiple of 10 s, the roll-up interval (1 s works without filter and grouping)"
                    };
                    return Err(argument("step", format!("{} s", step.as_secs_f64()), expected));
                }
                Ok(())
            }
            Query::Cardinality { of } => {
                if of.is_empty() {
                    return Err(argument("of", "empty", "at least one dimension"));
                }
                rollups(of, "of")
            }
            Query::Quantiles { of, q } => {
                if q.is_empty() || q.len() > 100 || q.iter().any(|q| !(0.0..=1.0).contains(q)) {
                    return Err(argument("q", format!("{q:?}"), "1 to 100 numbers from 0 to 1"));
                }
                if *of == Quantity::PacketSize && !self.filter.is_all() {
                    return Err(PlanError::Unanswerable(
                        "quantiles of `packet_size` are kept for whole windows, not for single flows: leave the filter out, \
                         or ask for `flow_duration`"
                            .into(),
                    ));
                }
                self.filter.check(Dimension::in_flows, "flow records")
            }
            Query::Ledger if !self.filter.is_all() => Err(PlanError::Unanswerable(
                "the ledger counts all frames, also those without a flow: leave the filter out".into(),
            )),
            Query::Ledger => Ok(()),
        }
    }
}

/// An argument outside its range.
fn argument(argument: &'static str, found: impl Into<String>, expected: impl Into<String>) -> PlanError {
    PlanError::Argument { argument, found: found.into(), expected: expected.into() }
}

/// Whether windows have a top list of this.
fn sketched_top(by: &[Dimension], metric: Metric) -> bool {
    match by {
        [Dimension::SrcIp] | [Dimension::DstIp] => matches!(metric, Metric::Bytes | Metric::Packets),
        [Dimension::Proto, Dimension::DstPort] => metric == Metric::Bytes,
        _ => false,
    }
}

/// Whether windows count distinct values of this.
fn sketched_cardinality(of: &[Dimension]) -> bool {
    matches!(
        of,
        [Dimension::SrcIp]
            | [Dimension::DstIp]
            | [Dimension::Proto, Dimension::DstPort]
            | [Dimension::SrcIp, Dimension::DstIp]
    )
}
