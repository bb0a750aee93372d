//! Detectors of anomalies, run by the engine for each node on what each of its generations seen.
//!
//! Every detector is a [`judge::Judge`]: it looks at flow records, windows and messages, and says what it found in this window.
//! [`incident`] makes one alert of what is found again and again. All of it is a function of the log and part of the engine's
//! state, so a replay, another engine of the cluster, or a restart raise the same alerts. `docs/detectors.md` says how each works,
//! what it does not see, and how often it is wrong.

mod baseline;
mod beacon;
mod config;
mod flood;
mod incident;
mod judge;
mod newcomer;
mod reflection;
mod scan;
mod syn_flood;
#[cfg(test)]
mod tests;
mod threshold;
mod tunnel;
mod window;

pub use config::{
    BaselineConfig, BeaconConfig, ConfigError, DetectConfig, FloodConfig, NewTalkerConfig, ReflectionConfig,
    ScanConfig, SynFloodConfig, ThresholdRule, TunnelConfig,
};

use judge::Kind;
use netspectra_common::detect::{Detector, DetectorKind, Seen};
use netspectra_common::model::{Alert, Nanos};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The detectors that come with NetSpectra and are on by `config`, in the order in which they are asked.
pub fn builtin(config: &DetectConfig) -> Vec<Arc<dyn DetectorKind>> {
    let mut all: Vec<Arc<dyn DetectorKind>> = Vec::new();
    if !config.enabled {
        return all;
    }
    if config.port_scan.enabled {
        all.push(Arc::new(Kind::<scan::PortScan>::new(config.port_scan.clone())));
    }
    if config.syn_flood.enabled {
        all.push(Arc::new(Kind::<syn_flood::SynFlood>::new(config.syn_flood.clone())));
    }
    if config.flood.enabled {
        all.push(Arc::new(Kind::<flood::Flood>::new(config.flood.clone())));
    }
    if config.reflection.enabled {
        all.push(Arc::new(Kind::<reflection::Reflection>::new(config.reflection.clone())));
    }
    if config.dns_tunnel.enabled {
        all.push(Arc::new(Kind::<tunnel::DnsTunnel>::new(config.dns_tunnel.clone())));
    }
    if config.beacon.enabled {
        all.push(Arc::new(Kind::<beacon::Beacon>::new(config.beacon.clone())));
    }
    if config.new_talker.enabled {
        all.push(Arc::new(Kind::<newcomer::NewTalker>::new(config.new_talker.clone())));
    }
    if config.baseline.enabled {
        all.push(Arc::new(Kind::<baseline::Baseline>::new(config.baseline.clone())));
    }
    if !config.threshold.is_empty() {
        all.push(Arc::new(Kind::<threshold::Threshold>::new(config.threshold.clone())));
    }
    all
}

/// Names of the detectors that come with NetSpectra.
pub const NAMES: [&str; 9] =
    ["port_scan", "syn_flood", "flood", "reflection", "dns_tunnel", "beacon", "new_talker", "baseline", "threshold"];

/// Puts alerts into the log, one line each.
pub(crate) fn log(alerts: &[Alert]) {
    for a in alerts {
        let Alert { id, node, detector, phase, severity, subject, why, score, .. } = a;
        let (phase, severity) = (phase.name(), severity.name());
        if phase == "closed" || *severity == *"low" {
            tracing::info!(id = %format!("{id:016x}"), %node, detector, phase, severity, subject, score, "alert: {why}");
        } else {
            tracing::warn!(id = %format!("{id:016x}"), %node, detector, phase, severity, subject, score, "alert: {why}");
        }
    }
}

/// The detectors of one node. Written with the engine's state; what was read back goes on when it is asked first.
#[derive(Debug, Default)]
pub(crate) struct NodeDetectors {
    live: Vec<(&'static str, Box<dyn Detector>)>,
    kept: BTreeMap<String, Vec<u8>>,
}

impl NodeDetectors {
    pub(crate) fn observe(&mut self, kinds: &[Arc<dyn DetectorKind>], seen: &Seen<'_>) -> Vec<Alert> {
        self.wake(kinds);
        self.live.iter_mut().flat_map(|(_, detector)| detector.observe(seen)).collect()
    }

    /// The node's input ended.
    pub(crate) fn end(&mut self, kinds: &[Arc<dyn DetectorKind>], now: Nanos) -> Vec<Alert> {
        self.wake(kinds);
        self.live.iter_mut().flat_map(|(_, detector)| detector.end(now)).collect()
    }

    /// Goes on with kinds of another configuration when it is asked next.
    pub(crate) fn put_aside(&mut self) {
        self.kept = self.states();
        self.live.clear();
    }

    pub(crate) fn refused(&self) -> u64 {
        self.live.iter().map(|(_, detector)| detector.refused()).sum()
    }

    fn wake(&mut self, kinds: &[Arc<dyn DetectorKind>]) {
        if self.live.is_empty() {
            for kind in kinds {
                let kept = self.kept.remove(kind.name()).and_then(|bytes| kind.restore(&bytes));
                self.live.push((kind.name(), kept.unwrap_or_else(|| kind.fresh())));
            }
            // Of detectors that are off now.
            self.kept.clear();
        }
    }

    fn states(&self) -> BTreeMap<String, Vec<u8>> {
        match self.live.is_empty() {
            true => self.kept.clone(),
            false => self.live.iter().map(|(name, detector)| ((*name).to_owned(), detector.save())).collect(),
        }
    }
}

impl Serialize for NodeDetectors {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.states().serialize(to)
    }
}

impl<'de> Deserialize<'de> for NodeDetectors {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { live: Vec::new(), kept: BTreeMap::deserialize(from)? })
    }
}
