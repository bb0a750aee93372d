//! First bytes of payloads through the ring buffer: hints, on which no count depends.
//!
//! Which payloads are wanted is decided by the code that user space uses. An event is made in a per-CPU value and sent by
//! functions with global linkage, which the verifier checks once and not once for every way that leads to them.

use crate::maps::{EVENT, EVENTS};
use crate::packet::Linear;
use crate::tunnel::{tc_frame, xdp_frame};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_skb_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use netspectra_common::abi::{EventHead, EventKind, PREFIX_LEN};
use netspectra_common::wire::{Bytes, MAX_OFFSET, Packet, Wanted, begins, wanted};

const _: () = assert!(PREFIX_LEN.is_power_of_two());

/// An event, whole: longer than a program's stack.
#[repr(C)]
pub struct Event {
    head: EventHead,
    prefix: [u8; PREFIX_LEN],
}

/// A program's context, as far as payloads are read by it.
pub trait Payload {
    /// What [`begins`] says of the payload at `at`.
    fn begins(&self, kind: EventKind, at: u32) -> bool;
    /// Adds the payload at `at` to the event that was begun, and sends it; 0 when there is no room.
    fn send(&self, at: u32) -> u32;
}

impl Payload for XdpContext {
    #[inline(always)]
    fn begins(&self, kind: EventKind, at: u32) -> bool {
        netspectra_begins_xdp(self.ctx, kind as u32, at) != 0
    }

    #[inline(always)]
    fn send(&self, at: u32) -> u32 {
        netspectra_send_xdp(self.ctx, at)
    }
}

impl Payload for TcContext {
    #[inline(always)]
    fn begins(&self, kind: EventKind, at: u32) -> bool {
        netspectra_begins_tc(self.skb.skb, kind as u32, at) != 0
    }

    #[inline(always)]
    fn send(&self, at: u32) -> u32 {
        netspectra_send_tc(self.skb.skb, at)
    }
}

/// The first four bytes at `at`, zeros when they are not in the linear part. No `Option`: its empty case has bytes of no
/// value, which the verifier takes for whatever is in the register.
#[inline(always)]
fn linear(frame: &Linear, at: u32) -> [u8; 4] {
    if at > MAX_OFFSET {
        return [0; 4];
    }
    // The compiler compares one copy of the offset and uses another.
    frame.array(Linear::rejoin(at)).unwrap_or([0; 4])
}

#[inline(always)]
fn begin(kind: u32, first: [u8; 4]) -> u32 {
    let kind = if kind == EventKind::Stream as u32 { EventKind::Stream } else { EventKind::Datagram };
    u32::from(begins(kind, first))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_begins_xdp(ctx: *mut xdp_md, kind: u32, at: u32) -> u32 {
    begin(kind, linear(&xdp_frame(ctx), at))
}

/// A sender's payload is not in the linear part.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_begins_tc(skb: *mut __sk_buff, kind: u32, at: u32) -> u32 {
    let first = match linear(&tc_frame(skb), at) {
        [0, 0, 0, 0] => {
            let mut first = 0u32;
            let room = size_of::<u32>() as u32;
            // SAFETY: `first` has room for the bytes that are asked for; the helper checks `at`.
            let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, (&raw mut first).cast(), room) };
            if failed == 0 { first.to_ne_bytes() } else { [0; 4] }
        }
        first => first,
    };
    begin(kind, first)
}

/// Sends first bytes of `packet`, when they are wanted; `opening` as for [`wanted`], `tag` is the length of a tag that is kept
/// beside the packet. Returns 1 when there was no room.
#[inline(always)]
pub fn send<C: Payload>(ctx: &C, packet: &Packet, tag: u32, opening: bool) -> u64 {
    // Offsets are those in memory, where such a tag is not.
    let end = packet.l3_end.wrapping_sub(tag);
    let Some(Wanted { kind, at, len }) = wanted(packet, end, opening, |kind, at| ctx.begins(kind, at)) else {
        return 0;
    };
    // Every CPU has its value.
    let Some(event) = EVENT.get_ptr_mut(0) else { return 1 };
    // SAFETY: a per-CPU value, touched by one program at a time; the reference ends before the function uses the value.
    let head = unsafe { &mut (*event).head };
    head.key = packet.key;
    // SAFETY: the helper has no preconditions.
    head.seen_at = unsafe { bpf_ktime_get_ns() };
    head.payload_len = len;
    head.seq = packet.segment.seq;
    head.kind = kind as u8;
    u64::from(ctx.send(at) == 0)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_send_xdp(ctx: *mut xdp_md, at: u32) -> u32 {
    let Some(event) = EVENT.get_ptr_mut(0) else { return 0 };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let Event { head, prefix } = unsafe { &mut *event };
    let len = xdp_frame(ctx).copy(at, head.payload_len, prefix);
    output(event, len)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_send_tc(skb: *mut __sk_buff, at: u32) -> u32 {
    let Some(event) = EVENT.get_ptr_mut(0) else { return 0 };
    // SAFETY: `skb` is the context the kernel gave the program.
    let there = unsafe { (*skb).len }.saturating_sub(at);
    // SAFETY: a per-CPU value, touched by one program at a time.
    let Event { head, prefix } = unsafe { &mut *event };
    let len = if head.payload_len < there { head.payload_len } else { there };
    let len = if len < PREFIX_LEN as u32 { len } else { PREFIX_LEN as u32 };
    if len == 0 {
        return output(event, 0);
    }
    // Changes no value. From the comparisons alone Linux 6.1 does not know that it is not 0.
    let len = (core::hint::black_box(len - 1) & (PREFIX_LEN as u32 - 1)) + 1;
    // SAFETY: `prefix` has room for `len` bytes, which is at most its length by the mask; the helper checks `at`.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, prefix.as_mut_ptr().cast(), len) };
    output(event, if failed == 0 { len as u16 } else { 0 })
}

/// Sends the event with `len` bytes of payload; 0 when there is no room.
#[inline(always)]
fn output(event: *mut Event, len: u16) -> u32 {
    // SAFETY: the caller's per-CPU value.
    unsafe { (*event).head.prefix_len = len };
    // Hidden from the compiler, which knows the bound and would drop the comparison that the verifier needs.
    let len = core::hint::black_box(u32::from(len));
    if len > PREFIX_LEN as u32 {
        return 0;
    }
    let size = size_of::<EventHead>() as u64 + u64::from(len);
    // SAFETY: the event has that many bytes by the comparison, and all of them were written at some time: a map's values
    // begin as zeros.
    let failed = unsafe { bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), event.cast(), size, 0) };
    u32::from(failed == 0)
}
