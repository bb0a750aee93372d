//! What the readers must do, on files built here and (with `NETSPECTRA_CAPTURES`) on real ones.
//!
//! Not proved here: that the bytes of a frame mean anything; that is the parser's part.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod ahead;
mod build;
mod classic;
mod compressed;
mod hostile;
mod ng;
mod sun;
mod truth;

use super::{CaptureError, CaptureFile, LinkType};
use netspectra_common::model::Direction;

/// A [`super::Frame`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    ts: u64,
    link: LinkType,
    iface: u32,
    orig_len: u32,
    data: Vec<u8>,
    direction: Option<Direction>,
}

impl Owned {
    /// An untruncated frame of interface 0.
    fn new(ts: u64, link: LinkType, data: &[u8]) -> Self {
        Self { ts, link, iface: 0, orig_len: data.len() as u32, data: data.to_vec(), direction: None }
    }
}

fn open(bytes: &[u8]) -> Result<CaptureFile, CaptureError> {
    CaptureFile::from_reader(Box::new(std::io::Cursor::new(bytes.to_vec())), "test")
}

/// Reads to the end; checks what holds for every file on the way.
fn drain(file: &mut CaptureFile) -> (Vec<Owned>, Option<CaptureError>) {
    let mut frames = Vec::new();
    let error = loop {
        match file.next_frame() {
            Ok(Some(f)) => frames.push(Owned {
                ts: f.ts.0,
                link: f.link,
                iface: f.iface,
                orig_len: f.orig_len,
                data: f.data.to_vec(),
                direction: f.direction,
            }),
            Ok(None) => break None,
            Err(e) => break Some(e),
        }
    };
    assert_eq!(file.frames_read(), frames.len() as u64);
    assert!(frames.iter().all(|f| (f.iface as usize) < file.interfaces().len()), "every frame's interface is known");
    assert!(matches!(file.next_frame(), Ok(None)), "after the end, or an error, there is nothing");
    (frames, error)
}

/// All frames of `bytes`, which must be a whole file.
fn read_all(bytes: &[u8]) -> Vec<Owned> {
    let (frames, error) = drain(&mut open(bytes).unwrap());
    assert!(error.is_none(), "{error:?}");
    frames
}

/// The frames before the damage, and the damage.
fn read_damaged(bytes: &[u8]) -> (Vec<Owned>, CaptureError) {
    let (frames, error) = drain(&mut open(bytes).unwrap());
    (frames, error.expect("the file is damaged"))
}
