//! How failures are told to people.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An error and its causes in one line, none of them twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    text
}

/// Lets a line through once in a while, that would be said at every attempt.
#[derive(Debug, Default)]
pub struct Sparing(Mutex<Option<Instant>>);

impl Sparing {
    /// Between two lines.
    const PAUSE: Duration = Duration::from_secs(30);

    /// Whether the line is due at `now`; if so, the next one is not for a while.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= Self::PAUSE);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Because(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn causes_are_told_in_their_order_and_none_twice() {
        let cause = Because("no route", Some(Box::new(Because("no such host", None))));
        let error = Because("cannot connect: no route", Some(Box::new(cause)));
        assert_eq!(chain(&error), "cannot connect: no route: no such host");
    }

    #[test]
    fn a_line_is_due_at_first_and_again_after_a_pause() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let due = [0, 1, 29, 30, 31, 60].map(|s| sparing.is_due(start + Duration::from_secs(s)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
