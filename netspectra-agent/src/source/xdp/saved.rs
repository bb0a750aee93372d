//! What a process that is killed leaves for the next one: which generation is where, in one element of a pinned array.
//!
//! The element is replaced by one system call, which a kill does not cut in two. What must be true at each moment is in
//! the order of the writes:
//!
//! | written | the tables then | after a kill the next process |
//! |---|---|---|
//! | [`Phase::Freezing`] | programs fill the old slot or, once told, the other one | tells the programs, waits, reads |
//! | [`Phase::Frozen`] | the old slot is final, with its end and its clock | reads the same again, under the same number |
//! | [`Phase::Clearing`] | the generation is safe elsewhere, part of it is gone here | clears the rest |
//! | [`Phase::Clean`] | the old slot is empty | goes on |

use super::XdpError;
use super::devices::Counted;
use super::pin::Pins;
use super::sys::{self, MapShape};
use aya::maps::{MapData, MapInfo};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use netspectra_common::abi::{ABI_VERSION, Counter, Obs};
use netspectra_common::model::{Interface, ManifestHash, NicCounters, NicDelta};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"nspstate";
/// Version of [`Saved`]; raised with every change of it.
const LAYOUT: u32 = 2;
/// Interfaces that a key can tell apart.
const MOST: usize = Obs::MAX_IFACE as usize + 1;
/// `IFNAMSIZ`.
const NAME: usize = 16;

/// How far the slot that is not being filled is on its way back to empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Phase {
    /// Empty.
    Clean = 0,
    /// Its generation has ended; programs may not know yet.
    Freezing = 1,
    /// Its generation is final and may not be safe elsewhere.
    Frozen = 2,
    /// Its generation is safe elsewhere.
    Clearing = 3,
}

/// One interface of a [`Roster`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct Place {
    /// 0 for interfaces that found no slot of their own.
    ifindex: u32,
    /// All zeros: nothing here.
    name: [u8; NAME],
}

/// What the interface slots of a generation mean.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct Roster {
    places: [Place; MOST],
}

impl Roster {
    /// The roster of `interfaces`; a slot that no key can carry is left out.
    pub(super) fn of(interfaces: &[Interface]) -> Self {
        let mut places = [Place { ifindex: 0, name: [0; NAME] }; MOST];
        for i in interfaces {
            if let Some(place) = places.get_mut(usize::from(i.slot)) {
                place.ifindex = i.ifindex;
                // The last byte stays zero: a name has at most 15.
                place.name.iter_mut().take(NAME - 1).zip(i.name.bytes()).for_each(|(to, from)| *to = from);
            }
        }
        Self { places }
    }

    /// The interfaces, by slot.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let used = self.places.iter().enumerate().filter(|(_, p)| p.name[0] != 0);
        used.map(|(slot, p)| {
            let len = p.name.iter().position(|b| *b == 0).unwrap_or(NAME);
            let name = String::from_utf8_lossy(&p.name[..len]);
            Interface { slot: slot as u8, ifindex: p.ifindex, name: Arc::from(&*name) }
        })
        .collect()
    }
}

/// What the device of one interface counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct DeviceCell {
    /// 0: nothing here.
    ifindex: u32,
    /// 1: the device began anew.
    reset: u32,
    counters: [u64; NicCounters::LEN],
}

/// What devices counted, or gained.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct DeviceTable {
    cells: [DeviceCell; MOST],
}

impl DeviceTable {
    /// Of no devices.
    const EMPTY: Self = Self { cells: [DeviceCell { ifindex: 0, reset: 0, counters: [0; NicCounters::LEN] }; MOST] };

    /// Of `devices`: index, counters, whether it began anew. There are no more than slots.
    fn of(devices: impl Iterator<Item = (u32, NicCounters, bool)>) -> Self {
        let mut table = Self::EMPTY;
        for (cell, (ifindex, counters, reset)) in table.cells.iter_mut().zip(devices) {
            *cell = DeviceCell { ifindex, reset: reset.into(), counters: counters.to_array() };
        }
        table
    }

    fn used(&self) -> impl Iterator<Item = (u32, NicCounters, bool)> {
        let used = self.cells.iter().take_while(|c| c.ifindex != 0);
        used.map(|c| (c.ifindex, NicCounters::from_array(c.counters), c.reset != 0))
    }

    /// Where devices stood.
    pub(super) fn of_counted(counted: &Counted) -> Self {
        Self::of(counted.iter().map(|(ifindex, counters)| (*ifindex, *counters, false)))
    }

    /// Where devices stood.
    pub(super) fn counted(&self) -> Counted {
        self.used().map(|(ifindex, counters, _)| (ifindex, counters)).collect()
    }

