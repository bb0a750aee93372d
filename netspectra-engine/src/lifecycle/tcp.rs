//! What one end's TCP segments say: counts since the last record, and the state that goes from generation to generation.

use netspectra_common::abi::{FLAG_OPENS, FLAG_SYN_ACK_SEEN, FLAG_SYN_AGAIN, FLAG_SYN_SEEN};
use netspectra_common::model::FlowStats;
use serde::{Deserialize, Serialize};

/// A time that was not.
const NEVER: u64 = u64::MAX;

/// Bits of [`TcpSide::bits`]: a place in the sequence is known, for either direction of observation.
const FOLLOWED: [u8; 2] = [1, 2];
/// [`TcpSide::shook_at`] is the time of a SYN+ACK.
const ANSWERS: u8 = 4;
/// A SYN, or SYN+ACK, came twice, or both came (RFC 9293 section 3.5, figure 7): which was answered is not known.
const SYN_AGAIN: u8 = 8;

/// What one end's TCP segments say; of other protocols nothing. Times are Unix nanoseconds. 48 bytes, because there are two in
/// every flow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct TcpSide {
    /// Its SYN, or its SYN+ACK if it answers.
    shook_at: u64,
    /// First packet with ACK after the SYN.
    ack_at: u64,
    /// Since the last record. These stay at their highest value.
    pub(super) retransmitted: u32,
    pub(super) out_of_order: u32,
    pub(super) zero_windows: u32,
    /// Where the sequence stands, as either direction of observation saw it: on a loopback interface both see every packet.
    next_seq: [u32; 2],
    /// What was seen in that direction.
    seen: [u16; 2],
    /// OR of TCP flags and of `FLAG_` bits since the last record.
    pub(super) flags: u16,
    /// In the whole flow.
    pub(super) all_flags: u16,
    bits: u8,
}

const _: () = assert!(size_of::<TcpSide>() == 48);

impl TcpSide {
    pub(super) const NOTHING: Self = Self {
        shook_at: NEVER,
        ack_at: NEVER,
        retransmitted: 0,
        out_of_order: 0,
        zero_windows: 0,
        next_seq: [0; 2],
        seen: [0; 2],
        flags: 0,
        all_flags: 0,
        bits: 0,
    };

    /// Adds what was seen of this end in `direction` in a later generation.
    pub(super) fn add(&mut self, direction: u8, stats: &FlowStats) {
        let flags = stats.tcp_flags;
        if flags == 0 {
            return;
        }
        self.flags |= flags;
        self.all_flags |= flags;
        let way = usize::from(direction & 1);
        let before = (self.bits & FOLLOWED[way] != 0).then_some(self.next_seq[way]);
        let border = stats.continues(before, self.seen[way]);
        if let Some(next_seq) = border.next_seq {
            self.next_seq[way] = next_seq;
            self.bits |= FOLLOWED[way];
        }
        self.seen[way] |= flags;
        let more = |sum: u32, n: u32| sum.saturating_add(n);
        self.retransmitted = more(self.retransmitted, u32::from(stats.retransmitted) + u32::from(border.retransmitted));
        self.out_of_order = more(self.out_of_order, u32::from(stats.out_of_order));
        self.zero_windows = more(self.zero_windows, u32::from(stats.zero_windows));
        if border.syn_again || flags & FLAG_SYN_AGAIN != 0 {
            self.bits |= SYN_AGAIN;
        }
        if flags & FLAG_OPENS == 0 {
            if self.ack_at == NEVER && self.syn_at() < stats.first_seen && stats.begins_with_ack() {
                self.ack_at = stats.first_seen;
            }
            return;
        }
        let kinds = flags & (FLAG_SYN_SEEN | FLAG_SYN_ACK_SEEN);
        let answers = kinds == FLAG_SYN_ACK_SEEN;
        let is_one = answers || kinds == FLAG_SYN_SEEN;
        let is_other = self.shook_at != NEVER && answers != (self.bits & ANSWERS != 0);
        if is_other || !is_one {
            self.bits |= SYN_AGAIN;
            return;
        }
        self.shook_at = self.shook_at.min(stats.first_seen);
        if answers {
            self.bits |= ANSWERS;
        } else {
            self.ack_at = self.ack_at.min(stats.acked_at().unwrap_or(NEVER));
        }
    }

    /// Begins the next record.
    pub(super) fn cut(&mut self) {
        (self.retransmitted, self.out_of_order, self.zero_windows, self.flags) = (0, 0, 0, 0);
    }

    fn syn_at(&self) -> u64 {
        if self.bits & ANSWERS == 0 { self.shook_at } else { NEVER }
    }

    fn syn_ack_at(&self) -> u64 {
        if self.bits & ANSWERS == 0 { NEVER } else { self.shook_at }
    }

    /// Microseconds from this end's SYN to the SYN+ACK of `responder`, unless it cannot be told which SYN was answered
    /// (Karn's rule, RFC 6298 section 3).
    pub(super) fn server_rtt_us(&self, responder: &Self) -> Option<u32> {
        if self.bits & SYN_AGAIN != 0 { None } else { micros(self.syn_at(), responder.syn_ack_at()) }
    }

    /// Microseconds from the SYN+ACK of `responder` to this end's ACK, by the same rule.
    pub(super) fn client_rtt_us(&self, responder: &Self) -> Option<u32> {
        if responder.bits & SYN_AGAIN != 0 { None } else { micros(responder.syn_ack_at(), self.ack_at) }
    }
}

/// Whole microseconds between two times that were, in this order.
fn micros(from: u64, to: u64) -> Option<u32> {
    if from == NEVER || to == NEVER {
        return None;
    }
    to.checked_sub(from).map(|nanos| u32::try_from(nanos / 1000).unwrap_or(u32::MAX))
}
