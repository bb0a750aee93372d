//! Ctrl-C and SIGTERM while servers are being started or used: what was started is ended before this program is.

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::{Arc, LazyLock, atomic::AtomicBool, atomic::Ordering};

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on these signals are noted instead of ending this program at once.
///
/// # Errors
/// The system refuses the handler.
pub(super) fn watch() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ASKED.clone()).context("cannot watch for Ctrl-C")?;
    }
    Ok(())
}

/// To be called in every loop that waits, and between steps.
///
/// # Errors
/// A signal came.
pub(super) fn check() -> Result<()> {
    if ASKED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
