//! From a frame to counters: everything about one packet goes into one generation.

use crate::asked;
use crate::hints::{self, Payload};
use crate::maps::{CONTROL, FILLING, FLOWS, FLOWS4, FRONT, FragmentMap, IFACES, IFACES_HIGH, MARKS, NO_TABLE, TOTALS};
use crate::overflow;
use crate::packet::{Linear, fresh, settle};
use crate::rules;
use crate::segments;
use crate::tunnel::{self, Tunnels};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST, BPF_RB_FORCE_WAKEUP};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_log_ebpf::warn;
use core::mem::MaybeUninit;
use netspectra_common::abi::{
    Control, Counter, Direction, FlowStats, Front, GenTotals, Lane, LossReason, Marks, Obs, SIZE_BINS, VLAN_PRESENT,
    size_bin,
};
use netspectra_common::flow::{self, Clock, Weight};
use netspectra_common::wire::{Packet, measure, parse_ethernet, parse_plain};

/// Length of a VLAN tag.
const TAG: u32 = 4;

/// What the hook knows of a packet beside its bytes.
pub struct Seen {
    weight: Weight,
    /// L2 length of the packet in memory.
    len: u32,
    /// L2 length of all segments but the last, when there are several.
    segment_len: u32,
    /// The tag that the NIC or the stack keeps beside the packet, see [`VLAN_PRESENT`].
    vlan: u16,
    ifindex: u32,
    direction: Direction,
}

impl Seen {
    /// One frame of `len` bytes.
    #[inline(always)]
    pub fn frame(len: u32, ifindex: u32, direction: Direction) -> Self {
        Self { weight: Weight::frame(len), len, segment_len: len, vlan: 0, ifindex, direction }
    }

    /// An skb: a segmentation-offload super-packet counts as the segments that go over the wire.
    #[inline(always)]
    pub fn skb(skb: *mut __sk_buff, ifindex: u32, direction: Direction) -> Self {
        // SAFETY: `skb` is the program's context; the verifier checks each field's access.
        let len = unsafe { (*skb).len };
        // SAFETY: as above.
        let (vlan_present, vlan_tci) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
        let mut seen = Self::frame(len, ifindex, direction);
        if let Some((weight, segment_len)) = segments::of(skb) {
            seen.weight = weight;
            seen.segment_len = segment_len;
        }
        if vlan_present != 0 {
            seen.vlan = VLAN_PRESENT | (vlan_tci as u16 & 0x0fff);
            // On the wire the tag is part of the frame.
            seen.weight.bytes += TAG as u64 * seen.weight.packets;
            seen.segment_len += TAG;
        }
        seen
    }

    #[inline(always)]
    fn counter(&self) -> Counter {
        Counter::new(self.weight.packets, self.weight.bytes)
    }
}

/// `CLOCK_MONOTONIC`.
struct Monotonic;

impl Clock for Monotonic {
    const COARSE_IS_EARLY: bool = true;

    #[inline(always)]
    fn exact(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }

