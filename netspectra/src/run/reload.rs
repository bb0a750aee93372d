//! SIGHUP: the configuration is read again, and its rules are put in force.

use crate::cli::RunArgs;
use crate::config::Config;
use crate::output;
use anyhow::Context as _;
use netspectra_agent::rules::RulesHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Begins to take SIGHUP: from here on it does not end the process.
///
/// # Errors
/// The signal cannot be waited for.
pub(super) fn signals() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot wait for SIGHUP")
}

/// Reads the configuration at each signal. One that is not good changes nothing, and is said.
pub(super) async fn on_signals(mut signals: Signal, args: RunArgs, mut now: Config, rules: RulesHandle) {
    while signals.recv().await.is_some() {
        let mut new = match Config::load(&args) {
            Ok(new) => new,
            Err(e) => {
                tracing::error!(error = %output::chain(&e), "the configuration stays as it was");
                continue;
            }
        };
        // What the start found out where the configuration says nothing.
        if new.capture.interfaces.is_empty() {
            new.capture.interfaces.clone_from(&now.capture.interfaces);
        }
        if new.capture.rules == now.capture.rules {
            tracing::info!("the configuration was read again: its capture rules are the same");
        } else {
            tracing::info!(
                before = now.capture.rules.len(),
                after = new.capture.rules.len(),
                "the capture rules change"
            );
            rules.set(new.capture.rules.clone());
            now.capture.rules.clone_from(&new.capture.rules);
        }
        if new != now {
            tracing::warn!("other settings changed too: they need a restart of this process");
        }
    }
}
