//! Files that are there wholly or not at all.

use super::error::StoreError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Ending of files that are being written; a start removes them.
pub(super) const TMP: &str = ".tmp";

/// A moment at which a crash is tested; nothing outside of tests.
pub(super) fn crash_point() {
    #[cfg(test)]
    super::tests::crash::reach();
}

/// Makes names created, renamed or removed in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    crash_point();
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StoreError::io(dir, "sync the directory", dir, e))
}

/// Gives the finished, synced file `from` its name `to`, and makes that durable.
pub(super) fn publish(dir: &Path, from: &Path, to: &Path) -> Result<(), StoreError> {
    crash_point();
    std::fs::rename(from, to).map_err(|e| StoreError::io(dir, "rename", from, e))?;
    sync_dir(dir)
}

/// Replaces file `name` in `dir` by `bytes`: after a crash it is the old one or the new one.
///
/// `false` when the new one is in place but the directory could not be synced: after a power failure it may be the old
/// one, so that nothing which only the old one needs may be removed yet. On an error it is the old one.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
    let (tmp, path) = (dir.join(format!("{name}{TMP}")), dir.join(name));
    crash_point();
    File::create(&tmp)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|e| StoreError::io(dir, "write", &tmp, e))?;
    crash_point();
    std::fs::rename(&tmp, &path).map_err(|e| StoreError::io(dir, "rename", &tmp, e))?;
    let synced = sync_dir(dir);
    if let Err(error) = &synced {
        tracing::error!(path = %path.display(), %error, "replaced, but it may come back after a power failure");
    }
    Ok(synced.is_ok())
}

/// Removes a file that nothing refers to any more; one that is not there is fine, one that stays is said.
pub(super) fn remove(path: &Path) {
    crash_point();
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove a file that is no longer needed"),
    }
}
