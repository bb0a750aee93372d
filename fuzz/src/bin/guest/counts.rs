//! What the hooks counted, added up over generations.

use anyhow::{Result, bail};
use netspectra_agent::generation::Generation;
use netspectra_common::abi::{Counter, Direction, Obs};
use netspectra_common::wire::proto;
use std::collections::BTreeMap;

/// Packets and bytes by observation point and UDP destination port, and how generations added up.
#[derive(Debug, Default)]
pub(super) struct Counts {
    by_port: BTreeMap<(u8, u16), Counter>,
    by_tag: BTreeMap<(u16, u16), Counter>,
    pub(super) generations: u64,
    pub(super) seen: Counter,
    pub(super) orphan_fragments: u64,
    pub(super) payloads: u64,
    pub(super) events_lost: u64,
}

impl Counts {
    /// Adds a generation.
    ///
    /// # Errors
    /// It does not add up: what was seen is not what is in flows and under reasons.
    pub(super) fn add(&mut self, generation: &Generation) -> Result<()> {
        let totals = &generation.totals;
        let mut sum = Counter::default();
        for reason in totals.reasons {
            sum.add(reason);
        }
        for flow in &generation.flows {
            let counter = Counter::new(flow.stats.packets, flow.stats.bytes);
            sum.add(counter);
            if flow.key.proto == proto::UDP {
                self.by_port.entry((flow.key.obs, flow.key.dst_port)).or_default().add(counter);
                self.by_tag.entry((flow.key.dst_port, flow.key.vlan)).or_default().add(counter);
            }
        }
        if sum != totals.seen {
            bail!("generation {}: seen {:?}, in flows and under reasons {sum:?}", self.generations, totals.seen);
        }
        self.generations += 1;
        self.seen.add(totals.seen);
        self.orphan_fragments += totals.orphan_fragments;
        self.events_lost += totals.events_lost;
        self.payloads += generation.hints.len() as u64;
        Ok(())
    }

    /// What all interfaces together counted of packets to `port`, by VLAN tag as keys have it.
    pub(super) fn by_tag(&self, port: u16) -> Vec<(u16, Counter)> {
        self.by_tag.range((port, 0)..=(port, u16::MAX)).map(|((_, tag), counter)| (*tag, *counter)).collect()
    }

    /// What interface `slot` counted of packets to `port`.
    pub(super) fn of(&self, slot: u8, direction: Direction, port: u16) -> Counter {
        self.by_port.get(&(Obs::new(slot, direction).0, port)).copied().unwrap_or_default()
    }
}
