//! The log of the open segment: every acknowledged batch that is in no segment yet.
//!
//! A file is a preamble (magic, version) and frames. A frame is a 16-byte header (magic, payload length, CRC-32 of the
//! payload, CRC-32 of the header) and its payload; integers are little-endian. The header has a checksum of its own so
//! that a damaged length is told from a damaged payload, and the frames behind damage are found again.
//! The first frame holds the schemas of the datasets, each further one a batch as Arrow IPC messages.

mod codec;
mod file;
mod frame;
mod replay;

pub(super) use file::LogFile;
pub(super) use replay::replay;

/// Frames, for other files that are made of them.
pub(crate) mod framing {
    pub(crate) use super::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
    pub(crate) use super::replay::{Found, frame_at, next_frame};
}

use std::path::{Path, PathBuf};

const PREFIX: &str = "log-";
const SUFFIX: &str = ".nslog";

/// The path of log number `seq`.
pub(super) fn path_of(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{seq:016}{SUFFIX}"))
}

/// The number of the log called `name`, when it is a log.
pub(super) fn seq_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}
