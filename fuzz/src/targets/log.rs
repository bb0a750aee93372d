use netspectra_engine::store::embedded::{Config, EmbeddedStore, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The log of an embedded store.
///
/// Damage is no reason to refuse to start: it is counted. Another version is.
pub fn log(data: &[u8]) {
    // Not finding a place to write is not the store's fault.
    let Ok((folder, log)) = new_store() else { return };
    if std::fs::write(log, data).is_err() {
        return;
    }
    match EmbeddedStore::open(folder.path(), Config::default()) {
        Ok(store) => drop(store),
        Err(error) => assert!(matches!(error, StoreError::Version { .. }), "{error}"),
    }
}

/// A store that was made and closed, and its log.
///
/// # Errors
/// No temporary folder, or the store cannot be made in it.
pub fn new_store() -> io::Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    drop(EmbeddedStore::open(folder.path(), Config::default()).map_err(io::Error::other)?);
    let log = log_of(folder.path())?;
    Ok((folder, log))
}

fn log_of(folder: &Path) -> io::Result<PathBuf> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "nslog") {
            return Ok(path);
        }
    }
    Err(io::Error::other("a new store has no log"))
}
