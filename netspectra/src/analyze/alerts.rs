//! What detectors found: each incident as it was said last.

use crate::output::grouped;
use netspectra_common::model::{Alert, AlertPhase, Severity, Shown};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Incidents of a report; more are counted.
const MOST: usize = 10_000;

/// Incidents by identity.
#[derive(Default)]
pub(super) struct Alerts {
    incidents: BTreeMap<u64, Alert>,
    more: u64,
}

impl Alerts {
    pub(super) fn fold(&mut self, alerts: &[Alert]) {
        for alert in alerts {
            if self.incidents.len() < MOST || self.incidents.contains_key(&alert.id) {
                self.incidents.insert(alert.id, alert.clone());
            } else if alert.phase == AlertPhase::Open {
                self.more += 1;
            }
        }
    }

    /// Gravest first, then by time.
    fn sorted(&self) -> Vec<&Alert> {
        let mut all: Vec<&Alert> = self.incidents.values().collect();
        all.sort_by_key(|a| (std::cmp::Reverse(a.severity), a.first_seen, a.id));
        all
    }

    /// A list of objects, and how many did not fit.
    pub(super) fn json(&self, object: &mut Map<String, Value>) {
        let all: Vec<Value> = self.sorted().into_iter().map(|alert| json!(Shown(alert))).collect();
        object.insert("alerts".into(), Value::Array(all));
        object.insert("alerts_left_out".into(), self.more.into());
    }

    pub(super) fn text(&self, t: &mut String) {
        if self.incidents.is_empty() {
            return;
        }
        let _ = writeln!(t, "\nAlerts ({})", grouped(self.incidents.len() as u64 + self.more));
        for alert in self.sorted().into_iter().take(50) {
            let severity = match alert.severity {
                Severity::High => "HIGH  ",
                Severity::Medium => "medium",
                Severity::Low => "low   ",
            };
            let _ = writeln!(t, "  {severity} {:<12} {}  {}", alert.detector, alert.first_seen, alert.why);
        }
        let shown = self.incidents.len().min(50) as u64;
        let rest = self.incidents.len() as u64 + self.more - shown;
        if rest > 0 {
            let _ = writeln!(t, "  and {} more: `--format json` has them", grouped(rest));
        }
    }
}
