//! The flow table of user space: the same folding as in the kernel, over a hash table.

use crate::generation::empty_totals;
use crate::hint::{Hint, Hints};
use crate::index::Index;
use crate::on_wire::OnWire;
use crate::payload::{Known, PayloadStats, Payloads};
use crate::rules::UserRules;
use netspectra_common::abi::{Counter, FlowKey, GenTotals, LossReason, Overflow, Sampling, size_bin};
use netspectra_common::flow::{self, At, FragmentKey, FragmentValue, Fragments, Weight};
use netspectra_common::model::{FlowDelta, Observed};
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

/// What a packet was counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Booked {
    /// Its flow's, in the table.
    place: usize,
    /// The flow's connection began a few packets ago.
    is_opening: bool,
}

/// Counts packets until it is drained. Capacity is bounded: beyond it packets are counted under
/// [`LossReason::TableFull`].
pub struct FlowTable {
    /// Places in `flows`: the keys are there.
    index: Index,
    hasher: foldhash::fast::RandomState,
    /// In the order of first packets, so that equal input gives equal output.
    flows: Vec<FlowDelta>,
    totals: Box<GenTotals>,
    /// Made when the table is full for the first time in a generation.
    overflow: Option<Box<Overflow>>,
    payloads: Option<Payloads>,
    /// What `payloads` knows of each of `flows`; empty without it.
    known: Vec<Known>,
    hints: Option<Hints>,
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
            index: Index::default(),
            hasher: foldhash::fast::RandomState::default(),
            flows: Vec::new(),
            totals: empty_totals(),
            overflow: None,
            payloads: None,
            known: Vec::new(),
            hints: None,
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
    /// observation point, `at` Unix nanoseconds. Cost: one hash look-up.
    #[inline(always)]
    pub fn count(&mut self, link: u16, data: &[u8], wire_len: u32, obs: u8, at: u64) {
        let weight = Weight::frame(wire_len);
        self.totals.seen.add(Counter::new(1, weight.bytes));
        if let Some(n) = self.totals.sizes.get_mut(size_bin(wire_len) as usize) {
            *n += 1;
        }
        if let Err(reason) = self.count_flow(link, data, wire_len, obs, at, weight) {
            self.totals.reasons[reason as usize].add(Counter::new(1, weight.bytes));
        }
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

    #[inline(always)]
    fn count_flow(
        &mut self,
        link: u16,
        data: &[u8],
        wire_len: u32,
        obs: u8,
        at: u64,
        weight: Weight,
    ) -> Result<(), LossReason> {
        // What nearly every packet is, where nothing but its flow is asked for.
        if link == wire::link::ETHERNET && self.identity == Identity::Outer && self.rules.is_none() {
            let mut packet = Packet::default();
            if wire::parse_plain(&data, &mut packet) {
                wire::measure(&data, &mut packet);
                packet.key.obs = obs;
                let booked = self.fold(&packet, Sampling::ALL, weight, at);
                if self.payloads.is_some() {
                    let known = booked.ok().and_then(|booked| self.known.get(booked.place));
                    if !known.is_some_and(|known| known.passes_over(&packet)) {
                        // A copy, so that the packet itself needs no place in memory.
                        let packet = packet;
                        self.read_next(&packet, booked, data, wire_len, at);
                    }
                }
                if self.hints.is_some() {
                    let packet = packet;
                    return self.hint(&packet, booked, data, at);
                }
                return booked.map(|_| ());
            }
        }
        self.count_any_flow(link, data, wire_len, obs, at, weight)
    }

    #[inline(never)]
    fn count_any_flow(
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
        self.read(&packet, &as_parsed, data, wire_len, at);
        let booked = self.fold(&packet, sampling, weight, at);
        self.hint(&packet, booked, data, at)
    }

    /// Reads what `packet` carries, as far as that is wanted.
    fn read(&mut self, packet: &Packet, as_parsed: &FlowKey, data: &[u8], wire_len: u32, at: u64) {
        if let Some(payloads) = &mut self.payloads {
            // Fragments are put together there by the key that they came with.
            payloads.packet(&Packet { key: *as_parsed, ..*packet }, data, wire_len, at);
        }
    }

    /// As [`FlowTable::read`], of a packet that was counted already.
    fn read_next(&mut self, packet: &Packet, booked: Result<Booked, LossReason>, data: &[u8], wire_len: u32, at: u64) {
        let Some(payloads) = &mut self.payloads else { return };
        match booked.ok().and_then(|booked| self.known.get_mut(booked.place)) {
            Some(known) => payloads.packet_of(packet, data, wire_len, at, known),
            None => payloads.packet(packet, data, wire_len, at),
        }
    }

    /// Keeps the first bytes of what `packet` carries, as far as they are wanted; what came of counting it is handed on.
    fn hint(
        &mut self,
        packet: &Packet,
        booked: Result<Booked, LossReason>,
        data: &[u8],
        at: u64,
    ) -> Result<(), LossReason> {
        if let Some(hints) = &mut self.hints
            && !hints.packet(packet, booked.is_ok_and(|booked| booked.is_opening), data, at)
        {
            self.totals.events_lost += 1;
        }
        booked.map(|_| ())
    }

    /// Counts `packet` into its flow.
    #[inline(always)]
    fn fold(&mut self, packet: &Packet, sampling: Sampling, weight: Weight, at: u64) -> Result<Booked, LossReason> {
        let key = words(&packet.key);
        let hash = hash(&self.hasher, &key);
        let flows = &self.flows;
        let place = self.index.find(hash, |at| flows.get(at).is_some_and(|flow| are_equal(&words(&flow.key), &key)));
        match place.and_then(|place| Some((place, self.flows.get_mut(place)?))) {
            Some((place, flow)) => {
                let is_opening = flow.stats.is_opening();
                flow::fold(&mut flow.stats, packet, weight, &At(at));
                Ok(Booked { place, is_opening })
            }
            None => {
                let packet = *packet;
                self.first(&packet, hash, sampling, weight, at)
            }
        }
    }

    /// Counts the first packet of a flow.
    #[cold]
    #[inline(never)]
    fn first(
        &mut self,
        packet: &Packet,
        hash: u64,
        sampling: Sampling,
        weight: Weight,
        at: u64,
    ) -> Result<Booked, LossReason> {
        if self.flows.len() >= self.capacity {
            let overflow = self.overflow.get_or_insert_with(|| Box::new(Overflow::EMPTY));
            flow::spill(overflow, &packet.key, Counter::new(weight.packets, weight.bytes));
            return Err(LossReason::TableFull);
        }
        let place = self.flows.len();
        self.index.insert(hash, place);
        self.flows.push(FlowDelta { key: packet.key, stats: flow::first(packet, weight, at), sampling });
        if self.payloads.is_some() {
            self.known.push(Known::Nothing);
        }
        Ok(Booked { place, is_opening: false })
    }

    /// Has `payloads` read what packets carry from now on.
    pub fn read_payloads(&mut self, payloads: Payloads) {
        self.payloads = Some(payloads);
        self.known.resize(self.flows.len(), Known::Nothing);
    }

    /// Keeps the first bytes of payloads from now on, as the kernel programs do; those without room count as lost events.
    pub fn keep_hints(&mut self) {
        self.hints = Some(Hints::default());
    }

    /// Takes the hints that were kept since the last call.
    pub fn drain_hints(&mut self) -> Vec<Hint> {
        self.hints.as_mut().map(Hints::drain).unwrap_or_default()
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
        self.known.clear();
        // The next generation is likely to be as large.
        let next = Vec::with_capacity(self.flows.len().min(MOST_RESERVED));
        (std::mem::replace(&mut self.flows, next), std::mem::replace(&mut self.totals, empty_totals()))
    }
}

/// A key as words, to be hashed and compared: by arithmetic, so that a key which was just parsed needs no place in memory.
#[inline(always)]
fn words(key: &FlowKey) -> [u64; 6] {
    let half = |a: &[u8; 16], at: usize| {
        u64::from_ne_bytes([a[at], a[at + 1], a[at + 2], a[at + 3], a[at + 4], a[at + 5], a[at + 6], a[at + 7]])
    };
    let pair = |low: u16, high: u16| u64::from(low) | u64::from(high) << 16;
    let bytes = u32::from_le_bytes([key.proto, key.family, key.obs, key.tunnel]);
    [
        half(&key.src, 0),
        half(&key.src, 8),
        half(&key.dst, 0),
        half(&key.dst, 8),
        pair(key.src_port, key.dst_port) | pair(key.vlan, key.inner_vlan) << 32,
        u64::from(bytes) | u64::from(key.tunnel_id) << 32,
    ]
}

/// Whether two keys are the same, by arithmetic alike: a comparison of arrays is a call of `memcmp`.
#[inline(always)]
fn are_equal(a: &[u64; 6], b: &[u64; 6]) -> bool {
    a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Two words of an IPv4 key say all of its addresses.
#[inline(always)]
fn hash(hasher: &foldhash::fast::RandomState, key: &[u64; 6]) -> u64 {
    let [src, src_low, dst, dst_low, ports, rest] = *key;
    if src_low | dst_low | (src | dst) >> 32 == 0 {
        hasher.hash_one((src | dst << 32, ports, rest))
    } else {
        hasher.hash_one((src, src_low, dst, dst_low, ports, rest))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ethernet, IPv4, then TCP or UDP: what is parsed in one look, before it is damaged.
    fn plain(proto: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 60, 0, 7, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        frame.resize(14 + 60, 9);
        frame
    }

    proptest! {
        /// Whichever way a frame is parsed, it is in the same flow with the same counts, or under the same reason.
        #[test]
        fn one_look_and_the_general_parser_count_the_same(
            frames in prop::collection::vec((prop_oneof![Just(6u8), Just(17)], any::<bool>(),
                prop::collection::vec((12usize..60, any::<u8>()), 0..3), 20usize..80), 1..40),
        ) {
            let mut quick = FlowTable::new(8, Identity::Outer);
            let mut general = FlowTable::new(8, Identity::Outer);
            for (at, (proto, is_whole, damage, len)) in frames.into_iter().enumerate() {
                let mut frame = plain(proto);
                for (place, byte) in damage {
                    frame[place] = byte;
                }
                if !is_whole {
                    frame.truncate(len);
                }
                let (wire_len, obs, at) = (74, 2, 1000 + at as u64);
                let weight = Weight::frame(wire_len);
                let by_quick = quick.count_flow(wire::link::ETHERNET, &frame, wire_len, obs, at, weight);
                let by_general = general.count_any_flow(wire::link::ETHERNET, &frame, wire_len, obs, at, weight);
                prop_assert_eq!(by_quick, by_general);
            }
            prop_assert_eq!(quick.drain().0, general.drain().0);
        }
    }

    #[test]
    fn a_key_is_hashed_and_compared_by_all_of_its_bytes() {
        let key = FlowKey { src: [1; 16], dst: [2; 16], src_port: 3, dst_port: 4, proto: 6, ..FlowKey::default() };
        let mut seen = vec![words(&key)];
        for at in 0..size_of::<FlowKey>() {
            let mut bytes: [u8; 48] = zerocopy::transmute!(key);
            bytes[at] ^= 0x80;
            seen.push(words(&zerocopy::transmute!(bytes)));
        }
        for (n, a) in seen.iter().enumerate() {
            assert!(seen[..n].iter().all(|b| a != b), "byte {n} is in no word");
        }
    }
}
