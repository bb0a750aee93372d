//! The flow table of user space: the same folding as in the kernel, over a hash table.

use crate::generation::empty_totals;
use crate::on_wire::OnWire;
use crate::payload::{PayloadStats, Payloads};
use crate::prefix::Prefixes;
use crate::rules::UserRules;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use netspectra_common::abi::{Counter, GenTotals, LossReason, Overflow, Sampling, size_bin};
use netspectra_common::flow::{self, At, FragmentKey, FragmentValue, Fragments, Weight};
use netspectra_common::model::{FlowDelta, Observed, PayloadSeen};
use netspectra_common::sketch::{OverflowSum, OverflowSummary};
use netspectra_common::wire::{self, Packet};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

/// Flows that memory is reserved for at once; more make it grow.
const MOST_RESERVED: usize = 65_536;

/// A flow, as [`FlowTable::collected_bytes`] counts it.
pub const FLOW_BYTES: usize = 120;
/// A message, alike: with its texts.
pub const MESSAGE_BYTES: usize = 700;

/// Whose five-tuple a tunnelled packet is booked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The outermost IP header's.
    #[default]
    Outer,
    /// The innermost IP header's.
    Inner,
}

/// Counts packets until it is drained. Capacity is bounded: beyond it packets are counted under
/// [`LossReason::TableFull`].
pub struct FlowTable {
    /// Places in `flows`, 4 bytes a flow: the keys are there.
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    /// In the order of first packets, so that equal input gives equal output.
    flows: Vec<FlowDelta>,
    /// Place of the flow of the packet before: often that of the next one as well.
    last: usize,
    totals: Box<GenTotals>,
    /// Made when the table is full for the first time in a generation.
    overflow: Option<Box<Overflow>>,
    payloads: Option<Payloads>,
    prefixes: Option<Prefixes>,
    /// Dropped messages that are in earlier totals.
    dropped_before: u64,
    fragments: FragmentTable,
    identity: Identity,
    rules: Option<UserRules>,
    capacity: usize,
}

impl FlowTable {
    /// A table for at most `capacity` keys a generation (about 150 bytes each).
    pub fn new(capacity: usize, identity: Identity) -> Self {
        Self {
            index: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            flows: Vec::new(),
            last: 0,
            totals: empty_totals(),
            overflow: None,
            payloads: None,
            prefixes: None,
            dropped_before: 0,
            fragments: FragmentTable::new(16_384),
            identity,
            rules: None,
            capacity: capacity.min(u32::MAX as usize),
        }
    }

    /// Counts packets that `rules` leave out under their reasons from now on.
    pub fn set_rules(&mut self, rules: Option<UserRules>) {
        self.rules = rules;
    }

    /// The rules in force.
    pub fn rules_mut(&mut self) -> Option<&mut UserRules> {
        self.rules.as_mut()
    }

    /// Counts one frame: `link` is its LINKTYPE, `data` its captured bytes, `wire_len` its length on the wire, `obs` its
    /// observation point, `at` Unix nanoseconds. Cost: one hash look-up, none for the flow of the packet before.
    pub fn count(&mut self, link: u16, data: &[u8], wire_len: u32, obs: u8, at: u64) {
        self.count_on_wire(link, data, &OnWire::frame(wire_len), obs, at);
    }

    /// As [`FlowTable::count`], for what may be a segmentation-offload super-packet.
    pub fn count_on_wire(&mut self, link: u16, data: &[u8], size: &OnWire, obs: u8, at: u64) {
        let counter = Counter::new(size.weight.packets, size.weight.bytes);
        self.totals.seen.add(counter);
        for (len, packets) in size.lengths() {
            if let Some(n) = self.totals.sizes.get_mut(size_bin(len) as usize) {
                *n += packets;
            }
        }
        if let Err(reason) = self.count_flow(link, data, size.len, obs, at, size.weight) {
            self.totals.reasons[reason as usize].add(counter);
        }
    }

    /// Keys held since the last drain.
    pub fn keys(&self) -> usize {
        self.flows.len()
    }

    /// About how many bytes of flows and messages were collected since the last drain.
    pub fn collected_bytes(&self) -> usize {
        self.flows.len() * FLOW_BYTES + self.payloads.as_ref().map_or(0, Payloads::waiting) * MESSAGE_BYTES
    }

    /// Counts packets of which nothing but their number is known, under `reason`.
    pub fn count_unknown(&mut self, reason: LossReason, packets: u64) {
        let counter = Counter::new(packets, 0);
        self.totals.seen.add(counter);
        self.totals.reasons[reason as usize].add(counter);
    }

