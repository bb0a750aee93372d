use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a network device counted by itself (`struct rtnl_link_stats64`).
///
/// These are the driver's numbers, not those of a hook: they stand beside the ledger and are no term of its balance.
/// Where they differ from it is in `docs/operations.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received. Most drivers count L2 bytes without FCS, some with it.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the device had no room for, before any hook (`rx_missed_errors`).
    pub rx_missed: u64,
    /// Packets received and then dropped by the driver or the stack (`rx_dropped`).
    pub rx_dropped: u64,
    /// Packets lost because a receive queue had no buffer (`rx_fifo_errors`).
    pub rx_no_buffer: u64,
}

impl NicCounters {
    /// How many counters there are.
    pub const LEN: usize = 7;

    /// All of them, in the order of the fields.
    pub const fn to_array(self) -> [u64; Self::LEN] {
        [
            self.rx_packets,
            self.rx_bytes,
            self.tx_packets,
            self.tx_bytes,
            self.rx_missed,
            self.rx_dropped,
            self.rx_no_buffer,
        ]
    }

    /// What [`NicCounters::to_array`] gave.
    pub const fn from_array(all: [u64; Self::LEN]) -> Self {
        let [rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, rx_dropped, rx_no_buffer] = all;
        Self { rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, rx_dropped, rx_no_buffer }
    }

    /// What was gained from `before` to `self`, and whether the device began anew in between: then nothing is known of
    /// what was gained, and all of it is 0.
    pub fn since(self, before: Self) -> (Self, bool) {
        let (now, before) = (self.to_array(), before.to_array());
        if now.iter().zip(&before).any(|(now, before)| now < before) {
            return (Self::default(), true);
        }
        (Self::from_array(std::array::from_fn(|at| now[at] - before[at])), false)
    }

    /// Adds `other`; sums stay at `u64::MAX`.
    pub fn add(&mut self, other: Self) {
        let (mine, theirs) = (self.to_array(), other.to_array());
        *self = Self::from_array(std::array::from_fn(|at| mine[at].saturating_add(theirs[at])));
    }
}

/// What one observed interface's device gained in one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDelta {
    /// The kernel's index.
    pub ifindex: u32,
    /// The interface's name.
    pub iface: Arc<str>,
    /// What was gained.
    pub gained: NicCounters,
    /// The device's counters went back: what was gained is not known, and `gained` is 0.
    pub reset: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_the_difference_and_nothing_when_the_device_began_anew() {
        let before = NicCounters { rx_packets: 10, rx_bytes: 900, tx_packets: 3, ..NicCounters::default() };
        let now = NicCounters { rx_packets: 15, rx_bytes: 1400, tx_packets: 3, rx_missed: 2, ..before };
        let gained = NicCounters { rx_packets: 5, rx_bytes: 500, rx_missed: 2, ..NicCounters::default() };
        assert_eq!(now.since(before), (gained, false));
        assert_eq!(NicCounters { rx_bytes: 899, ..now }.since(before), (NicCounters::default(), true));
    }

    #[test]
    fn sums_do_not_wrap() {
        let mut sum = NicCounters { tx_bytes: u64::MAX - 1, ..NicCounters::default() };
        sum.add(NicCounters { tx_bytes: 5, rx_no_buffer: 7, ..NicCounters::default() });
        assert_eq!(sum, NicCounters { tx_bytes: u64::MAX, rx_no_buffer: 7, ..NicCounters::default() });
    }
}
