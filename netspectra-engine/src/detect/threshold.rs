//! Rules of one's own: too many bytes, packets or flows in a window.

use super::config::ThresholdRule;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Span, Windowed};
use netspectra_common::detect::Seen;
use netspectra_common::model::Severity;
use netspectra_common::query::{Filter, parse_filter};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Groups of all rules that are watched at once.
const MOST: usize = 16_384;

/// Rules with their filters read; every row where one cannot be, which [`super::DetectConfig::validate`] refuses.
pub(super) fn rules(rules: &[ThresholdRule]) -> Vec<(ThresholdRule, Filter)> {
    let filter = |rule: &ThresholdRule| parse_filter(&rule.filter).unwrap_or(Filter::ALL);
    rules.iter().map(|rule| (rule.clone(), filter(rule))).collect()
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Threshold {
    groups: Windowed<(String, Option<IpAddr>), Sum>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Sum {
    value: u64,
    span: Span,
}

impl Judge for Threshold {
    const NAME: &'static str = "threshold";
    type Config = Vec<(ThresholdRule, Filter)>;

    fn judge(&mut self, config: &Self::Config, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for (rule, rows) in config {
            for record in seen.flows.iter().filter(|record| rows.matches(*record)) {
                let who = match rule.by.as_str() {
                    "src_ip" => record.src_ip,
                    "dst_ip" => record.dst_ip,
                    _ => None,
                };
                if who.is_none() && !rule.by.is_empty() {
                    continue;
                }
                let value = match rule.metric.as_str() {
                    "bytes" => record.bytes + record.reverse_bytes,
                    "packets" => record.packets + record.reverse_packets,
                    _ => u64::from(record.first_seen == record.flow_start),
                };
                let key = (rule.name.clone(), who);
                let Some(group) = self.groups.at(key, seen.now, rule.window_seconds, MOST) else { continue };
                group.open.value += value;
                group.open.span.add(record);
                let sum = group.open.value + group.before.value;
                if sum <= rule.above {
                    continue;
                }
                let (first_seen, last_seen, flows) = Span::of_both(&group.open.span, &group.before.span);
                let who = who.map_or_else(|| "all".to_owned(), |ip| ip.to_string());
                found.push(Finding {
                    subject: format!("{}: {who}", rule.name),
                    severity: Severity::Medium,
                    why: format!(
                        "{sum} {} within {} s, more than {}, for {who}",
                        rule.metric, rule.window_seconds, rule.above
                    ),
                    first_seen,
                    last_seen,
                    score: sum as f64,
                    threshold: rule.above as f64,
                    evidence: vec![("sum", sum as f64)],
                    flows,
                });
            }
        }
    }

    fn quiet(config: &Self::Config) -> Duration {
        Duration::from_secs(config.iter().map(|(rule, _)| rule.window_seconds).max().unwrap_or(60))
    }

    fn refused(&self) -> u64 {
        self.groups.refused()
    }
}
