use super::{Metric, Plan, Query};
use crate::model::{Nanos, Resolution, TimeRange};
use crate::schema::Dimension;
use crate::sketch::Side;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The length of a roll-up window.
pub(super) const ROLLUP: Resolution = Resolution::S10;
/// From a longer range on, sketches of a minute answer instead of those of ten seconds.
const LONG: Duration = Duration::from_secs(900);
/// Rows that a sketch is asked for at most: it is sure to know only keys above a thousandth of all.
const SKETCH_TOP: usize = 1000;

/// The rows that answer a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Flow records.
    Flows,
    /// Roll-ups: exact, filtered, grouped in any way.
    Rollups,
    /// Windows of this length: no filter, few groupings, little to read.
    Windows(Resolution),
    /// Ledger entries.
    Ledger,
    /// What detectors said.
    Alerts,
    /// Messages of application protocols.
    Messages,
}

impl Plan {
    /// The rows that answer this plan. A function of the plan alone, so that every part of the data chooses the same.
    ///
    /// Windows answer only without a filter: totals over time (ungrouped, by `proto` or by `node`) from the longest windows whose
    /// length divides the step; from sketches, of ten seconds or, for more than a quarter of an hour, of a minute: quantiles, the
    /// distinct values and the at most 1,000 largest groups that they hold. Quantiles of what flow records have come
    /// from these with a filter. Roll-ups answer everything else.
    pub fn source(&self) -> Source {
        let unfiltered = self.filter.is_all();
        match &self.query {
            Query::Flows { .. } => Source::Flows,
            Query::Ledger => Source::Ledger,
            Query::Alerts { .. } => Source::Alerts,
            Query::Messages { .. } => Source::Messages,
            Query::Quantiles { of, .. } if !unfiltered && of.in_flows() => Source::Flows,
            Query::Quantiles { .. } => Source::Windows(self.sketched()),
            Query::Top { by, metric, limit, exact: false }
                if unfiltered && *limit <= SKETCH_TOP && top_sketch(by, *metric).is_some() =>
            {
                Source::Windows(self.sketched())
            }
            Query::Cardinality { of } if unfiltered && SketchSet::of(of).is_some() => Source::Windows(self.sketched()),
            Query::Series { step, by } if unfiltered && windows_know(by) => {
                let divides = |r: &Resolution| step.as_nanos().is_multiple_of(r.duration().as_nanos());
                Source::Windows(Resolution::ALL.into_iter().rev().find(divides).unwrap_or(Resolution::S1))
            }
            Query::Top { .. } | Query::Cardinality { .. } | Query::Series { .. } => Source::Rollups,
        }
    }

    /// The range that the answer really covers: the range asked for, out to the begins and ends of the windows or
    /// roll-ups used, because these are used whole. Flow records are exact: those that overlap the range asked for; so are alerts and messages: those
    /// said in it.
    /// An end that is left open, as in [`TimeRange::ALL`], is in answers that of the rows found.
    pub fn covered(&self) -> TimeRange {
        let window = match self.source() {
            Source::Flows | Source::Ledger | Source::Alerts | Source::Messages => return self.range,
            Source::Rollups => ROLLUP,
            Source::Windows(resolution) => resolution,
        };
        let TimeRange { from, to } = self.range;
        let length = window.duration();
        let last = to.floor(length);
        TimeRange { from: from.floor(length), to: if last < to { last.plus(length) } else { to } }
    }

    /// The dimensions of roll-ups that are looked at besides those of the filter.
    pub fn dimensions(&self) -> &[Dimension] {
        match &self.query {
            Query::Top { metric: Metric::Peers, .. } => &[Dimension::SrcIp, Dimension::DstIp],
            Query::Top { by, .. } | Query::Series { by, .. } => by,
            Query::Cardinality { of } => of,
            Query::Flows { .. }
            | Query::Alerts { .. }
            | Query::Messages { .. }
            | Query::Quantiles { .. }
            | Query::Ledger => &[],
        }
    }

