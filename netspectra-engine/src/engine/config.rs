use crate::detect::DetectConfig;
use crate::enrich::Enrichment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What of its batches whoever takes them has a use for: the rest is not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Everything.
    #[default]
    Everything,
    /// Everything but roll-ups.
    NoRollups,
    /// Flow records, ledgers and messages: no windows and no roll-ups. Detectors see no windows then.
    Records,
}

/// How flows are cut into records, how long windows wait, and how much memory may be used.
///
/// Times are log time: they pass as manifests arrive, not as a clock ticks, so a replayed log gives the same records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// A flow without packets for this long is over. Default 30 s.
    pub idle_timeout: Duration,
    /// The unwritten part of a flow gets at most this old before it is written, so that long flows show while they
    /// last. It also bounds what a crash can lose from memory. Default 60 s.
    pub active_timeout: Duration,
    /// How long a flow that FIN or RST ended waits for stragglers. Default 2 s; more than `idle_timeout` has no effect.
    pub closed_linger: Duration,
    /// How long a window stays open after log time has passed its end, for captures that are not in order. Default 2 s,
    /// at most 1 h is used.
    pub lateness: Duration,
    /// A generation that begins this far before log time means that the node's clock was set, or that an older capture
    /// follows: everything open of the node is written and its time starts again. Default 5 min.
    pub clock_step: Duration,
    /// Flows watched at once, all nodes together, about 300 bytes each. One more writes the one silent longest with
    /// `lack_of_resources`. Default 1,000,000; 0 counts as 1.
    pub max_flows: usize,
    /// Roll-up rows kept open, all nodes together, about 90 bytes each. When a generation brings more, its node's open
    /// windows are written early, in parts that add up. Default 2,000,000.
    pub max_rollup_rows: usize,
    /// Windows kept open, all nodes and resolutions together, up to 1 MiB each for those with sketches. Handled as
    /// `max_rollup_rows`. Default 10,000.
    pub max_open_windows: usize,
    /// Flow deltas kept while their generation's manifest has not come, all nodes together, about 100 bytes each. When
    /// there is no room the longest waiting generation is given up and counted. Default 4,000,000.
    pub max_pending_deltas: usize,
    /// Nodes known at once. Messages of further ones are refused and counted. Default 10,000.
    pub max_nodes: usize,
    /// Whether messages of application protocols are stored. Counted, and shown to detectors, they are always. Default true.
    pub keep_messages: bool,
    /// What is made of windows. Not part of a state: whoever keeps states wants everything. Default everything.
    #[serde(skip)]
    pub wanted: Wanted,
    /// Whether what is behind `?` in the targets of HTTP requests is kept. Default true.
    pub http_queries: bool,
    /// Addresses of each node whose names, from DNS answers that it saw, are kept, about 200 bytes each; the one whose name
    /// ends first goes first. 0 keeps none. Default 16,384; of all nodes together at most 1,048,576.
    pub max_names: usize,
    /// How long a name is kept at least, whatever the answer's TTL, because connections outlive it. Default 1 h.
    pub names_hold: Duration,
    /// What is known of addresses, for the rows that are made from now on. Not part of a state.
    #[serde(skip)]
    pub enrich: Enrichment,
    /// Detectors of anomalies.
    pub detect: DetectConfig,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            active_timeout: Duration::from_secs(60),
            closed_linger: Duration::from_secs(2),
            lateness: Duration::from_secs(2),
            clock_step: Duration::from_secs(300),
            max_flows: 1_000_000,
            max_rollup_rows: 2_000_000,
            max_open_windows: 10_000,
            max_pending_deltas: 4_000_000,
            max_nodes: 10_000,
            keep_messages: true,
            wanted: Wanted::Everything,
            http_queries: true,
            max_names: 16_384,
            names_hold: Duration::from_secs(3600),
            enrich: Enrichment::default(),
            detect: DetectConfig::default(),
        }
    }
}
