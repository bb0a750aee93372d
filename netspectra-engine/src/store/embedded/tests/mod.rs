//! What the store promises, tried on real files.
//!
//! Not proven here: what a power failure leaves on a disk that lies about flushes; a crash here ends the process, not
//! the kernel.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
pub(super) mod crash;
mod damage;
mod full_disk;
mod log_file;
mod measure;
mod retention;
mod round_trip;
pub(in crate::store) mod sample;
mod sealing;

use super::dataset::Dataset;
use super::scan::{Accumulate, scan};
use super::shared::Snapshot;
use super::wanted::{Scan, Wanted};
use super::{Config, EmbeddedStore};
use netspectra_common::model::{Resolution, TimeRange};
use netspectra_common::ports::{PortError, Store, StoreBatch};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// Never seals or merges by itself.
fn quiet() -> Config {
    Config { segment_rows: u64::MAX / 8, segment_bytes: u64::MAX / 8, merge_rows: 0, ..Config::default() }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn append(store: &EmbeddedStore, batch: &StoreBatch) -> Result<(), PortError> {
    run(store.append(batch))
}

/// A directory in memory where there is such a file system: flushing is fast there, and here no test depends on a disk.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = memory_dir();
    for path in files(dir, "") {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// All rows of a kind that overlap `range`, with as many as three threads.
fn rows_in<R: Scan>(store: &EmbeddedStore, range: TimeRange, resolution: Option<Resolution>) -> Vec<R> {
    let wanted = Wanted { range, resolution, ..Wanted::all() };
    collect(&store.shared.snapshot(), &wanted)
}

fn collect<R: Scan>(snapshot: &Snapshot, wanted: &Wanted) -> Vec<R> {
    scan::<R, Vec<R>>(snapshot, wanted, 3, &AtomicBool::new(false), || Ok(Vec::new())).unwrap().concat()
}

impl<R: Scan> Accumulate<R> for Vec<R> {
    fn fold(&mut self, row: &R) {
        self.push(row.clone());
    }
}

fn rows<R: Scan>(store: &EmbeddedStore) -> Vec<R> {
    rows_in(store, TimeRange::ALL, None)
}

/// Names in `dir` that begin with `prefix`, sorted.
fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect();
    found.sort();
    found
}

fn segments(dir: &Path, dataset: Dataset) -> Vec<PathBuf> {
    files(dir, &format!("{}-", dataset.name()))
}

/// This very test binary, set up to run the one test `name` as a child that finds `role` set to `value`.
fn child(name: &str, role: &str, value: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(role, value);
    command
}
