//! What waits to be sent, within a bound.

use super::series::Unit;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Units in the order in which they were offered; the oldest go when there is no room.
#[derive(Debug)]
pub(super) struct Queue {
    units: VecDeque<(Unit, Instant)>,
    bytes: usize,
    samples: usize,
    most_bytes: usize,
    is_closed: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send these.
    Send(Vec<Unit>),
    /// Wait until then, or for more.
    Wait(Option<Instant>),
    /// Nothing is there and nothing will come.
    End,
}

impl Queue {
    /// A queue of at most `most_bytes` of encoded samples.
    pub(super) const fn new(most_bytes: usize) -> Self {
        Self { units: VecDeque::new(), bytes: 0, samples: 0, most_bytes, is_closed: false }
    }

    /// A queue that takes nothing.
    pub(super) const fn ended() -> Self {
        Self { units: VecDeque::new(), bytes: 0, samples: 0, most_bytes: 0, is_closed: true }
    }

    /// Puts `unit` at the end; the number of samples that had to go for it. A closed queue takes nothing.
    pub(super) fn push(&mut self, unit: Unit, now: Instant) -> usize {
        if self.is_closed || unit.bytes.len() > self.most_bytes {
            return unit.samples;
        }
        let mut dropped = 0;
        while self.bytes + unit.bytes.len() > self.most_bytes {
            dropped += self.pop().map_or(0, |old| old.samples);
        }
        self.bytes += unit.bytes.len();
        self.samples += unit.samples;
        self.units.push_back((unit, now));
        dropped
    }

    fn pop(&mut self) -> Option<Unit> {
        let (unit, _) = self.units.pop_front()?;
        self.bytes -= unit.bytes.len();
        self.samples -= unit.samples;
        Some(unit)
    }

    /// A request when there are enough samples for one, or the oldest have waited for `most_delay`, or the queue is closed.
    /// It has at most `most_samples`, or one unit.
    pub(super) fn next(&mut self, most_samples: usize, most_delay: Duration, now: Instant) -> Next {
        let Some((_, since)) = self.units.front() else {
            return if self.is_closed { Next::End } else { Next::Wait(None) };
        };
        let due = *since + most_delay;
        if self.samples < most_samples && now < due && !self.is_closed {
            return Next::Wait(Some(due));
        }
        let mut request = Vec::new();
        let mut samples = 0;
        while let Some((unit, _)) = self.units.front() {
            samples += unit.samples;
            if samples > most_samples && !request.is_empty() {
                break;
            }
            request.extend(self.pop());
        }
        Next::Send(request)
    }

    /// Takes nothing more; what is there is due at once.
    pub(super) const fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) const fn samples(&self) -> usize {
        self.samples
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(1);

    fn unit(name: u8, samples: usize) -> Unit {
        Unit { bytes: vec![name; samples * 10], samples, at: 0 }
    }

    fn names(next: Next) -> Vec<u8> {
        match next {
            Next::Send(units) => units.iter().map(|unit| unit.bytes[0]).collect(),
            other @ (Next::Wait(_) | Next::End) => panic!("expected a request, found {other:?}"),
        }
    }

    #[test]
    fn a_request_goes_when_it_is_full_or_old_and_keeps_the_order() {
        let now = Instant::now();
        let mut queue = Queue::new(10_000);
        assert_eq!(queue.next(5, DELAY, now), Next::Wait(None));
        queue.push(unit(1, 2), now);
        assert_eq!(queue.next(5, DELAY, now), Next::Wait(Some(now + DELAY)));
        queue.push(unit(2, 2), now + DELAY / 2);
        queue.push(unit(3, 2), now + DELAY / 2);
        assert_eq!(names(queue.next(5, DELAY, now)), [1, 2]);
        assert_eq!(queue.next(5, DELAY, now), Next::Wait(Some(now + DELAY / 2 + DELAY)));
        assert_eq!(names(queue.next(5, DELAY, now + DELAY * 2)), [3]);
        assert_eq!((queue.samples(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_unit_is_never_cut_and_a_closed_queue_is_due_at_once() {
        let now = Instant::now();
        let mut queue = Queue::new(10_000);
        queue.push(unit(1, 9), now);
        queue.push(unit(2, 1), now);
        assert_eq!(names(queue.next(5, DELAY, now)), [1]);
        queue.close();
        assert_eq!(queue.push(unit(3, 4), now), 4, "it is dropped");
        assert_eq!(names(queue.next(5, DELAY, now)), [2]);
        assert_eq!(queue.next(5, DELAY, now), Next::End);
    }

    #[test]
    fn without_room_the_oldest_samples_go() {
        let now = Instant::now();
        let mut queue = Queue::new(50);
        assert_eq!(queue.push(unit(1, 2), now), 0);
        assert_eq!(queue.push(unit(2, 2), now), 0);
        assert_eq!(queue.push(unit(3, 3), now), 2, "that of the first");
        assert_eq!((queue.samples(), queue.bytes()), (5, 50));
        assert_eq!(queue.push(unit(4, 6), now), 6, "it has no room at all");
        assert_eq!(names(queue.next(100, DELAY, now + DELAY)), [2, 3]);
    }
}
