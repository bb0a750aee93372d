//! Frames out of capture files.

use super::{LONGEST, SHORTEST};
use netspectra_agent::source::capture_file::CaptureFile;
use netspectra_common::wire::link::ETHERNET;
use std::path::{Path, PathBuf};

/// Frames taken from one file: many files are worth more than many frames of one.
const PER_FILE: usize = 200;

/// Ethernet frames of the capture files in `folder` and below it, at most `limit`, in the order of the files' names.
/// What is no capture is passed over.
///
/// # Errors
/// A folder cannot be read.
pub fn from_captures(folder: &Path, limit: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for path in files(folder)? {
        let Ok(mut file) = CaptureFile::open(&path) else { continue };
        let most = limit.min(frames.len() + PER_FILE);
        while let Ok(Some(frame)) = file.next_frame() {
            if frames.len() >= most {
                break;
            }
            if frame.link.0 == ETHERNET && (SHORTEST..=LONGEST).contains(&frame.data.len()) {
                frames.push(frame.data.to_vec());
            }
        }
    }
    Ok(frames)
}

/// The files of `folder` and below it, sorted.
pub(crate) fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let entry = entry?;
            // A link is neither: no way round in circles.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
