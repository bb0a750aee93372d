//! What all detectors share: configuration, state as bytes, and incidents of what they find.

use super::incident::{Finding, Incidents};
use netspectra_common::detect::{Detector, DetectorKind, Seen};
use netspectra_common::model::{Alert, Nanos};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::time::Duration;

/// One way to judge, and its state.
pub(super) trait Judge: Debug + Default + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Name of the detector.
    const NAME: &'static str;
    /// What it can be told.
    type Config: Clone + Debug + Send + Sync + 'static;

    /// What is found in the window that `seen` is in, each time anew while it lasts.
    fn judge(&mut self, config: &Self::Config, seen: &Seen<'_>, found: &mut Vec<Finding>);

    /// Time without a finding after which an incident is over.
    fn quiet(config: &Self::Config) -> Duration;

    /// Candidates without room.
    fn refused(&self) -> u64;
}

/// A judge as a plug-in.
#[derive(Debug)]
pub(super) struct Kind<J: Judge> {
    config: J::Config,
}

impl<J: Judge> Kind<J> {
    pub(super) const fn new(config: J::Config) -> Self {
        Self { config }
    }
}

#[derive(Debug)]
struct Running<J: Judge> {
    config: J::Config,
    state: State<J>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State<J> {
    judge: J,
    incidents: Incidents,
}

impl<J: Judge> DetectorKind for Kind<J> {
    fn name(&self) -> &'static str {
        J::NAME
    }

    fn fresh(&self) -> Box<dyn Detector> {
        Box::new(Running::<J> { config: self.config.clone(), state: State::default() })
    }

    fn restore(&self, bytes: &[u8]) -> Option<Box<dyn Detector>> {
        let state: State<J> = postcard::from_bytes(bytes).ok()?;
        Some(Box::new(Running { config: self.config.clone(), state }))
    }
}

impl<J: Judge> Detector for Running<J> {
    fn observe(&mut self, seen: &Seen<'_>) -> Vec<Alert> {
        let mut found = Vec::new();
        self.state.judge.judge(&self.config, seen, &mut found);
        let incidents = &mut self.state.incidents;
        let mut alerts = Vec::new();
        for finding in found {
            alerts.extend(incidents.take(J::NAME, seen.node, seen.now, finding));
        }
        alerts.extend(incidents.close_quiet(seen.now, J::quiet(&self.config)));
        alerts
    }

    fn end(&mut self, now: Nanos) -> Vec<Alert> {
        self.state.incidents.close_quiet(now, Duration::ZERO)
    }

    fn refused(&self) -> u64 {
        self.state.judge.refused() + self.state.incidents.refused()
    }

    fn save(&self) -> Vec<u8> {
        // Only a map whose length is unknown cannot be written, and there is none.
        postcard::to_stdvec(&self.state).unwrap_or_default()
    }
}
