//! The places in front of the tables ([`Front`]): arrays of the kernel's, mapped into this process.

use super::XdpError;
use super::loader::Maps;
use super::sys::Mapped;
use netspectra_common::abi::{FlowKey, FlowStats, Front, Marks, maps};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Places of a CPU's tables at most: their [`Marks`] are to stay in a processor's caches.
const MOST: u32 = 1 << 15;
/// Memory of all places at most, bytes: it is taken at once, whether or not there are flows.
const MOST_BYTES: usize = 32 << 20;

/// Memory of a place, bytes.
const PLACE: usize = size_of::<Front>() + size_of::<FlowKey>() + size_of::<Marks>() / Front::LANES as usize;

/// Rows of places in front of each of `tables` CPUs' tables, which have room for `flows`.
pub(super) fn rows_for(flows: u32, tables: u32) -> u32 {
    let most = MOST_BYTES / PLACE / tables.max(1) as usize;
    let places = flows.min(MOST).min(u32::try_from(most).unwrap_or(u32::MAX));
    (places / Front::LANES).max(1)
}

/// The maps, mapped.
pub(super) struct Places {
    marks: Mapped<Marks>,
    places: Mapped<Front>,
    long: Mapped<FlowKey>,
    /// In front of each CPU's tables.
    rows: u32,
}

impl Places {
    /// Those in `maps`, for `tables` CPUs' tables.
    ///
    /// # Errors
    /// When a map is missing, has another size, or cannot be mapped.
    pub(super) fn take(maps: &mut Maps, tables: u32) -> Result<Self, XdpError> {
        let (marks, all_rows) = mapped(maps, maps::MARKS)?;
        let (places, all_places) = mapped(maps, maps::FRONT)?;
        let (long, all_long) = mapped(maps, maps::FRONT_LONG)?;
        let rows = all_rows / tables.max(1);
        if rows == 0 || all_rows.checked_mul(Front::LANES) != Some(all_places) || all_long != all_places {
            let what = format!("maps `{}`, `{}` of one size", maps::FRONT, maps::FRONT_LONG);
            return Err(XdpError::Object { what });
        }
        Ok(Self { marks, places, long, rows })
    }

    /// Rows in front of each CPU's tables.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    fn rows_of(&self, table: u32) -> Range<usize> {
        let (table, rows) = (table as usize, self.rows as usize);
        table * rows..(table + 1) * rows
    }

    /// Hands the flows in front of `table`, of a frozen slot, to `each`: there are `live`. Returns how many were found.
    ///
    /// Cost: a look at eight bytes of each row up to the last flow's; no call.
    pub(super) fn flows(&self, table: u32, live: u64, each: &mut dyn FnMut(FlowKey, FlowStats)) -> u64 {
        let mut found = 0;
        for row in self.rows_of(table) {
            if found >= live {
                break;
            }
            let first = row * Front::LANES as usize;
            let taken = self.marks.read(row).map_or(0, Marks::taken);
            for at in first..first + taken as usize {
                let Some(place) = self.places.read(at) else { break };
                found += 1;
                each(place.flow(|| self.long.read(at).unwrap_or_default()), place.stats);
            }
        }
        found
    }

    /// Frees every place in front of `table`, which no program may be using.
    pub(super) fn clear(&mut self, table: u32) {
        self.rows_of(table).for_each(|row| self.marks.write(row, Marks::default()));
    }
}

/// The values of a map, and how many there are.
fn mapped<T: FromBytes + IntoBytes + Immutable + Copy>(
    maps: &mut Maps,
    name: &'static str,
) -> Result<(Mapped<T>, u32), XdpError> {
    let map = maps.data(name)?;
    let info = map.info().map_err(|e| super::load_error("the places in front of the tables", &e))?;
    if info.value_size() as usize != size_of::<T>() {
        return Err(XdpError::Object { what: format!("map `{name}` with values of {} bytes", size_of::<T>()) });
    }
    let values = Mapped::new(map, info.max_entries() as usize);
    let values = values.map_err(|source| XdpError::Map { call: "mmap", map: name, source })?;
    Ok((values, info.max_entries()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_flows_up_to_bounds_for_one_and_for_all() {
        assert_eq!(rows_for(16_384, 4), 4096);
        assert_eq!(rows_for(u32::MAX, 4) * Front::LANES, MOST);
        for tables in [128, 4096] {
            let bytes = (rows_for(u32::MAX, tables) * Front::LANES * tables) as usize * PLACE;
            assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES * 9 / 10, "{bytes} for {tables}");
        }
        assert_eq!(rows_for(5, u32::MAX), 1);
    }
}
