use super::Filter;
use crate::model::{Alert, AppMessage, FlowRecord, Nanos, TimeRange};
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
    /// Distinct counterparts: receivers of a sender (`src_ip`), senders to a receiver (`dst_ip`).
    Peers,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bytes, Self::Packets, Self::Flows, Self::Peers];

    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Packets => "packets",
            Self::Flows => "flows",
            Self::Peers => "peers",
        }
    }
}

/// What quantiles are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Frame length, bytes. Whole windows only: it cannot be filtered.
    PacketSize,
    /// Seconds from a flow's first to its last packet, of flow records that ended.
    FlowDuration,
    /// Seconds from SYN to SYN+ACK at the observation point, of TCP flows; each flow once.
    ServerRtt,
    /// Seconds from SYN+ACK to the initiator's ACK, likewise.
    ClientRtt,
    /// Seconds from DNS query to response. Whole windows only: it cannot be filtered.
    DnsLatency,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::PacketSize, Self::FlowDuration, Self::ServerRtt, Self::ClientRtt, Self::DnsLatency];

    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketSize => "packet_size",
            Self::FlowDuration => "flow_duration",
            Self::ServerRtt => "server_rtt",
            Self::ClientRtt => "client_rtt",
            Self::DnsLatency => "dns_latency",
        }
    }

    /// Whether flow records have it, so that it can be filtered.
    pub const fn in_flows(self) -> bool {
        match self {
            Self::FlowDuration | Self::ServerRtt | Self::ClientRtt => true,
            Self::PacketSize | Self::DnsLatency => false,
        }
    }
}

/// A question, checked: what the text of a request becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Time asked for.
    pub range: TimeRange,
    /// Which rows.
    pub filter: Filter,
    /// What of them.
    pub query: Query,
}

/// The kinds of questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Query {
    /// Flow records that overlap the range, newest `last_seen` first.
    Flows {
        /// Rows of a page, 1..=10,000.
        limit: usize,
        /// Continue after this row.
        after: Option<RowCursor>,
    },
    /// What detectors said in the range, newest first.
    Alerts {
        /// Rows of a page, 1..=10,000.
        limit: usize,
        /// Continue after this row.
        after: Option<RowCursor>,
    },
    /// Messages of application protocols of the range, newest first.
    Messages {
        /// Rows of a page, 1..=10,000.
        limit: usize,
        /// Continue after this row.
        after: Option<RowCursor>,
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
        /// Length of a point; a multiple of 1 s where windows answer (unfiltered, and ungrouped, by `proto` alone or by `node` alone), of
        /// 10 s otherwise. Points begin at multiples of it.
        step: Duration,
        /// Dimensions of a group; empty for one line.
        by: Vec<Dimension>,
    },
    /// Distinct values, of rows that have a value in each dimension.
    Cardinality {
        /// Of these dimensions together. A port counts as the port of its protocol: tcp/53 and udp/53 are two.
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

/// Position in the order of listed rows: `(at, id, since)` descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowCursor {
    /// When it was: `last_seen` of flow records.
    pub at: Nanos,
    /// Which it was: `flow_id` of flow records.
    pub id: u64,
    /// Since when: `first_seen`; of messages `at`.
    pub since: Nanos,
}

impl RowCursor {
    /// The position of a flow record.
    pub fn of_flow(record: &FlowRecord) -> Self {
        Self { at: record.last_seen, id: record.flow_id, since: record.first_seen }
    }

    /// The position of what a detector said.
    pub fn of_alert(alert: &Alert) -> Self {
        Self { at: alert.at, id: alert.id, since: alert.first_seen }
    }

    /// The position of a message.
    pub fn of_message(message: &AppMessage) -> Self {
        Self { at: message.at, id: message.id, since: message.at }
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
