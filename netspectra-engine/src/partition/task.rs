//! One partition: from the log to the store, for as long as it is ours.

use super::blocks::Blocks;
use super::delays::Delays;
use super::live::{Held, PartitionSet, Shared};
use super::runtime::ended;
use super::silence::GAP;
use super::state::{State, StateError};
use crate::detect;
use crate::engine::{EngineConfig, EngineStats};
use netspectra_common::model::{BusMessage, LogEntry, Nanos};
use netspectra_common::ports::{BlockStore, BoxFuture, PortError, StoreBatch};
use netspectra_common::report::chain;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// The first wait after a call that failed for now.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Waits double up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Time without a message after which an owner writes a tick: longer ones than [`GAP`] would make time go slower.
const QUIET: Duration = Duration::from_secs(GAP.as_secs() / 2);
/// Blocks after which the state is kept.
const STATE_BLOCKS: u64 = 30;
/// States are kept at most this many times as often as their size grows: a state of `n` bytes waits for `n / 8` deltas.
const BYTES_PER_DELTA: u64 = 8;

/// A message of a partition.
#[derive(Debug)]
pub struct Delivered {
    /// Its place.
    pub offset: u64,
    /// When the log took it; 0 where that is not known.
    pub written: Nanos,
    /// What it says.
    pub message: Result<LogEntry, Poison>,
}

/// A message that cannot be read.
#[derive(Debug)]
pub struct Poison {
    /// Why.
    pub reason: String,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// One partition of a log, from the place where it was opened.
pub trait PartitionLog: Send {
    /// The next messages, in order, at least one; `None` when the partition is not ours any more. Waits for them.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Delivered>>, PortError>>;

    /// What is stored up to and with `offset`: for those who watch how far behind the group is. Nothing depends on it.
    fn stored(&mut self, offset: u64);
}

/// What engines write into logs themselves.
pub trait Notes: Send + Sync {
    /// Keeps a message with where it was and why it could not be read. Resolves when it is kept.
    fn bury<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        offset: u64,
        poison: &'a Poison,
    ) -> BoxFuture<'a, Result<(), PortError>>;

    /// Writes a tick into the partition. Resolves when it is there; may be given up.
    fn tick<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(), PortError>>;
}

/// Hears of blocks that were stored.
pub trait AfterBlock: Send + Sync {
    /// `batch` of `partition` is stored, and the engine's counters are `stats`. Must not wait for anything.
    fn stored(&self, partition: u32, batch: &StoreBatch, stats: &EngineStats);

    /// The partition is not ours any more.
    fn released(&self, partition: u32);
}

/// Nobody.
impl AfterBlock for () {
    fn stored(&self, _: u32, _: &StoreBatch, _: &EngineStats) {}

    fn released(&self, _: u32) {}
}

/// Counters of a partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionStats {
    /// Messages applied.
    pub messages: u64,
    /// Messages that could not be read, and were buried.
    pub poison: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Blocks that the store had already.
    pub blocks_again: u64,
    /// Rows of records and roll-ups written.
    pub rows: u64,
    /// States kept.
    pub states: u64,
    /// Calls of the store that failed and were tried again.
    pub retries: u64,
    /// Ticks written, because nobody else wrote.
    pub ticks: u64,
    /// From the brokers to being applied, of each message.
    pub read_delay: Delays,
    /// From the brokers to the store, of the first message of each block written.
    pub store_delay: Delays,
    /// Offset of the message applied last.
    pub position: Option<u64>,
    /// The engine's.
    pub engine: EngineStats,
}

/// Why a partition's task stopped.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The store refuses for good.
    #[error(
        "partition {partition}: the store refused, nothing of the block counts as written: repair the store, then start again"
    )]
    Store {
        /// Of the topic.
        partition: u32,
        /// What it said.
        #[source]
        source: PortError,
    },
    /// The log fails for good.
    #[error("partition {partition}: the log cannot be read")]
    Log {
        /// Of the topic.
        partition: u32,
        /// What it said.
        #[source]
        source: PortError,
    },
    /// The group ended the membership.
    #[error("this engine is no member of the group any more: start it again")]
    Member {
        /// Why.
        #[source]
        source: PortError,
    },
    /// A state that cannot be made.
    #[error("partition {partition}: what is open cannot be kept")]
    State {
        /// Of the topic.
        partition: u32,
        /// Why.
        #[source]
        source: StateError,
    },
    /// A fault of the engine itself.
    #[error("partition {partition}: the engine met a fault of its own: please report it with the log")]
    Fault {
        /// Of the topic.
        partition: u32,
    },
}

