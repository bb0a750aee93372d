use super::LinkType;
use netspectra_common::model::Nanos;
use std::fmt;

/// Where a capture file says frames were seen. A classic pcap or snoop file has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureInterface {
    /// The capturing host's name for it (pcapng `if_name`); at most 128 characters, without control characters.
    pub name: Option<String>,
    /// What its frames begin with.
    pub link: LinkType,
    /// Most bytes of a frame that the capture was to keep; 0 for no limit or not known.
    pub snaplen: u32,
    /// The unit of its timestamps.
    pub ts_resolution: TsResolution,
}

/// The unit of a capture's timestamps, as a negative power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsResolution {
    /// `10^-n` seconds.
    Decimal(u8),
    /// `2^-n` seconds.
    Binary(u8),
}

impl TsResolution {
    /// Microseconds.
    pub const MICROS: Self = Self::Decimal(6);
    /// Nanoseconds.
    pub const NANOS: Self = Self::Decimal(9);

    /// From pcapng's `if_tsresol` byte.
    pub(super) const fn from_option(byte: u8) -> Self {
        if byte & 0x80 == 0 { Self::Decimal(byte) } else { Self::Binary(byte & 0x7f) }
    }
}

impl fmt::Display for TsResolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(0) | Self::Binary(0) => f.write_str("seconds"),
            Self::Decimal(3) => f.write_str("milliseconds"),
            Self::Decimal(6) => f.write_str("microseconds"),
            Self::Decimal(9) => f.write_str("nanoseconds"),
            Self::Decimal(n) => write!(f, "10^-{n} seconds"),
            Self::Binary(n) => write!(f, "2^-{n} seconds"),
        }
    }
}

/// Turns an interface's ticks into Unix time.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickClock {
    resolution: TsResolution,
    offset_secs: i64,
    /// Nanoseconds of a tick where that is whole and no offset applies; 0 for the long way.
    factor: u64,
}

impl TickClock {
    /// `offset_secs` is added to every timestamp (pcapng `if_tsoffset`).
    pub(super) fn new(resolution: TsResolution, offset_secs: i64) -> Self {
        let factor = match resolution {
            TsResolution::Decimal(n) if n <= 9 && offset_secs == 0 => 10u64.pow(u32::from(9 - n)),
            TsResolution::Decimal(_) | TsResolution::Binary(_) => 0,
        };
        Self { resolution, offset_secs, factor }
    }

    /// The time of `ticks`, rounded down to a nanosecond; outside 1970 to 2554 the nearest time inside.
    #[inline]
    pub(super) fn at(self, ticks: u64) -> Nanos {
        if self.factor != 0 { Nanos(ticks.saturating_mul(self.factor)) } else { self.slowly(ticks) }
    }

    fn slowly(self, ticks: u64) -> Nanos {
        let ticks = u128::from(ticks);
        // No overflow: ticks are below 2^64 and 10^9 is below 2^30.
        let nanos = match self.resolution {
            TsResolution::Decimal(n @ 0..=9) => ticks * 10u128.pow(u32::from(9 - n)),
            TsResolution::Decimal(n) => 10u128.checked_pow(u32::from(n - 9)).map_or(0, |d| ticks / d),
            TsResolution::Binary(n) => (ticks * u128::from(Nanos::PER_SECOND)) >> n.min(127),
        };
        let offset = i128::from(self.offset_secs) * i128::from(Nanos::PER_SECOND);
        let time = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset).max(0);
        Nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_resolutions_round_down_to_nanoseconds() {
        let at = |n, ticks| TickClock::new(TsResolution::Decimal(n), 0).at(ticks).0;
        assert_eq!(at(0, 7), 7_000_000_000);
        assert_eq!(at(6, 7), 7_000);
        assert_eq!(at(9, 7), 7);
        assert_eq!(at(12, 7_999), 7);
        assert_eq!(at(127, u64::MAX), 0);
        assert_eq!(at(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn binary_resolutions_are_exact_to_the_nanosecond() {
        let at = |n, ticks| TickClock::new(TsResolution::Binary(n), 0).at(ticks).0;
        assert_eq!(at(1, 3), 1_500_000_000);
        assert_eq!(at(20, (5 << 20) + (1 << 19)), 5_500_000_000);
        assert_eq!(at(32, (1_700_000_000u64 << 32) + 1), 1_700_000_000_000_000_000);
        assert_eq!(at(127, u64::MAX), 0);
        assert_eq!(at(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn an_offset_shifts_both_ways_and_stops_at_the_epoch() {
        let at = |offset, ticks| TickClock::new(TsResolution::MICROS, offset).at(ticks).0;
        assert_eq!(at(1, 5), 1_000_005_000);
        assert_eq!(at(-1, 1_500_000), 500_000_000);
        assert_eq!(at(-2, 1_500_000), 0);
        assert_eq!(at(i64::MIN, 1), 0);
        assert_eq!(at(i64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_resolution_byte_has_its_base_in_the_top_bit() {
        assert_eq!(TsResolution::from_option(9), TsResolution::NANOS);
        assert_eq!(TsResolution::from_option(0x80 | 10), TsResolution::Binary(10));
        assert_eq!(TsResolution::from_option(6).to_string(), "microseconds");
    }
}
