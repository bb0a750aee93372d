use super::LossReason;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Counter {
    /// Packets on the wire.
    pub packets: u64,
    /// L2 bytes on the wire without FCS.
    pub bytes: u64,
}

impl Counter {
    /// One packet of `bytes`.
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    /// Adds `other`, wrapping.
    pub fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }

    /// Whether nothing was counted.
    pub const fn is_zero(self) -> bool {
        self.packets == 0 && self.bytes == 0
    }
}

/// Bins of the frame-size histogram, see [`size_bin`].
pub const SIZE_BINS: usize = 3072;
const EXACT: u32 = 2048;
const PER_OCTAVE: u32 = 128;

/// The histogram bin of a frame of `len` bytes: exact below 2048, then 128 bins an octave (0.8 % wide) up to 512 KiB,
/// where the last bin takes all that is longer.
#[inline(always)]
pub fn size_bin(len: u32) -> u32 {
    if len < EXACT {
        return len;
    }
    // 2048 = 2^11; the seven bits below the leading one choose the bin inside the octave.
    let octave = 31 - len.leading_zeros();
    let bin = EXACT + (octave - 11) * PER_OCTAVE + ((len >> (octave - 7)) & (PER_OCTAVE - 1));
    if bin < SIZE_BINS as u32 { bin } else { SIZE_BINS as u32 - 1 }
}

/// The lengths `low..=high`, in bytes, that fall into `bin`. The last bin's `high` is `u32::MAX`; a number beyond the
/// last bin, which only a corrupt message has, counts as the last one.
pub fn size_bin_range(bin: u32) -> (u32, u32) {
    let bin = bin.min(SIZE_BINS as u32 - 1);
    if bin < EXACT {
        return (bin, bin);
    }
    let octave = 11 + (bin - EXACT) / PER_OCTAVE;
    let step = 1u32 << (octave - 7);
    let low = (1u32 << octave) + ((bin - EXACT) % PER_OCTAVE) * step;
    if bin as usize >= SIZE_BINS - 1 { (low, u32::MAX) } else { (low, low + (step - 1)) }
}

/// Everything one CPU counts in one generation beside the flows.
///
/// `seen = Σ flow records + Σ reasons` holds exactly, in packets and bytes: a packet touches one generation only.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GenTotals {
    /// Every frame the hook saw.
    pub seen: Counter,
    /// Frames that are not in a flow, by [`LossReason`].
    pub reasons: [Counter; LossReason::COUNT],
    /// First bytes of payloads that found the ring buffer full.
    pub events_lost: u64,
    /// Later fragments whose first fragment was not seen: booked to their addresses with ports 0.
    pub orphan_fragments: u64,
    /// Flows that were counted in front of this CPU's flow tables and in them.
    pub entries: u64,
    /// Entries of the tables made for them; others were there, from a generation before, or have a place in front.
    pub inserted: u64,
    /// Those of `entries` that have a place in front of the tables ([`super::Front`]).
    pub front: u64,
    /// Marks the entries of this generation, see [`super::FlowStats::is_of`]. Set when the table is made ready.
    pub tag: u64,
    /// Frame sizes, see [`size_bin`].
    pub sizes: [u64; SIZE_BINS],
}

const _: () = assert!(size_of::<GenTotals>() == 16 * (1 + LossReason::COUNT) + 48 + 8 * SIZE_BINS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_the_range_of_its_bin() {
        let mut last = 0;
        for len in (0..4096).chain((4096..600_000).step_by(7)).chain([u32::MAX]) {
            let bin = size_bin(len);
            assert!(bin >= last, "bins follow lengths");
            last = bin;
            let (low, high) = size_bin_range(bin);
            assert!((low..=high).contains(&len), "length {len}, bin {bin}, range {low}..={high}");
        }
        assert_eq!(size_bin_range(u32::MAX), size_bin_range(SIZE_BINS as u32 - 1));
        assert_eq!(size_bin(1514), 1514);
        assert_eq!(size_bin(u32::MAX), SIZE_BINS as u32 - 1);
    }
}
