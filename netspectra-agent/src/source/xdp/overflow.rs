//! What the programs counted of packets whose flow found no room: one entry for each slot and CPU.

use super::loader::Maps;
use super::tables::Pod;
use super::{XdpError, load_error};
use aya::maps::{Array, MapData, MapError};
use netspectra_common::abi::{Overflow, maps};

/// The map and which of its entries hold something. An entry is read and cleared only when its table was full: 80 KiB
/// for every CPU and second would be a cost without a use.
pub(super) struct Overflows {
    map: Array<MapData, Pod<Overflow>>,
    /// At first all: what an earlier process left in a map that stayed is not known.
    used: Vec<bool>,
}

impl Overflows {
    pub(super) fn new(maps: &mut Maps, entries: u32) -> Result<Self, XdpError> {
        Ok(Self { map: maps.take(maps::OVERFLOW)?, used: vec![true; entries as usize] })
    }

    /// The entry `at` of a frozen slot.
    pub(super) fn read(&mut self, at: u32) -> Result<Box<Overflow>, XdpError> {
        if let Some(used) = self.used.get_mut(at as usize) {
            *used = true;
        }
        let found = self.map.get(&at, 0).map_err(|e| refused("a look-up in", &e))?;
        Ok(Box::new(found.0))
    }

    /// Empties the entry `at`, which no program may be using.
    pub(super) fn clear(&mut self, at: u32) -> Result<(), XdpError> {
        let Some(used) = self.used.get_mut(at as usize).filter(|used| **used) else { return Ok(()) };
        self.map.set(at, Pod(Overflow::EMPTY), 0).map_err(|e| refused("an update of", &e))?;
        *used = false;
        Ok(())
    }
}

fn refused(call: &str, e: &MapError) -> XdpError {
    load_error(&format!("{call} map `{}`", maps::OVERFLOW), e)
}
