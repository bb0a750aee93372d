use super::disk::{self, TMP};
use super::error::StoreError;
use super::log;
use super::manifest::{self, Manifest, SegmentMeta};
use super::segment::Segment;
use super::shared::View;
use super::stats::{Counters, count};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

const LOCK: &str = "LOCK";
const QUARANTINE: &str = "quarantine";

/// A directory taken for this store, until it is dropped or the process ends.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a child that is about to be executed holds the file, too, for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot free the directory of the store before the process ends");
        }
    }
}

/// Takes the directory.
pub(super) fn lock(dir: &Path) -> Result<Lock, StoreError> {
    let path = dir.join(LOCK);
    let io = |action| move |source| StoreError::io(dir, action, &dir.join(LOCK), source);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Its owner may be writing it this moment.
            let _ = file.take(32).read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(StoreError::Locked { dir: dir.to_owned(), lock: path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
    }
    let mut lock = Lock(file);
    lock.0
        .set_len(0)
        .and_then(|()| lock.0.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(lock.0, "{}", std::process::id()))
        .map_err(io("write"))?;
    Ok(lock)
}

/// What a directory holds.
pub(super) struct Recovered {
    pub(super) manifest: Manifest,
    pub(super) view: View,
    pub(super) counters: Counters,
    /// The number of the next log.
    pub(super) next_log: u64,
}

/// Brings the locked directory `dir` into a sound state, whatever moment a crash hit, and reads what it holds.
pub(super) fn recover(dir: &Path) -> Result<Recovered, StoreError> {
    let names = list(dir)?;
    let mut manifest = match Manifest::load(dir)? {
        Some(manifest) => manifest,
        None => {
            // A store writes its manifest before anything else.
            if let Some(name) = names.iter().find(|n| log::seq_of(n).is_some() || manifest::is_segment(n)) {
                let reason = format!("is missing, although there is `{name}`");
                return Err(StoreError::Manifest { path: dir.join(manifest::NAME), reason });
            }
            let manifest = Manifest::default();
            manifest.save(dir)?;
            manifest
        }
    };
    let counters = Counters::default();
    let live = check_segments(dir, &mut manifest, &counters)?;
    // The manifest just read is the one that a power failure would leave, before what it replaces goes.
    disk::sync_dir(dir)?;
    remove_leftovers(dir, &names, &manifest);
    let mut view = View { segments: live, generations: manifest.generations.clone(), ..View::default() };
    let mut seqs: Vec<u64> = names.iter().filter_map(|n| log::seq_of(n)).collect();
    seqs.sort_unstable();
    let next_log = seqs.last().map_or(0, |last| last + 1).max(manifest.log_floor);
    for seq in seqs.into_iter().filter(|seq| *seq >= manifest.log_floor) {
        let path = log::path_of(dir, seq);
        let replayed = log::replay(dir, &path, &dir.join(QUARANTINE))?;
        count(&counters.recovered_batches, replayed.batches.len() as u64);
        count(&counters.torn_bytes, replayed.torn_bytes);
        count(&counters.damaged_frames, replayed.damaged);
        if replayed.batches.is_empty() {
            disk::remove(&path);
            continue;
        }
        view.logs.insert(seq, replayed.len);
        let share = replayed.len / replayed.batches.len() as u64;
        for batch in replayed.batches {
            view.generations.note(&batch.ledger);
            view.open.push(Arc::new(batch), share);
        }
    }
    if view.open.rows > 0 {
        tracing::info!(dir = %dir.display(), rows = view.open.rows, logs = view.logs.len(), "recovered rows from the log");
    }
    Ok(Recovered { manifest, view, counters, next_log })
}

/// The live segments. One that is missing or has another length is taken out, said, and kept aside.
fn check_segments(dir: &Path, manifest: &mut Manifest, counters: &Counters) -> Result<Vec<Arc<Segment>>, StoreError> {
    let mut live = Vec::new();
    let mut damaged = Vec::new();
    for meta in &manifest.segments {
        let path = dir.join(&meta.file);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() == meta.bytes => live.push(Arc::new(Segment::new(dir, meta.clone()))),
            Ok(found) => damaged.push((meta.clone(), format!("it has {} bytes, expected {}", found.len(), meta.bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                damaged.push((meta.clone(), "it is not there".to_owned()));
            }
            Err(source) => return Err(StoreError::io(dir, "look at", &path, source)),
        }
    }
    if damaged.is_empty() {
        return Ok(live);
    }
    for (SegmentMeta { file, rows, .. }, reason) in &damaged {
        let aside = dir.join(QUARANTINE).join(file);
        tracing::error!(segment = %file, rows, reason, aside = %aside.display(),
            "a segment is damaged: its rows are lost; what there is of it is kept aside");
        let moved =
            std::fs::create_dir_all(dir.join(QUARANTINE)).and_then(|()| std::fs::rename(dir.join(file), &aside));
        match moved {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::io(dir, "keep aside", &aside, source)),
        }
    }
    count(&counters.damaged_segments, damaged.len() as u64);
    manifest.segments = live.iter().map(|s| s.meta.clone()).collect();
    manifest.save(dir)?;
    Ok(live)
}

/// Removes what a crash left half-done: files without their name, segments that do not count, logs that are sealed.
fn remove_leftovers(dir: &Path, names: &[String], manifest: &Manifest) {
    let superfluous = |name: &&String| {
        name.ends_with(TMP)
            || (manifest::is_segment(name) && !manifest.segments.iter().any(|s| &s.file == *name))
            || log::seq_of(name).is_some_and(|seq| seq < manifest.log_floor)
    };
    for name in names.iter().filter(superfluous) {
        disk::remove(&dir.join(name));
    }
}

fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let io = |source| StoreError::io(dir, "list", dir, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        // A name that is not text is none of ours.
        names.extend(entry.map_err(io)?.file_name().into_string());
    }
    Ok(names)
}
