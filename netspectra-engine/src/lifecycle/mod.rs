//! The table of flows being watched: who is in it, when they leave, and what is written then.
//!
//! The rules are those of NetFlow and IPFIX (RFC 7011, RFC 5103 for biflows), driven by log time only:
//! - a flow that both ends finished, or that was reset, is written after [`EngineConfig::closed_linger`] of silence;
//! - one that is silent for [`EngineConfig::idle_timeout`] is written as timed out;
//! - one whose unwritten part is older than [`EngineConfig::active_timeout`] is written in part and goes on;
//! - a SYN on a closed flow, or packets after an idle timeout, begin another flow with the same key;
//! - a full table writes the flow that was silent longest when it was last looked through, if it still is silent.

mod agenda;
mod blocks;
mod flow;
mod key;
mod tcp;
#[cfg(test)]
mod tests;

pub(crate) use flow::{Flow, address, ether_type, vlan};
pub(crate) use key::{BiKey, ICMP, ICMPV6, normalise};

use crate::engine::{EngineConfig, Points};
use crate::window::RowKey;
use agenda::{Agenda, Listed};
use blocks::Blocks;
use hashbrown::{DefaultHashBuilder, HashTable};
use netspectra_common::model::{EndReason, FlowRecord, FlowStats, Nanos, Sampling};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use zerocopy::IntoBytes;

/// A full table is looked through for one in so many of its flows: those that were silent longest.
const STALEST_SHARE: usize = 16;
/// Entries of the agenda that may not count any more, beside as many as there are flows.
const SPARE_ENTRIES: usize = 4096;

/// What happened to flows since it was last emptied.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Written records, in no particular order.
    pub(crate) records: Vec<FlowRecord>,
    /// Rows of the initiators of flows that began.
    pub(crate) began: Vec<RowKey>,
    /// Round-trip times that became known, microseconds: to the server's answer, to the client's.
    pub(crate) server_rtts: Vec<u32>,
    pub(crate) client_rtts: Vec<u32>,
}

impl Events {
    /// Forgets what windows would have been told.
    pub(crate) fn forget(&mut self) {
        self.began.clear();
        self.server_rtts.clear();
        self.client_rtts.clear();
    }

    /// Nothing was measured.
    pub(crate) fn has_no_rtts(&self) -> bool {
        self.server_rtts.is_empty() && self.client_rtts.is_empty()
    }
}

/// Flows being watched, at most [`EngineConfig::max_flows`]. About 275 bytes a flow, none of it allocated per flow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FlowTable {
    flows: Blocks<Option<Flow>>,
    free: Vec<u32>,
    #[serde(skip)]
    index: HashTable<u32>,
    // Seeded per process: senders cannot aim at a bucket. Nothing that leaves the table depends on it.
    #[serde(skip)]
    hasher: DefaultHashBuilder,
    /// By node: when a flow may be due. Set lazily, so never too late and often too early.
    deadlines: Agenda,
    /// When the flows that were silent longest were last seen, and where they are; the first of them at the end. Made of all
    /// flows when the table is full and this is empty. Who was seen since is passed over.
    stalest: Vec<(u64, u32)>,
    /// Flows without an identity, some of them gone already.
    fresh: Vec<u32>,
    /// Flows of which a round-trip time may have become known in this generation; some of them are gone already.
    #[serde(skip)]
    timed: Vec<u32>,
}

impl FlowTable {
    pub(crate) fn new() -> Self {
        Self {
            flows: Blocks::default(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            deadlines: Agenda::default(),
            stalest: Vec::new(),
            fresh: Vec::new(),
            timed: Vec::new(),
        }
    }

    /// Flows being watched.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Places for flows, taken and free.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.flows.len()
    }

    /// Places in the agenda.
    #[cfg(test)]
    pub(crate) fn listed(&self) -> usize {
        self.deadlines.entries()
    }

