//! What an answer means, and how long to wait. Without clock and socket.

use std::time::{Duration, SystemTime};

/// The first wait, and the longest that nobody asked for.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has the samples.
    Taken,
    /// It does not now.
    Again,
    /// It does not take this request, but may take parts of it: one sample that it has already, or that is too old, is
    /// enough for it to refuse all.
    Split,
    /// It never will.
    Refused,
}

/// What an answer means, by its status and its text.
pub(super) fn verdict(status: u16, text: &str) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        // What Prometheus 2.42 says of samples before its out-of-order window, which it will never take.
        500 if text.contains("too old sample") => Verdict::Split,
        429 | 500..=599 => Verdict::Again,
        400 | 413 => Verdict::Split,
        _ => Verdict::Refused,
    }
}

/// `Retry-After`: seconds, or a date of HTTP.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let asked = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(asked.min(LONGEST_ASKED))
}

/// Waits that double, each shortened at random by up to a half, so that senders do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next failure is the first one.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure. `random` is any number.
    pub(super) fn wait(&mut self, random: u64) -> Duration {
        let longest = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let share = random as f64 / u64::MAX as f64;
        longest.mul_f64(1.0 - share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn waits_double_up_to_a_bound_and_are_shortened_by_half_at_most() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..11).map(|_| backoff.wait(0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(Backoff::default().wait(u64::MAX).as_millis(), 50);
        assert_eq!(Backoff { failures: u32::MAX }.wait(u64::MAX).as_secs(), 15);
    }

    #[test]
    fn a_receiver_asks_for_a_wait_in_seconds_or_until_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999", now), Some(LONGEST_ASKED));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn only_what_may_pass_later_is_sent_again() {
        for (status, meaning) in [
            (200, Verdict::Taken),
            (204, Verdict::Taken),
            (301, Verdict::Refused),
            (400, Verdict::Split),
            (401, Verdict::Refused),
            (413, Verdict::Split),
            (429, Verdict::Again),
            (500, Verdict::Again),
            (503, Verdict::Again),
        ] {
            assert_eq!(verdict(status, "out of order sample"), meaning, "{status}");
        }
        assert_eq!(verdict(500, "too old sample\n"), Verdict::Split);
    }
}