    /// What devices gained.
    pub(super) fn of_deltas(deltas: &[NicDelta]) -> Self {
        Self::of(deltas.iter().map(|d| (d.ifindex, d.gained, d.reset)))
    }

    /// What devices gained, with the last name that `interfaces` give each.
    pub(super) fn deltas(&self, interfaces: &[Interface]) -> Vec<NicDelta> {
        let name = |ifindex| interfaces.iter().rev().find(|i| i.ifindex == ifindex).map(|i| i.name.clone());
        let named = |(ifindex, gained, reset)| Some(NicDelta { ifindex, iface: name(ifindex)?, gained, reset });
        self.used().filter_map(named).collect()
    }
}

/// The slot that is not being filled.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct Ended {
    phase: u32,
    /// 1: the source has nothing after it.
    pub(super) last: u32,
    pub(super) number: u64,
    /// Unix nanoseconds.
    pub(super) start: u64,
    /// Unix nanoseconds, from [`Phase::Frozen`] on.
    pub(super) end: u64,
    /// What turns the programs' clock into Unix time, from [`Phase::Frozen`] on.
    pub(super) offset: u64,
    /// Frames that met no table, from [`Phase::Frozen`] on.
    pub(super) missed: Counter,
    pub(super) interfaces: Roster,
    /// What devices gained in it, from [`Phase::Frozen`] on.
    pub(super) devices: DeviceTable,
}

/// Everything that is kept.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct Saved {
    magic: [u8; 8],
    layout: u32,
    abi: u32,
    /// The run, as chunk ids have it: Unix nanoseconds of its start.
    pub(super) epoch: u64,
    /// The generation that is being filled.
    pub(super) number: u64,
    /// Its begin, Unix nanoseconds.
    pub(super) started: u64,
    /// Frames that met no table before it, since the maps were made.
    pub(super) missed: Counter,
    /// Where programs fill it.
    pub(super) slot: u32,
    /// CPUs that have tables.
    pub(super) cpus: u32,
    pub(super) interfaces: Roster,
    /// Where devices stood when it began.
    pub(super) devices: DeviceTable,
    /// Of the manifest of the last generation that is safe elsewhere.
    chain: [u8; 32],
    /// 1: there is one.
    chained: u32,
    pad: u32,
    /// The generation before it.
    pub(super) ended: Ended,
}

impl Saved {
    /// The begin of a run: nothing counted, slot 0 to be filled.
    pub(super) fn new(epoch: u64, cpus: u32) -> Self {
        let interfaces = Roster::of(&[]);
        let ended = Ended {
            phase: Phase::Clean as u32,
            last: 0,
            number: 0,
            start: 0,
            end: 0,
            offset: 0,
            missed: Counter::default(),
            interfaces,
            devices: DeviceTable::EMPTY,
        };
        Self {
            magic: MAGIC,
            layout: LAYOUT,
            abi: ABI_VERSION,
            epoch,
            number: 0,
            started: epoch,
            missed: Counter::default(),
            slot: 0,
            cpus,
            interfaces,
            devices: DeviceTable::EMPTY,
            chain: [0; 32],
            chained: 0,
            pad: 0,
            ended,
        }
    }

    /// The hash of the manifest of the last generation that is safe elsewhere; `None` before the first.
    pub(super) fn chain(&self) -> Option<ManifestHash> {
        (self.chained != 0).then_some(ManifestHash(self.chain))
    }

    pub(super) fn set_chain(&mut self, hash: ManifestHash) {
        (self.chain, self.chained) = (hash.0, 1);
    }

    /// How far the ended generation is. A number that nothing writes counts as [`Phase::Frozen`]: reading again is safe.
    pub(super) fn phase(&self) -> Phase {
        match self.ended.phase {
            0 => Phase::Clean,
            1 => Phase::Freezing,
            3 => Phase::Clearing,
            _ => Phase::Frozen,
        }
    }

    /// Notes how far the ended generation is.
    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.ended.phase = phase as u32;
    }
}

/// The pinned element; none where nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    map: Option<MapData>,
}

impl Keeper {
    /// What was left in the folder; `None` when it holds nothing that counts.
    ///
    /// # Errors
    /// [`XdpError::Layout`] when it was left by another version.
    pub(super) fn find(pins: &Pins) -> Result<Option<(Self, Box<Saved>)>, XdpError> {
        let path = pins.state();
        if !path.exists() {
            return Ok(None);
        }
        let map = MapData::from_pin(&path).map_err(|e| super::load_error("the pinned state", &e))?;
        Self::read(map, pins.dir()).map(Some)
    }