    /// All flows being watched, in an order that depends on the log only.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().flatten()
    }

    /// Adds what `side` of `key` sent. Cost: one look-up, no allocation while the table does not grow.
    pub(crate) fn add(
        &mut self,
        (key, side): (BiKey, usize),
        (node, direction): (u32, u8),
        (stats, sampling): (&FlowStats, Sampling),
        (config, points): (&EngineConfig, &Points),
        events: &mut Events,
    ) {
        let hash = self.hasher.hash_one(key.as_bytes());
        let flows = &self.flows;
        let found = self.index.find(hash, |slot| is(flows, *slot, &key)).copied();
        if let Some(slot) = found
            && let Some(flow) = self.flows.get_mut(slot as usize).and_then(Option::as_mut)
        {
            if !flow.is_followed_by(stats, config) {
                let nearer = flow.add(side, direction, (stats, sampling));
                if flow.has_new_rtt() {
                    self.timed.push(slot);
                }
                if nearer {
                    let tick = tick(flow.deadline(config));
                    self.deadlines.put(&mut flow.listed, slot, node, tick);
                }
                return;
            }
            self.end(slot, EndReason::IdleTimeout, points, events);
        }
        while self.len() >= config.max_flows.max(1) {
            self.evict(points, events);
        }
        self.insert(hash, Flow::new(key, node, side, direction, (stats, sampling)), config);
    }

    fn insert(&mut self, hash: u64, mut flow: Flow, config: &EngineConfig) {
        if self.deadlines.entries() > 2 * self.len() + SPARE_ENTRIES {
            let flows = &self.flows;
            self.deadlines.retain(|owner, under, slot| {
                flows.get(slot as usize).and_then(Option::as_ref).is_some_and(|f| f.is_listed(owner, under))
            });
        }
        let (node, deadline) = (flow.node, tick(flow.deadline(config)));
        let slot = self.free.pop().unwrap_or(self.flows.len() as u32);
        self.deadlines.put(&mut flow.listed, slot, node, deadline);
        if let Some(place) = self.flows.get_mut(slot as usize) {
            *place = Some(flow);
        } else {
            self.flows.push(Some(flow));
        }
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| hash_of(flows, hasher, *slot));
        self.fresh.push(slot);
    }

    /// Makes a table that was read back whole: the index is not part of what is written.
    pub(crate) fn reindex(&mut self) {
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.clear();
        for (slot, flow) in flows.iter().enumerate() {
            let Some(flow) = flow else { continue };
            let hash = hasher.hash_one(flow.key.as_bytes());
            self.index.insert_unique(hash, slot as u32, |slot| hash_of(flows, hasher, *slot));
        }
    }

    /// Sets every deadline anew, after timeouts changed.
    pub(crate) fn reschedule(&mut self, config: &EngineConfig) {
        self.deadlines = Agenda::default();
        for slot in 0..self.flows.len() {
            if let Some(flow) = self.flows.get_mut(slot).and_then(Option::as_mut) {
                flow.listed = Listed::NOT;
                let tick = tick(flow.deadline(config));
                self.deadlines.put(&mut flow.listed, slot as u32, flow.node, tick);
            }
        }
    }

    /// Writes all flows of `node` that are due at log time `now`.
    pub(crate) fn expire(
        &mut self,
        node: u32,
        now: Nanos,
        (config, points): (&EngineConfig, &Points),
        events: &mut Events,
    ) {
        for (under, slot) in self.deadlines.take_due(node, tick(now.0)) {
            let Some(flow) = listed(&mut self.flows, slot, node, under) else { continue };
            let reason = flow.due(now.0, config);
            match reason {
                Some(EndReason::ActiveTimeout) => {
                    identify(flow, points, events);
                    events.records.push(flow.record(EndReason::ActiveTimeout, points));
                    flow.cut();
                }
                Some(reason) => {
                    self.end(slot, reason, points, events);
                    continue;
                }
                None => {}
            }
            flow.listed = Listed::NOT;
            let tick = tick(flow.deadline(config));
            self.deadlines.put(&mut flow.listed, slot, node, tick);
        }
    }

    /// Gives the flows that are new since the last call their identity, and reports them. Call it at the end of a
    /// generation: by then both directions were seen, if both were there. So are round-trip times reported.
    pub(crate) fn settle(&mut self, points: &Points, events: &mut Events) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for slot in fresh.drain(..) {
            if let Some(flow) = self.flows.get_mut(slot as usize).and_then(Option::as_mut) {
                identify(flow, points, events);
            }
        }
        self.fresh = fresh;
        let mut timed = std::mem::take(&mut self.timed);
        for slot in timed.drain(..) {
            if let Some(flow) = self.flows.get_mut(slot as usize).and_then(Option::as_mut) {
                measure(flow, events);
            }
        }
        self.timed = timed;
    }

    /// Writes every flow of `node`, with `reason` where FIN or RST did not end it.
    pub(crate) fn end_all(&mut self, node: u32, reason: EndReason, points: &Points, events: &mut Events) {
        for (under, slot) in self.deadlines.take_due(node, u64::MAX) {
            if listed(&mut self.flows, slot, node, under).is_some() {
                self.end(slot, reason, points, events);
            }
        }
    }

    /// Where the flows of `node` are, for [`end_some`](Self::end_some): the last one is the first in the order of records.
    /// Sixteen bytes a flow.
    pub(crate) fn ending(&mut self, node: u32, points: &Points, events: &mut Events) -> Vec<(u64, u32)> {
        self.settle(points, events);
        let of_node = |(slot, flow): (usize, &Option<Flow>)| {
            flow.as_ref().filter(|f| f.node == node).map(|f| (f.part().0.0, slot as u32))
        };
        let mut ending: Vec<(u64, u32)> = self.flows.iter().enumerate().filter_map(of_node).collect();
        let rest = |slot: u32| self.flows.get(slot as usize).and_then(Option::as_ref).map(|f| (f.id, f.last_seen));
        ending.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| rest(b.1).cmp(&rest(a.1))));
        ending
    }

    /// Writes the last `most` flows of `ending`, with `reason` where FIN or RST did not end them.
    pub(crate) fn end_some(
        &mut self,
        (ending, most): (&mut Vec<(u64, u32)>, usize),
        reason: EndReason,
        points: &Points,
        events: &mut Events,
    ) {
        for (_, slot) in ending.drain(ending.len().saturating_sub(most)..).rev() {
            self.end(slot, reason, points, events);
        }
    }

    /// Writes the flow that was silent longest.
    fn evict(&mut self, points: &Points, events: &mut Events) {
        loop {
            if self.stalest.is_empty() {
                self.look_for_stalest();
            }
            let Some((seen, slot)) = self.stalest.pop() else { return };
            if self.flows.get(slot as usize).and_then(Option::as_ref).is_some_and(|f| f.last_seen == seen) {
                return self.end(slot, EndReason::LackOfResources, points, events);
            }
        }
    }

    /// Finds the flows that were silent longest. Cost: a pass over all flows, and 16 bytes of each meanwhile.
    fn look_for_stalest(&mut self) {
        let mut all: Vec<(u64, u32)> = Vec::with_capacity(self.len());
        all.extend(self.flows.iter().enumerate().filter_map(|(slot, f)| Some((f.as_ref()?.last_seen, slot as u32))));
        let share = all.len() / STALEST_SHARE;
        if share > 0 {
            all.select_nth_unstable(share);
            all.truncate(share);
            all.shrink_to_fit();
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        self.stalest = all;
    }

    /// Writes the flow in `slot`, with `reason` where FIN or RST did not end it.
    fn end(&mut self, slot: u32, reason: EndReason, points: &Points, events: &mut Events) {
        let Some(mut flow) = self.flows.get_mut(slot as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(flow.key.as_bytes()), |s| *s == slot) {
            entry.remove();
        }
        self.free.push(slot);
        identify(&mut flow, points, events);
        measure(&mut flow, events);
        events.records.push(flow.record(flow.closed_by().unwrap_or(reason), points));
    }
}

