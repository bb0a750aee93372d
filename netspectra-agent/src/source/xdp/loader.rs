//! What needs privilege: loading the programs, making and pinning maps, attaching. All the rest works by descriptors of
//! maps (see [`super::Hand`]).

use super::attach::{Attached, Hooks};
use super::front::rows_for;
use super::links::Link;
use super::pin::{self, Pins};
use super::saved::{Keeper, Saved};
use super::tables::Tables;
use super::{
    EGRESS, INGRESS, INNER_IDENTITY, TC_INGRESS, XdpConfig, XdpError, kept, least_flows, left, load_error, program, sys,
};
use crate::source::wall_clock;
use crate::table::Identity;
use aya::maps::{Map, MapData, MapError};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use netspectra_common::abi::{ABI_VERSION, Front, SLOTS, maps};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kernel-side log; an object may be built without.
pub(super) const LOG: &str = "AYA_LOGS";
/// The pinned state, among [`Maps`].
pub(super) const STATE: &str = "state";
/// Maps of the object that user space works with.
const USED: [&str; 15] = [
    maps::CONTROL,
    maps::NO_TABLE,
    maps::EVENTS,
    maps::FILLING,
    maps::MARKS,
    maps::FRONT,
    maps::FRONT_LONG,
    maps::FLOWS4,
    maps::FLOWS,
    maps::TOTALS,
    maps::OVERFLOW,
    maps::RULES,
    maps::RULE_NETS,
    maps::IFACES,
    maps::IFACES_HIGH,
];

/// The maps that user space works with, by name: those of [`USED`], the tables, the state where it is pinned.
pub(super) struct Maps {
    named: BTreeMap<String, MapData>,
    /// What a process before this one left is gone on with.
    pub(super) adopted: bool,
}

impl Maps {
    pub(super) fn new(named: BTreeMap<String, MapData>, adopted: bool) -> Self {
        Self { named, adopted }
    }

    /// Takes one out.
    pub(super) fn take<M: TryFrom<Map, Error = MapError>>(&mut self, name: &str) -> Result<M, XdpError> {
        let unfit = |e: &MapError| XdpError::Object { what: format!("map `{name}` as expected ({e})") };
        let map = Map::from_map_data(self.data(name)?).map_err(|e| unfit(&e))?;
        M::try_from(map).map_err(|e| unfit(&e))
    }

