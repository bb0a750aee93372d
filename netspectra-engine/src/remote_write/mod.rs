//! Time series out, by Prometheus remote write 1.0: to VictoriaMetrics, Prometheus, Mimir and others that speak it.
//!
//! ```text
//! StoreBatch -> series (pure) -> encoded units -> a bounded queue -> task: requests of many units, one at a time -> HTTP
//! ```
//!
//! **Samples are a function of the batch**: what a window of ten seconds, or the generations of a block, counted, at a time
//! from the log. Nothing is added up over batches, so an engine that takes a partition over, or applies a block again, offers
//! the very samples that were offered before, and the receiver, which keeps one sample for a series and a time, has them once.
//!
//! **Offering never waits.** When the receiver is away the queue grows up to its bound, then the oldest samples go, counted,
//! among them those of the request that is being tried.
//! A request that may have been taken is sent again: what can be lost is an answer, never samples. At the end of the process
//! what waits is sent, within a bound. The queue is in memory: a kill loses what the last requests had not sent; a
//! partition's next owner offers the blocks since its last state again.

mod config;
mod link;
mod policy;
mod proto;
mod queue;
mod sender;
mod series;
#[cfg(test)]
mod tests;

pub use config::{RemoteWriteConfig, RemoteWriteConfigError};

use link::Link;
use netspectra_common::ports::StoreBatch;
use policy::Backoff;
use queue::Queue;
use sender::Sender;
use series::{Shape, Unit};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A receiver may refuse everything that is much older than its newest sample, of whatever series: so one node whose clock
/// is wrong would keep the samples of all others away.
const MOST_AHEAD: Duration = Duration::from_secs(600);

/// Why there can be no sender.
#[derive(Debug, thiserror::Error)]
pub enum RemoteWriteError {
    /// A value that is not legal.
    #[error(transparent)]
    Config(#[from] RemoteWriteConfigError),
    /// An address that cannot be asked.
    #[error("`remote_write.url` is no URL")]
    Url,
    /// A file of a secret.
    #[error("cannot read `{path}`, which `remote_write` names")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A secret that no header can carry.
    #[error("`{path}`, which `remote_write` names, holds no token or password: expected one line of text")]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// Certificates that cannot be read.
    #[error("`{path}`, which `remote_write.ca_file` names, cannot be used: {why}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What sending did so far. Samples are counted once they are off the queue, for good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteWriteStats {
    /// Samples that the receiver has taken.
    pub sent: u64,
    /// Samples that it refused.
    pub rejected: u64,
    /// Samples for which there was no room, or no time at the end.
    pub dropped: u64,
    /// Samples that were not offered: their time is more than ten minutes ahead of this host's clock.
    pub ahead: u64,
    /// Requests that were not taken for now, and were sent again.
    pub retries: u64,
    /// Rows of roll-ups whose protocol is in the series `other`.
    pub folded_rows: u64,
    /// Samples that wait, or are being sent.
    pub waiting: u64,
    /// Bytes of those that wait.
    pub waiting_bytes: u64,
    /// Since the receiver took a request, or since the begin.
    pub since_success: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    ahead: AtomicU64,
    retries: AtomicU64,
    folded_rows: AtomicU64,
    in_flight: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
    counts: Counts,
    last_success: Mutex<Instant>,
}

impl Shared {
    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        f(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn succeeded(&self) {
        *self.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Sends what is offered to a receiver of remote write. Cloning is cheap; clones share queue and connection.
#[derive(Clone)]
pub struct RemoteWrite(Arc<Inner>);

struct Inner {
    shape: Shape,
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    flush: Duration,
}

impl RemoteWrite {
    /// A sender with its task; `None` when `config` has no URL. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`RemoteWriteError`]: a value that is not legal, or a file that cannot be used. Whether the receiver answers is seen
    /// later.
    pub fn start(config: &RemoteWriteConfig) -> Result<Option<Self>, RemoteWriteError> {
        config.validate()?;
        let Some(url) = &config.url else { return Ok(None) };
        let (closing, is_closing) = watch::channel(false);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(config.queue_mib << 20)),
            filled: Notify::new(),
            counts: Counts::default(),
            last_success: Mutex::new(Instant::now()),
        });
        let sender = Sender {
            shared: shared.clone(),
            link: Link::new(config, url)?,
            max_samples: config.max_samples,
            max_delay: Duration::from_millis(config.max_delay_ms),
            closing: is_closing,
            told: BTreeSet::new(),
            is_away: false,
            backoff: Backoff::default(),
        };
        Ok(Some(Self(Arc::new(Inner {
            shape: Shape::new(config)?,
            shared,
            closing,
            task: Mutex::new(Some(tokio::spawn(sender.run()))),
            flush: Duration::from_secs(config.flush_seconds),
        }))))
    }

