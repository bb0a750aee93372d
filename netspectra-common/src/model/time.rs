use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Unix time in nanoseconds (UTC). Covers 1970 to 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds of a second.
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(Self::PER_SECOND))
    }

    /// The latest multiple of `step` that is not after `self`; `self` when `step` is zero.
    pub fn floor(self, step: Duration) -> Self {
        let step = step.as_nanos() as u64;
        if step == 0 { self } else { Self(self.0 - self.0 % step) }
    }

    /// `self + d`, saturating.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// `self - d`, saturating.
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since the epoch, as a float (microsecond precision today).
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / Self::PER_SECOND as f64
    }
}

/// A half-open interval `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// First instant inside.
    pub from: Nanos,
    /// First instant after.
    pub to: Nanos,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: Nanos(0), to: Nanos(u64::MAX) };

    /// Whether `at` is inside.
    pub fn contains(&self, at: Nanos) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether the closed interval `[first, last]` shares an instant with this one.
    pub fn overlaps(&self, first: Nanos, last: Nanos) -> bool {
        first < self.to && last >= self.from
    }
}

impl std::fmt::Display for Nanos {
    /// RFC 3339, UTC, nanoseconds: `2026-01-02T03:04:05.000000006Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (secs, nanos) = (self.0 / Self::PER_SECOND, self.0 % Self::PER_SECOND);
        let (year, month, day) = civil(secs / 86_400);
        let (h, m, s) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
    }
}

/// A time that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: expected RFC 3339 (2026-01-02T03:04:05Z), Unix seconds (1767323045.5), `now`, or relative to now (-15m, now-1h; units s, m, h, d)")]
pub struct TimeParseError(String);

impl Nanos {
    /// Reads RFC 3339, Unix seconds, `now`, `-15m`, or `now-1h`; `now` is the current time.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, now: Self) -> Result<Self, TimeParseError> {
        let t = text.trim();
        let relative = t.strip_prefix("now").unwrap_or(t);
        let parsed = if t == "now" {
            Some(now)
        } else if let Some(back) = relative.strip_prefix('-') {
            parse_duration(back).map(|d| now.minus(d))
        } else if t.contains('-') {
            rfc3339(t)
        } else {
            unix(t)
        };
        parsed.ok_or_else(|| TimeParseError(text.chars().take(64).collect()))
    }
}

/// Reads `15m`, `1h30m`, `10` (seconds), `1.5s`. Units: ms, s, m, h, d.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        rest = &rest[letters..];
        sum += number * unit;
    }
    Duration::try_from_secs_f64(sum).ok()
}

fn unix(text: &str) -> Option<Nanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: u64 = whole.parse().ok()?;
    Some(Nanos(secs.checked_mul(Nanos::PER_SECOND)?.checked_add(fraction_nanos(fraction)?)?))
}

/// Digits after the point as nanoseconds; further digits are cut off.
fn fraction_nanos(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn rfc3339(text: &str) -> Option<Nanos> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (hms, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = hms.splitn(3, ':').map(str::parse::<u64>);
    let (h, m, s) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1970..=2553).contains(&year) || h > 23 || m > 59 || s > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day)?;
    let local = days * 86_400 + h * 3600 + m * 60 + s;
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0i64,
        [sign, ..] => {
            let (h, m) = zone[1..].split_once(':')?;
            let (h, m): (i64, i64) = (h.parse().ok()?, m.parse().ok()?);
            if !(0..=23).contains(&h) || !(0..=59).contains(&m) {
                return None;
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        [] => return None,
    };
    let secs = local.checked_add_signed(offset.checked_neg()?)?;
    Some(Nanos(secs.checked_mul(Nanos::PER_SECOND)?.checked_add(fraction_nanos(fraction)?)?))
}

/// Year, month, day of a number of days since 1970-01-01. Source: H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]; `None` for a day that does not exist.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let y = year - u64::from(month <= 2);
    let (era, yoe) = (y / 400, y % 400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = (era * 146_097 + doe).checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn times_are_written_and_read_by_rfc_3339() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_456_704_000_000_000_001, "2016-02-29T00:00:00.000000001Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Nanos(nanos).to_string(), text);
            assert_eq!(Nanos::parse(text, Nanos(0)).unwrap(), Nanos(nanos));
        }
    }

    #[test]
    fn other_forms_of_time_are_read() {
        let now = Nanos::from_secs(10_000);
        for (text, secs) in [
            ("now", 10_000.0),
            ("-15m", 9100.0),
            ("now-1h", 6400.0),
            ("-1h30m", 4600.0),
            ("100", 100.0),
            ("100.25", 100.25),
            ("1970-01-01T01:00:00+01:00", 0.0),
            ("1970-01-01 00:00:01.5Z", 1.5),
        ] {
            assert_eq!(Nanos::parse(text, now).unwrap().as_secs_f64(), secs, "{text}");
        }
        for text in ["", "yesterday", "2023-02-29T00:00:00Z", "-5x", "1e9", "2024-01-01", "2024-01-01T25:00:00Z", "-"] {
            assert!(Nanos::parse(text, now).is_err(), "{text}");
        }
    }
}
