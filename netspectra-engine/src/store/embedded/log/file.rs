use super::codec::Encoder;
use super::frame::{Header, MAX_PAYLOAD, preamble};
use super::path_of;
use crate::store::embedded::disk;
use crate::store::embedded::error::StoreError;
use netspectra_common::ports::StoreBatch;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The log file that batches are appended to.
pub(in crate::store::embedded) struct LogFile {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    encoder: Encoder,
    /// Everything before it is on disk and acknowledged.
    good: u64,
    /// Something behind `good` could not be removed, or the disk did not confirm what it took: nothing more goes here.
    broken: bool,
    /// Length of the file before the first batch.
    empty: u64,
    seq: u64,
}

impl LogFile {
    /// Begins log number `seq`; it is on disk, with its directory entry, when this returns.
    pub(in crate::store::embedded) fn create(dir: &Path, seq: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, seq);
        let (encoder, schemas) = Encoder::new()?;
        let mut head = preamble().to_vec();
        frame(&mut head, &schemas)?;
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            disk::crash_point();
            file.write_all(&head)?;
            disk::crash_point();
            file.sync_all()?;
            Ok(file)
        })();
        let file = match written {
            Ok(file) => file,
            Err(source) => {
                // An empty or half-written log is nothing to a later start either; this only saves the room.
                let _ = std::fs::remove_file(&path);
                return Err(StoreError::io(dir, "begin the log", &path, source));
            }
        };
        disk::sync_dir(dir)?;
        let good = head.len() as u64;
        Ok(Self { dir: dir.to_owned(), path, file, encoder, good, broken: false, empty: good, seq })
    }

    pub(in crate::store::embedded) fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of the file.
    pub(in crate::store::embedded) fn len(&self) -> u64 {
        self.good
    }

    /// Whether it holds no batch.
    pub(in crate::store::embedded) fn is_empty(&self) -> bool {
        self.good == self.empty
    }

    /// Whether a new log must be begun before anything else is appended.
    pub(in crate::store::embedded) fn is_broken(&self) -> bool {
        self.broken
    }

    /// `batch` as a frame, to be handed to [`append`](Self::append).
    pub(in crate::store::embedded) fn encode(&mut self, batch: &StoreBatch) -> Result<Vec<u8>, StoreError> {
        let payload = self.encoder.encode(batch)?;
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        frame(&mut bytes, &payload)?;
        Ok(bytes)
    }

    /// Writes whole frames and waits until they are on disk. On an error the file ends where it ended before.
    pub(in crate::store::embedded) fn append(&mut self, frames: &[u8]) -> Result<(), StoreError> {
        disk::crash_point();
        let written = self.file.write_all(frames).and_then(|()| {
            disk::crash_point();
            self.file.sync_data().inspect_err(|_| {
                // After a failed flush the kernel may have dropped the pages and call the next flush a success.
                self.broken = true;
            })
        });
        match written {
            Ok(()) => {
                self.good += frames.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.roll_back();
                Err(StoreError::io(&self.dir, "append to the log", &self.path, source))
            }
        }
    }

    /// Removes what a failed write left behind, so that a batch that was refused does not come back after a crash.
    fn roll_back(&mut self) {
        use std::io::{Seek, SeekFrom};
        let cut = self.file.set_len(self.good).and_then(|()| {
            self.file.seek(SeekFrom::Start(self.good))?;
            self.file.sync_all()
        });
        if let Err(error) = cut {
            self.broken = true;
            tracing::error!(path = %self.path.display(), %error, good = self.good,
                "cannot cut a half-written batch off the log; a new log will be begun");
        }
    }
}

fn frame(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), StoreError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(StoreError::TooLarge { found: payload.len(), limit: MAX_PAYLOAD });
    }
    out.extend_from_slice(&Header::of(payload).to_bytes());
    out.extend_from_slice(payload);
    Ok(())
}
