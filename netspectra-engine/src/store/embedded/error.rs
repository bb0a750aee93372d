use netspectra_common::ports::PortError;
use netspectra_common::query::PlanError;
use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded store cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another store of this process) uses the directory.
    #[error("store `{}` is in use by process {pid}, which holds `{}`: stop it, or give this one another directory", dir.display(), lock.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The lock file.
        lock: PathBuf,
        /// What the lock file says; "unknown" when it says nothing.
        pid: String,
    },
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// Verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file system has no room, the quota is used up, or files may not become larger.
    #[error("no room in `{}` to {action}: free space there or lower `retention_bytes`; what was acknowledged is safe, nothing half-written remains", dir.display())]
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The list of segments cannot be trusted.
    #[error("manifest `{}` {reason}: restore it from a backup, or move the directory away and start empty", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file was written by a later release.
    #[error("`{}` has format version {found}, expected at most {expected}: run the release that wrote it, or a later one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this build knows.
        expected: u32,
    },
    /// A segment cannot be read.
    #[error("segment `{}` is damaged ({reason}): restore the file, or remove it and restart, which loses its rows only", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A batch does not fit into a frame of the log.
    #[error("batch takes {found} bytes, expected at most {limit}: split it")]
    TooLarge {
        /// Its encoded length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Rows cannot be written as columns: a fault of this program.
    #[error("rows of `{dataset}` cannot be encoded: {reason}")]
    Encode {
        /// Which rows.
        dataset: &'static str,
        /// Why.
        reason: String,
    },
    /// Sealing fails, and memory for more rows is used up.
    #[error("the open segment of `{}` holds {rows} rows that cannot be sealed: {reason}", dir.display())]
    Behind {
        /// The store's directory.
        dir: PathBuf,
        /// Rows in memory.
        rows: u64,
        /// What sealing said last.
        reason: String,
    },
    /// The plan is not legal.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A thread of the store ended: a fault of this program.
    #[error("the store's {0} has stopped: restart the process, what was acknowledged is safe")]
    Stopped(&'static str),
    /// Reading panicked: a fault of this program, or of a file that was made to cause it.
    #[error("a query of `{}` was given up by a fault: the message before this one says where", dir.display())]
    Query {
        /// The store's directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// Names what failed; a full disk gets its own error. `dir` is the store's directory.
    pub(super) fn io(dir: &Path, action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::Full { dir: dir.to_owned(), action, source };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Full { .. } | Self::Behind { .. } => true,
            Self::Locked { .. }
            | Self::Manifest { .. }
            | Self::Version { .. }
            | Self::Segment { .. }
            | Self::TooLarge { .. }
            | Self::Encode { .. }
            | Self::Plan(_)
            | Self::Query { .. }
            | Self::Stopped(_) => false,
        }
    }
}

/// Whether `error` says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded, FileTooLarge].contains(&error.kind())
}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        let port = if error.is_transient() { Self::transient(what) } else { Self::permanent(what) };
        // The text of `error` is already said; its cause is what the chain adds.
        match error {
            StoreError::Io { source, .. } | StoreError::Full { source, .. } => port.because(source),
            StoreError::Locked { .. }
            | StoreError::Manifest { .. }
            | StoreError::Version { .. }
            | StoreError::Segment { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Encode { .. }
            | StoreError::Behind { .. }
            | StoreError::Plan(_)
            | StoreError::Query { .. }
            | StoreError::Stopped(_) => port,
        }
    }
}
