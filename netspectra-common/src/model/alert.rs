use super::Nanos;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How much an alert asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth looking at.
    Medium,
    /// Look now.
    High,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertPhase {
    /// It was found just now.
    Open,
    /// It goes on, and is twice as large as when it was last spoken of.
    Updated,
    /// It ended: nothing of it came for a while, or the input ended.
    Closed,
}

impl AlertPhase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Updated, Self::Closed];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Updated => "updated",
            Self::Closed => "closed",
        }
    }
}

/// A number that an alert rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it counts, in snake case, with its unit where it has one.
    pub name: String,
    /// How many.
    pub value: f64,
}

/// What a detector says of one incident. A later one with the same `id` takes its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The incident's: a function of the log, so a replay gives the same.
    pub id: u64,
    /// Node that saw it.
    pub node: Arc<str>,
    /// Name of the detector.
    pub detector: String,
    /// Where the incident is.
    pub phase: AlertPhase,
    /// How much it asks for attention.
    pub severity: Severity,
    /// Who it is about: an address, an address and a port, a name.
    pub subject: String,
    /// Why it was raised, in a sentence.
    pub why: String,
    /// Log time at which this was said.
    pub at: Nanos,
    /// First packet of it that was counted.
    pub first_seen: Nanos,
    /// Last packet of it that was counted.
    pub last_seen: Nanos,
    /// Its highest score so far, in the unit of `threshold`.
    pub score: f64,
    /// Score from which on it is an alert.
    pub threshold: f64,
    /// The numbers that it rests on.
    pub evidence: Vec<Evidence>,
    /// Identities (`flow_id`) of some of its flows, in their order.
    pub flows: Vec<u64>,
}
