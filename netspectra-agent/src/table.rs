//! The flow table of user space: the same folding as in the kernel, over a hash table.

use crate::generation::empty_totals;
use crate::rules::UserRules;
use netspectra_common::abi::{Counter, FlowKey, GenTotals, LossReason, Overflow, PREFIX_LEN, size_bin};
use netspectra_common::flow::{self, FragmentKey, FragmentValue, Fragments, Weight};
use netspectra_common::model::{DnsSeen, FlowDelta, Nanos};
use netspectra_common::sketch::{OverflowSum, OverflowSummary};
use netspectra_common::wire::{self, Packet};
use std::collections::{HashMap, VecDeque};

/// DNS prefixes kept between two drains.
const MAX_DNS: usize = 16_384;

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
    index: HashMap<FlowKey, u32, foldhash::fast::RandomState>,
    /// In the order of first packets, so that equal input gives equal output.
    flows: Vec<FlowDelta>,
    totals: Box<GenTotals>,
    /// Made when the table is full for the first time in a generation.
    overflow: Option<Box<Overflow>>,
    dns: Vec<DnsSeen>,
    fragments: FragmentTable,
    identity: Identity,
    rules: Option<UserRules>,
    capacity: usize,
}

impl FlowTable {
    /// A table for at most `capacity` keys a generation (about 150 bytes each).
    pub fn new(capacity: usize, identity: Identity) -> Self {
        Self {
            index: HashMap::default(),
            flows: Vec::new(),
            totals: empty_totals(),
            overflow: None,
            dns: Vec::new(),
            fragments: FragmentTable::new(16_384),
            identity,
            rules: None,
            capacity: capacity.min(u32::MAX as usize),
        }
    }

    /// Counts packets that `rules` leave out under [`LossReason::Excluded`] from now on.
    pub fn set_rules(&mut self, rules: Option<UserRules>) {
        self.rules = rules;
    }

    /// The rules in force.
    pub fn rules_mut(&mut self) -> Option<&mut UserRules> {
        self.rules.as_mut()
    }

    /// Counts one frame: `link` is its LINKTYPE, `data` its captured bytes, `wire_len` its length on the wire, `obs` its
    /// observation point, `at` Unix nanoseconds. Cost: one hash look-up, and one insertion for a new key.
    pub fn count(&mut self, link: u16, data: &[u8], wire_len: u32, obs: u8, at: u64) {
        let weight = Weight::frame(wire_len);
        let counter = Counter::new(weight.packets, weight.bytes);
        self.totals.seen.add(counter);
        if let Some(n) = self.totals.sizes.get_mut(size_bin(wire_len) as usize) {
            *n += 1;
        }
        if let Err(reason) = self.count_flow(link, data, wire_len, obs, at, weight) {
            self.totals.reasons[reason as usize].add(counter);
        }
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
        packet.key.obs = obs;
        if flow::resolve_fragment(&mut packet, &mut self.fragments, at) {
            self.totals.orphan_fragments += 1;
        }
        if self.rules.as_ref().is_some_and(|rules| !rules.admits(&packet.key)) {
            return Err(LossReason::Excluded);
        }
        self.keep_dns(&packet, data, at);
        if let Some(&i) = self.index.get(&packet.key) {
            flow::fold(&mut self.flows[i as usize].stats, &packet, weight, at);
            return Ok(());
        }
        if self.flows.len() >= self.capacity {
            let overflow = self.overflow.get_or_insert_with(|| Box::new(Overflow::EMPTY));
            flow::spill(overflow, &packet.key, Counter::new(weight.packets, weight.bytes));
            return Err(LossReason::TableFull);
        }
        self.index.insert(packet.key, self.flows.len() as u32);
        self.flows.push(FlowDelta { key: packet.key, stats: flow::first(&packet, weight, at) });
        Ok(())
    }

    /// Keeps the first bytes of a DNS payload, as the kernel programs do; beyond [`MAX_DNS`] they count as lost.
    #[inline]
    fn keep_dns(&mut self, packet: &Packet, data: &[u8], at: u64) {
        let key = &packet.key;
        if key.proto != wire::proto::UDP || packet.l4_offset == 0 || (key.src_port != 53 && key.dst_port != 53) {
            return;
        }
        if self.dns.len() >= MAX_DNS {
            self.totals.events_lost += 1;
            return;
        }
        let from = packet.l4_offset + 8;
        let len = packet.l3_end.saturating_sub(from);
        let there = data.get(from as usize..).unwrap_or_default();
        let prefix = there[..there.len().min(len as usize).min(PREFIX_LEN)].to_vec();
        self.dns.push(DnsSeen { at: Nanos(at), key: *key, prefix, len });
    }

    /// Takes the first bytes of DNS payloads that were seen.
    pub fn drain_dns(&mut self) -> Vec<DnsSeen> {
        std::mem::take(&mut self.dns)
    }

    /// Takes what is known of packets that found no room, if there were any.
    pub fn drain_overflow(&mut self) -> Option<OverflowSummary> {
        self.overflow.take().map(|table| {
            let mut sum = OverflowSum::default();
            sum.add(&table);
            sum.finish()
        })
    }

    /// Takes what was counted; the fragment table stays, because datagrams cross generations.
    pub fn drain(&mut self) -> (Vec<FlowDelta>, Box<GenTotals>) {
        self.index.clear();
        (std::mem::take(&mut self.flows), std::mem::replace(&mut self.totals, empty_totals()))
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
