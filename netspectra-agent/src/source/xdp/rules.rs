//! The rules in the kernel: two sets, one in force, the other one free to be written.

use super::loader::Maps;
use super::tables::Pod;
use super::{XdpError, load_error, sys};
use crate::rules::{CompiledRules, Rule};
use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use netspectra_common::abi::{NetKey, NetMasks, RULE_SETS, maps};
use netspectra_common::model::Interface;
use std::os::fd::AsFd;

type TrieKey = Key<NetKey>;

/// The maps, and what is in them.
pub(super) struct RuleMaps {
    sets: MapData,
    nets: LpmTrie<MapData, NetKey, Pod<NetMasks>>,
    /// The prefixes of each set.
    keys: [Vec<TrieKey>; RULE_SETS as usize],
}

impl RuleMaps {
    pub(super) fn new(maps: &mut Maps) -> Result<Self, XdpError> {
        Ok(Self { sets: maps.data(maps::RULES)?, nets: maps.take(maps::RULE_NETS)?, keys: Default::default() })
    }

    /// Writes `rules` into set `number`, which no program may be using.
    pub(super) fn write(&mut self, number: u32, rules: &CompiledRules) -> Result<(), XdpError> {
        sys::update(self.sets.fd().as_fd(), &number, &*rules.set).map_err(|source| XdpError::Map {
            call: "BPF_MAP_UPDATE_ELEM",
            map: maps::RULES,
            source,
        })?;
        let refused = |e: &aya::maps::MapError| load_error(&format!("map `{}`", maps::RULE_NETS), e);
        let Some(keys) = self.keys.get_mut(number as usize) else { return Ok(()) };
        while let Some(key) = keys.pop() {
            self.nets.remove(&key).map_err(|e| refused(&e))?;
        }
        for (bits, key, masks) in rules.prefixes(number as u8) {
            let key = Key::new(bits, key);
            self.nets.insert(&key, Pod(masks), 0).map_err(|e| refused(&e))?;
            keys.push(key);
        }
        Ok(())
    }
}

/// Compiles `rules` for the kernel.
pub(super) fn compile(rules: &[Rule], interfaces: &[Interface]) -> Result<CompiledRules, XdpError> {
    CompiledRules::new(rules, interfaces).map_err(XdpError::Rules)
}
