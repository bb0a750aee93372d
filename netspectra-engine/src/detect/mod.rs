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

use judge::{Judge, Kind};
use netspectra_common::detect::{Detector, DetectorKind, Seen};
use netspectra_common::model::{Alert, Nanos};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The detectors that come with NetSpectra and are on by `config`, in the order of [`NAMES`].
pub fn builtin(config: &DetectConfig) -> Vec<Arc<dyn DetectorKind>> {
    if !config.enabled {
        return Vec::new();
    }
    let c = config;
    let all = [
        (c.port_scan.enabled, kind::<scan::PortScan>(&c.port_scan)),
        (c.syn_flood.enabled, kind::<syn_flood::SynFlood>(&c.syn_flood)),
        (c.flood.enabled, kind::<flood::Flood>(&c.flood)),
        (c.reflection.enabled, kind::<reflection::Reflection>(&c.reflection)),
        (c.dns_tunnel.enabled, kind::<tunnel::DnsTunnel>(&c.dns_tunnel)),
        (c.beacon.enabled, kind::<beacon::Beacon>(&c.beacon)),
        (c.new_talker.enabled, kind::<newcomer::NewTalker>(&c.new_talker)),
        (c.baseline.enabled, kind::<baseline::Baseline>(&c.baseline)),
        (!c.threshold.is_empty(), kind::<threshold::Threshold>(&threshold::rules(&c.threshold))),
    ];
    all.into_iter().filter_map(|(enabled, kind)| enabled.then_some(kind)).collect()
}

fn kind<J: Judge>(config: &J::Config) -> Arc<dyn DetectorKind> {
    Arc::new(Kind::<J>::new(config.clone()))
}

/// Names of the detectors that come with NetSpectra.
pub const NAMES: [&str; 9] = [
    scan::PortScan::NAME,
    syn_flood::SynFlood::NAME,
    flood::Flood::NAME,
    reflection::Reflection::NAME,
    tunnel::DnsTunnel::NAME,
    beacon::Beacon::NAME,
    newcomer::NewTalker::NAME,
    baseline::Baseline::NAME,
    threshold::Threshold::NAME,
];

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
