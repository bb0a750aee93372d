//! Answers as JSON.

use netspectra_common::model::{Counter, TimeRange};
use netspectra_common::ports::{Present, PresentWindow};
use netspectra_common::query::{self, Completeness, LedgerAnswer, NicSum};
use netspectra_common::schema::Dimension;
use netspectra_common::sketch::Estimate;
use netspectra_common::sketch::OverflowReport;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A range as RFC 3339 texts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Range {
    from: String,
    to: String,
}

impl From<TimeRange> for Range {
    fn from(r: TimeRange) -> Self {
        Self { from: r.from.to_string(), to: r.to.to_string() }
    }
}

/// A page of rows.
#[derive(Serialize)]
pub(crate) struct Rows<'a, R> {
    pub(crate) items: &'a [R],
    pub(crate) next_cursor: Option<&'a str>,
    pub(crate) range: Range,
    pub(crate) completeness: &'a Completeness,
}

/// The largest groups.
#[derive(Serialize)]
pub(crate) struct Top<'a> {
    pub(crate) items: &'a [TopItem<'a>],
    pub(crate) total: u64,
    pub(crate) metric: &'static str,
    pub(crate) range: Range,
    pub(crate) completeness: &'a Completeness,
}

#[derive(Serialize)]
pub(crate) struct TopItem<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) value: Estimate,
}

/// Totals over time.
#[derive(Serialize)]
pub(crate) struct Series<'a> {
    pub(crate) items: &'a [SeriesItem<'a>],
    pub(crate) step_seconds: u64,
    pub(crate) range: Range,
    pub(crate) completeness: &'a Completeness,
}

#[derive(Serialize)]
pub(crate) struct SeriesItem<'a> {
    pub(crate) start: String,
    pub(crate) key: Key<'a>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) new_flows: Option<u64>,
}

/// A number of distinct values.
#[derive(Serialize)]
pub(crate) struct Cardinality {
    pub(crate) of: Vec<&'static str>,
    pub(crate) value: Estimate,
    pub(crate) range: Range,
    pub(crate) completeness: Completeness,
}

/// Quantiles.
#[derive(Serialize)]
pub(crate) struct Quantiles {
    pub(crate) of: &'static str,
    pub(crate) count: u64,
    pub(crate) items: Vec<QuantileItem>,
    pub(crate) range: Range,
    pub(crate) completeness: Completeness,
}

#[derive(Serialize)]
pub(crate) struct QuantileItem {
    pub(crate) q: f64,
    pub(crate) value: Estimate,
}

/// Where every frame went.
#[derive(Serialize)]
pub(crate) struct Ledger {
    seen: Counter,
    accounted: Counter,
    flows: Counter,
    non_ip: Counter,
    reasons: Reasons,
    residual: Residual,
    orphan_fragments: u64,
    events_lost: u64,
    /// None when every flow found room.
    overflow: Option<OverflowReport>,
    generations: u64,
    chain_breaks: u64,
    nics: Vec<NicSum>,
    range: Range,
    completeness: Completeness,
}

/// Source prefixes that an answer lists of packets without room.
const PREFIXES: usize = 20;

#[derive(Serialize)]
struct Residual {
    packets: i128,
    bytes: i128,
}

impl From<LedgerAnswer> for Ledger {
    fn from(answer: LedgerAnswer) -> Self {
        let completeness = query::completeness(&answer);
        let LedgerAnswer { range, ledger, generations, chain_breaks, nics } = answer;
        let (packets, bytes) = ledger.residual();
        Self {
            seen: ledger.seen,
            accounted: ledger.accounted(),
            flows: ledger.flows,
            non_ip: ledger.non_ip,
            reasons: Reasons(ledger.reasons),
            residual: Residual { packets, bytes },
            orphan_fragments: ledger.orphan_fragments,
            events_lost: ledger.events_lost,
            overflow: ledger.overflow.map(|o| o.report(PREFIXES)),
            generations,
            chain_breaks,
            nics,
            range: range.into(),
            completeness,
        }
    }
}

/// Every reason by name, also those that never happened; of a later release only those that did.
struct Reasons(netspectra_common::model::Reasons);

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.named())
    }
}

/// A group's values under the names of its dimensions; `null` where rows have none.
pub(crate) struct Key<'a> {
    pub(crate) dimensions: &'a [Dimension],
    pub(crate) values: &'a [String],
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.dimensions.len()))?;
        for (dimension, value) in self.dimensions.iter().zip(self.values) {
            map.serialize_entry(dimension.name(), &Some(value).filter(|v| !v.is_empty()))?;
        }
        map.end()
    }
}

/// The present.
#[derive(Serialize)]
pub(crate) struct Now {
    pub(crate) partitions: u64,
    pub(crate) unreadable: u64,
    pub(crate) nodes: u64,
    pub(crate) active_flows: u64,
    /// One, or none while none was closed.
    pub(crate) windows: Vec<NowWindow>,
}

#[derive(Serialize)]
pub(crate) struct NowWindow {
    pub(crate) range: Range,
    pub(crate) nodes: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) new_flows: u64,
    pub(crate) active_addresses: Estimate,
    pub(crate) top_senders: Vec<Sender>,
}

#[derive(Serialize)]
pub(crate) struct Sender {
    pub(crate) address: std::net::IpAddr,
    pub(crate) bytes: Estimate,
}

impl From<Present> for Now {
    fn from(present: Present) -> Self {
        let window = |w: PresentWindow| NowWindow {
            range: w.range.into(),
            nodes: w.nodes,
            packets: w.packets,
            bytes: w.bytes,
            new_flows: w.new_flows,
            active_addresses: w.active_addresses,
            top_senders: w.top_senders.into_iter().map(|(address, bytes)| Sender { address, bytes }).collect(),
        };
        Self {
            partitions: present.partitions,
            unreadable: present.unreadable,
            nodes: present.nodes,
            active_flows: present.active_flows,
            windows: present.window.into_iter().map(window).collect(),
        }
    }
}
