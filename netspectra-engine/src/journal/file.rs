//! One file of the journal: preamble, frames of the state, frames of generations.

use super::codec::{self, VERSION};
use super::{JournalError, Recovered, TMP};
use crate::store::framing::{self, Found, HEADER_LEN, Header, MAX_PAYLOAD};
use crate::{Engine, SnapshotError};
use netspectra_common::model::BusMessage;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"NSPECJRN";
/// Magic, version, CRC-32 of both.
const PREAMBLE_LEN: usize = 16;
const PREFIX: &str = "journal-";
const SUFFIX: &str = ".nsj";
/// First byte of a payload.
const STATE: u8 = 1;
const GENERATION: u8 = 2;
/// Bytes of the state in a frame.
const STATE_PART: usize = 4 << 20;

/// The path of file number `seq`.
pub(super) fn path_of(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{seq:010}{SUFFIX}"))
}

/// The number of a file called `name`.
pub(super) fn seq_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file that generations are appended to.
#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    file: File,
    state_bytes: u64,
    /// Everything before it is on disk.
    len: u64,
}

impl Appended {
    /// Writes the state of `engine` to file number `seq`; it is on disk under its name when this returns.
    pub(super) fn create(dir: &Path, seq: u64, engine: &Engine) -> Result<Self, JournalError> {
        let path = path_of(dir, seq);
        let tmp = path.with_extension(format!("nsj{TMP}"));
        let io = |action| {
            let tmp = tmp.clone();
            move |source| JournalError::io(action, &tmp, source)
        };
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&tmp).map_err(io("make"))?;
        let written = (|| {
            (&file).write_all(&preamble()).map_err(io("write"))?;
            let mut parts = Parts { file: &file, part: vec![STATE], failed: None };
            let snapshot =
                engine.snapshot(&mut parts).map_err(|source| JournalError::State { path: tmp.clone(), source });
            // The disk's word says more than that of whoever wrote to it.
            if let Some(error) = parts.failed.take() {
                return Err(io("write")(error));
            }
            snapshot?;
            parts.flush().map_err(io("write"))?;
            file.sync_all().map_err(io("sync"))?;
            std::fs::rename(&tmp, &path).map_err(io("rename"))?;
            File::open(dir).and_then(|d| d.sync_all()).map_err(|e| JournalError::io("sync", dir, e))?;
            file.metadata().map_err(io("look at"))
        })();
        match written {
            Ok(meta) => Ok(Self { path, file, state_bytes: meta.len(), len: meta.len() }),
            Err(error) => {
                // Nothing counts of it; this only saves the room.
                let _ = std::fs::remove_file(&tmp);
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn state_bytes(&self) -> u64 {
        self.state_bytes
    }

    pub(super) fn generation_bytes(&self) -> u64 {
        self.len - self.state_bytes
    }

    /// Appends a generation and waits until it is on disk.
    pub(super) fn append(&mut self, messages: &[BusMessage]) -> Result<(), JournalError> {
        let mut payload = vec![GENERATION];
        codec::encode(messages, &mut payload)
            .map_err(|e| JournalError::State { path: self.path.clone(), source: SnapshotError::Write(e) })?;
        let io = |source| JournalError::io("append to", &self.path, source);
        if payload.len() > MAX_PAYLOAD {
            return Err(JournalError::TooLarge { found: payload.len(), limit: MAX_PAYLOAD });
        }
        frame(&self.file, &payload).and_then(|()| self.file.sync_data()).map_err(io)?;
        self.len += (HEADER_LEN + payload.len()) as u64;
        Ok(())
    }
}

fn frame(mut file: &File, payload: &[u8]) -> io::Result<()> {
    file.write_all(&Header::of(payload).to_bytes())?;
    file.write_all(payload)
}

/// Cuts what is written into frames of the state.
struct Parts<'a> {
    file: &'a File,
    part: Vec<u8>,
    failed: Option<io::Error>,
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() >= STATE_PART {
            self.flush()?;
        }
        self.part.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.len() > 1 {
            if let Err(error) = frame(self.file, &self.part) {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
            self.part.truncate(1);
        }
        Ok(())
    }
}

fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut bytes = [0; PREAMBLE_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a file. What a kill left of the last frame was never acknowledged and is passed over; a generation that is
/// damaged is said and left out.
///
/// # Errors
/// Those of the file system; [`JournalError::Version`]. A state that is damaged is the caller's to find.
pub(super) fn read(path: &Path) -> Result<Recovered, JournalError> {
    let io = |source| JournalError::io("read", path, source);
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut head = [0; PREAMBLE_LEN];
    file.read_exact_at(&mut head, 0).map_err(io)?;
    if head != preamble() {
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let found =
            if head.starts_with(&MAGIC) { format!("{}.{}", version >> 16, version & 0xffff) } else { "unknown".into() };
        return Err(JournalError::Version { path: path.to_owned(), found });
    }
    let mut recovered = Recovered::default();
    let mut at = PREAMBLE_LEN as u64;
    while at < size {
        let (end, reason) = match framing::frame_at(&file, at, size).map_err(io)? {
            Found::Frame(payload, end) => match take(&mut recovered, &payload) {
                Ok(()) => {
                    at = end;
                    continue;
                }
                Err(error) => (Some(end), error.to_string()),
            },
            Found::BadPayload(end) if end < size => (Some(end), "its checksum is wrong".to_owned()),
            Found::BadPayload(_) | Found::Short => (None, String::new()),
            Found::NoHeader => (framing::next_frame(&file, at + 1, size).map_err(io)?, "it is not a frame".to_owned()),
        };
        let Some(end) = end else {
            tracing::warn!(path = %path.display(), bytes = size - at, "passing over a generation that was not acknowledged");
            break;
        };
        tracing::error!(path = %path.display(), offset = at, bytes = end - at, reason,
            "damage in the journal: what was open of a generation is lost");
        at = end;
    }
    Ok(recovered)
}

fn take(recovered: &mut Recovered, payload: &[u8]) -> Result<(), codec::DecodeError> {
    match payload.split_first() {
        Some((&STATE, part)) => recovered.state.get_or_insert_default().extend_from_slice(part),
        Some((&GENERATION, body)) => recovered.generations.push(codec::decode(body)?),
        Some((kind, _)) => return Err(codec::DecodeError::Kind(*kind)),
        None => return Err(codec::DecodeError::Truncated),
    }
    Ok(())
}