    /// What `map` holds, which is pinned in the folder `dir`.
    ///
    /// # Errors
    /// [`XdpError::Layout`] when it was written by another version.
    pub(super) fn read(map: MapData, dir: &Path) -> Result<(Self, Box<Saved>), XdpError> {
        let info = map.info().map_err(|e| super::load_error("the pinned state", &e))?;
        let other = |found: String| XdpError::Layout { path: dir.to_owned(), found };
        let mut bytes = vec![0u8; info.value_size() as usize];
        sys::lookup_bytes(map.fd().as_fd(), &0u32, &mut bytes).map_err(|source| XdpError::Map {
            call: "BPF_MAP_LOOKUP_ELEM",
            map: "state",
            source,
        })?;
        let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let (layout, abi) = (word(8), word(12));
        if !bytes.starts_with(&MAGIC) {
            return Err(other("something else".into()));
        }
        if (layout, abi) != (LAYOUT, ABI_VERSION) {
            return Err(other(format!("version {abi}.{layout}")));
        }
        let saved = Saved::read_from_bytes(&bytes).map_err(|_| other(format!("{} bytes", bytes.len())))?;
        Ok((Self { map: Some(map) }, Box::new(saved)))
    }

    /// Pins `saved`: from now on the folder counts.
    pub(super) fn begin(pins: &Pins, saved: &Saved) -> Result<Self, XdpError> {
        let failed = |e: &(dyn std::error::Error + 'static)| super::load_error("the state to be pinned", e);
        let shape = MapShape {
            kind: BPF_MAP_TYPE_ARRAY as u32,
            key: size_of::<u32>(),
            value: size_of::<Saved>(),
            entries: 1,
            flags: 0,
        };
        let fd = sys::create_map(shape, None).map_err(|e| failed(&e))?;
        let keeper = Self { map: Some(MapData::from_fd(fd).map_err(|e| failed(&e))?) };
        keeper.save(saved)?;
        if let Some(map) = &keeper.map {
            map.pin(pins.state()).map_err(|e| failed(&e))?;
        }
        Ok(keeper)
    }

    /// The element's map.
    pub(super) fn into_map(self) -> Option<MapData> {
        self.map
    }

    /// Writes `saved`, all at once.
    pub(super) fn save(&self, saved: &Saved) -> Result<(), XdpError> {
        let Some(map) = &self.map else { return Ok(()) };
        sys::update(map.fd().as_fd(), &0u32, saved).map_err(|source| XdpError::Map {
            call: "BPF_MAP_UPDATE_ELEM",
            map: "state",
            source,
        })
    }
}

/// Asserts that a pinned map has the sizes of this version.
///
/// # Errors
/// [`XdpError::Layout`].
pub(super) fn check_sizes(pins: &Pins, name: &str, info: &MapInfo, key: usize, value: usize) -> Result<(), XdpError> {
    let found = (info.key_size() as usize, info.value_size() as usize);
    if found == (key, value) {
        return Ok(());
    }
    let found = format!("map `{name}` with keys of {} and values of {} bytes", found.0, found.1);
    Err(XdpError::Layout { path: pins.dir().to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_gives_back_the_interfaces_by_slot() {
        let one = |slot, ifindex, name: &str| Interface { slot, ifindex, name: name.into() };
        let interfaces = [one(0, 2, "eth0"), one(3, 77, "a-long-name-15b"), one(Obs::MAX_IFACE, 0, "other")];
        assert_eq!(Roster::of(&interfaces).interfaces(), interfaces);
        assert!(Roster::of(&[]).interfaces().is_empty());
    }

    #[test]
    fn a_table_gives_back_what_devices_counted_and_gained() {
        let counters = |n: u64| NicCounters::from_array(std::array::from_fn(|at| n + at as u64));
        let counted: Counted = (1..=MOST as u32).map(|i| (i, counters(i.into()))).collect();
        assert_eq!(DeviceTable::of_counted(&counted).counted(), counted);
        let interface = |slot, ifindex, name: &str| Interface { slot, ifindex, name: name.into() };
        let interfaces = [interface(0, 7, "old"), interface(1, 7, "new"), interface(2, 8, "b")];
        let delta = |ifindex, iface: &str, reset| NicDelta { ifindex, iface: iface.into(), gained: counters(5), reset };
        let deltas = [delta(7, "new", false), delta(8, "b", true)];
        assert_eq!(DeviceTable::of_deltas(&deltas).deltas(&interfaces), deltas);
        assert!(DeviceTable::EMPTY.deltas(&interfaces).is_empty());
    }

    #[test]
    fn a_run_begins_clean_with_generation_0() {
        let mut saved = Saved::new(7, 2);
        assert_eq!((saved.phase(), saved.number, saved.started, saved.slot), (Phase::Clean, 0, 7, 0));
        for phase in [Phase::Freezing, Phase::Frozen, Phase::Clearing, Phase::Clean] {
            saved.set_phase(phase);
            assert_eq!(saved.phase(), phase);
        }
    }
}