    fn count_flow(
        &mut self,
        link: u16,
        data: &[u8],
        wire_len: u32,
        obs: u8,
        at: u64,
        weight: Weight,
    ) -> Result<(), LossReason> {
        let mut packet = Packet::default();
        wire::link::parse(link, &data, wire_len, &mut packet)?;
        if self.identity == Identity::Inner {
            wire::innermost(&data, wire_len, &mut packet);
        }
        wire::measure(&data, &mut packet);
        packet.key.obs = obs;
        let as_parsed = packet.key;
        if flow::resolve_fragment(&mut packet, &mut self.fragments, &At(at)) {
            self.totals.orphan_fragments += 1;
        }
        let sampling = match &self.rules {
            Some(rules) => rules.admit(&packet.key)?,
            None => Sampling::ALL,
        };
        if let Some(payloads) = &mut self.payloads {
            // Fragments are put together there by the key that they came with.
            payloads.packet(&Packet { key: as_parsed, ..packet }, data, wire_len, at);
        }
        if let Some(prefixes) = &mut self.prefixes
            && !prefixes.packet(&packet, data, at)
        {
            self.totals.events_lost += 1;
        }
        if let Some(flow) = self.flows.get_mut(self.last).filter(|flow| flow.key == packet.key) {
            flow::fold(&mut flow.stats, &packet, weight, &At(at));
            return Ok(());
        }
        let (flows, hasher) = (&mut self.flows, &self.hasher);
        let same = |at: &u32| flows[*at as usize].key == packet.key;
        let hash_of = |at: &u32| hasher.hash_one(flows[*at as usize].key);
        match self.index.entry(hasher.hash_one(packet.key), same, hash_of) {
            Entry::Occupied(known) => {
                self.last = *known.get() as usize;
                flow::fold(&mut flows[self.last].stats, &packet, weight, &At(at));
            }
            Entry::Vacant(_) if flows.len() >= self.capacity => {
                let overflow = self.overflow.get_or_insert_with(|| Box::new(Overflow::EMPTY));
                flow::spill(overflow, &packet.key, Counter::new(weight.packets, weight.bytes));
                return Err(LossReason::TableFull);
            }
            Entry::Vacant(free) => {
                self.last = flows.len();
                free.insert(self.last as u32);
                flows.push(FlowDelta { key: packet.key, stats: flow::first(&packet, weight, at), sampling });
            }
        }
        Ok(())
    }

    /// Has `payloads` read what packets carry from now on.
    pub fn read_payloads(&mut self, payloads: Payloads) {
        self.payloads = Some(payloads);
    }

    /// Keeps the first bytes of DNS payloads from now on, as the kernel programs do; those without room count as lost events.
    pub fn keep_prefixes(&mut self) {
        self.prefixes = Some(Prefixes::default());
    }

    /// Takes the prefixes that were kept since the last call.
    pub fn drain_prefixes(&mut self) -> Vec<PayloadSeen> {
        self.prefixes.as_mut().map(Prefixes::drain).unwrap_or_default()
    }

    /// Takes what dissectors said since the last call; with `last` also what they say when nothing follows.
    ///
    /// What was dropped for want of room counts as lost events, so this comes before [`FlowTable::drain`].
    pub fn drain_observed(&mut self, last: bool) -> Vec<Observed> {
        let Some(payloads) = &mut self.payloads else { return Vec::new() };
        if last {
            payloads.finish();
        }
        let dropped = payloads.stats().dropped_messages;
        self.totals.events_lost += dropped.saturating_sub(self.dropped_before);
        self.dropped_before = dropped;
        payloads.drain()
    }

    /// What happened to payloads, when they are read.
    pub fn payload_stats(&self) -> Option<PayloadStats> {
        self.payloads.as_ref().map(Payloads::stats)
    }

    /// As [`FlowTable::drain_overflow`], to be added up with those of other tables.
    pub(crate) fn take_overflow(&mut self) -> Option<Box<Overflow>> {
        self.overflow.take()
    }

    /// Takes what is known of packets that found no room, if there were any.
    pub fn drain_overflow(&mut self) -> Option<OverflowSummary> {
        self.take_overflow().map(|table| {
            let mut sum = OverflowSum::default();
            sum.add(&table);
            sum.finish()
        })
    }

    /// Takes what was counted; the fragment table stays, because datagrams cross generations.
    pub fn drain(&mut self) -> (Vec<FlowDelta>, Box<GenTotals>) {
        self.index.clear();
        // The next generation is likely to be as large.
        let next = Vec::with_capacity(self.flows.len().min(MOST_RESERVED));
        (std::mem::replace(&mut self.flows, next), std::mem::replace(&mut self.totals, empty_totals()))
    }
}

/// First fragments, oldest forgotten first.
struct FragmentTable {
    values: HashMap<FragmentKey, FragmentValue, foldhash::fast::RandomState>,
    order: VecDeque<FragmentKey>,
    capacity: usize,
}

impl FragmentTable {
    fn new(capacity: usize) -> Self {
        Self { values: HashMap::default(), order: VecDeque::new(), capacity }
    }
}

impl Fragments for FragmentTable {
    fn remember(&mut self, key: &FragmentKey, value: &FragmentValue) {
        if self.values.insert(*key, *value).is_none() {
            self.order.push_back(*key);
            if self.order.len() > self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
        }
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        self.values.get(key).copied()
    }
}