    /// The sketch of windows that answers, by its name in [`SKETCHES`](crate::schema::SKETCHES): no other one is looked
    /// at. `None` where none is.
    pub fn sketch(&self) -> Option<&'static str> {
        if !matches!(self.source(), Source::Windows(_)) {
            return None;
        }
        match &self.query {
            Query::Top { by, metric, .. } => top_sketch(by, *metric),
            Query::Cardinality { of } => SketchSet::of(of).map(SketchSet::name),
            Query::Quantiles { of, .. } => Some(of.name()),
            Query::Series { .. }
            | Query::Flows { .. }
            | Query::Alerts { .. }
            | Query::Messages { .. }
            | Query::Ledger => None,
        }
    }

    /// The windows whose sketches answer.
    fn sketched(&self) -> Resolution {
        if self.range.to.since(self.range.from) > LONG { Resolution::S60 } else { Resolution::S10 }
    }
}

/// The sketch that ranks groups of `by` by `metric`, by its name.
fn top_sketch(by: &[Dimension], metric: Metric) -> Option<&'static str> {
    match (peers_of(by), metric) {
        (Some(_), Metric::Peers) => Some("peers"),
        _ => SketchTop::of(by, metric).map(SketchTop::name),
    }
}

/// The end of pairs whose counterparts are counted by `by`.
pub(super) fn peers_of(by: &[Dimension]) -> Option<Side> {
    match by {
        [Dimension::SrcIp] => Some(Side::Src),
        [Dimension::DstIp] => Some(Side::Dst),
        _ => None,
    }
}

/// Whether windows have totals by `by`.
pub(super) fn windows_know(by: &[Dimension]) -> bool {
    matches!(by, [] | [Dimension::Proto] | [Dimension::Node])
}

/// Whether the window or roll-up of `length` that begins at `start` shares an instant with `range`.
pub(super) fn window_overlaps(range: TimeRange, start: Nanos, length: Duration) -> bool {
    start < range.to && start.plus(length) > range.from
}

/// A sketch of windows that ranks groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SketchTop {
    SrcBytes,
    DstBytes,
    SrcPackets,
    DstPackets,
    DstPortBytes,
}

impl SketchTop {
    /// Its name in [`SKETCHES`](crate::schema::SKETCHES).
    const fn name(self) -> &'static str {
        match self {
            Self::SrcBytes => "top_src_bytes",
            Self::DstBytes => "top_dst_bytes",
            Self::SrcPackets => "top_src_packets",
            Self::DstPackets => "top_dst_packets",
            Self::DstPortBytes => "top_dst_port_bytes",
        }
    }

    /// The sketch that ranks groups of `by` by `metric`.
    pub(super) fn of(by: &[Dimension], metric: Metric) -> Option<Self> {
        match (by, metric) {
            ([Dimension::SrcIp], Metric::Bytes) => Some(Self::SrcBytes),
            ([Dimension::DstIp], Metric::Bytes) => Some(Self::DstBytes),
            ([Dimension::SrcIp], Metric::Packets) => Some(Self::SrcPackets),
            ([Dimension::DstIp], Metric::Packets) => Some(Self::DstPackets),
            ([Dimension::Proto, Dimension::DstPort] | [Dimension::DstPort, Dimension::Proto], Metric::Bytes) => {
                Some(Self::DstPortBytes)
            }
            _ => None,
        }
    }
}

/// A sketch of windows that counts distinct values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SketchSet {
    SrcIps,
    DstIps,
    DstPorts,
    Pairs,
    Flows,
}

impl SketchSet {
    /// Its name in [`SKETCHES`](crate::schema::SKETCHES).
    const fn name(self) -> &'static str {
        match self {
            Self::SrcIps => "src_ips",
            Self::DstIps => "dst_ips",
            Self::DstPorts => "dst_ports",
            Self::Pairs => "pairs",
            Self::Flows => "flows",
        }
    }

    /// The sketch that counts `of`, in any order.
    pub(super) fn of(of: &[Dimension]) -> Option<Self> {
        use Dimension::{DstIp, DstPort, Proto, SrcIp, SrcPort};
        let is = |set: &[Dimension]| set.len() == of.len() && set.iter().all(|d| of.contains(d));
        if is(&[SrcIp]) {
            Some(Self::SrcIps)
        } else if is(&[DstIp]) {
            Some(Self::DstIps)
        } else if is(&[DstPort]) || is(&[Proto, DstPort]) {
            Some(Self::DstPorts)
        } else if is(&[SrcIp, DstIp]) {
            Some(Self::Pairs)
        } else if is(&[SrcIp, DstIp, SrcPort, DstPort]) || is(&[SrcIp, DstIp, SrcPort, DstPort, Proto]) {
            Some(Self::Flows)
        } else {
            None
        }
    }
}