    /// Puts the samples of `batch` into the queue. Never waits for the receiver.
    ///
    /// Cost: a pass over the roll-ups of the batch; estimates of its 10 s windows.
    pub fn offer(&self, batch: &StoreBatch) {
        let Inner { shape, shared, .. } = &*self.0;
        let mut folded = 0;
        let mut units = shape.units(batch, &mut folded);
        shared.counts.folded_rows.fetch_add(folded, Ordering::Relaxed);
        let latest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + MOST_AHEAD;
        let is_ahead = |unit: &Unit| u128::try_from(unit.at).is_ok_and(|at| at > latest.as_millis());
        let ahead: usize = units.extract_if(.., |unit| is_ahead(unit)).map(|unit| unit.samples).sum();
        self.keep_back(ahead);
        let now = Instant::now();
        let dropped = shared.with_queue(|queue| units.into_iter().map(|unit| queue.push(unit, now)).sum());
        self.drop_samples(dropped);
        shared.filled.notify_one();
    }

    /// Sends what waits, as long as the configuration says, and ends. What was not sent then is counted as dropped; what is
    /// offered later too.
    pub async fn close(&self) {
        let Inner { shared, closing, task, flush, .. } = &*self.0;
        shared.with_queue(Queue::close);
        let _ = closing.send(true);
        shared.filled.notify_one();
        let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(*flush, &mut task).await.is_err() {
            task.abort();
            // Until it is gone: what it sends is counted by it.
            let _ = task.await;
            let left = shared.with_queue(|queue| std::mem::replace(queue, Queue::ended()).samples());
            self.drop_samples(left + shared.counts.in_flight.swap(0, Ordering::Relaxed) as usize);
        }
    }

    fn keep_back(&self, samples: usize) {
        if samples > 0 && self.0.shared.counts.ahead.fetch_add(samples as u64, Ordering::Relaxed) == 0 {
            tracing::warn!(
                samples,
                "samples are from the future and are not sent by remote write: set the clock of their node, or of this host"
            );
        }
    }

    fn drop_samples(&self, samples: usize) {
        let before = self.0.shared.counts.dropped.fetch_add(samples as u64, Ordering::Relaxed);
        // Each time that the number doubles.
        if (before + samples as u64).checked_ilog2() > before.checked_ilog2() {
            tracing::warn!(
                samples = before + samples as u64,
                "samples for remote write were dropped: the receiver is away or too slow, and the oldest make room"
            );
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> RemoteWriteStats {
        let shared = &self.0.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (samples, bytes) = shared.with_queue(|queue| (queue.samples(), queue.bytes()));
        let Counts { sent, rejected, dropped, ahead, retries, folded_rows, in_flight } = &shared.counts;
        RemoteWriteStats {
            sent: read(sent),
            rejected: read(rejected),
            dropped: read(dropped),
            ahead: read(ahead),
            retries: read(retries),
            folded_rows: read(folded_rows),
            waiting: samples as u64 + read(in_flight),
            waiting_bytes: bytes as u64,
            since_success: shared.last_success.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
        }
    }
}

impl fmt::Debug for RemoteWrite {
    /// Without what it sends along.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWrite").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        task.iter().for_each(JoinHandle::abort);
    }
}

/// What `batch` gives with default settings.
#[cfg(test)]
pub(crate) fn pieces(batch: &StoreBatch) -> Vec<Vec<u8>> {
    let shape = Shape::new(&RemoteWriteConfig::default());
    shape.map_or(Vec::new(), |s| s.units(batch, &mut 0).into_iter().map(|unit| unit.bytes).collect())
}
