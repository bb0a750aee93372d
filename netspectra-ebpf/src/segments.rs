//! What a segmentation-offload super-packet amounts to on the wire.
//!
//! The stack sends and receives many segments as one packet in memory: the headers once, then the payload of all. On the
//! wire each segment has the headers. The kernel's own figure (`wire_len`) is left aside where the headers can be read:
//! at ingress it is the length in memory (`sch_handle_ingress` in `net/core/dev.c`), at egress kernels before 6.12 take
//! the outer transport header of a tunnel for the end of the headers (`qdisc_pkt_len_init`). The number of segments
//! (`gso_segs`) is 0 where a guest or a socket made the super-packet, so it is computed: every segment but the last has
//! `gso_size` bytes of payload, both where a sender cuts and where GRO merged.

use crate::maps::{SEGMENTS, TUNNELLED};
use crate::packet::Linear;
use crate::tunnel::{netspectra_enter_tc, netspectra_find_tc, tc_frame};
use aya_ebpf::bindings::__sk_buff;
use netspectra_common::flow::Weight;
use netspectra_common::wire::{Bytes, MAX_TUNNELS, headers, parse_ethernet};

/// `gso_size` of an SCTP super-packet, whose segments differ in length (`include/linux/skbuff.h`).
const GSO_BY_FRAGS: u32 = 0xffff;
/// A hop-by-hop header with the jumbo payload option, see [`netspectra_segments`].
const JUMBO: u32 = 8;

/// A super-packet on the wire.
#[repr(C)]
pub struct Segments {
    packets: u64,
    bytes: u64,
    /// L2 length of each segment but the last.
    segment_len: u32,
    reserved: u32,
}

/// What the super-packet `skb` is on the wire: its weight, and the L2 length of each segment but the last. `None` for a
/// single frame.
///
/// The figures come through a map, so that the verifier knows nothing of them that would tell ways apart.
#[inline(always)]
pub fn of(skb: *mut __sk_buff) -> Option<(Weight, u32)> {
    // SAFETY: `skb` is the program's context; the verifier checks each field's access.
    if unsafe { (*skb).gso_size } == 0 {
        return None;
    }
    // One after the other, because a program and the functions below it share 512 bytes of stack.
    let headers = if netspectra_outer(skb) != 0 { netspectra_headers(skb) } else { 0 };
    if netspectra_segments(skb, headers) == 0 {
        return None;
    }
    let all = SEGMENTS.get_ptr_mut(0)?;
    // SAFETY: a per-CPU value, touched by one program at a time.
    let all = unsafe { &*all };
    Some((Weight { packets: all.packets, bytes: all.bytes }, all.segment_len))
}

/// Fills in [`SEGMENTS`] by the answer of [`netspectra_headers`]; 0 when the packet is a single frame.
///
/// A function with global linkage, so that the verifier checks it once; see [`crate::tunnel`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_segments(skb: *mut __sk_buff, found: u32) -> u32 {
    // SAFETY: `skb` is the context the kernel gave the program.
    let (len, gso_size) = unsafe { ((*skb).len, (*skb).gso_size) };
    // SAFETY: as above.
    let (stated, wire_len) = unsafe { ((*skb).gso_segs, (*skb).wire_len) };
    let jumbo = found >> 16;
    let headers = (found & 0xffff).wrapping_sub(jumbo);
    let len = len.wrapping_sub(jumbo);
    let Some(all) = SEGMENTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let all = unsafe { &mut *all };
    if found == 0 {
        // IPsec offload, and what else has no headers to read: what the kernel says.
        if stated < 2 || wire_len < len {
            return 0;
        }
        all.packets = stated as u64;
        all.bytes = wire_len as u64;
        all.segment_len = (wire_len - len) / (stated - 1) + gso_size;
        return 1;
    }
    if headers >= len || gso_size == 0 {
        return 0;
    }
    let payload = len - headers;
    let by_frags = gso_size == GSO_BY_FRAGS && stated > 1;
    let packets = if by_frags { stated } else { (payload - 1) / gso_size + 1 };
    all.packets = packets as u64;
    all.bytes = payload as u64 + packets as u64 * headers as u64;
    all.segment_len = headers + if by_frags { payload / stated } else { gso_size };
    1
}

/// After [`netspectra_outer`]: offset after the headers that every segment repeats, 0 where they cannot be read. In the upper half the length of the
/// IPv6 jumbo payload header among them, which the kernel gives a packet above 64 KiB and takes away where it cuts it.
///
/// The headers are those of the innermost packet that goes to the end of the memory: the segments of a tunnel's
/// super-packet are inside it, while a datagram that a sender cuts into tunnel packets ends with each of them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_headers(skb: *mut __sk_buff) -> u32 {
    let mut found = netspectra_repeated(skb);
    let mut entered = 0;
    while found != 0 && entered < MAX_TUNNELS && netspectra_find_tc(skb) != 0 && netspectra_enter_tc(skb) != 0 {
        let inner = netspectra_repeated(skb);
        if inner == 0 {
            break;
        }
        found = inner | (found & 0xffff_0000);
        entered += 1;
    }
    found
}

/// Puts the outermost packet into the per-CPU value of tunnels, which is not in use yet; 0 when it cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_outer(skb: *mut __sk_buff) -> u32 {
    let Some(value) = TUNNELLED.get_ptr_mut(0) else { return 0 };
    // SAFETY: `skb` is the context the kernel gave the program.
    let len = unsafe { (*skb).len };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let value = unsafe { &mut *value };
    value.packet.clear();
    value.wire_len = len;
    u32::from(parse_ethernet(&tc_frame(skb), len, &mut value.packet).is_ok())
}

/// As [`netspectra_headers`], of the packet in the per-CPU value of tunnels when it goes to the end of the memory.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_repeated(skb: *mut __sk_buff) -> u32 {
    let Some(value) = TUNNELLED.get_ptr_mut(0) else { return 0 };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let value = unsafe { &*value };
    let packet = &value.packet;
    if packet.l3_end != value.wire_len {
        return 0;
    }
    let frame = tc_frame(skb);
    let Some(end) = headers(&frame, packet) else { return 0 };
    let ip = Linear::rejoin(packet.l3_end.wrapping_sub(packet.l3_len));
    // Version 6, payload length 0, next header hop-by-hop; then the option's type and length (RFC 2675).
    let is_jumbo = packet.key.family == 6
        && frame.array::<3>(ip + 4) == Some([0, 0, 0])
        && frame.array::<2>(ip + 42) == Some([0xc2, 4]);
    if is_jumbo { end | (JUMBO << 16) } else { end }
}
