//! The generation tables: for each slot and CPU two flow tables and the totals.

use super::XdpError;
use super::front::Places;
use super::loader::Maps;
use super::overflow::Overflows;
use super::pin::Pins;
use super::saved::check_sizes;
use super::sys::{self, Batch, MapShape};
use super::table_types::TableTypes;
use aya::maps::{ArrayOfMaps, MapData};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH};
use netspectra_common::abi::{Counter, FlowKey, FlowKey4, FlowStats, GenTotals, LossReason, Overflow, SLOTS, maps};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Entries a batch look-up asks for.
const BATCH: usize = 4096;
const BPF_F_NO_PREALLOC: u32 = 1;
/// Kinds of tables, as their pins are called before the number.
const FLOWS4: &str = "flows4-";
const FLOWS: &str = "flows-";
/// The kind that holds the totals.
pub(super) const TOTALS: &str = "totals-";
/// The kinds, with the sizes of their keys and values.
const KINDS: [(&str, usize, usize); 3] = [
    (FLOWS4, size_of::<FlowKey4>(), size_of::<FlowStats>()),
    (FLOWS, size_of::<FlowKey>(), size_of::<FlowStats>()),
    (TOTALS, size_of::<u32>(), size_of::<GenTotals>()),
];

/// Lets an ABI structure cross the library's typed maps.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Pod<T>(pub T);

// SAFETY: every bit pattern is a valid `T` and `T` has no padding: that is what its zerocopy traits state.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Pod<T> {}

struct CpuTables {
    flows4: MapData,
    flows: MapData,
    totals: MapData,
    /// Entries of the two flow tables at most, live ones and those of generations before; `None`: not known.
    held: [Option<u64>; 2],
}

