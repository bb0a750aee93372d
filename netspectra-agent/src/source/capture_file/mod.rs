//! Capture files: pcap, pcapng and snoop, plain, gzip'ed or zstd'ed, from a path or a pipe.
//!
//! The reader is safe on any bytes: lengths are checked before use, memory is bounded by the largest legal record
//! ([`MAX_RECORD`]), and every step consumes input. It reads through a buffer rather than a memory map, because a file
//! that is truncated while mapped ends the process with SIGBUS.
//!
//! Sources: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>,
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>, RFC 1761 (snoop).

mod buffer;
mod error;
mod pcap;
mod pcapng;
mod snoop;

pub use error::CaptureError;

use buffer::Buffer;
use netspectra_common::model::{Direction, Nanos};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest frame that is read, bytes; also the largest that common writers and readers take.
pub const MAX_FRAME: usize = 262_144;
/// Largest record or block, bytes: a frame of 16 MiB is skipped as a block, not kept.
pub const MAX_RECORD: usize = 16 << 20;

/// A LINKTYPE number, see `netspectra_common::wire::link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkType(pub u16);

impl LinkType {
    /// The LINKTYPE of a number found in a file: some systems wrote their own DLT numbers for raw IP.
    fn from_file(number: u32) -> Self {
        match number & 0xffff {
            12 | 14 => Self(101),
            other => Self(other as u16),
        }
    }
}

/// A frame as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Time; 0 when the file has none for it.
    pub ts: Nanos,
    /// Link type of its interface.
    pub link: LinkType,
    /// Interface, counted over all sections of the file.
    pub iface: u32,
    /// Length on the wire, bytes, as the file states it.
    pub orig_len: u32,
    /// Captured bytes.
    pub data: &'a [u8],
    /// Direction, when the file says.
    pub direction: Option<Direction>,
}

/// Where a frame lies in the buffer: what the format readers return, so that the buffer can be borrowed once.
#[derive(Clone, Copy, Debug)]
struct Found {
    ts: Nanos,
    link: LinkType,
    iface: u32,
    orig_len: u32,
    direction: Option<Direction>,
    /// Offset of the data from the begin of the unread bytes.
    at: usize,
    len: usize,
    /// Bytes of the whole record.
    record: usize,
}

enum Format {
    Pcap(pcap::Reader),
    PcapNg(pcapng::Reader),
    Snoop(snoop::Reader),
}

/// Reads the frames of a capture file, one after the other.
pub struct CaptureFile {
    input: Buffer,
    format: Format,
    frames: u64,
    /// Bytes of the record of the last frame handed out, consumed at the next call.
    pending: usize,
    ended: bool,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile").field("format", &self.format()).field("frames", &self.frames).finish()
    }
}

impl CaptureFile {
    /// Opens `path`; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be opened or is no capture file.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Self::new(Box::new(std::io::stdin()), None);
        }
        let file = File::open(path).map_err(CaptureError::Io)?;
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        Self::new(Box::new(file), size)
    }

    /// Reads from `reader`; `size` is the number of its bytes, when known.
    ///
    /// # Errors
    /// When it is no capture file.
    pub fn new(reader: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, CaptureError> {
        let mut input = Buffer::open(reader, size)?;
        let have = input.fill(4)?;
        let magic: [u8; 4] = match input.bytes().first_chunk() {
            Some(m) => *m,
            None => return Err(CaptureError::Unknown { found: input.bytes()[..have].to_vec() }),
        };
        let format = if let Some(order) = pcap::order(magic) {
            Format::Pcap(pcap::Reader::open(&mut input, order)?)
        } else if magic == pcapng::MAGIC {
            Format::PcapNg(pcapng::Reader::default())
        } else if magic == snoop::MAGIC[..4] {
            Format::Snoop(snoop::Reader::open(&mut input)?)
        } else {
            let have = input.fill(16)?;
            return Err(CaptureError::Unknown { found: input.bytes()[..have.min(16)].to_vec() });
        };
        Ok(Self { input, format, frames: 0, pending: 0, ended: false })
    }

    /// The next frame; `None` at the end. After an error there are no more.
    ///
    /// # Errors
    /// Damage, with the byte offset and the number of frames before it; the frames before it are good.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.input.consume(self.pending);
        self.pending = 0;
        if self.ended {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Pcap(r) => r.next(&mut self.input),
            Format::PcapNg(r) => r.next(&mut self.input),
            Format::Snoop(r) => r.next(&mut self.input),
        };
        match found {
            Ok(Some(f)) => {
                self.frames += 1;
                self.pending = f.record;
                let data = &self.input.bytes()[f.at..f.at + f.len];
                Ok(Some(Frame {
                    ts: f.ts,
                    link: f.link,
                    iface: f.iface,
                    orig_len: f.orig_len,
                    data,
                    direction: f.direction,
                }))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(e) => {
                self.ended = true;
                Err(e)
            }
        }
    }

    /// Bytes of the file (compressed, where it is) read so far.
    pub fn bytes_read(&self) -> u64 {
        self.input.raw_read()
    }

    /// Bytes of the file, when known.
    pub fn total_bytes(&self) -> Option<u64> {
        self.input.raw_size()
    }

    /// Frames handed out.
    pub fn frames_read(&self) -> u64 {
        self.frames
    }

    /// The format, for people.
    pub fn format(&self) -> String {
        let name = match &self.format {
            Format::Pcap(r) => r.describe(),
            Format::PcapNg(_) => "pcapng".into(),
            Format::Snoop(_) => "snoop".into(),
        };
        match self.input.compression() {
            Some(c) => format!("{name}, {c}"),
            None => name,
        }
    }
}