    /// The time of the last tick: half the cost.
    #[inline(always)]
    fn coarse(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

/// Counts one packet.
#[inline(always)]
pub fn count<C: EbpfContext + Tunnels + Payload>(ctx: &C, frame: &Linear, seen: &Seen) {
    let Some(control) = CONTROL.get(0) else { return no_table(ctx, seen) };
    // The one read that decides the generation for everything below.
    // SAFETY: user space replaces the field by one aligned store.
    let word = unsafe { core::ptr::read_volatile(&raw const control.slot) };
    let slot = word & ((1 << Control::SLOT_BITS) - 1);
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let table = slot.wrapping_mul(control.cpus).wrapping_add(cpu);
    let Some(totals) = TOTALS.get_value_ptr_mut(table, &0) else { return no_table(ctx, seen) };
    // SAFETY: the map belongs to this CPU alone, and a program neither migrates nor is interrupted by another of ours
    // (XDP runs in softirq, TCX egress with bottom halves off), so the reference is unique while the program runs.
    let totals = unsafe { &mut *totals };

    totals.seen.add(seen.counter());
    count_sizes(totals, seen);
    if let Err(reason) = count_flow(ctx, frame, seen, table, control, totals)
        && let Some(cell) = totals.reasons.get_mut(reason as usize)
    {
        cell.add(seen.counter());
    }
}

#[inline(always)]
fn count_flow<C: Tunnels + Payload>(
    ctx: &C,
    frame: &Linear,
    seen: &Seen,
    table: u32,
    control: &Control,
    totals: &mut GenTotals,
) -> Result<(), LossReason> {
    let mut packet = MaybeUninit::uninit();
    let packet = fresh(&mut packet);
    if !parse_plain(frame, packet) {
        parse_ethernet(frame, seen.len, packet)?;
    }
    tunnel::innermost(ctx, seen.len, packet);
    measure(frame, packet);
    if seen.vlan != 0 {
        packet.key.inner_vlan = packet.key.vlan;
        packet.key.vlan = seen.vlan;
    }
    packet.key.obs = Obs::new(iface_slot(seen.ifindex), seen.direction).0;
    if flow::resolve_fragment(packet, &mut FragmentMap, &Monotonic) {
        totals.orphan_fragments += 1;
    }
    // Read here and not kept since the slot was read: one thing less that tells the parser's ways apart to the verifier.
    // SAFETY: as for the slot.
    let rules = unsafe { core::ptr::read_volatile(&raw const control.slot) } >> Control::SLOT_BITS;
    let sampling = match rules {
        0 => 0,
        _ => match flow::short_key(&packet.key) {
            Some(key) => rules::admit(rules, &key)?,
            None => rules::admit(rules, &packet.key)?,
        },
    };
    // From here on only its distance to `l3_len` matters, the link header's length, of which the tag is a part.
    packet.l3_end = packet.l3_end.wrapping_add(tag_len(seen.vlan));
    let short = flow::short_key(&packet.key);
    if short.is_none() {
        settle(&mut packet.key);
    }
    // A function for both makes a longer program.
    macro_rules! book_in {
        ($tables:ident, $key:expr) => {
            match book_in_front($key, packet, (seen.weight, sampling), table, control, totals) {
                Some(booked) => Ok(booked),
                None => match $tables.get(table) {
                    Some(flows) => book(flows, $key, packet, (seen.weight, sampling), (table, totals.tag)),
                    None => Err(LossReason::NoTable),
                },
            }
        };
    }
    let booked = match short {
        Some(key) => book_in!(FLOWS4, &key),
        None => book_in!(FLOWS, &packet.key),
    };
    match booked {
        Ok(Booked::New) => {
            totals.entries += 1;
            count_insertion(control, totals);
        }
        Ok(Booked::Again) => totals.entries += 1,
        Ok(Booked::Known | Booked::Opening) | Err(_) => {}
    }
    if control.events != 0 {
        totals.events_lost += hints::send(ctx, packet, tag_len(seen.vlan), booked == Ok(Booked::Opening));
    }
    booked.map(|_| ())
}

/// What a packet's flow was when the packet was counted in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Booked {
    New,
    /// There is an entry of it from a generation before.
    Again,
    /// It is one of this generation's, or began in front of the table.
    Known,
    /// Its connection began a few packets ago.
    Opening,
}

/// The slot of an interface; [`Obs::MAX_IFACE`] (after [`Obs::new`] took 7 bits of 255) stands for all that have none.
#[inline(always)]
fn iface_slot(ifindex: u32) -> u8 {
    let slot = match IFACES.get(ifindex) {
        Some(slot) => *slot,
        None => netspectra_high_slot(ifindex),
    };
    slot.wrapping_sub(1) as u8
}

/// A function with global linkage, so that the verifier checks it once; see [`crate::tunnel`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_high_slot(ifindex: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    unsafe { IFACES_HIGH.get(ifindex) }.copied().unwrap_or(0)
}

/// Length of the tag that is beside a packet, 0 without one. Without a branch, as both ways lead to the same code.
#[inline(always)]
fn tag_len(vlan: u16) -> u32 {
    (vlan as u32 / VLAN_PRESENT as u32) * TAG
}

/// Counts a new flow entry; at the one where the tables begin to fill, the agent is woken.
#[inline(always)]
fn count_insertion(control: &Control, totals: &mut GenTotals) {
    totals.inserted += 1;
    if totals.inserted == u64::from(control.early)
        && let Some(mut entry) = FILLING.reserve(0)
    {
        // SAFETY: the helper has no preconditions.
        entry.write(unsafe { bpf_get_smp_processor_id() });
        entry.submit(BPF_RB_FORCE_WAKEUP.into());
    }
}

/// Counts one more packet of this generation's flow.
#[inline(always)]
fn go_on(stats: &mut FlowStats, packet: &Packet, weight: Weight) -> Booked {
    let opening = stats.is_opening();
    flow::fold(stats, packet, weight, &Monotonic);
    if opening { Booked::Opening } else { Booked::Known }
}

