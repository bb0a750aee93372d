//! Liveness and readiness, from what passes over the bus.

use netspectra_api::{Check, Health};
use netspectra_common::model::{BusMessage, Ledger};
use netspectra_common::ports::{BoxFuture, PortError, Publisher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Silence of the capture that is worrying: a generation comes every second.
const STALE: Duration = Duration::from_secs(10);
/// Silence after which a restart is asked for.
const DEAD: Duration = Duration::from_secs(120);

/// A process that is well for as long as it lives: what it needs is there from its start on.
#[derive(Debug)]
pub(crate) struct Alive {
    /// What is there.
    pub(crate) name: &'static str,
    /// In which state.
    pub(crate) detail: &'static str,
}

impl Health for Alive {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        vec![Check { name: self.name.into(), ok: true, detail: self.detail.into() }]
    }
}

/// When the last generation was stored.
#[derive(Debug)]
pub(crate) struct State {
    started: Instant,
    /// Milliseconds since `started`, plus one; 0 before the first.
    last: AtomicU64,
    /// Sum of the ledgers of stored generations.
    ledger: Mutex<Ledger>,
    /// How traffic is seen.
    mode: String,
}

impl State {
    /// `mode` says how traffic is seen, for people.
    pub(crate) fn new(mode: String) -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0), ledger: Mutex::default(), mode }
    }

    /// A bus that notes each generation that was stored.
    pub(crate) fn watch(self: &Arc<Self>, bus: Arc<dyn Publisher>) -> WatchedBus {
        WatchedBus { bus, state: self.clone() }
    }

    /// Sum of the ledgers of this run's stored generations.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.lock().map(|l| l.clone()).unwrap_or_default()
    }

    /// Time since the last generation was stored, or since the start.
    fn silence(&self) -> Duration {
        let last = self.last.load(Ordering::Relaxed).saturating_sub(1);
        self.started.elapsed().saturating_sub(Duration::from_millis(last))
    }
}

impl Health for State {
    fn live(&self) -> bool {
        self.silence() < DEAD
    }

    fn ready(&self) -> Vec<Check> {
        let silence = self.silence();
        let any = self.last.load(Ordering::Relaxed) > 0;
        let ok = any && silence < STALE;
        let detail = if any {
            format!("the last generation was stored {:.1} s ago", silence.as_secs_f64())
        } else {
            "no generation was stored yet".into()
        };
        let mode = Check { name: "capture_mode".into(), ok: true, detail: self.mode.clone() };
        vec![Check { name: "capture".into(), ok, detail }, mode]
    }
}

/// Passes everything on, and notes when it was stored.
pub(crate) struct WatchedBus {
    bus: Arc<dyn Publisher>,
    state: Arc<State>,
}

impl Publisher for WatchedBus {
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let ledgers: Vec<Ledger> = messages
                .iter()
                .filter_map(|m| match m {
                    BusMessage::Manifest(manifest) => Some(manifest.ledger.clone()),
                    BusMessage::Chunk(_)
                    | BusMessage::Payload { .. }
                    | BusMessage::Observed { .. }
                    | BusMessage::Sockets { .. } => None,
                })
                .collect();
            self.bus.publish(messages).await?;
            if let Ok(mut sum) = self.state.ledger.lock() {
                ledgers.iter().for_each(|l| sum.merge(l));
            }
            let now = self.state.started.elapsed().as_millis() as u64;
            self.state.last.store(now + 1, Ordering::Relaxed);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ready_before_the_first_generation() {
        let state = State::new("af-packet".into());
        assert!(state.live());
        assert!(!state.ready()[0].ok);
        state.last.store(1, Ordering::Relaxed);
        assert!(state.ready()[0].ok);
        assert_eq!(state.ready()[1].detail, "af-packet");
    }
}
