//! The live board: what each partition of a cluster sees right now, in Redis, for whoever wants to show it.
//!
//! After each block an engine publishes, for its partition, its active flows and the latest closed 10 s windows with their
//! sketches; [`LiveBoard::read`] merges all partitions. Everything has a time to live and is written again with the next
//! block, so Redis may be away, flushed or replaced: no answer of a query comes from here.
//!
//! ```text
//! StoreBatch, EngineStats -> board (pure) -> bytes -> a slot, latest wins -> task -> Redis
//! ```
//!
//! Publishing never waits: when Redis is slower than the blocks, what was not sent yet is replaced, and counted.

mod board;
mod bytes;
mod link;
mod url;

pub use board::{BoardAnswer, BoardWindow};
pub use bytes::BoardBytesError;
pub use url::BoardUrlError;

use crate::engine::EngineStats;
use board::Board;
use link::Link;
use netspectra_common::model::{Resolution, TimeRange};
use netspectra_common::ports::{BoxFuture, PortError, Present, PresentWindow, StoreBatch};
use netspectra_common::query::keys::decode_address;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Where the board is and how long things last on it.
#[derive(Clone)]
pub struct BoardConfig {
    /// `redis://`, `rediss://` (TLS), `redis+cluster://host,host` or `redis+sentinel://host,host/service`.
    pub url: String,
    /// PEM file with the authorities that are trusted in place of the public ones, for `rediss`. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Begin of all keys; boards of other clusters in the same Redis have others. Default `netspectra`.
    pub prefix: String,
    /// How long what a partition published stays when it publishes nothing more, at least 1 s. Default 60 s.
    pub time_to_live: Duration,
    /// For connecting, and for each exchange. Default 2 s.
    pub timeout: Duration,
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            ca_file: None,
            prefix: "netspectra".into(),
            time_to_live: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for BoardConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, ca_file, prefix, time_to_live, timeout } = self;
        let mut shown = f.debug_struct("BoardConfig");
        shown
            .field("ca_file", ca_file)
            .field("prefix", prefix)
            .field("time_to_live", time_to_live)
            .field("timeout", timeout);
        shown.finish_non_exhaustive()
    }
}

/// What publishing did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardStats {
    /// States that Redis has taken.
    pub published: u64,
    /// States that Redis did not take: away, too slow, or refusing.
    pub failed: u64,
    /// States that were replaced by newer ones before they were sent.
    pub replaced: u64,
}

#[derive(Debug, Default)]
struct Counts {
    published: AtomicU64,
    failed: AtomicU64,
    replaced: AtomicU64,
}

/// The board of one cluster. Cloning is cheap; clones share a connection.
#[derive(Clone, Debug)]
pub struct LiveBoard {
    link: Arc<Link>,
    counts: Arc<Counts>,
}

impl LiveBoard {
    /// The board at `config.url`. Connects when it is first used, and again whenever the connection broke.
    ///
    /// # Errors
    /// The URL is not one of those that [`BoardConfig::url`] lists.
    pub fn new(config: BoardConfig) -> Result<Self, BoardUrlError> {
        Ok(Self { link: Arc::new(Link::new(config)?), counts: Arc::default() })
    }

    /// The side that publishes for one partition. Must be called within a Tokio runtime, in which it puts a task that ends
    /// when it is dropped.
    pub fn partition(&self, partition: u32) -> PartitionBoard {
        let slot = Arc::<Slot>::default();
        let task = tokio::spawn(send(self.link.clone(), self.counts.clone(), partition, slot.clone()));
        PartitionBoard { board: Board::default(), slot, counts: self.counts.clone(), task }
    }

    /// What all partitions published that has not expired. Cost: one exchange for the list, one for the states.
    ///
    /// # Errors
    /// Redis does not answer in time (transient).
    pub async fn read(&self) -> Result<BoardAnswer, PortError> {
        let states = self.link.read().await?;
        let mut answer = BoardAnswer::default();
        for state in states {
            match bytes::decode(&state) {
                Ok(state) => answer.add(state),
                Err(error) => {
                    tracing::warn!(%error, "a partition's state on the live board is left out");
                    answer.unreadable += 1;
                }
            }
        }
        Ok(answer)
    }

    /// Counters of all partitions of this process.
    pub fn stats(&self) -> BoardStats {
        let counts = &self.counts;
        BoardStats {
            published: counts.published.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            replaced: counts.replaced.load(Ordering::Relaxed),
        }
    }
}

impl netspectra_common::ports::Board for LiveBoard {
    fn present(&self, top: usize) -> BoxFuture<'_, Result<Present, PortError>> {
        Box::pin(async move {
            let answer = self.read().await?;
            let window = answer.window().map(|window| PresentWindow {
                range: TimeRange { from: window.start, to: window.start.plus(Resolution::S10.duration()) },
                nodes: window.nodes,
                packets: window.packets,
                bytes: window.bytes,
                new_flows: window.new_flows,
                active_addresses: window.active_addresses(),
                top_senders: window
                    .top_senders(top)
                    .into_iter()
                    .filter_map(|entry| Some((decode_address(&entry.key)?, entry.value)))
                    .collect(),
            });
            let BoardAnswer { partitions, unreadable, active_flows, nodes, .. } = answer;
            Ok(Present { partitions, unreadable, nodes, active_flows, window })
        })
    }
}

/// What is to be sent next.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<Option<Vec<u8>>>,
    filled: Notify,
}

impl Slot {
    /// Puts a state in; returns the one that was not taken yet.
    fn put(&self, state: Vec<u8>) -> Option<Vec<u8>> {
        let before = self.state.lock().unwrap_or_else(PoisonError::into_inner).replace(state);
        self.filled.notify_one();
        before
    }

    async fn take(&self) -> Vec<u8> {
        loop {
            if let Some(state) = self.state.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return state;
            }
            self.filled.notified().await;
        }
    }
}

/// Publishes the state of one partition.
#[derive(Debug)]
pub struct PartitionBoard {
    board: Board,
    slot: Arc<Slot>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl PartitionBoard {
    /// Takes over what `batch` closed, and hands the state to the task. Never waits for Redis.
    ///
    /// Cost: merges the sketches of the batch's 10 s windows, and encodes those of at most four windows.
    pub fn publish(&mut self, batch: &StoreBatch, stats: &EngineStats) {
        match bytes::encode(&self.board.apply(batch, stats)) {
            Ok(state) => {
                if self.slot.put(state).is_some() {
                    self.counts.replaced.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the live board's state cannot be written");
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for PartitionBoard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends the latest state, again and again.
async fn send(link: Arc<Link>, counts: Arc<Counts>, partition: u32, slot: Arc<Slot>) {
    let mut was_there = true;
    loop {
        let state = slot.take().await;
        match link.publish(partition, &state).await {
            Ok(()) => {
                counts.published.fetch_add(1, Ordering::Relaxed);
                was_there = true;
            }
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                // Once an outage: the counter says how often.
                if std::mem::replace(&mut was_there, false) {
                    tracing::warn!(%error, partition, "the live board is not written: queries do not need it");
                }
            }
        }
    }
}
