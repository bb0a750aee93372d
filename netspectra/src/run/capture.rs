//! The thread that reads what was counted.
//!
//! What needs privilege is done by the loader's process. Where the kernel lets nobody read maps without CAP_BPF this thread
//! has it, and no other one of the process.

use super::source::LiveSource;
use crate::Failure;
use crate::config::Capture;
use anyhow::{Context, anyhow};
use netspectra_agent::generation::Generation;
use netspectra_agent::loader::Loader;
use netspectra_agent::privilege;
use netspectra_agent::sockets::SocketWatch;
use netspectra_agent::source::{Source, SourceError};
use netspectra_common::model::{ManifestHash, SocketSeen};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce(&mut Option<LiveSource>) + Send>;

/// The thread, and how it is asked.
#[derive(Debug)]
pub(crate) struct CaptureThread {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl CaptureThread {
    /// Starts it with the privileges of the caller, of which it keeps those of `keep`.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn start(keep: u64) -> anyhow::Result<Self> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let work = move || {
            if let Err(error) = privilege::keep_only(keep) {
                tracing::warn!(%error, "the capture thread keeps its privileges");
            }
            let mut source = None;
            todo.iter().for_each(|job| job(&mut source));
        };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(work);
        let thread = thread.context("the capture thread cannot be started: raise the limit of processes")?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Opens the source by `loader`.
    ///
    /// # Errors
    /// Those of [`LiveSource::open`].
    pub(crate) fn open(self, loader: Loader, capture: Capture, instance: String) -> Result<CapturedSource, Failure> {
        let looks = capture.sockets;
        let opened = self.ask(move |place| {
            let source = LiveSource::open(loader, &capture, &instance)?;
            source.log();
            *place = Some(source);
            Ok(())
        });
        match opened {
            Ok(Ok(())) => Ok(CapturedSource { thread: self, sockets: if looks { watch_sockets() } else { None } }),
            Ok(Err(failure)) => Err(failure),
            Err(gone) => Err(Failure::from(anyhow!(gone))),
        }
    }

    /// Runs `f` on the thread and waits for it.
    fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Option<LiveSource>) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        let (to, answer) = sync_channel(1);
        let job: Job = Box::new(move |source| {
            // Who asked waits for it.
            let _ = to.send(f(source));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(SourceError::Gone)?;
        answer.recv().map_err(|_| SourceError::Gone)
    }
}

impl Drop for CaptureThread {
    fn drop(&mut self) {
        // Without a sender the thread ends, and the source with it.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the capture thread panicked");
        }
    }
}

/// Looks at the sockets of the host, where the kernel shows them. Not on the thread that may have privileges.
fn watch_sockets() -> Option<SocketWatch> {
    let watch = SocketWatch::start();
    watch.inspect_err(|error| tracing::warn!(%error, "the processes of sockets are not known")).ok()
}

/// The source of the capture thread, for other threads.
#[derive(Debug)]
pub(crate) struct CapturedSource {
    thread: CaptureThread,
    sockets: Option<SocketWatch>,
}

impl CapturedSource {
    /// Runs `f` with the source, on its thread.
    ///
    /// # Errors
    /// [`SourceError::Gone`].
    pub(crate) fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut LiveSource) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        self.thread.ask(move |source| source.as_mut().map(f))?.ok_or(SourceError::Gone)
    }

    /// Lets nothing more in; the next generation is the last.
    pub(crate) fn detach(&mut self) {
        if let Err(error) = self.with(LiveSource::detach) {
            tracing::error!(%error, "the programs are not detached");
        }
    }
}

impl Source for CapturedSource {
    fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
        self.with(Source::generation)?
    }

    fn wake(&self) -> Option<OwnedFd> {
        self.with(|source| source.wake()).ok().flatten()
    }

    fn sockets(&mut self) -> Vec<SocketSeen> {
        self.sockets.as_ref().map(SocketWatch::take).unwrap_or_default()
    }

    fn sent(&mut self, hash: ManifestHash) {
        // Who asks next hears of it.
        let _ = self.with(move |source| source.sent(hash));
    }

    fn recycle(&mut self) -> Result<(), SourceError> {
        self.with(Source::recycle)?
    }
}
