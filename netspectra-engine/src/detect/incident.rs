//! One alert for what is found again and again.

use netspectra_common::model::{Alert, AlertPhase, Evidence, Nanos, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// Seed of the identities of incidents: "nsalerts".
const SEED: u64 = u64::from_be_bytes(*b"nsalerts");
/// Incidents of one detector and node that are open at once.
const MOST: usize = 1024;
/// An incident is spoken of again when its score has grown this much.
const GROWTH: f64 = 2.0;

/// What a detector found in a window.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) subject: String,
    pub(super) severity: Severity,
    pub(super) why: String,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    pub(super) score: f64,
    pub(super) threshold: f64,
    pub(super) evidence: Vec<(&'static str, f64)>,
    pub(super) flows: Vec<u64>,
}

/// What is open, by subject.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Incidents {
    open: BTreeMap<String, Incident>,
    refused: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Incident {
    /// As it was found when its score was highest.
    alert: Alert,
    /// Score when it was spoken of last.
    said: f64,
    /// Log time of the last finding.
    found: Nanos,
}

impl Incidents {
    /// Takes a finding in; the alert, when there is something new to say.
    pub(super) fn take(
        &mut self,
        detector: &'static str,
        node: &Arc<str>,
        now: Nanos,
        finding: Finding,
    ) -> Option<Alert> {
        if let Some(open) = self.open.get_mut(&finding.subject) {
            open.found = now;
            let first_seen = open.alert.first_seen.min(finding.first_seen);
            let last_seen = open.alert.last_seen.max(finding.last_seen);
            if finding.score > open.alert.score {
                open.alert = alert(open.alert.id, detector, node, now, finding);
            }
            (open.alert.first_seen, open.alert.last_seen) = (first_seen, last_seen);
            if open.alert.score < GROWTH * open.said {
                return None;
            }
            open.said = open.alert.score;
            open.alert.phase = AlertPhase::Updated;
            return Some(open.alert.clone());
        }
        if self.open.len() >= MOST {
            self.refused += 1;
            return None;
        }
        let mut hash = Xxh3::with_seed(SEED);
        for part in [detector, node, &finding.subject] {
            hash.update(part.as_bytes());
            hash.update(&[0xff]);
        }
        hash.update(&finding.first_seen.0.to_le_bytes());
        let subject = finding.subject.clone();
        let alert = alert(hash.digest(), detector, node, now, finding);
        self.open.insert(subject, Incident { said: alert.score, alert: alert.clone(), found: now });
        Some(alert)
    }

    /// Ends what was not found for `quiet`.
    pub(super) fn close_quiet(&mut self, now: Nanos, quiet: Duration) -> Vec<Alert> {
        let over = self.open.extract_if(.., |_, incident| now.since(incident.found) >= quiet);
        over.map(|(_, incident)| Alert { phase: AlertPhase::Closed, at: now, ..incident.alert }).collect()
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }
}

fn alert(id: u64, detector: &'static str, node: &Arc<str>, now: Nanos, finding: Finding) -> Alert {
    let evidence = finding.evidence.into_iter();
    Alert {
        id,
        node: node.clone(),
        detector: detector.to_owned(),
        phase: AlertPhase::Open,
        severity: finding.severity,
        subject: finding.subject,
        why: finding.why,
        at: now,
        first_seen: finding.first_seen,
        last_seen: finding.last_seen,
        score: finding.score,
        threshold: finding.threshold,
        evidence: evidence.map(|(name, value)| Evidence { name: name.to_owned(), value }).collect(),
        flows: finding.flows,
    }
}
