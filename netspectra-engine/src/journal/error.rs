use crate::SnapshotError;
use std::io;
use std::path::{Path, PathBuf};

/// Why the journal failed. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error("cannot {action} `{path}`, where the open part of the data is kept")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Its word.
        source: io::Error,
    },
    /// Another version wrote it.
    #[error(
        "`{path}` was written by another version ({found}): start that version and end it by Ctrl-C, which writes what is open, or remove the file, which gives it up"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The state of the engine.
    #[error("the state in `{path}` cannot be used: removing the folder gives up what was open")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SnapshotError,
    },
    /// More than a frame holds.
    #[error("a generation takes {found} bytes, expected at most {limit}")]
    TooLarge {
        /// What was to be appended.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The engine met a fault.
    #[error("the engine met a fault of its own: its state is not known")]
    NoState,
    /// There is no file to append to.
    #[error("the journal in `{dir}` was not begun")]
    NotBegun {
        /// The folder.
        dir: PathBuf,
    },
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
