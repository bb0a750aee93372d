//! From the queue to the receiver, one request at a time, so that samples arrive in their order.

use super::Shared;
use super::link::Link;
use super::policy::{Backoff, Verdict, verdict};
use super::queue::Next;
use super::series::Unit;
use hyper::body::Bytes;
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two attempts at the end of the process.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Sends what comes, until the queue is closed and empty.
pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Link,
    pub(super) max_samples: usize,
    pub(super) max_delay: Duration,
    pub(super) closing: watch::Receiver<bool>,
    /// Statuses of refusals that were logged.
    pub(super) told: BTreeSet<u16>,
    pub(super) is_away: bool,
    pub(super) backoff: Backoff,
}

/// What became of a request.
enum Outcome {
    Taken,
    /// As a whole; parts of it may be taken.
    Split,
    Refused,
    /// It is the oldest that waits, and there was no room for what came.
    GaveUp,
}

impl Sender {
    pub(super) async fn run(mut self) {
        loop {
            let next = self.shared.with_queue(|queue| queue.next(self.max_samples, self.max_delay, Instant::now()));
            match next {
                Next::Send(units) => self.deliver(units).await,
                Next::Wait(None) => self.shared.filled.notified().await,
                Next::Wait(Some(until)) => {
                    tokio::select! {
                        () = self.shared.filled.notified() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                Next::End => return,
            }
        }
    }

    /// Sends `units`. Where the receiver refuses some of them they are looked for by halves, and the rest is sent.
    async fn deliver(&mut self, units: Vec<Unit>) {
        let counts = self.shared.clone();
        let counts = &counts.counts;
        counts.in_flight.store(samples(&units), Ordering::Relaxed);
        let mut parts = vec![units];
        while let Some(mut units) = parts.pop() {
            let count = samples(&units);
            match self.send(&units).await {
                Outcome::Split if units.len() > 1 => {
                    parts.push(units.split_off(units.len() / 2));
                    parts.push(units);
                    continue;
                }
                Outcome::Taken => counts.sent.fetch_add(count, Ordering::Relaxed),
                Outcome::Split | Outcome::Refused => counts.rejected.fetch_add(count, Ordering::Relaxed),
                Outcome::GaveUp => counts.dropped.fetch_add(count, Ordering::Relaxed),
            };
            counts.in_flight.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Sends one request until the receiver has taken or refused it, or samples behind it had to be dropped: so none that a
    /// receiver always fails at is in the way of all others for ever.
    async fn send(&mut self, units: &[Unit]) -> Outcome {
        let body = compressed(units);
        let dropped = self.shared.counts.dropped.load(Ordering::Relaxed);
        loop {
            let (why, asked) = match self.link.post(body.clone()).await {
                Err(error) => (error, None),
                Ok(answer) => match verdict(answer.status, &answer.text) {
                    Verdict::Again => (format!("status {} `{}`", answer.status, answer.text), answer.retry_after),
                    Verdict::Taken => {
                        self.succeeded();
                        return Outcome::Taken;
                    }
                    Verdict::Split if units.len() > 1 => return Outcome::Split,
                    Verdict::Split | Verdict::Refused => {
                        self.tell_refusal(answer.status, &answer.text);
                        return Outcome::Refused;
                    }
                },
            };
            self.shared.counts.retries.fetch_add(1, Ordering::Relaxed);
            // Once an outage: the counter says how often.
            if !std::mem::replace(&mut self.is_away, true) {
                tracing::warn!(error = why, "samples cannot be sent by remote write for now: trying again");
            }
            if self.shared.counts.dropped.load(Ordering::Relaxed) > dropped {
                return Outcome::GaveUp;
            }
            let wait = self.backoff.wait(RandomState::new().hash_one(0));
            self.wait(wait, asked).await;
        }
    }

    fn succeeded(&mut self) {
        self.shared.succeeded();
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            tracing::info!("the receiver of remote write takes samples again");
        }
    }

    /// Once for each status: the counter says how many.
    fn tell_refusal(&mut self, status: u16, text: &str) {
        if self.told.insert(status) {
            tracing::warn!(
                status,
                text,
                "the receiver of remote write refuses samples: they are counted as rejected, and further refusals with this status are not logged"
            );
        }
    }

    /// Waits as long as the receiver asked for, and else for `wait`, or shorter when the process ends.
    async fn wait(&mut self, wait: Duration, asked: Option<Duration>) {
        let wait = wait.max(asked.unwrap_or_default());
        let least = asked.unwrap_or(LEAST_WAIT).min(wait);
        tokio::time::sleep(least).await;
        tokio::select! {
            () = tokio::time::sleep(wait - least) => {}
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
    }
}

fn samples(units: &[Unit]) -> u64 {
    units.iter().map(|unit| unit.samples as u64).sum()
}

/// `units` as the body of a request.
fn compressed(units: &[Unit]) -> Bytes {
    let mut message = Vec::with_capacity(units.iter().map(|unit| unit.bytes.len()).sum());
    units.iter().for_each(|unit| message.extend_from_slice(&unit.bytes));
    let mut body = vec![0; snap::raw::max_compress_len(message.len())];
    // The room is what the format needs at most, for any message below 4 GiB.
    let length = snap::raw::Encoder::new().compress(&message, &mut body).unwrap_or_default();
    body.truncate(length);
    body.into()
}
