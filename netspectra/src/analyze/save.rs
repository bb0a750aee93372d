//! What a capture gave, kept in the embedded store.

use crate::Failure;
use anyhow::{Context, anyhow};
use netspectra_common::ports::{Store as _, StoreBatch};
use netspectra_engine::store::embedded::{Config, EmbeddedStore};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Rows, and windows (up to 1 MiB each), that are written at once.
const ROWS: usize = 65_536;
const WINDOWS: usize = 256;

/// A store that is being filled.
pub(super) struct Saving {
    folder: PathBuf,
    store: EmbeddedStore,
    /// Waits to be written: each write is flushed to the disk.
    waiting: RefCell<StoreBatch>,
    runtime: tokio::runtime::Runtime,
}

impl Saving {
    /// Begins a store in `folder`, which is made when it does not exist.
    ///
    /// # Errors
    /// There is a store already: a capture that is added twice would count twice.
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        let is_empty = match std::fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
            Err(e) => {
                return Err(Failure::misuse(anyhow!(e).context(format!("`{}` cannot be read", folder.display()))));
            }
        };
        if !is_empty {
            let text = format!("`{}` is not empty: name a new folder with --save", folder.display());
            return Err(Failure::misuse(anyhow!(text)));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let config = Config::keeping_everything();
        let opened = runtime.block_on(async { EmbeddedStore::open(folder, config) });
        let store = opened.with_context(|| format!("no store can be made in `{}`", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), store, waiting: RefCell::default(), runtime })
    }

    pub(super) fn append(&self, batch: &StoreBatch) -> anyhow::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.absorb(batch.clone());
        if waiting.flows.len() + waiting.rollups.len() < ROWS && waiting.windows.len() < WINDOWS {
            return Ok(());
        }
        self.write(&std::mem::take(&mut *waiting))
    }

    fn write(&self, batch: &StoreBatch) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.runtime.block_on(self.store.append(batch));
        written.with_context(|| format!("the store in `{}` cannot be written", self.folder.display()))
    }

    /// Makes what was appended ready to be opened.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.write(&self.waiting.take())?;
        let sealed = self.runtime.block_on(self.store.seal());
        sealed.with_context(|| format!("the store in `{}` cannot be sealed", self.folder.display()))?;
        Ok(())
    }
}