/// The flow of `node` in `slot`, if its place in the agenda is `under` this.
fn listed(flows: &mut Blocks<Option<Flow>>, slot: u32, node: u32, under: Listed) -> Option<&mut Flow> {
    flows.get_mut(slot as usize)?.as_mut().filter(|f| f.is_listed(node, under))
}

fn identify(flow: &mut Flow, points: &Points, events: &mut Events) {
    if flow.id == 0 {
        flow.identify(points);
        events.began.push(flow.opening_row(points));
    }
}

/// Reports the round-trip times of a flow that were not reported yet.
fn measure(flow: &mut Flow, events: &mut Events) {
    let (server, client) = flow.take_rtts();
    events.server_rtts.extend(server);
    events.client_rtts.extend(client);
}

/// The hash of the flow in `slot`, which is in the index.
fn hash_of(flows: &Blocks<Option<Flow>>, hasher: &DefaultHashBuilder, slot: u32) -> u64 {
    flows.get(slot as usize).and_then(Option::as_ref).map_or(0, |flow| hasher.hash_one(flow.key.as_bytes()))
}

fn is(flows: &Blocks<Option<Flow>>, slot: u32, key: &BiKey) -> bool {
    flows.get(slot as usize).and_then(Option::as_ref).is_some_and(|f| f.key == *key)
}

/// The second that `at` is in.
const fn tick(at: u64) -> u64 {
    at / Nanos::PER_SECOND
}
