//! How long messages lay in the log before they were read, and before they were stored.

use netspectra_common::model::Nanos;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Times counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Of each of [`Delays::BOUNDS`] those that took no longer, and not as short as the bound before; then the others.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// All times together.
    pub sum: Duration,
}

impl Delays {
    /// Upper bounds of the buckets, milliseconds.
    pub const BOUNDS: [u64; 11] = [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000];

    /// Counts the time from `written`, by the brokers' clock, to now, by this host's. A time that is not known is left out, one
    /// before the brokers' is none at all.
    pub(super) fn count_since(&mut self, written: Nanos) {
        if written != Nanos(0) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.count(now.saturating_sub(Duration::from_nanos(written.0)));
        }
    }

    fn count(&mut self, time: Duration) {
        let bucket = Self::BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < time);
        self.counts[bucket] += 1;
        self.sum += time;
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_pass() {
        let mut delays = Delays::default();
        for millis in [0, 25, 26, 700_000] {
            delays.count(Duration::from_millis(millis));
        }
        let mut twice = delays.clone();
        twice.merge(&delays);
        assert_eq!((twice.counts[0], twice.counts[1], twice.counts[11]), (4, 2, 2));
        assert_eq!(twice.sum, Duration::from_millis(2 * 700_051));
        delays.count_since(Nanos(0));
        assert_eq!(delays.counts.iter().sum::<u64>(), 4);
    }
}