/// Outer maps, and the inner maps that are in them.
pub(super) struct Tables {
    outer4: ArrayOfMaps<MapData, MapData>,
    outer: ArrayOfMaps<MapData, MapData>,
    outer_totals: ArrayOfMaps<MapData, MapData>,
    overflow: Overflows,
    front: Places,
    inner: Vec<CpuTables>,
    cpus: u32,
    max_flows: u32,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Tables {
    /// Makes the tables of every slot and CPU, `max_flows` entries each, pins them where there are `pins`, and adds them
    /// to `maps`, which has the outer ones.
    pub(super) fn make(
        maps: &mut BTreeMap<String, MapData>,
        cpus: u32,
        max_flows: u32,
        pins: Option<&Pins>,
    ) -> Result<(), XdpError> {
        let types = TableTypes::load(&KINDS.map(|(_, key, value)| (key, value)))
            .map_err(|e| super::load_error("the types of the tables", &e))?;
        for at in 0..SLOTS * cpus {
            let tables = [
                (maps::FLOWS4, FLOWS4, flow_map::<FlowKey4>(&types, 0, max_flows)?),
                (maps::FLOWS, FLOWS, flow_map::<FlowKey>(&types, 1, max_flows)?),
                (maps::TOTALS, TOTALS, totals_map(&types)?),
            ];
            for (outer, kind, table) in tables {
                if let Some(outer) = maps.get(outer) {
                    let fd = table.fd().as_fd().as_raw_fd() as u32;
                    sys::update(outer.fd().as_fd(), &at, &fd).map_err(|e| super::load_error("a counting table", &e))?;
                }
                if let Some(pins) = pins {
                    table.pin(pins.path(&name(kind, at))).map_err(|e| super::load_error("a table to be pinned", &e))?;
                }
                maps.insert(name(kind, at), table);
            }
        }
        Ok(())
    }

    /// Adds the tables that are pinned to `maps`.
    ///
    /// # Errors
    /// [`XdpError::Layout`] when one has other sizes.
    pub(super) fn find(maps: &mut BTreeMap<String, MapData>, cpus: u32, pins: &Pins) -> Result<(), XdpError> {
        for (at, (kind, key, value)) in (0..SLOTS * cpus).flat_map(|at| KINDS.map(|kind| (at, kind))) {
            let name = name(kind, at);
            let map = MapData::from_pin(pins.path(&name)).map_err(|e| super::load_error("a pinned table", &e))?;
            let info = map.info().map_err(|e| super::load_error("a pinned table", &e))?;
            check_sizes(pins, &name, &info, key, value)?;
            maps.insert(name, map);
        }
        Ok(())
    }

    /// Takes the tables of `cpus` CPUs out of `maps`.
    ///
    /// # Errors
    /// When one is missing, or has other sizes, which bounds what the kernel reads and writes.
    pub(super) fn take(maps: &mut Maps, cpus: u32) -> Result<Self, XdpError> {
        let mut max_flows = u32::MAX;
        let mut inner = Vec::new();
        let held = [(!maps.adopted).then_some(0); 2];
        for at in 0..SLOTS * cpus {
            let mut take = |(kind, key, value): (&str, usize, usize)| {
                let name = name(kind, at);
                let map = maps.data(&name)?;
                let info = map.info().map_err(|e| super::load_error("a counting table", &e))?;
                if (info.key_size() as usize, info.value_size() as usize) != (key, value) {
                    return Err(XdpError::Object { what: format!("map `{name}` of {key} and {value} bytes") });
                }
                if kind != TOTALS {
                    max_flows = max_flows.min(info.max_entries());
                }
                Ok(map)
            };
            let [flows4, flows, totals] = KINDS;
            inner.push(CpuTables { flows4: take(flows4)?, flows: take(flows)?, totals: take(totals)?, held });
        }
        let (outer4, outer, outer_totals) =
            (maps.take(maps::FLOWS4)?, maps.take(maps::FLOWS)?, maps.take(maps::TOTALS)?);
        let overflow = Overflows::new(maps, SLOTS * cpus)?;
        let front = Places::take(maps, SLOTS * cpus)?;
        let (keys, values) = (Vec::new(), Vec::new());
        Ok(Self { outer4, outer, outer_totals, overflow, front, inner, cpus, max_flows, keys, values })
    }

    /// Makes every table of `slot`, which must be frozen, ready for the next generation. It may be called again after it was
    /// cut short.
    ///
    /// Entries may stay where they are and stand for nothing, because the next generation has another tag: flows that go on
    /// find their entry again. So of flows that last a table is walked through once a generation, and not twice. This needs no
    /// privilege, as the tables stay.
    pub(super) fn clear(&mut self, slot: u32) -> Result<(), XdpError> {
        for cpu in 0..self.cpus {
            let mut totals = self.totals(slot, cpu)?;
            let at = slot * self.cpus + cpu;
            let tag = FlowStats::next_tag(totals.tag);
            if totals.front > 0 {
                self.front.clear(at);
            }
            // The first tag comes again: whatever is left has gone by then.
            if tag == 0 || !self.may_stay(at, totals.entries.saturating_sub(totals.front)) {
                self.empty(at)?;
            }
            let Some(tables) = self.inner.get(at as usize) else { continue };
            *totals = GenTotals { tag, ..*crate::generation::empty_totals() };
            sys::update(tables.totals.fd().as_fd(), &0u32, &*totals).map_err(|source| XdpError::Map {
                call: "BPF_MAP_UPDATE_ELEM",
                map: maps::TOTALS,
                source,
            })?;
            self.overflow.clear(at)?;
        }
        Ok(())
    }

    /// Whether the entries of tables `at`, of which `live` were of the generation, may stay: there is room beside them, and most
    /// are likely to be used again.
    fn may_stay(&self, at: u32, live: u64) -> bool {
        let Some([Some(short), Some(long)]) = self.inner.get(at as usize).map(|t| t.held) else { return false };
        short.max(long) <= u64::from(self.max_flows / 2) && short + long <= 2 * live
    }

    /// Deletes the entries of tables `at`. The kernel's memory for them goes.
    fn empty(&mut self, at: u32) -> Result<(), XdpError> {
        let Some(CpuTables { flows4, flows, held, .. }) = self.inner.get_mut(at as usize) else { return Ok(()) };
        let (keys, values) = (&mut self.keys, &mut self.values);
        if held[0] != Some(0) {
            each_entry::<FlowKey4>(Batch::Take, flows4, maps::FLOWS4, keys, values, &mut |_, _| {})?;
        }
        if held[1] != Some(0) {
            each_entry::<FlowKey>(Batch::Take, flows, maps::FLOWS, keys, values, &mut |_, _| {})?;
        }
        *held = [Some(0); 2];
        Ok(())
    }

    /// New entries of a CPU at which a generation in `slot` should end: its tables are half full then, or three quarters with what
    /// is in them already.
    pub(super) fn early(&self, slot: u32) -> u32 {
        let tables = self.inner.iter().skip((slot * self.cpus) as usize).take(self.cpus as usize);
        let half = u64::from(self.max_flows / 2);
        let held = tables.flat_map(|t| t.held).map(|held| held.unwrap_or(half).min(half)).max().unwrap_or(0);
        let room = (u64::from(self.max_flows) * 3 / 4).saturating_sub(held);
        u32::try_from(room.min(half)).unwrap_or(u32::MAX)
    }

    /// Puts the tables of `slot` back into their places, after a frame found none. Each update waits for a grace period.
    pub(super) fn put_back(&mut self, slot: u32) -> Result<(), XdpError> {
        for cpu in 0..self.cpus {
            let at = slot * self.cpus + cpu;
            let Some(tables) = self.inner.get(at as usize) else { continue };
            self.outer4.set(at, &tables.flows4, 0).map_err(|e| new_map(&e))?;
            self.outer.set(at, &tables.flows, 0).map_err(|e| new_map(&e))?;
            self.outer_totals.set(at, &tables.totals, 0).map_err(|e| new_map(&e))?;
        }
        Ok(())
    }

    /// Returns when no program can still use a table of another slot than `current`.
    ///
    /// An update of a map-in-map by system call waits for an RCU grace period (`maybe_wait_bpf_programs` in
    /// `kernel/bpf/syscall.c`), and programs run inside an RCU read-side section.
    pub(super) fn wait_for_programs(&mut self, current: u32) -> Result<(), XdpError> {
        let at = current * self.cpus;
        match self.inner.get(at as usize) {
            Some(tables) => self.outer_totals.set(at, &tables.totals, 0).map_err(|e| new_map(&e)),
            None => Ok(()),
        }
    }

    /// Rows of places in front of each CPU's tables.
    pub(super) fn rows(&self) -> u32 {
        self.front.rows()
    }

    /// What `cpu` counted in `slot` beside the flows.
    pub(super) fn totals(&self, slot: u32, cpu: u32) -> Result<Box<GenTotals>, XdpError> {
        let Some(tables) = self.inner.get((slot * self.cpus + cpu) as usize) else {
            return Ok(crate::generation::empty_totals());
        };
        let mut totals = crate::generation::empty_totals();
        sys::lookup(tables.totals.fd().as_fd(), &0u32, totals.as_mut()).map_err(|source| XdpError::Map {
            call: "BPF_MAP_LOOKUP_ELEM",
            map: maps::TOTALS,
            source,
        })?;
        Ok(totals)
    }

    /// What `cpu` counted in `slot` of packets without room, if there were any by its totals.
    pub(super) fn overflow(
        &mut self,
        slot: u32,
        cpu: u32,
        totals: &GenTotals,
    ) -> Result<Option<Box<Overflow>>, XdpError> {
        if totals.reasons[LossReason::TableFull as usize].is_zero() {
            return Ok(None);
        }
        self.overflow.read(slot * self.cpus + cpu).map(Some)
    }

    /// Hands every flow that `cpu` counted in `slot` to `each`. The slot must be frozen.
    ///
    /// A walk costs a visit to every bucket, however few flows there are, so one is left out where the programs' own count of
    /// flows says that it would find none: of a CPU that saw no flow, and of the table of long keys where all were short.
    pub(super) fn flows(
        &mut self,
        slot: u32,
        cpu: u32,
        each: &mut dyn FnMut(FlowKey, FlowStats),
    ) -> Result<(), XdpError> {
        let GenTotals { entries, front, tag, .. } = *self.totals(slot, cpu)?;
        let at = slot * self.cpus + cpu;
        let mut live = self.front.flows(at, front, each);
        let Some(CpuTables { flows4, flows, held, .. }) = self.inner.get_mut(at as usize) else { return Ok(()) };
        let (keys, values) = (&mut self.keys, &mut self.values);
        if live < entries {
            let found = live_entries::<FlowKey4>(flows4, maps::FLOWS4, tag, keys, values, each)?;
            held[0] = Some(found.all);
            live += found.live;
        }
        if live < entries {
            held[1] = Some(live_entries::<FlowKey>(flows, maps::FLOWS, tag, keys, values, each)?.all);
        }
        Ok(())
    }
}

/// What the totals of one table say was seen, whatever the version that made it: every layout begins with it.
///
/// # Errors
/// The kernel's, or a map that is no such table.
pub(super) fn seen_of(pins: &Pins, name: &str) -> Result<Counter, XdpError> {
    let map = MapData::from_pin(pins.path(name)).map_err(|e| super::load_error("a pinned table", &e))?;
    let info = map.info().map_err(|e| super::load_error("a pinned table", &e))?;
    let mut value = vec![0u8; info.value_size() as usize];
    sys::lookup_bytes(map.fd().as_fd(), &0u32, &mut value).map_err(|source| XdpError::Map {
        call: "BPF_MAP_LOOKUP_ELEM",
        map: maps::TOTALS,
        source,
    })?;
    Ok(Counter::read_from_prefix(&value).map_or_else(|_| Counter::default(), |(seen, _)| seen))
}

/// The name under which table `at` of a kind is pinned.
pub(super) fn name(kind: &str, at: u32) -> String {
    format!("{kind}{at}")
}

fn flow_map<K>(types: &TableTypes, table: u32, max_flows: u32) -> Result<MapData, XdpError> {
    let shape = MapShape {
        kind: BPF_MAP_TYPE_HASH as u32,
        key: size_of::<K>(),
        value: size_of::<FlowStats>(),
        entries: max_flows,
        flags: BPF_F_NO_PREALLOC,
    };
    create(types, table, shape)
}

fn totals_map(types: &TableTypes) -> Result<MapData, XdpError> {
    let shape = MapShape {
        kind: BPF_MAP_TYPE_ARRAY as u32,
        key: size_of::<u32>(),
        value: size_of::<GenTotals>(),
        entries: 1,
        flags: 0,
    };
    create(types, 2, shape)
}

fn create(types: &TableTypes, table: u32, shape: MapShape) -> Result<MapData, XdpError> {
    let is_array = shape.kind == BPF_MAP_TYPE_ARRAY as u32;
    let fd = sys::create_map(shape, Some(types.of(table, is_array)))
        .map_err(|e| super::load_error("a counting table", &e))?;
    MapData::from_fd(fd).map_err(|e| new_map(&e))
}

/// Entries of a table: those of a generation, and with those of generations before.
struct Found {
    live: u64,
    all: u64,
}

/// Hands the flows of a frozen table that were counted in the generation with `tag` to `each`.
fn live_entries<K: FromBytes + IntoBytes + Immutable + Copy + Into<FlowKey> + 'static>(
    map: &MapData,
    name: &'static str,
    tag: u64,
    keys: &mut Vec<u8>,
    values: &mut Vec<u8>,
    each: &mut dyn FnMut(FlowKey, FlowStats),
) -> Result<Found, XdpError> {
    let mut found = Found { live: 0, all: 0 };
    each_entry::<K>(Batch::Read, map, name, keys, values, &mut |key, mut stats| {
        found.all += 1;
        if stats.is_of(tag) {
            found.live += 1;
            stats.take_tag();
            each(key.into(), stats);
        }
    })?;
    Ok(found)
}

