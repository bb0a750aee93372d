//! The engine at work: takes generations from a bus, writes batches to a store, answers in between.
//!
//! **What a query sees.** A row is live, then pending (its batch is being written), then stored. Live and pending change
//! hands under one lock; pending and stored change hands while no [`ConsistentView`] query runs. So a query through
//! [`ConsistentView`] sees every row exactly once, whenever it comes. The price: a query waits for a write that has
//! begun, and a write waits for the queries that have begun; while it does the bus holds the agents back, and nothing
//! is lost.

mod bus;
mod durable;
#[cfg(test)]
mod tests;
mod view;

pub use bus::{BusReceiver, InProcessBus, in_process_bus};
pub use view::{ConsistentView, LiveView};

use crate::detect;
use crate::engine::{Engine, EngineConfig, EngineStats};
use crate::journal::{Journal, JournalError};
use netspectra_common::model::BusMessage;
use netspectra_common::ports::{PortError, Store, StoreBatch};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::task::{JoinError, spawn_blocking};

/// The first wait after a write that failed for now.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Waits double up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why the engine stopped.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The store refused a batch for good.
    #[error("the store refused a batch, nothing of it was written: repair the store and start again")]
    Store(#[source] PortError),
    /// The journal failed for good.
    #[error("what is open cannot be kept")]
    Journal(#[from] JournalError),
    /// A fault of the engine itself.
    #[error("the engine met a fault of its own and stopped: please report it with the log")]
    Fault,
}

impl From<JoinError> for TaskError {
    fn from(_: JoinError) -> Self {
        Self::Fault
    }
}

/// What is not stored.
#[derive(Debug)]
struct Live {
    engine: Engine,
    pending: Option<Arc<StoreBatch>>,
}

/// What the task and its views share.
#[derive(Debug)]
struct Shared {
    live: Mutex<Live>,
    /// Written while a batch turns from pending to stored, read during a query of both.
    handover: RwLock<()>,
}

impl Shared {
    /// Runs `f` on the blocking pool with the live side locked: a generation or a query may take a second.
    async fn with_live<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Live) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let shared = self.clone();
        spawn_blocking(move || shared.live.lock().map(|mut live| f(&mut live)).map_err(|_| TaskError::Fault)).await?
    }
}

/// Runs an [`Engine`] between a bus and a store.
pub struct EngineTask {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    /// What outlives a kill; `None`: open flows and windows do not.
    journal: Option<Journal>,
}

impl EngineTask {
    /// A task that writes to `store`. What is not written ends with the process.
    pub fn new(engine: Engine, store: Arc<dyn Store>) -> Self {
        let live = Mutex::new(Live { engine, pending: None });
        Self { shared: Arc::new(Shared { live, handover: RwLock::new(()) }), store, journal: None }
    }

    /// The live side.
    pub fn live(&self) -> LiveView {
        LiveView::new(self.shared.clone())
    }

    /// Live side and store as one.
    pub fn view(&self) -> ConsistentView {
        ConsistentView::new(self.live(), self.store.clone())
    }

    /// Applies what comes until every sender of the bus is gone, then ends and writes everything.
    ///
    /// A generation is acknowledged once it is in the journal, where there is one, and all it let close is stored. Writes
    /// that fail for now are tried again without end, with waits from 100 ms to 5 s; meanwhile the bus fills and holds the
    /// agents back. With a journal the end writes everything only when the last generation said that it was the last:
    /// else the next task goes on.
    ///
    /// # Errors
    /// [`TaskError::Store`] when the store fails for good: what was not acknowledged must be sent again.
    pub async fn run(mut self, mut inbox: BusReceiver) -> Result<EngineStats, TaskError> {
        let mut ended = true;
        while let Some(delivery) = inbox.next().await {
            ended = is_last(&delivery.messages);
            self.keep(&delivery.messages).await?;
            self.apply(delivery.messages, false).await?;
            // An agent that no longer waits is no reason to stop.
            let _ = delivery.done.send(());
        }
        if ended || self.journal.is_none() {
            let last = self.shared.with_live(|live| live.hold(Engine::finish)).await?;
            self.write(&last).await?;
            self.forget().await?;
        }
        self.shared.with_live(|live| live.engine.stats()).await
    }

    /// Applies messages and writes the batches that come of them; those `again` that the store may have already are written
    /// only when it does not.
    async fn apply(&self, messages: Vec<BusMessage>, again: bool) -> Result<(), TaskError> {
        let mut rest = messages.into_iter();
        loop {
            let (batch, remaining) = self.shared.with_live(move |live| (live.apply(&mut rest), rest)).await?;
            rest = remaining;
            let Some(batch) = batch else { return Ok(()) };
            if again && self.has(&batch).await? {
                self.shared.with_live(|live| live.pending = None).await?;
            } else {
                self.write(&batch).await?;
            }
        }
    }

    async fn write(&self, batch: &Arc<StoreBatch>) -> Result<(), TaskError> {
        let mut wait = FIRST_WAIT;
        loop {
            let Err(error) = self.hand_over(batch).await? else {
                detect::log(&batch.alerts);
                return Ok(());
            };
            if !error.transient {
                return Err(TaskError::Store(error));
            }
            tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "the store did not take a batch: trying again");
            // Queries may run meanwhile: the batch is pending.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One attempt to make `batch` stored instead of pending.
    async fn hand_over(&self, batch: &Arc<StoreBatch>) -> Result<Result<(), PortError>, TaskError> {
        let _alone = self.shared.handover.write().await;
        if !batch.is_empty()
            && let Err(error) = self.store.append(batch).await
        {
            return Ok(Err(error));
        }
        self.shared.with_live(|live| live.pending = None).await.map(Ok)
    }
}

/// Whether the source has nothing after these.
fn is_last(messages: &[BusMessage]) -> bool {
    messages.iter().any(|m| matches!(m, BusMessage::Manifest(manifest) if manifest.last))
}

impl Live {
    /// Applies messages up to the first that gives a batch, which is then pending.
    fn apply(&mut self, messages: &mut std::vec::IntoIter<BusMessage>) -> Option<Arc<StoreBatch>> {
        let batch = messages.find_map(|message| self.engine.apply(&message))?;
        Some(self.hold(|_| batch))
    }

    /// Makes the batch that `f` takes out of the engine the pending one.
    fn hold(&mut self, f: impl FnOnce(&mut Engine) -> StoreBatch) -> Arc<StoreBatch> {
        let batch = Arc::new(f(&mut self.engine));
        self.pending = Some(batch.clone());
        batch
    }
}
