//! TCP sequence numbers across the borders of counting: CPUs, generations.

use super::{
    FLAG_FIRST_SEQ, FLAG_FOLLOWED, FLAG_GAP, FLAG_OPENS, FLAG_SYN_ACK_SEEN, FLAG_SYN_AGAIN, FLAG_SYN_SEEN, FlowStats,
    TCP_FLAGS_MASK,
};

/// The largest window (RFC 7323 section 2.3). Sequence numbers further apart are of different connections.
pub const MAX_WINDOW: u32 = 1 << 30;

const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;
const EITHER_SYN: u16 = FLAG_SYN_SEEN | FLAG_SYN_ACK_SEEN;

/// How far `a` is ahead of `b`, modulo 2^32; above 2^31 it is behind (RFC 9293 section 3.4).
#[inline(always)]
pub const fn seq_ahead(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b)
}

/// What the border between two counts of one direction hides from each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    /// The first segment of the later count repeats what the earlier one saw.
    pub retransmitted: bool,
    /// Both saw the same kind of SYN.
    pub syn_again: bool,
    /// The sequence number after the highest one seen, of both.
    pub next_seq: Option<u32>,
}

impl FlowStats {
    /// The sequence number after the highest one seen, if segments were measured.
    pub const fn next_seq(&self) -> Option<u32> {
        if self.tcp_flags & FLAG_FOLLOWED != 0 { Some(self.next_seq) } else { None }
    }

    /// Nanoseconds, of the clock of `first_seen`, at which a SYN that came first was answered by its sender's ACK.
    pub const fn acked_at(&self) -> Option<u64> {
        if self.tcp_flags & FLAG_OPENS != 0 && self.mark != 0 {
            Some(self.first_seen.wrapping_add(self.mark as u64 * 1000))
        } else {
            None
        }
    }

    /// Whether the first packet can be the ACK that ends a handshake whose SYN was counted before.
    pub const fn begins_with_ack(&self) -> bool {
        self.tcp_flags & (ACK | SYN | RST | FLAG_OPENS) == ACK
    }

    /// What these counts, which came after others with `flags` and `next_seq`, say together with them.
    pub fn continues(&self, next_seq: Option<u32>, flags: u16) -> Continuation {
        let syn_again = flags & self.tcp_flags & EITHER_SYN != 0;
        let (Some(before), Some(after)) = (next_seq, self.next_seq()) else {
            return Continuation { retransmitted: false, syn_again, next_seq: self.next_seq().or(next_seq) };
        };
        let advance = seq_ahead(after, before);
        if advance > MAX_WINDOW && advance < MAX_WINDOW.wrapping_neg() {
            return Continuation { retransmitted: false, syn_again, next_seq: Some(after) };
        }
        let advances = advance <= MAX_WINDOW;
        let retransmitted = if self.tcp_flags & FLAG_OPENS != 0 {
            // The same SYN again: another one would not lead to where the first one did.
            syn_again && advances
        } else if self.tcp_flags & FLAG_FIRST_SEQ != 0 {
            // One byte behind is a keep-alive (RFC 9293 section 3.8.4) or a FIN again; the length is not known here.
            let behind = seq_ahead(before, self.mark);
            behind > 1 && behind <= MAX_WINDOW
        } else {
            false
        };
        Continuation { retransmitted, syn_again, next_seq: Some(if advances { after } else { before }) }
    }

    /// Puts together the sequence state of `self`, whose sums hold `late` already, and `late`, the later of both.
    /// `apart`: the last packet of the one came before the first packet of the other.
    pub(super) fn follow_on(&mut self, late: &Self, apart: bool) {
        let both = late.continues(self.next_seq(), self.tcp_flags);
        if both.retransmitted && apart {
            self.retransmitted = self.retransmitted.saturating_add(1);
        }
        if self.tcp_flags & FLAG_OPENS != 0 {
            let acked_at = if late.begins_with_ack() { Some(late.first_seen) } else { late.acked_at() };
            if self.mark == 0
                && let Some(acked_at) = acked_at
            {
                self.mark = micros_up(acked_at.saturating_sub(self.first_seen));
            }
        } else if self.tcp_flags & FLAG_FIRST_SEQ == 0 && late.tcp_flags & FLAG_FIRST_SEQ != 0 {
            self.mark = late.mark;
            self.tcp_flags |= FLAG_FIRST_SEQ;
        }
        if late.tcp_flags & FLAG_GAP != 0 {
            self.gap_at = late.gap_at;
        }
        if let Some(next_seq) = both.next_seq {
            self.next_seq = next_seq;
        }
        if both.syn_again {
            self.tcp_flags |= FLAG_SYN_AGAIN;
        }
        self.tcp_flags |= late.tcp_flags & (TCP_FLAGS_MASK | EITHER_SYN | FLAG_SYN_AGAIN | FLAG_GAP | FLAG_FOLLOWED);
    }
}

/// Microseconds, rounded up, at least 1: 0 says that there was none.
#[inline(always)]
pub(crate) fn micros_up(nanos: u64) -> u32 {
    let micros = nanos.saturating_add(999) / 1000;
    match micros {
        0 => 1,
        1..=0xffff_ffff => micros as u32,
        _ => u32::MAX,
    }
}
