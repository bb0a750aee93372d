use super::codec::Decoder;
use super::frame::{HEADER_LEN, Header, PREAMBLE_LEN, VERSION, preamble_version};
use crate::store::embedded::error::StoreError;
use netspectra_common::ports::StoreBatch;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read at once while looking for the next frame.
const SCAN_CHUNK: usize = 64 << 10;

/// What a log file held.
#[derive(Debug, Default)]
pub(in crate::store::embedded) struct Replayed {
    /// Its batches, in the order they were appended.
    pub(in crate::store::embedded) batches: Vec<StoreBatch>,
    /// Bytes cut off the end: written, never acknowledged.
    pub(in crate::store::embedded) torn_bytes: u64,
    /// Stretches that were damaged and have good frames behind them: acknowledged rows are lost with each.
    pub(in crate::store::embedded) damaged: u64,
    /// Length after the tail was cut.
    pub(in crate::store::embedded) len: u64,
}

/// Reads the log at `path`, cuts a torn tail off, and copies damaged stretches into `quarantine`.
///
/// A tail is torn when the file's last frame is short or its checksum wrong: that is how a crash in the midst of an
/// append looks. Anything illegible that something follows is damage. Cost: one pass over the
/// file, memory of its largest frame plus the rows.
///
/// # Errors
/// Those of the file system; [`StoreError::Version`] for a file of a later release.
pub(in crate::store::embedded) fn replay(dir: &Path, path: &Path, quarantine: &Path) -> Result<Replayed, StoreError> {
    let io = |action| move |source| StoreError::io(dir, action, path, source);
    let file = File::options().read(true).write(true).open(path).map_err(io("open"))?;
    let size = file.metadata().map_err(io("read"))?.len();
    let mut decoder = Decoder::new()?;
    let mut out = Replayed::default();
    let mut at = 0;
    let mut preamble = [0; PREAMBLE_LEN];
    if size >= PREAMBLE_LEN as u64 {
        file.read_exact_at(&mut preamble, 0).map_err(io("read"))?;
        match preamble_version(&preamble) {
            Some(VERSION) => at = PREAMBLE_LEN as u64,
            Some(found) => return Err(StoreError::Version { path: path.to_owned(), found, expected: VERSION }),
            // Found again below, as damage before the first frame or as a tail.
            None => {}
        }
    }
    while at < size {
        // Where the damage ends, as far as that is known, and what it is.
        let (damage, reason) = match frame_at(&file, at, size).map_err(io("read"))? {
            Found::Frame(payload, end) => match decoder.decode(payload) {
                Ok(batch) => {
                    out.batches.extend(batch);
                    at = end;
                    continue;
                }
                Err(error) => (Some(end), error.to_string()),
            },
            Found::BadPayload(end) if end < size => (Some(end), "its checksum is wrong".to_owned()),
            Found::BadPayload(_) | Found::Short => (None, String::new()),
            Found::NoHeader => (next_frame(&file, at + 1, size).map_err(io("read"))?, "it is not a frame".to_owned()),
        };
        match damage {
            Some(end) => {
                quarantine_bytes(dir, path, &file, at..end, quarantine, &reason)?;
                out.damaged += 1;
                at = end;
            }
            None => {
                out.torn_bytes = size - at;
                tracing::warn!(path = %path.display(), offset = at, bytes = out.torn_bytes,
                    "cut off the torn tail of the log: it was never acknowledged");
                file.set_len(at).and_then(|()| file.sync_all()).map_err(io("cut the tail of"))?;
                break;
            }
        }
    }
    out.len = at;
    Ok(out)
}

/// What is at an offset of a file of frames.
pub(crate) enum Found {
    /// Its payload, and where it ends.
    Frame(Vec<u8>, u64),
    /// The header is right; the frame ends there.
    BadPayload(u64),
    /// The header is right, the file ends before the frame does.
    Short,
    /// Anything else.
    NoHeader,
}

/// Looks for a frame at `at` of a file of `size` bytes.
pub(crate) fn frame_at(file: &File, at: u64, size: u64) -> std::io::Result<Found> {
    if size - at < HEADER_LEN as u64 {
        return Ok(Found::NoHeader);
    }
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, at)?;
    let Some(header) = Header::from_bytes(&header) else {
        return Ok(Found::NoHeader);
    };
    let end = at + header.frame_len();
    if end > size {
        return Ok(Found::Short);
    }
    // No more than the file holds, see the check above.
    let mut payload = vec![0; header.payload_len as usize];
    file.read_exact_at(&mut payload, at + HEADER_LEN as u64)?;
    if crc32fast::hash(&payload) != header.payload_crc {
        return Ok(Found::BadPayload(end));
    }
    Ok(Found::Frame(payload, end))
}

/// The first offset from `at` on where a header is. Cost: one pass.
pub(crate) fn next_frame(file: &File, mut at: u64, size: u64) -> std::io::Result<Option<u64>> {
    let mut chunk = vec![0; SCAN_CHUNK];
    while at + HEADER_LEN as u64 <= size {
        let len = (size - at).min(SCAN_CHUNK as u64) as usize;
        let window = &mut chunk[..len];
        file.read_exact_at(window, at)?;
        let last = len - HEADER_LEN;
        if let Some(found) = (0..=last).find(|i| Header::from_bytes(&window[*i..]).is_some()) {
            return Ok(Some(at + found as u64));
        }
        at += last as u64 + 1;
    }
    Ok(None)
}

/// Copies a damaged stretch aside under a name that is the same each time it is found.
fn quarantine_bytes(
    dir: &Path,
    log: &Path,
    file: &File,
    bytes: std::ops::Range<u64>,
    quarantine: &Path,
    reason: &str,
) -> Result<(), StoreError> {
    let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = quarantine.join(format!("{name}.{}-{}", bytes.start, bytes.end));
    tracing::error!(path = %log.display(), offset = bytes.start, bytes = bytes.end - bytes.start, reason,
        aside = %aside.display(), "damage in the log: rows that were acknowledged are lost; the bytes are kept aside");
    let copy = || {
        std::fs::create_dir_all(quarantine)?;
        let mut out = File::create(&aside)?;
        let mut chunk = vec![0; SCAN_CHUNK];
        let mut at = bytes.start;
        while at < bytes.end {
            let part = &mut chunk[..(bytes.end - at).min(SCAN_CHUNK as u64) as usize];
            file.read_exact_at(part, at)?;
            out.write_all(part)?;
            at += part.len() as u64;
        }
        out.sync_all()
    };
    copy().map_err(|e| StoreError::io(dir, "keep damaged bytes in", &aside, e))
}
