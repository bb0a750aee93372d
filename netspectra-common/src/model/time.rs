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

impl Nanos {
    /// RFC 3339, UTC, nanoseconds: `2026-01-02T03:04:05.000000006Z`.
    pub fn to_text(self) -> [u8; 30] {
        let (secs, nanos) = (self.0 / Self::PER_SECOND, (self.0 % Self::PER_SECOND) as u32);
        let (days, of_day) = ((secs / 86_400) as u32, (secs % 86_400) as u32);
        // Civil date from the day number, counting years from March, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + carry;
        // The years are 1970 to 2554, so every number has its width.
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut two = |at: usize, number: u32| {
            text[at] = b'0' + (number / 10) as u8;
            text[at + 1] = b'0' + (number % 10) as u8;
        };
        for (at, number) in [(0, year / 100), (2, year % 100), (5, month), (8, day)] {
            two(at, number);
        }
        for (at, number) in [(11, of_day / 3600), (14, of_day / 60 % 60), (17, of_day % 60)] {
            two(at, number);
        }
        for (at, number) in [(20, nanos / 10_000_000), (22, nanos / 100_000 % 100), (24, nanos / 1_000 % 100)] {
            two(at, number);
        }
        two(26, nanos / 10 % 100);
        text[28] = b'0' + (nanos % 10) as u8;
        text
    }
}

impl std::fmt::Display for Nanos {
    /// As [`Nanos::to_text`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

/// A time that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: expected RFC 3339, Unix seconds, `now`, `now-1h` or `-15m` (ms, s, m, h, d, w)")]
pub struct TimeParseError(String);

impl Nanos {
    /// Reads a time: RFC 3339, Unix seconds (with a fraction), `now`, `now-1h`, `-15m`; `now` is the current time.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, now: Self) -> Result<Self, TimeParseError> {
        let refuse = || TimeParseError(text.chars().take(64).collect());
        let relative = text.strip_prefix("now").unwrap_or(if text.starts_with('-') { text } else { "?" });
        if relative.is_empty() {
            return Ok(now);
        }
        match relative.split_at_checked(1) {
            Some(("-", span)) => return parse_duration(span).map(|d| now.minus(d)).ok_or_else(refuse),
            Some(("+", span)) => return parse_duration(span).map(|d| now.plus(d)).ok_or_else(refuse),
            _ => {}
        }
        let at = if text.contains('T') || text.contains('t') { civil(text) } else { seconds(text) };
        at.map(Nanos).ok_or_else(refuse)
    }
}

/// Reads a length of time: `10s`, `1m`, `1h`, `500ms`, `1d`, `1w`, or a number of seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    // Within what nanoseconds since the epoch can say.
    number.checked_mul(millis).filter(|ms| *ms <= u64::MAX / 1_000_000).map(Duration::from_millis)
}

/// Unix seconds with at most nine decimals.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(Nanos::PER_SECOND)?.checked_add(nanos(fraction)?)
}

/// The nanoseconds of a decimal fraction's digits.
fn nanos(digits: &str) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().ok()? * 10u64.pow(9 - digits.len() as u32))
}

/// `2026-01-31T12:00:00.5+02:00`, RFC 3339 section 5.6; leap seconds are refused.
fn civil(text: &str) -> Option<u64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| {
        let part = &text[from..to];
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let b = text.as_bytes();
    if !(b[4] == b'-' && b[7] == b'-' && b[10].eq_ignore_ascii_case(&b't') && b[13] == b':' && b[16] == b':') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = *days.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if day < 1 || day > last || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = &text[19..];
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let fraction = if zone == 0 { 0 } else { nanos(rest[..zone].strip_prefix('.')?)? };
    let zone = match &rest.as_bytes()[zone..] {
        [b'Z' | b'z'] => 0,
        [sign, _, _, b':', _, _] => {
            let at = 19 + zone;
            let (h, m) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if h > 23 || m > 59 {
                return None;
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    // Days since 1970-01-01 of the proleptic Gregorian calendar, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    let at = ((days * 24 + hour) * 60 + minute) * 60 + second - zone;
    u64::try_from(at).ok()?.checked_mul(Nanos::PER_SECOND)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NOW: Nanos = Nanos(1_769_860_800_000_000_000);

    #[test]
    fn times_are_read_in_every_documented_form() {
        for (text, nanos) in [
            ("now", NOW.0),
            ("-15m", NOW.0 - 900 * Nanos::PER_SECOND),
            ("now-1h", NOW.0 - 3_600 * Nanos::PER_SECOND),
            ("now+500ms", NOW.0 + 500_000_000),
            ("0", 0),
            ("1769860800", NOW.0),
            ("1769860800.25", NOW.0 + 250_000_000),
            ("2026-01-31T12:00:00Z", NOW.0),
            ("2026-01-31t12:00:00.000000001z", NOW.0 + 1),
            ("2026-01-31T13:30:00+01:30", NOW.0),
            ("2024-02-29T00:00:00Z", 1_709_164_800 * Nanos::PER_SECOND),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(Nanos::parse(text, NOW), Ok(Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "nowhere",
            "now-",
            "now-1",
            "-",
            "-1y",
            "1e9",
            "1.",
            ".5",
            "1769860800.0000000001",
            "2023-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00+0100",
            "2026-00-31T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "99999999999999999999",
            "now\u{e9}",
            "2026-01-31T12:00:00\u{e9}",
        ] {
            // A span without a unit is in seconds.
            assert_eq!(Nanos::parse(text, NOW).is_err(), text != "now-1", "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (NOW.0 + 5, "2026-01-31T12:00:00.000000005Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(Nanos(nanos).to_string(), text);
            assert_eq!(Nanos::parse(text, NOW).unwrap(), Nanos(nanos));
        }
    }
}
