//! The generation tables: for each slot and CPU two flow tables and the totals.

use super::overflow::Overflows;
use super::sys::{self, MapShape};
use super::table_types::TableTypes;
use super::{XdpError, take_map};
use aya::Ebpf;
use aya::maps::{ArrayOfMaps, MapData};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH};
use netspectra_common::abi::{FlowKey, FlowKey4, FlowStats, GenTotals, LossReason, Overflow, maps};
use std::os::fd::AsFd;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Entries a batch look-up asks for.
const BATCH: usize = 4096;
const BPF_F_NO_PREALLOC: u32 = 1;

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
}

/// Outer maps, and the inner maps that are in them.
pub(super) struct Tables {
    outer4: ArrayOfMaps<MapData, MapData>,
    outer: ArrayOfMaps<MapData, MapData>,
    outer_totals: ArrayOfMaps<MapData, MapData>,
    overflow: Overflows,
    inner: Vec<Option<CpuTables>>,
    types: TableTypes,
    cpus: u32,
    max_flows: u32,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Tables {
    pub(super) fn new(bpf: &mut Ebpf, cpus: u32, max_flows: u32) -> Result<Self, XdpError> {
        let sizes = [
            (size_of::<FlowKey4>(), size_of::<FlowStats>()),
            (size_of::<FlowKey>(), size_of::<FlowStats>()),
            (size_of::<u32>(), size_of::<GenTotals>()),
        ];
        let types = TableTypes::load(&sizes).map_err(|e| super::load_error("the types of the tables", &e))?;
        Ok(Self {
            types,
            outer4: take_map(bpf, maps::FLOWS4)?,
            outer: take_map(bpf, maps::FLOWS)?,
            outer_totals: take_map(bpf, maps::TOTALS)?,
            overflow: Overflows::new(bpf, netspectra_common::abi::SLOTS * cpus)?,
            inner: (0..netspectra_common::abi::SLOTS * cpus).map(|_| None).collect(),
            cpus,
            max_flows,
            keys: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Puts empty tables into every place of `slot`. The old ones are freed by the kernel.
    pub(super) fn refresh(&mut self, slot: u32) -> Result<(), XdpError> {
        for cpu in 0..self.cpus {
            let at = slot * self.cpus + cpu;
            let tables = CpuTables {
                flows4: self.flow_map::<FlowKey4>(0)?,
                flows: self.flow_map::<FlowKey>(1)?,
                totals: self.totals_map()?,
            };
            self.outer4.set(at, &tables.flows4, 0).map_err(|e| new_map(&e))?;
            self.outer.set(at, &tables.flows, 0).map_err(|e| new_map(&e))?;
            self.outer_totals.set(at, &tables.totals, 0).map_err(|e| new_map(&e))?;
            self.inner[at as usize] = Some(tables);
            self.overflow.clear(at)?;
        }
        Ok(())
    }

    fn flow_map<K>(&self, table: u32) -> Result<MapData, XdpError> {
        let shape = MapShape {
            kind: BPF_MAP_TYPE_HASH as u32,
            key: size_of::<K>(),
            value: size_of::<FlowStats>(),
            entries: self.max_flows,
            flags: BPF_F_NO_PREALLOC,
        };
        self.create(table, shape)
    }

    fn totals_map(&self) -> Result<MapData, XdpError> {
        let shape = MapShape {
            kind: BPF_MAP_TYPE_ARRAY as u32,
            key: size_of::<u32>(),
            value: size_of::<GenTotals>(),
            entries: 1,
            flags: 0,
        };
        self.create(2, shape)
    }

    fn create(&self, table: u32, shape: MapShape) -> Result<MapData, XdpError> {
        let is_array = shape.kind == BPF_MAP_TYPE_ARRAY as u32;
        let fd = sys::create_map(shape, self.types.of(table, is_array))
            .map_err(|e| super::load_error("a counting table", &e))?;
        MapData::from_fd(fd).map_err(|e| new_map(&e))
    }

    /// Returns when no program can still use a table of another slot than `current`.
    ///
    /// An update of a map-in-map by system call waits for an RCU grace period (`maybe_wait_bpf_programs` in
    /// `kernel/bpf/syscall.c`), and programs run inside an RCU read-side section.
    pub(super) fn wait_for_programs(&mut self, current: u32) -> Result<(), XdpError> {
        let at = current * self.cpus;
        match &self.inner[at as usize] {
            Some(tables) => self.outer_totals.set(at, &tables.totals, 0).map_err(|e| new_map(&e)),
            None => self.refresh(current),
        }
    }

    /// What `cpu` counted in `slot` beside the flows.
    pub(super) fn totals(&self, slot: u32, cpu: u32) -> Result<Box<GenTotals>, XdpError> {
        let Some(tables) = &self.inner[(slot * self.cpus + cpu) as usize] else {
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
    pub(super) fn flows(
        &mut self,
        slot: u32,
        cpu: u32,
        each: &mut dyn FnMut(FlowKey, FlowStats),
    ) -> Result<(), XdpError> {
        let Some(tables) = &self.inner[(slot * self.cpus + cpu) as usize] else { return Ok(()) };
        read_all::<FlowKey4>(&tables.flows4, maps::FLOWS4, &mut self.keys, &mut self.values, &mut |k, s| {
            each(k.into(), s)
        })?;
        read_all::<FlowKey>(&tables.flows, maps::FLOWS, &mut self.keys, &mut self.values, each)
    }
}

/// Reads a frozen hash map by batches. A bucket with more entries than a batch makes the batch grow.
fn read_all<K: FromBytes + IntoBytes + Immutable + Copy + 'static>(
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
        let (n, more) = match sys::lookup_batch(map.fd().as_fd(), &mut cursor, keys, values, capacity as u32) {
            Ok(read) => read,
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && capacity < 1 << 20 => {
                capacity *= 2;
                continue;
            }
            Err(source) => return Err(XdpError::Map { call: "BPF_MAP_LOOKUP_BATCH", map: name, source }),
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
