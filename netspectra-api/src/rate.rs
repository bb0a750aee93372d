//! The rate limit of each caller: a generic cell rate algorithm, one word of state a caller.

use netspectra_common::model::Nanos;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lets `rate` requests per second pass for each caller, and bursts of twice as many.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Nanoseconds between requests; 0 is no limit.
    interval: u64,
    /// Per caller, when the requests so far would have been due at the steady rate, Unix nanoseconds.
    due: Vec<AtomicU64>,
}

impl Rate {
    /// `per_second` 0 is no limit.
    pub(crate) fn new(per_second: u32, callers: usize) -> Self {
        let interval = Nanos::PER_SECOND.checked_div(u64::from(per_second)).unwrap_or(0);
        let interval = if per_second > 0 { interval.max(1) } else { 0 };
        Self { interval, due: (0..callers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// How long to wait, when the caller is ahead of its rate.
    pub(crate) fn take(&self, caller: usize, now: Nanos) -> Result<(), Duration> {
        let Some(cell) = self.due.get(caller).filter(|_| self.interval > 0) else { return Ok(()) };
        // One second's worth is the rate, a second one the burst.
        let ahead = 2 * Nanos::PER_SECOND;
        let next = |due: u64| {
            // A clock that was set back leaves `due` further ahead than any burst could: begin anew.
            let due = if due > now.0.saturating_add(ahead) { now.0 } else { due.max(now.0) };
            due.saturating_add(self.interval)
        };
        cell.try_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            Some(next(due)).filter(|n| *n <= now.0.saturating_add(ahead))
        })
        .map(|_| ())
        .map_err(|due| Duration::from_nanos(next(due).saturating_sub(now.0.saturating_add(ahead))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_700_000_000_000_000_000);

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let rate = Rate::new(10, 2);
        for _ in 0..20 {
            assert_eq!(rate.take(0, NOW), Ok(()));
        }
        assert_eq!(rate.take(0, NOW), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(1, NOW), Ok(()), "callers do not share");
        let later = NOW.plus(Duration::from_millis(100));
        assert_eq!(rate.take(0, later), Ok(()));
        assert_eq!(rate.take(0, later), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lock_a_caller_out() {
        let rate = Rate::new(1, 1);
        assert_eq!(rate.take(0, NOW), Ok(()));
        assert_eq!(rate.take(0, NOW.minus(Duration::from_secs(86_400))), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        let rate = Rate::new(0, 1);
        assert!((0..10_000).all(|_| rate.take(0, NOW).is_ok()));
    }
}