/// Counts the packet in its flow's place in front of the tables. `None` when it has none there, and will have none in this generation.
#[inline(always)]
fn book_in_front<K: asked::Key>(
    key: &K,
    packet: &Packet,
    (weight, sampling): (Weight, u32),
    table: u32,
    control: &Control,
    totals: &mut GenTotals,
) -> Option<Booked> {
    let (hash, short) = key.in_front();
    let (row, mark) = (table.wrapping_mul(control.rows).wrapping_add(Front::row(hash, control.rows)), Marks::of(hash));
    // SAFETY: as for the totals: this CPU's rows and places, one program at a time; user space only reads those of frozen generations.
    let marks = unsafe { &mut *MARKS.get_ptr_mut(row)? };
    let first = row.wrapping_mul(Front::LANES);
    match marks.find(mark) {
        Lane::At(lane) => {
            let at = first.wrapping_add(lane);
            // SAFETY: as above.
            let place = unsafe { &mut *FRONT.get_ptr_mut(at)? };
            if asked::differing(place.short.words(), short.words()) != 0 || !key.has(at) {
                return None;
            }
            Some(go_on(&mut place.stats, packet, weight))
        }
        Lane::Free(lane) => {
            let at = first.wrapping_add(lane);
            // SAFETY: as above.
            let place = unsafe { &mut *FRONT.get_ptr_mut(at)? };
            place.short = short;
            key.take(at);
            place.stats = flow::first(packet, weight, Monotonic.exact());
            place.stats.put_sampling(sampling as u8);
            *marks = marks.take(lane, mark);
            totals.entries += 1;
            totals.front += 1;
            Some(Booked::Known)
        }
        Lane::Full => None,
    }
}

/// Counts the packet in its flow, or, when that finds no room, in the overflow cells.
#[inline(always)]
fn book<K: asked::Key, const N: usize, const F: usize>(
    flows: &HashMap<K, FlowStats, N, F>,
    key: &K,
    packet: &Packet,
    (weight, sampling): (Weight, u32),
    (table, tag): (u32, u64),
) -> Result<Booked, LossReason> {
    let entry = flows.get_ptr_mut(key);
    if let Some(stats) = entry {
        // SAFETY: as for the totals: this CPU's map, one program at a time; user space only reads frozen generations.
        let stats = unsafe { &mut *stats };
        if stats.is_of(tag) {
            return Ok(go_on(stats, packet, weight));
        }
    }
    let mut stats = flow::first(packet, weight, Monotonic.exact());
    stats.put_sampling(sampling as u8);
    stats.put_tag(tag);
    if let Some(before) = entry {
        // SAFETY: as above; the reference to it is gone.
        unsafe { *before = stats };
        return Ok(Booked::Again);
    }
    if flows.insert(key, stats, BPF_NOEXIST as u64).is_err() {
        overflow::spill(table, key, Counter::new(weight.packets, weight.bytes));
        return Err(LossReason::TableFull);
    }
    Ok(Booked::New)
}

#[inline(always)]
fn count_sizes(totals: &mut GenTotals, seen: &Seen) {
    let segments = seen.weight.packets;
    let last = if segments > 1 {
        let others = segments - 1;
        add_size(totals, seen.segment_len, others);
        (seen.weight.bytes as u32).wrapping_sub((others as u32).wrapping_mul(seen.segment_len))
    } else {
        seen.weight.bytes as u32
    };
    add_size(totals, last, 1);
}

#[inline(always)]
fn add_size(totals: &mut GenTotals, len: u32, n: u64) {
    // The compiler proves the bound and drops the check; the verifier does not see the proof. So hide the value.
    let bin = core::hint::black_box(size_bin(len)) as usize;
    if bin < SIZE_BINS {
        totals.sizes[bin] += n;
    }
}

/// The agent sets every table before it attaches, so this is a fault of ours: count it where user space looks.
#[cold]
#[inline(always)]
fn no_table<C: EbpfContext>(ctx: &C, seen: &Seen) {
    if let Some(cell) = NO_TABLE.get_ptr_mut(0) {
        // SAFETY: a per-CPU value, touched by one program at a time.
        unsafe { &mut *cell }.add(seen.counter());
    }
    warn!(ctx, "no counting table on this CPU for a frame of interface {}", seen.ifindex);
}