    /// Takes one out that no library type is for.
    pub(super) fn data(&mut self, name: &str) -> Result<MapData, XdpError> {
        self.named.remove(name).ok_or_else(|| XdpError::Object { what: format!("map `{name}`") })
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (String, MapData)> + use<> {
        std::mem::take(&mut self.named).into_iter()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }
}

/// The loaded programs, their hooks, and what is pinned. Dropping it detaches, unless it was told to [`Loader::keep`].
pub(super) struct Loader {
    pub(super) bpf: Ebpf,
    config: XdpConfig,
    pins: Option<Arc<Pins>>,
    /// By the index of their interface.
    hooks: BTreeMap<u32, Hooks>,
}

impl Loader {
    /// Loads `object` and makes the maps, or takes over those that the instance left.
    ///
    /// # Errors
    /// As for [`super::XdpSource::open`]; nothing is pinned then.
    pub(super) fn load(object: &[u8], config: &XdpConfig) -> Result<(Self, Maps), XdpError> {
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(XdpError::NoBtf);
        }
        let cpus = sys::possible_cpus();
        let outer = SLOTS * cpus;
        let inner = u8::from(config.identity == Identity::Inner);
        let pins = match &config.instance {
            Some(name) => Pins::open(name)?,
            None => None,
        };
        let found = pins.as_ref().map(|p| left::find(p, cpus)).transpose()?.flatten();
        let flows = config.max_flows.div_ceil(cpus).max(least_flows(cpus));
        let rows = rows_for(flows, outer);
        let mut loader = EbpfLoader::new();
        loader
            .override_global(INNER_IDENTITY, &inner, true)
            .map_max_entries(maps::MARKS, rows * outer)
            .map_max_entries(maps::FRONT, rows * outer * Front::LANES)
            .map_max_entries(maps::FRONT_LONG, rows * outer * Front::LANES)
            .map_max_entries(maps::FLOWS4, outer)
            .map_max_entries(maps::FLOWS, outer)
            .map_max_entries(maps::TOTALS, outer)
            .map_max_entries(maps::OVERFLOW, outer);
        for (pins, name) in pins.iter().flat_map(|p| pin::KEPT.map(|name| (p, name))) {
            // A map that is pinned already is taken instead of a new one.
            loader.map_pin_path(name, pins.path(name));
        }
        let mut bpf = loader.load(object).map_err(|e| load_error("the maps", &e))?;
        let version = format!("ABI_{ABI_VERSION}");
        if bpf.map(&version).is_none() {
            return Err(XdpError::Object {
                what: format!("map `{version}`: it was made for another version of the agent"),
            });
        }
        let mut named = take_maps(&mut bpf)?;
        let adopted = found.is_some();
        let keeper = match (found, &pins) {
            (Some(keeper), Some(pins)) => {
                Tables::find(&mut named, cpus, pins)?;
                keeper
            }
            _ => {
                Tables::make(&mut named, cpus, flows, pins.as_ref())?;
                Keeper::default()
            }
        };
        let ingress: &mut Xdp = program(&mut bpf, INGRESS)?;
        ingress.load().map_err(|e| load_error("the ingress program", &e))?;
        for (name, what) in [(TC_INGRESS, "the TC ingress program"), (EGRESS, "the egress program")] {
            let classifier: &mut SchedClassifier = program(&mut bpf, name)?;
            classifier.load().map_err(|e| load_error(what, &e))?;
        }
        let keeper = match &pins {
            // From now on the folder counts.
            Some(pins) if !adopted => Keeper::begin(pins, &Saved::new(wall_clock().0, cpus))?,
            _ => keeper,
        };
        named.extend(keeper.into_map().map(|map| (STATE.to_owned(), map)));
        let this = Self { bpf, config: config.clone(), pins: pins.map(Arc::new), hooks: BTreeMap::new() };
        Ok((this, Maps::new(named, adopted)))
    }

    /// What is pinned stays from now on.
    pub(super) fn keep(&self) {
        if let Some(pins) = &self.pins {
            pins.keep();
        }
    }

    /// Takes away hooks that were left on other interfaces than these.
    pub(super) fn retain(&self, wanted: &[u32]) -> Result<(), XdpError> {
        match &self.pins {
            Some(pins) => kept::detach(pins, |_, index| !wanted.contains(&index)).map(drop),
            None => Ok(()),
        }
    }

    /// Attaches to `link`, whose VLAN devices are known to be there or not.
    pub(super) fn attach(&mut self, link: &Link, has_vlan: bool) -> Result<Attached, XdpError> {
        let modes = (self.config.mode, self.config.egress);
        let hooks = Hooks::attach(&mut self.bpf, link, has_vlan, modes, self.pins.clone())?;
        let attached = hooks.attached.clone();
        self.hooks.insert(link.index, hooks);
        Ok(attached)
    }

    /// Detaches from an interface for good, or forgets one that is gone.
    pub(super) fn let_go(&mut self, index: u32, is_there: bool) {
        let Some(hooks) = self.hooks.remove(&index) else { return };
        if is_there { hooks.end() } else { hooks.abandon() }
    }

    /// Detaches from all for good; hooks that were kept go, too.
    pub(super) fn detach(&mut self) {
        std::mem::take(&mut self.hooks).into_values().for_each(Hooks::end);
    }

    /// Nothing is pinned any more.
    pub(super) fn forget(&mut self) -> Result<(), XdpError> {
        self.pins.take().map_or(Ok(()), |pins| pins.remove_all())
    }
}

fn take_maps(bpf: &mut Ebpf) -> Result<BTreeMap<String, MapData>, XdpError> {
    let mut named = BTreeMap::new();
    for name in USED.into_iter().chain([LOG]) {
        let Some(map) = bpf.take_map(name) else {
            if name == LOG {
                continue;
            }
            return Err(XdpError::Object { what: format!("map `{name}`") });
        };
        let (Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)) = map
        else {
            return Err(XdpError::Object { what: format!("map `{name}` of an expected kind") });
        };
        named.insert(name.to_owned(), data);
    }
    Ok(named)
}