/// Reads a frozen hash map by batches, or empties it. A bucket with more entries than a batch makes the batch grow.
fn each_entry<K: FromBytes + IntoBytes + Immutable + Copy + 'static>(
    what: Batch,
    map: &MapData,
    name: &'static str,
    keys: &mut Vec<u8>,
    values: &mut Vec<u8>,
    each: &mut dyn FnMut(K, FlowStats),
) -> Result<(), XdpError> {
    let mut capacity = BATCH;
    let mut cursor = None;
    loop {
        // The buffers hold `capacity` entries of the key and value sizes that `flow_map::<K>` made the map with.
        keys.resize(capacity * size_of::<K>(), 0);
        values.resize(capacity * size_of::<FlowStats>(), 0);
        let (n, more) = match sys::batch(what, map.fd().as_fd(), &mut cursor, keys, values, capacity as u32) {
            Ok(read) => read,
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && capacity < 1 << 20 => {
                capacity *= 2;
                continue;
            }
            Err(source) => {
                let call = match what {
                    Batch::Read => "BPF_MAP_LOOKUP_BATCH",
                    Batch::Take => "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
                };
                return Err(XdpError::Map { call, map: name, source });
            }
        };
        let (key_bytes, value_bytes) = (n * size_of::<K>(), n * size_of::<FlowStats>());
        for (k, v) in keys[..key_bytes]
            .chunks_exact(size_of::<K>())
            .zip(values[..value_bytes].chunks_exact(size_of::<FlowStats>()))
        {
            if let (Ok(k), Ok(v)) = (K::read_from_bytes(k), FlowStats::read_from_bytes(v)) {
                each(k, v);
            }
        }
        if !more {
            return Ok(());
        }
    }
}

fn new_map(e: &aya::maps::MapError) -> XdpError {
    super::load_error("a counting table", e)
}
