//! The journal of one host: what the engine has applied and not yet written for good, so that a process that is killed
//! is continued by the next one as if nothing had been.
//!
//! A file begins with the engine's state between two generations, followed by the generations since, each a frame that
//! is on disk before the generation is acknowledged. Applying them to the state again gives the same batches, of which
//! the store says which ones it has. When the generations take more room than the state is worth, a new file begins with
//! the state of that moment: it gets its name once it is on disk, and then the old one goes. So there is always one whole
//! file, and the last one counts.
//!
//! Frames are those of the store's log (magic, length, two checksums). Not in the journal: messages that were dissected
//! where the packets were, which are hints.

mod codec;
mod error;
mod file;
#[cfg(test)]
mod tests;

pub use error::JournalError;

use crate::Engine;
use file::{Appended, path_of, seq_of};
use netspectra_common::model::BusMessage;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Bytes of generations below which no new state is worth while.
const LEAST_BYTES: u64 = 32 << 20;
/// Times its state that the generations of a file may take.
const MOST_STATES: u64 = 4;
/// Ending of files that are being written.
const TMP: &str = ".tmp";

/// What a journal held.
#[derive(Debug, Default)]
pub struct Recovered {
    /// For [`Engine::restore`]; `None` when there was no journal.
    pub state: Option<Vec<u8>>,
    /// The messages of each generation since, in order.
    pub generations: Vec<Vec<BusMessage>>,
}

/// A journal that can be appended to, once [`Journal::begin`] was called.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// The number of the next file.
    next: u64,
    open: Option<Appended>,
}

impl Journal {
    /// Opens the journal in `dir`, which is made (mode 0750) when it is not there, and reads what it holds.
    ///
    /// Cost: a pass over the newest file, and memory of its state and generations (see [`Journal::wants_state`]).
    ///
    /// # Errors
    /// Those of the file system; [`JournalError::Version`] for a journal of another version.
    pub fn open(dir: &Path) -> Result<(Self, Recovered), JournalError> {
        let io = |action| move |source| JournalError::io(action, dir, source);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(io("make"))?;
        let mut seqs = Vec::new();
        for entry in fs::read_dir(dir).map_err(io("list"))? {
            let name = entry.map_err(io("list"))?.file_name();
            let name = name.to_string_lossy();
            seqs.extend(seq_of(&name));
            if name.ends_with(TMP) {
                file::remove(&dir.join(&*name))?;
            }
        }
        seqs.sort_unstable();
        let newest = seqs.pop();
        // The newest one is whole, so that those before it say nothing more.
        seqs.iter().try_for_each(|seq| file::remove(&path_of(dir, *seq)))?;
        let recovered = match newest {
            Some(seq) => file::read(&path_of(dir, seq))?,
            None => Recovered::default(),
        };
        Ok((Self { dir: dir.to_owned(), next: newest.map_or(0, |seq| seq + 1), open: None }, recovered))
    }

    /// Begins a new file with the state of `engine`; older ones are superfluous then, and removed.
    ///
    /// # Errors
    /// Those of the file system: what was there before still counts.
    pub fn begin(&mut self, engine: &Engine) -> Result<(), JournalError> {
        let seq = self.next;
        self.next += 1;
        let appended = Appended::create(&self.dir, seq, engine)?;
        if let Some(old) = self.open.replace(appended) {
            return file::remove(old.path());
        }
        // What a process before this one left.
        let older = fs::read_dir(&self.dir).map_err(|e| JournalError::io("list", &self.dir, e))?;
        let names = older.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut older = names.filter_map(|name| seq_of(&name)).filter(|other| *other < seq);
        older.try_for_each(|other| file::remove(&path_of(&self.dir, other)))
    }

    /// Appends the messages of one generation; they are on disk when this returns.
    ///
    /// # Errors
    /// Those of the file system, a full disk among them: nothing was appended, and a new file must be begun.
    pub fn append(&mut self, messages: &[BusMessage]) -> Result<(), JournalError> {
        let Some(open) = &mut self.open else { return Err(JournalError::NotBegun { dir: self.dir.clone() }) };
        let result = open.append(messages);
        if result.is_err() {
            // Its end is not known: what comes next must not follow it.
            self.open = None;
        }
        result
    }

    /// Whether [`Journal::begin`] must be called before anything is appended, or is worth while.
    pub fn wants_state(&self) -> bool {
        self.open.as_ref().is_none_or(|o| o.generation_bytes() > LEAST_BYTES.max(MOST_STATES * o.state_bytes()))
    }

    /// Removes everything: the engine has nothing left that is not written.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> Result<(), JournalError> {
        match self.open.take() {
            Some(open) => file::remove(open.path()),
            None => Ok(()),
        }
    }
}
