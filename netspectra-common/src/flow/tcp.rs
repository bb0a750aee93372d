//! Follows one direction's TCP segments: what is repeated, what is out of order, when a handshake was answered.
//!
//! A segment that takes sequence numbers and begins before the highest one seen is
//! - out of order, when it ends below that, too, and comes within 3 ms after a jump of the sequence: it fills the gap. The
//!   time is that of Wireshark's rule (`tcp_analyze_sequence_number` in `epan/dissectors/packet-tcp.c`), counted from the
//!   gap instead of from the highest segment, because a sender goes on sending while it repeats a lost one;
//! - nothing, when it begins one byte before it: a keep-alive (RFC 9293 section 3.8.4), or what follows a probe of a zero
//!   window, whose byte is sent again;
//! - a retransmission otherwise.
//!
//! SYN and FIN take a sequence number each (RFC 9293 section 3.4). RST segments are not followed: a reset may carry any
//! number in the window. A segmentation-offload super-packet is one segment.

use super::Clock;
use crate::abi::{
    FLAG_FIRST_SEQ, FLAG_FOLLOWED, FLAG_GAP, FLAG_OPENS, FLAG_SYN_ACK_SEEN, FLAG_SYN_AGAIN, FLAG_SYN_SEEN, FlowStats,
    MAX_WINDOW, micros_up, seq_ahead,
};
use crate::wire::{Packet, Segment};

const FIN: u16 = 0x01;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;

/// The clock's bits below a unit of [`FlowStats::gap_at`], about 1.05 ms.
const GAP_SHIFT: u32 = 20;
/// Units after a gap in which a segment below it is out of order: 2.1 to 3.1 ms.
const OUT_OF_ORDER: u8 = 3;

/// What one packet with these flags adds to [`FlowStats::tcp_flags`].
#[inline(always)]
fn flag_bits(tcp_flags: u16) -> u16 {
    match tcp_flags & (SYN | ACK) {
        SYN => tcp_flags | FLAG_SYN_SEEN,
        both if both == SYN | ACK => tcp_flags | FLAG_SYN_ACK_SEEN,
        _ => tcp_flags,
    }
}

/// Sequence numbers that `segment` takes.
#[inline(always)]
fn length(segment: &Segment, flags: u16) -> u32 {
    segment.payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
}

/// Begins with a flow's first packet.
#[inline(always)]
pub(super) fn open(stats: &mut FlowStats, packet: &Packet) {
    let flags = packet.tcp_flags;
    stats.tcp_flags = flag_bits(flags);
    if flags & SYN != 0 {
        stats.tcp_flags |= FLAG_OPENS;
    }
    if let Some(segment) = packet.measured() {
        count_window(stats, segment, flags);
        if flags & RST == 0 {
            begin(stats, segment, length(segment, flags));
        }
    }
}

/// Takes the end of `segment` as where the sequence stands.
#[inline(always)]
fn begin(stats: &mut FlowStats, segment: &Segment, len: u32) {
    stats.next_seq = segment.seq.wrapping_add(len);
    stats.tcp_flags |= FLAG_FOLLOWED;
    mark_first(stats, segment, len);
}

#[inline(always)]
fn mark_first(stats: &mut FlowStats, segment: &Segment, len: u32) {
    if len != 0 && stats.tcp_flags & (FLAG_OPENS | FLAG_FIRST_SEQ) == 0 {
        stats.mark = segment.seq;
        stats.tcp_flags |= FLAG_FIRST_SEQ;
    }
}

/// Folds one more packet; returns its time. The usual segment follows the one before and needs no exact time.
#[inline(always)]
pub(super) fn fold<C: Clock>(stats: &mut FlowStats, packet: &Packet, clock: &C) -> u64 {
    let flags = packet.tcp_flags;
    if flags == 0 {
        return clock.coarse();
    }
    let before = stats.tcp_flags;
    let bits = flag_bits(flags);
    stats.tcp_flags |= bits;
    if before & bits & (FLAG_SYN_SEEN | FLAG_SYN_ACK_SEEN) != 0 && flags & SYN != 0 {
        stats.tcp_flags |= FLAG_SYN_AGAIN;
    }
    let answers = before & FLAG_OPENS != 0 && stats.mark == 0 && flags & (SYN | RST | ACK) == ACK;
    let jumps = match packet.measured() {
        Some(segment) => !follows(stats, segment, flags),
        None => false,
    };
    if !answers && !jumps {
        return clock.coarse();
    }
    let now = clock.exact();
    if answers {
        stats.mark = micros_up(now.saturating_sub(stats.first_seen));
    }
    if jumps && let Some(segment) = packet.measured() {
        jump(stats, segment, flags, now);
    }
    now
}

/// Folds `segment` if it begins where the one before ended, as most do.
#[inline(always)]
fn follows(stats: &mut FlowStats, segment: &Segment, flags: u16) -> bool {
    count_window(stats, segment, flags);
    if flags & RST != 0 {
        return true;
    }
    if stats.tcp_flags & FLAG_FOLLOWED != 0 && segment.seq != stats.next_seq {
        return false;
    }
    begin(stats, segment, length(segment, flags));
    true
}

/// A segment that does not begin at the highest sequence number seen.
#[inline(always)]
fn jump(stats: &mut FlowStats, segment: &Segment, flags: u16, now: u64) {
    let len = length(segment, flags);
    let end = segment.seq.wrapping_add(len);
    let unit = (now >> GAP_SHIFT) as u8;
    let ahead = seq_ahead(segment.seq, stats.next_seq);
    let behind = ahead.wrapping_neg();
    if flags & SYN != 0 {
        // The same one, or that of another connection.
        if end == stats.next_seq {
            stats.retransmitted = stats.retransmitted.saturating_add(1);
        }
        stats.next_seq = end;
    } else if ahead <= MAX_WINDOW {
        mark_first(stats, segment, len);
        stats.next_seq = end;
        stats.gap_at = unit;
        stats.tcp_flags |= FLAG_GAP;
    } else if behind > MAX_WINDOW {
        stats.next_seq = end;
    } else if len != 0 {
        mark_first(stats, segment, len);
        // Up to half the number space: past the highest number, or not.
        let past = seq_ahead(end, stats.next_seq);
        let advances = past != 0 && past <= MAX_WINDOW;
        if behind == 1 && flags & FIN == 0 && (advances || len == 1) {
            // A keep-alive, or a probe's byte with what follows it.
        } else if past != 0
            && !advances
            && stats.tcp_flags & FLAG_GAP != 0
            && unit.wrapping_sub(stats.gap_at) < OUT_OF_ORDER
        {
            stats.out_of_order = stats.out_of_order.saturating_add(1);
        } else {
            stats.retransmitted = stats.retransmitted.saturating_add(1);
        }
        if advances {
            stats.next_seq = end;
        }
    }
}

/// The packet that was the first one is not: nothing can be told from its time.
#[inline(always)]
pub(super) fn not_first(stats: &mut FlowStats) {
    if stats.tcp_flags & FLAG_OPENS != 0 {
        stats.tcp_flags &= !FLAG_OPENS;
        stats.mark = 0;
    }
}

#[inline(always)]
fn count_window(stats: &mut FlowStats, segment: &Segment, flags: u16) {
    if segment.window == 0 && flags & (SYN | FIN | RST) == 0 {
        stats.zero_windows = stats.zero_windows.saturating_add(1);
    }
}
