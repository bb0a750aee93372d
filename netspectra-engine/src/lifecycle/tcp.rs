//! What one end's TCP segments say: counts since the last record, and the state that goes from generation to generation.

use netspectra_common::abi::{FLAG_OPENS, FLAG_SYN_ACK_SEEN, FLAG_SYN_AGAIN, FLAG_SYN_SEEN};
use netspectra_common::model::FlowStats;

/// A time that was not.
const NEVER: u64 = u64::MAX;

/// Where the sequence stands, as one direction of observation saw it: on a loopback interface both see every packet.
#[derive(Clone, Copy, Debug)]
struct Track {
    next_seq: Option<u32>,
    flags: u16,
}

/// What one end's TCP segments say. Times are Unix nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpSide {
    /// Since the last record.
    pub(super) retransmitted: u64,
    pub(super) out_of_order: u64,
    pub(super) zero_windows: u64,
    /// In the whole flow.
    tracks: [Track; 2],
    syn_at: u64,
    syn_ack_at: u64,
    /// First packet with ACK after the SYN.
    ack_at: u64,
    /// A SYN, or SYN+ACK, came twice.
    syn_again: bool,
}

impl TcpSide {
    pub(super) const NOTHING: Self = Self {
        retransmitted: 0,
        out_of_order: 0,
        zero_windows: 0,
        tracks: [Track { next_seq: None, flags: 0 }; 2],
        syn_at: NEVER,
        syn_ack_at: NEVER,
        ack_at: NEVER,
        syn_again: false,
    };

    /// Adds what was seen of this end in `direction` in a later generation.
    pub(super) fn add(&mut self, direction: u8, stats: &FlowStats) {
        let flags = stats.tcp_flags;
        if flags == 0 {
            return;
        }
        let track = &mut self.tracks[usize::from(direction & 1)];
        let border = stats.continues(track.next_seq, track.flags);
        track.next_seq = border.next_seq;
        track.flags |= flags;
        let more = |sum: u64, n: u64| sum.saturating_add(n);
        self.retransmitted = more(self.retransmitted, u64::from(stats.retransmitted) + u64::from(border.retransmitted));
        self.out_of_order = more(self.out_of_order, u64::from(stats.out_of_order));
        self.zero_windows = more(self.zero_windows, u64::from(stats.zero_windows));
        self.syn_again |= border.syn_again || flags & FLAG_SYN_AGAIN != 0;
        if flags & FLAG_OPENS == 0 {
            if self.ack_at == NEVER && self.syn_at < stats.first_seen && stats.begins_with_ack() {
                self.ack_at = stats.first_seen;
            }
            return;
        }
        match flags & (FLAG_SYN_SEEN | FLAG_SYN_ACK_SEEN) {
            FLAG_SYN_SEEN => {
                self.syn_at = self.syn_at.min(stats.first_seen);
                self.ack_at = self.ack_at.min(stats.acked_at().unwrap_or(NEVER));
            }
            FLAG_SYN_ACK_SEEN => self.syn_ack_at = self.syn_ack_at.min(stats.first_seen),
            // Both: which of them was first is not known.
            _ => self.syn_again = true,
        }
    }

    /// Begins the next record.
    pub(super) fn cut(&mut self) {
        (self.retransmitted, self.out_of_order, self.zero_windows) = (0, 0, 0);
    }

    /// Microseconds from this end's SYN to the SYN+ACK of `responder`, unless it cannot be told which SYN was answered
    /// (Karn's rule, RFC 6298 section 3).
    pub(super) fn server_rtt_us(&self, responder: &Self) -> Option<u32> {
        if self.syn_again { None } else { micros(self.syn_at, responder.syn_ack_at) }
    }

    /// Microseconds from the SYN+ACK of `responder` to this end's ACK, by the same rule.
    pub(super) fn client_rtt_us(&self, responder: &Self) -> Option<u32> {
        if responder.syn_again { None } else { micros(responder.syn_ack_at, self.ack_at) }
    }
}

/// Whole microseconds between two times that were, in this order.
fn micros(from: u64, to: u64) -> Option<u32> {
    if from == NEVER || to == NEVER {
        return None;
    }
    to.checked_sub(from).map(|nanos| u32::try_from(nanos / 1000).unwrap_or(u32::MAX))
}
