//! What a process that was killed left: found again by the next one, or given up.

use super::pin::{self, Pins};
use super::saved::Keeper;
use super::{XdpError, kept, tables};
use netspectra_common::abi::Counter;

/// What giving up an instance's kernel state took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Hooks that were detached.
    pub hooks: usize,
    /// Packets and bytes that were counted and that nobody can read any more. A generation that was handed over, but not
    /// yet emptied, is among them.
    pub given_up: Counter,
}

/// Names of the instances whose kernel state is kept, running or not.
pub fn instances() -> Vec<String> {
    pin::instances()
}

/// Detaches what `instance` left and removes its kernel state, whatever version made it; `None` when there is none.
///
/// A filter at clsact is found in the network namespace of the caller only.
///
/// # Errors
/// [`XdpError::Busy`] while a process runs it; [`XdpError::Pin`] when something cannot be removed.
pub fn give_up(instance: &str) -> Result<Option<Left>, XdpError> {
    let Some(pins) = pin::left_by(instance)? else { return Ok(None) };
    let mut left = Left { hooks: kept::detach(&pins, |_, _| true)?, ..Left::default() };
    for name in pins.names(tables::TOTALS)? {
        match tables::seen_of(&pins, &name) {
            Ok(seen) => left.given_up.add(seen),
            Err(error) => tracing::warn!(%error, name, "a table cannot be read: what it counted is not said"),
        }
    }
    pins.remove_all()?;
    Ok(Some(left))
}

/// What was left in a folder. The rest of a start or of an end that was cut short is removed.
pub(super) fn find(pins: &Pins, cpus: u32) -> Result<Option<Keeper>, XdpError> {
    let found = Keeper::find(pins);
    if found.is_err() {
        // What cannot be read is not ours to remove.
        pins.keep();
    }
    let Some((keeper, saved)) = found? else {
        pins.clear()?;
        return Ok(None);
    };
    pins.keep();
    if saved.cpus != cpus {
        let found = format!("tables for {} CPUs, this host has {cpus}", saved.cpus);
        return Err(XdpError::Layout { path: pins.dir().to_owned(), found });
    }
    tracing::info!(
        epoch = saved.epoch,
        generation = saved.number,
        "going on with what a process before this one left in the kernel"
    );
    Ok(Some(keeper))
}
