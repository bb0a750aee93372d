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
