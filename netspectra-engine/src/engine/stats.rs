use netspectra_common::model::{Alert, AlertPhase, EndReason};
use std::collections::BTreeMap;

/// What the engine did so far, and what it holds. Counters count since the engine was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Flows being watched now.
    pub active_flows: usize,
    /// Roll-up rows in open windows now.
    pub open_rollup_rows: usize,
    /// Open windows now.
    pub open_windows: usize,
    /// Deltas (and a little for each chunk) that wait for their manifest now.
    pub pending_deltas: usize,
    /// Nodes known now.
    pub nodes: usize,
    /// Flow deltas counted.
    pub deltas: u64,
    /// Generations counted.
    pub generations: u64,
    /// Records written, in the order of [`EndReason::ALL`].
    pub exported: [u64; EndReason::ALL.len()],
    /// Chunks that were there already, waiting or counted.
    pub duplicate_chunks: u64,
    /// Manifests of generations that were counted before.
    pub duplicate_generations: u64,
    /// Generations that began in a window that was closed.
    pub late_generations: u64,
    /// Generation numbers that a run of an agent left out.
    pub missing_generations: u64,
    /// Manifests that do not carry the hash of the one before them in their run: one is missing, was altered, or came late.
    pub chain_breaks: u64,
    /// Generations that came again with another manifest than the one that was counted, which stays.
    pub altered_generations: u64,
    /// Chunks that a manifest names but that did not come.
    pub missing_chunks: u64,
    /// Chunks beyond the number that their manifest names; not counted.
    pub unnamed_chunks: u64,
    /// Chunks given up: their manifest did not come in time, or there was no room for them to wait.
    pub abandoned_chunks: u64,
    /// Messages of nodes beyond [`super::EngineConfig::max_nodes`].
    pub refused_messages: u64,
    /// Times that a node's clock was set back.
    pub clock_steps: u64,
    /// Times that a node's windows were written early for want of room.
    pub spills: u64,
    /// DNS queries whose first bytes were seen. Hints that were lost on the way are missing here.
    pub dns_queries: u64,
    /// DNS responses without error (code 0).
    pub dns_answers: u64,
    /// DNS responses with another code.
    pub dns_errors: u64,
    /// Payloads at the DNS port that are no DNS.
    pub not_dns: u64,
    /// Heads of HTTP requests.
    pub http_requests: u64,
    /// Heads of HTTP responses.
    pub http_responses: u64,
    /// TLS ClientHellos, over TCP or QUIC.
    pub tls_client_hellos: u64,
    /// TLS ServerHellos.
    pub tls_server_hellos: u64,
    /// Messages of other protocols.
    pub other_messages: u64,
    /// Incidents that were found, by detector.
    pub incidents: BTreeMap<String, u64>,
    /// Candidates for which detectors had no room: what became of them is not known.
    pub detectors_refused: u64,
}

impl EngineStats {
    /// Records written for `reason`.
    pub fn exported_for(&self, reason: EndReason) -> u64 {
        self.exported[Self::place(reason)]
    }

    pub(crate) fn count_export(&mut self, reason: EndReason) {
        self.exported[Self::place(reason)] += 1;
    }

    pub(crate) fn count_alert(&mut self, alert: &Alert) {
        if alert.phase == AlertPhase::Open {
            *self.incidents.entry(alert.detector.clone()).or_default() += 1;
        }
    }

    fn place(reason: EndReason) -> usize {
        EndReason::ALL.iter().position(|r| *r == reason).unwrap_or(0)
    }
}
