//! The store of one host: Parquet segments, and a log for what is in no segment yet.
//!
//! ```text
//! append -> frame in the log, fdatasync -> acknowledged -> rows in memory
//! seal:    new log -> Parquet files (temporary name, fsync, rename) -> manifest replaced -> old logs unlinked
//! query:   rows in memory + row groups whose times overlap the range
//! ```
//!
//! What always holds, at every moment a crash may hit:
//! - A batch that was acknowledged is in the log or in live segments, whole and once. The manifest says which: logs
//!   below its floor and segments it does not list do not count, and the next start removes them.
//! - A batch that was refused is not stored. One that was neither (the process died first) is stored whole or not at all.
//! - Files are never changed after they were published, except that the open log grows.
//!
//! Two threads do all writing: one owns the log, one the manifest. Queries read a snapshot and never wait for either.
//! The directory holds `LOCK`, `MANIFEST`, `log-<number>.nslog`, `<dataset>-<number>-<from>-<to>.parquet` (Unix
//! milliseconds), and `quarantine/` with whatever was found damaged. Other tools may read the Parquet files at any time;
//! addresses and states are text, times are UTC timestamps, columns are called as in the API.

mod config;
mod dataset;
mod disk;
mod error;
mod generations;
mod log;
mod manifest;
mod recover;
mod rows;
mod scan;
mod sealer;
mod segment;
mod shared;
mod stats;
#[cfg(test)]
pub(in crate::store) mod tests;
mod wanted;
mod writer;

pub use config::Config;
pub use dataset::Dataset;
pub use error::StoreError;
pub(crate) use log::framing;
pub use sealer::Forgotten;
pub use segment::{ExportError, FlowsFile};
pub use stats::Stats;

use log::LogFile;
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::ports::{BoxFuture, PortError, Store, StoreBatch};
use netspectra_common::query::{Partial, Plan};
use sealer::{Job, Sealer};
use shared::Shared;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use writer::{Command, Writer};

/// A store in a directory of its own. Dropping it waits until what goes on is finished and frees the directory.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// `None` only while it is being dropped; so for the next one.
    commands: Option<mpsc::Sender<Command>>,
    jobs: Option<std::sync::mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Freed last.
    _lock: recover::Lock,
}

/// What [`EmbeddedStore::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Whether the open segment was old enough and was sealed.
    pub sealed: bool,
    /// What retention unlinked.
    pub forgotten: Forgotten,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, creating the directory (mode 0750) where there is none, and reads back what a crash
    /// left in the log.
    ///
    /// Blocks for as long as that takes: some 0.2 s for a log of 64 MiB.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another store uses it, [`StoreError::Manifest`] when the list of segments is damaged
    /// or missing, [`StoreError::Version`] for files of a later release, else those of the file system. Damage in the
    /// log or to single segments is no error: it is logged, counted in [`Stats`] and kept in `quarantine`.
    pub fn open(dir: impl AsRef<Path>, config: Config) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(|e| StoreError::io(dir, "create", dir, e))?;
        let lock = recover::lock(dir)?;
        let recovered = recover::recover(dir)?;
        let log = LogFile::create(dir, recovered.next_log)?;
        let mut view = recovered.view;
        view.logs.insert(log.seq(), log.len());
        // What is damaged would be found, and counted, at every start until its log goes.
        let seal_now = recovered.counters.damaged_frames.load(Ordering::Relaxed) > 0;
        let queue = config.append_queue.max(1);
        let shared = Arc::new(Shared::new(dir.to_owned(), config, recovered.counters, view));
        let (commands, command_queue) = mpsc::channel(queue);
        let (jobs, job_queue) = std::sync::mpsc::channel();
        let sealer = Sealer { shared: Arc::clone(&shared), jobs: job_queue, manifest: recovered.manifest };
        let writer = Writer::new(Arc::clone(&shared), command_queue, jobs.clone(), log);
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|e| StoreError::io(dir, "start a thread for", dir, e))
        };
        let threads = vec![
            spawn("store-log", Box::new(move || writer.run(seal_now)))?,
            spawn("store-seal", Box::new(move || sealer.run()))?,
        ];
        Ok(Self { shared, commands: Some(commands), jobs: Some(jobs), threads, _lock: lock })
    }

    /// Forgets segments past their retention, then seals the open segment if it is old enough at `now`. To be called
    /// every minute or so.
    ///
    /// # Errors
    /// Those of the file system. Both steps are tried, whichever fails; nothing is lost, the next call tries again.
    pub async fn maintain(&self, now: Nanos) -> Result<Maintained, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job::Retain { now, reply }).is_ok());
        let forgotten = match sent {
            true => answer.await.unwrap_or(Err(StoreError::Stopped("sealing thread"))),
            false => Err(StoreError::Stopped("sealing thread")),
        };
        let sealed = self.ask_to_seal(Some(now)).await;
        Ok(Maintained { forgotten: forgotten?, sealed: sealed? })
    }

    /// Seals the open segment now, and resolves when that is done: whether there was anything to seal.
    ///
    /// # Errors
    /// Those of the file system; the rows stay in the log.
    pub async fn seal(&self) -> Result<bool, StoreError> {
        self.ask_to_seal(None).await
    }

    /// What the store holds and has done. Cost: one pass over the list of segments.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    async fn ask_to_seal(&self, if_old_at: Option<Nanos>) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Seal { if_old_at, reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Stopped("log thread")))
    }

    fn query_fault(&self) -> StoreError {
        StoreError::Query { dir: self.shared.dir.clone() }
    }

    async fn send(&self, command: Command) -> Result<(), StoreError> {
        let stopped = || StoreError::Stopped("log thread");
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands.send(command).await.map_err(|_| stopped())
    }
}

impl Store for EmbeddedStore {
    /// See [`Store::append`]. Waits for one `fdatasync`, which appends that run at the same time share. A batch whose
    /// future is dropped half-way may be stored or not.
    ///
    /// # Errors
    /// A transient one when the disk is full or fails: nothing of the batch is stored then. A permanent one for a batch
    /// of more than 1 GiB.
    fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            if batch.is_empty() {
                return Ok(());
            }
            let (reply, answer) = oneshot::channel();
            self.send(Command::Append { batch: Arc::new(batch.clone()), reply }).await?;
            answer.await.unwrap_or(Err(StoreError::Stopped("log thread"))).map_err(PortError::from)
        })
    }

    /// See [`Store::query`]. Reads in threads of its own, at most `query_threads`; stops reading when the future is
    /// dropped. Must be called inside a Tokio runtime.
    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move {
            let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
            let (shared, plan, cancelled) = (Arc::clone(&self.shared), plan.clone(), Arc::clone(&cancel.0));
            let scan = tokio::task::spawn_blocking(move || {
                scan::run(&plan, &shared.snapshot(), shared.config.threads(), &cancelled)
            });
            scan.await.unwrap_or_else(|_| Err(self.query_fault())).map_err(PortError::from)
        })
    }

    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async move { Ok(self.shared.view().generations.last(node, epoch)) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async move {
            let snapshot = self.shared.snapshot();
            let span = tokio::task::spawn_blocking(move || snapshot.span());
            span.await.map_err(|_| self.query_fault().into())
        })
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.commands = None;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(dir = %self.shared.dir.display(), "a thread of the store panicked");
            }
        }
    }
}