/// What the task of a partition needs.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) config: EngineConfig,
    pub(super) store: Arc<dyn BlockStore>,
    pub(super) notes: Arc<dyn Notes>,
    pub(super) set: PartitionSet,
    pub(super) after: Arc<dyn AfterBlock>,
}

/// A partition that was taken over, before its log is read.
pub(super) struct Task {
    setting: Setting,
    partition: u32,
    shared: Shared,
    /// Messages before the state to be applied again.
    waiting: BTreeSet<u64>,
    /// The first message to be read; `None`: the first that is there.
    resume: Option<u64>,
    /// Offset up to which the store had blocks when the partition was taken over.
    stored: Option<u64>,
    /// When the log took the first message of the open block.
    began: Option<Nanos>,
    /// Since the last state was kept.
    blocks: u64,
    deltas: u64,
    state_bytes: u64,
}

impl Task {
    /// Takes `partition` over: reads what the store has of it. Tries without end while the store fails for now; gives up
    /// with `None` when `stop` turns true.
    ///
    /// # Errors
    /// [`PartitionError::Store`]. A state that cannot be used (of another release) is left aside: the log is read from its
    /// begin.
    pub(super) async fn take_over(
        setting: Setting,
        partition: u32,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Self>, PartitionError> {
        let topic = setting.set.topic().clone();
        let failed = |source| PartitionError::Store { partition, source };
        let ask = async {
            let stored = patiently(|| setting.store.stored_through(&topic, partition)).await.map_err(failed)?;
            let state = patiently(|| setting.store.load_state(&topic, partition)).await.map_err(failed)?;
            Ok::<_, PartitionError>((stored, state))
        };
        let (stored, state) = tokio::select! {
            answer = ask => answer?,
            () = ended(stop) => return Ok(None),
        };
        let mut waiting = BTreeSet::new();
        let mut resume = None;
        let state = state.and_then(|(_, bytes)| match State::read(&bytes) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(partition, error = %chain(&error), "the state kept of the partition is left aside: the log is read from its begin");
                None
            }
        });
        let blocks = match state {
            Some(mut state) => {
                resume = Some(state.resume());
                waiting = std::mem::take(&mut state.waiting);
                state.into_blocks(setting.config.enrich.clone(), topic, partition, stored)
            }
            None => Blocks::begin(setting.config.clone(), topic, partition, stored),
        };
        let settled = blocks.cut();
        let again = settled < stored;
        let held = Held { blocks, pending: None, settled, again, stats: PartitionStats::default() };
        let shared = Arc::new(Mutex::new(held));
        tracing::info!(partition, ?stored, ?resume, "took the partition over");
        let task = Self {
            setting,
            partition,
            shared,
            waiting,
            resume,
            stored,
            began: None,
            blocks: 0,
            deltas: 0,
            state_bytes: 0,
        };
        Ok(Some(task))
    }

    /// The first message to be read; `None`: the first that is there.
    pub(super) const fn resume(&self) -> Option<u64> {
        self.resume
    }

    /// Applies what comes until the partition is not ours any more, or `stop` turns true. What is open is left to the next
    /// owner, who reads it in the log.
    ///
    /// # Errors
    /// [`PartitionError`]: what was not written comes again in the log.
    pub(super) async fn run(
        mut self,
        log: &mut dyn PartitionLog,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), PartitionError> {
        self.setting.set.insert(self.partition, self.shared.clone());
        let result = tokio::select! {
            result = self.follow(log) => result,
            () = ended(stop) => Ok(()),
        };
        self.setting.set.remove(self.partition, &self.shared);
        self.setting.after.released(self.partition);
        result
    }

    async fn follow(&mut self, log: &mut dyn PartitionLog) -> Result<(), PartitionError> {
        let partition = self.partition;
        loop {
            let next = tokio::select! {
                biased;
                next = log.next() => next,
                never = self.tick_when_quiet() => match never {},
            };
            let Some(messages) = next.map_err(|source| PartitionError::Log { partition, source })? else { break };
            for poison in messages.iter().filter(|d| d.message.is_err()) {
                self.bury(poison).await?;
            }
            let mut rest = messages;
            while !rest.is_empty() {
                let (batch, remaining) = self.apply(rest).await?;
                let began = if batch.is_some() { self.began.take() } else { None };
                rest = remaining;
                if let Some(batch) = batch {
                    self.write(&batch, began).await?;
                    if let Some(block) = &batch.block {
                        log.stored(block.last);
                    }
                    self.keep_state().await?;
                }
            }
        }
        Ok(())
    }

    /// Writes a tick each time that nothing came for a while, as long as there are nodes whose flows may have to end. Two owners
    /// at once write twice as many, and time goes on as before: it is that of the brokers.
    async fn tick_when_quiet(&self) -> Infallible {
        loop {
            tokio::time::sleep(QUIET).await;
            let is_listening = self.shared.lock().is_ok_and(|held| held.blocks.silence().is_listening());
            if !is_listening {
                continue;
            }
            match self.setting.notes.tick(self.setting.set.topic(), self.partition).await {
                Ok(()) => {
                    if let Ok(mut held) = self.shared.lock() {
                        held.stats.ticks += 1;
                    }
                }
                // The next one says the same.
                Err(error) => {
                    tracing::debug!(partition = self.partition, error = %chain(&error), "a tick was not written")
                }
            }
        }
    }

    /// Applies messages up to the first that ends a block, which is then pending; what is left of them.
    async fn apply(
        &mut self,
        messages: Vec<Delivered>,
    ) -> Result<(Option<Arc<StoreBatch>>, Vec<Delivered>), PartitionError> {
        let (shared, mut waiting) = (self.shared.clone(), std::mem::take(&mut self.waiting));
        if self.began.is_none() {
            self.began = messages.first().map(|first| first.written);
        }
        let fault = || PartitionError::Fault { partition: self.partition };
        let work = move || {
            let mut held = shared.lock().ok()?;
            let held = &mut *held;
            let mut rest = messages.into_iter();
            let (mut ended, mut deltas) = (None, 0);
            for Delivered { offset, written, message } in rest.by_ref() {
                held.stats.position = Some(offset);
                held.stats.messages += 1;
                held.stats.read_delay.count_since(written);
                match message {
                    Err(_) => held.blocks.skip(offset),
                    Ok(LogEntry::Tick) => ended = held.blocks.tick(offset, written),
                    Ok(LogEntry::Message(message)) if waiting.remove(&offset) => {
                        held.blocks.wait_again(offset, &message);
                    }
                    Ok(LogEntry::Message(message)) => {
                        if let BusMessage::Chunk(chunk) = &message {
                            deltas += chunk.deltas.len() as u64;
                        }
                        ended = held.blocks.apply(offset, written, &message);
                    }
                }
                if let Some(batch) = ended.take() {
                    let batch = Arc::new(batch);
                    held.pending = Some(batch.clone());
                    return Some((Some(batch), rest.collect(), waiting, deltas));
                }
            }
            Some((None, Vec::new(), waiting, deltas))
        };
        let (batch, rest, waiting, deltas) = spawn_blocking(work).await.ok().flatten().ok_or_else(fault)?;
        self.waiting = waiting;
        self.deltas += deltas;
        Ok((batch, rest))
    }

    /// Makes the pending block a stored one.
    async fn write(&mut self, batch: &StoreBatch, began: Option<Nanos>) -> Result<(), PartitionError> {
        let partition = self.partition;
        let last = batch.block.as_ref().map(|block| block.last);
        let has = last <= self.stored;
        if !has {
            let store = self.setting.store.clone();
            // At once, and not when it has succeeded: whoever looks at a store that is away wants to see it.
            let count = || {
                if let Ok(mut held) = self.shared.lock() {
                    held.stats.retries += 1;
                }
            };
            let written = counted(count, || store.append(batch)).await;
            written.map_err(|source| PartitionError::Store { partition, source })?;
            detect::log(&batch.alerts);
        }
        let mut held = self.shared.lock().map_err(|_| PartitionError::Fault { partition })?;
        held.pending = None;
        held.settled = last;
        match has {
            true => held.stats.blocks_again += 1,
            false => {
                held.stats.blocks += 1;
                held.stats.store_delay.count_since(began.unwrap_or(Nanos(0)));
                held.stats.rows += (batch.flows.len() + batch.rollups.len()) as u64;
            }
        }
        if last >= self.stored && held.again {
            held.again = false;
        }
        if last >= self.stored {
            // The blocks that this configuration did not make are behind us.
            held.blocks.reconfigure(self.setting.config.clone());
        }
        self.blocks += 1;
        let stats = held.blocks.engine().stats();
        drop(held);
        self.setting.after.stored(partition, batch, &stats);
        Ok(())
    }

    /// Keeps the state when enough has happened since the last time.
    async fn keep_state(&mut self) -> Result<(), PartitionError> {
        let partition = self.partition;
        if self.blocks < STATE_BLOCKS || self.deltas.saturating_mul(BYTES_PER_DELTA) < self.state_bytes {
            return Ok(());
        }
        let shared = self.shared.clone();
        let made = spawn_blocking(move || shared.lock().ok().map(|held| (held.blocks.cut(), held.blocks.state())));
        let (cut, state) = made.await.ok().flatten().ok_or(PartitionError::Fault { partition })?;
        let state = state.map_err(|source| PartitionError::State { partition, source })?;
        let (store, topic) = (self.setting.store.clone(), self.setting.set.topic().clone());
        let offset = cut.unwrap_or(0);
        match store.save_state(&topic, partition, offset, &state).await {
            Ok(()) => {
                self.state_bytes = state.len() as u64;
                (self.blocks, self.deltas) = (0, 0);
                let mut held = self.shared.lock().map_err(|_| PartitionError::Fault { partition })?;
                held.stats.states += 1;
            }
            // The one before still stands, and more of the log is read again then.
            Err(error) if error.transient => {
                tracing::warn!(partition, error = %chain(&error), "the state of the partition was not kept");
            }
            Err(source) => return Err(PartitionError::Store { partition, source }),
        }
        Ok(())
    }

    async fn bury(&self, delivered: &Delivered) -> Result<(), PartitionError> {
        let (partition, Delivered { offset, message: Err(poison), .. }) = (self.partition, delivered) else {
            return Ok(());
        };
        tracing::warn!(
            partition,
            offset,
            reason = poison.reason,
            "a message cannot be read: it goes to the dead letters"
        );
        let topic = self.setting.set.topic();
        let notes = &self.setting.notes;
        patiently(|| notes.bury(topic, partition, *offset, poison))
            .await
            .map_err(|source| PartitionError::Log { partition, source })?;
        self.shared.lock().map_err(|_| PartitionError::Fault { partition })?.stats.poison += 1;
        Ok(())
    }
}

/// Calls until it does not fail for now.
async fn patiently<'a, T>(call: impl Fn() -> BoxFuture<'a, Result<T, PortError>>) -> Result<T, PortError> {
    counted(|| (), call).await
}

/// [`patiently`], telling of each call that failed.
async fn counted<'a, T>(
    failed: impl Fn(),
    call: impl Fn() -> BoxFuture<'a, Result<T, PortError>>,
) -> Result<T, PortError> {
    let mut wait = FIRST_WAIT;
    loop {
        match call().await {
            Err(error) if error.transient => {
                tracing::warn!(error = %chain(&error), wait_ms = wait.as_millis() as u64, "a call failed for now: trying again");
                failed();
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            answer => return answer,
        }
    }
}
