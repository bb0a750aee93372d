//! The task with a journal: what was applied is there before it is acknowledged, and is applied again after a kill.

use super::{Engine, EngineConfig, EngineTask, FIRST_WAIT, Journal, JournalError, LONGEST_WAIT, TaskError};
use crate::journal::Recovered;
use netspectra_common::model::BusMessage;
use netspectra_common::ports::{Store, StoreBatch};
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;

impl EngineTask {
    /// A task that writes to `store`, keeps what is open in a journal in `dir`, and goes on where the one before it was.
    ///
    /// What the journal holds is applied again, with the configuration it was applied with; of the batches that come of it
    /// those are written that the store does not have. Then `config` holds. Cost: about as much as applying at first.
    ///
    /// # Errors
    /// [`TaskError::Journal`] when the journal cannot be read or begun, [`TaskError::Store`] when the store fails for good.
    pub async fn recover(config: EngineConfig, store: Arc<dyn Store>, dir: &Path) -> Result<Self, TaskError> {
        let folder = dir.to_owned();
        let (journal, recovered) = spawn_blocking(move || Journal::open(&folder)).await??;
        let Recovered { state, generations } = recovered;
        let mut engine = match &state {
            Some(bytes) => {
                Engine::restore(bytes).map_err(|source| JournalError::State { path: dir.to_owned(), source })?
            }
            None => Engine::new(config.clone()),
        };
        engine.enrich(config.enrich.clone());
        drop(state);
        let mut task = Self::new(engine, store);
        let count = generations.len();
        for messages in generations {
            task.apply(messages, true).await?;
        }
        let flows = task
            .shared
            .with_live(|live| {
                live.engine.reconfigure(config);
                live.engine.stats().active_flows
            })
            .await?;
        if count > 0 {
            tracing::info!(
                generations = count,
                flows,
                "went on with what was open when the process before this one ended"
            );
        }
        task.journal = Some(journal);
        task.renew().await?;
        Ok(task)
    }

    /// Whether the store has `batch`.
    pub(super) async fn has(&self, batch: &StoreBatch) -> Result<bool, TaskError> {
        let Some(id) = &batch.closed_by else { return Ok(false) };
        let last = self.store.last_generation(&id.node, id.epoch).await.map_err(TaskError::Store)?;
        Ok(last.is_some_and(|last| id.generation <= last))
    }

    /// Puts the messages of a generation into the journal; they are on disk when this returns. Tries without end, as for
    /// the store.
    pub(super) async fn keep(&mut self, messages: &[BusMessage]) -> Result<(), TaskError> {
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.try_keep(messages).await {
                Ok(()) => return Ok(()),
                Err(TaskError::Journal(error @ JournalError::Io { .. })) => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(error = %error, wait_ms = wait.as_millis() as u64, "the journal did not take a generation: trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One attempt of [`Self::keep`].
    async fn try_keep(&mut self, messages: &[BusMessage]) -> Result<(), TaskError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        if journal.wants_state() {
            self.renew().await?;
        }
        let messages = messages.to_vec();
        self.with_journal(move |journal| journal.append(&messages)).await
    }

    /// Begins a new file of the journal with the engine's state.
    async fn renew(&mut self) -> Result<(), TaskError> {
        let shared = self.shared.clone();
        self.with_journal(move |journal| match shared.live.lock() {
            Ok(live) => journal.begin(&live.engine),
            Err(_) => Err(JournalError::NoState),
        })
        .await
    }

    /// Everything is written: the journal goes.
    pub(super) async fn forget(&mut self) -> Result<(), TaskError> {
        match self.journal.take() {
            Some(journal) => spawn_blocking(move || journal.finish()).await?.map_err(TaskError::Journal),
            None => Ok(()),
        }
    }

    /// Runs `f` on the blocking pool.
    async fn with_journal(
        &mut self,
        f: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), TaskError> {
        let Some(mut journal) = self.journal.take() else { return Ok(()) };
        let (journal, result) = spawn_blocking(move || {
            let result = f(&mut journal);
            (journal, result)
        })
        .await?;
        self.journal = Some(journal);
        Ok(result?)
    }
}
