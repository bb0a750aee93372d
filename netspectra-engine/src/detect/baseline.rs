//! A node's totals of a minute beside what is usual: Holt-Winters (additive) over the times of the day, an EWMA until a day has
//! been seen.

use super::config::BaselineConfig;
use super::incident::Finding;
use super::judge::Judge;
use netspectra_common::detect::Seen;
use netspectra_common::model::{Nanos, Resolution, Severity};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MINUTE: u64 = 60 * Nanos::PER_SECOND;
/// Parts of a day with an offset of their own.
const PARTS: usize = 144;
const MINUTES_OF_A_PART: u64 = 10;
const MINUTES_OF_A_DAY: u64 = 1440;
/// Weights of the last minute in the level, of its error in the usual deviation, and of a part of the day in its offset.
const LEVEL: f64 = 0.05;
const DEVIATION: f64 = 0.02;
const OFFSET: f64 = 0.1;
/// What an unusual minute weighs of what a usual one does, in the level and the deviation. Not in the offset: that is how a peak
/// of every day becomes usual.
const UNUSUAL: f64 = 0.1;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Baseline {
    bytes: Line,
    flows: Line,
    /// The last minute that was taken in.
    last: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    minutes: u64,
    level: f64,
    deviation: f64,
    offsets: Vec<f64>,
    /// Unusual minutes in a row.
    unusual: u64,
    since: Nanos,
}

impl Default for Line {
    fn default() -> Self {
        Self { minutes: 0, level: 0.0, deviation: 0.0, offsets: vec![0.0; PARTS], unusual: 0, since: Nanos(0) }
    }
}

/// What a minute was, beside what was expected of it.
struct Judged {
    expected: f64,
    deviation: f64,
    minutes: u64,
    since: Nanos,
}

impl Line {
    /// Takes a minute in; what was expected, when it is unusual for long enough.
    fn take(&mut self, config: &BaselineConfig, minute: u64, value: f64, least: f64) -> Option<Judged> {
        let part = (minute % MINUTES_OF_A_DAY / MINUTES_OF_A_PART) as usize;
        let offset = if self.minutes >= MINUTES_OF_A_DAY { self.offsets[part] } else { 0.0 };
        if self.minutes == 0 {
            self.level = value;
        }
        let expected = self.level + offset;
        let error = value - expected;
        let limit = (config.deviations as f64 * self.deviation).max(least);
        let is_unusual = self.minutes >= config.learning_minutes && error.abs() > limit;
        let deviation = self.deviation;
        let weight = if is_unusual { UNUSUAL } else { 1.0 };
        // The first minutes are an average, so that the begin does not count more than the rest.
        let level = LEVEL.max(1.0 / (self.minutes + 1) as f64);
        self.level += weight * level * error;
        self.deviation += weight * DEVIATION.max(1.0 / (self.minutes + 1) as f64) * (error.abs() - self.deviation);
        self.offsets[part] += OFFSET * (value - self.level - self.offsets[part]);
        self.minutes += 1;
        if !is_unusual {
            self.unusual = 0;
            return None;
        }
        if self.unusual == 0 {
            self.since = Nanos(minute * MINUTE);
        }
        self.unusual += 1;
        (self.unusual >= config.minutes).then_some(Judged {
            expected,
            deviation,
            minutes: self.unusual,
            since: self.since,
        })
    }
}

impl Judge for Baseline {
    const NAME: &'static str = "baseline";
    type Config = BaselineConfig;

    fn judge(&mut self, config: &BaselineConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for window in seen.windows.iter().filter(|w| w.resolution == Resolution::S60) {
            let minute = window.start.0 / MINUTE;
            // A window that was written in parts, or late, is no minute of its own.
            if self.last.is_some_and(|last| minute <= last) {
                continue;
            }
            self.last = Some(minute);
            let lines = [
                (&mut self.bytes, "bytes", window.total.bytes, config.bytes),
                (&mut self.flows, "flows", window.new_flows, config.flows),
            ];
            for (line, name, value, least) in lines {
                let Some(judged) = line.take(config, minute, value as f64, least as f64) else { continue };
                let limit = (config.deviations as f64 * judged.deviation).max(least as f64);
                let way = if value as f64 > judged.expected { "more" } else { "less" };
                found.push(Finding {
                    subject: format!("{name} of {}", seen.node),
                    severity: Severity::Medium,
                    why: format!(
                        "{value} {name} in a minute, {way} than the {:.0} that are usual, for {} minutes",
                        judged.expected, judged.minutes
                    ),
                    first_seen: judged.since,
                    last_seen: Nanos((minute + 1) * MINUTE),
                    score: (value as f64 - judged.expected).abs(),
                    threshold: limit,
                    evidence: vec![
                        ("value", value as f64),
                        ("expected", judged.expected),
                        ("usual_deviation", judged.deviation),
                        ("minutes", judged.minutes as f64),
                    ],
                    flows: Vec::new(),
                });
            }
        }
    }

    fn quiet(_: &BaselineConfig) -> Duration {
        Duration::from_secs(300)
    }

    fn refused(&self) -> u64 {
        0
    }
}
