//! Reads capture files: pcap, pcapng and snoop, as they are or compressed with gzip or zstd, from a path or a pipe.
//!
//! A file is read through one reused buffer of 1 MiB, and frames are lent out of it without a copy. The buffer grows
//! only for a record that is longer and legal (262,144 bytes of frame for nearly all link types, 128 MiB for D-Bus and
//! USBPcap), and only as far as its bytes really arrive; so memory is bounded whatever the file says. A file that is cut
//! short while it is read ends in [`CaptureError::Truncated`]. With [`CaptureFile::read_ahead`] there are buffers of 512 KiB
//! instead, at most eight of them read ahead, which take each other's place.
//!
//! What another reader could read is read: record lengths are taken as Wireshark takes them, and where damage leaves
//! the next frame's place certain, reading goes on. What is no packet (statistics, names, secrets, custom blocks) is
//! passed over.
//!
//! # Why not `mmap`
//! Reading is faster and safer: a mapping of a file that someone truncates kills the process (SIGBUS), costs a page
//! fault for each 64 KiB, and needs `unsafe`. Measured with the file in the page cache and the first 64 bytes of each
//! frame looked at, best of 7, one thread of a 2-CPU AMD EPYC virtual machine, Linux 6.18:
//!
//! | file | `read`, 1 MiB | `mmap`, sequential |
//! |---|---|---|
//! | 0.95 GB pcap, 259 bytes a record | 35 ns/frame, 7.5 GB/s | 62 ns/frame, 4.2 GB/s |
//! | 1.24 GB pcap, 87 bytes a record | 12 ns/frame, 7.5 GB/s | 15 ns/frame, 5.8 GB/s |
//!
//! Two thirds of that is the kernel's copy; buffers of 128 KiB to 2 MiB differ by less than the noise. Frames of the
//! first kind take about 50 ns out of pcapng, 120 ns out of zstd, and 340 ns out of gzip.
mod ahead;
mod error;
mod input;
mod interface;
mod link;
mod pcap;
mod pcapng;
mod snoop;
mod window;
mod write;

#[cfg(test)]
mod tests;

pub use ahead::ReadAhead;
pub use error::CaptureError;
pub use interface::{CaptureInterface, TsResolution};
pub use link::LinkType;
pub use write::PcapWriter;

use error::Fault;
use input::{Compression, Input, Meter};
use netspectra_common::model::{Direction, Nanos};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use window::Window;

/// Bytes of the file in memory at a time.
const BUFFER: usize = 1024 * 1024;

/// One captured frame, lent by [`CaptureFile::next_frame`] until the next call.
///
/// Lengths stand as the file states them: an FCS that the capture kept counts, and a damaged file may hold more bytes
/// than it says were on the wire (`data.len() > orig_len`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was captured. A pcapng simple packet block has no time: it gets that of the frame before it, or 0.
    pub ts: Nanos,
    /// What `data` begins with.
    pub link: LinkType,
    /// Index into [`CaptureFile::interfaces`].
    pub iface: u32,
    /// Length on the wire, in bytes.
    pub orig_len: u32,
    /// The bytes that were captured.
    pub data: &'a [u8],
    /// Which way it went, where the file says so.
    pub direction: Option<Direction>,
}

/// A [`Frame`] whose bytes are named by their place in the window.
struct Record {
    ts: Nanos,
    link: LinkType,
    iface: u32,
    orig_len: u32,
    data: Range<usize>,
    direction: Option<Direction>,
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
    Snoop(snoop::Snoop),
}

/// A capture file being read from its start to its end.
pub struct CaptureFile {
    name: Box<str>,
    window: Window,
    format: Format,
    compression: Compression,
    meter: Arc<Meter>,
    total_bytes: Option<u64>,
    frames: u64,
    done: bool,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile")
            .field("name", &self.name)
            .field("format", &self.format())
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl CaptureFile {
    /// Opens the file at `path`, or standard input for `-`, and reads its header.
    ///
    /// The format and the compression are told from the content; the name does not matter.
    ///
    /// # Errors
    /// [`CaptureError::Io`] when it cannot be opened or read, [`CaptureError::NotACapture`] when it is something else,
    /// and those of a damaged header.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Self::start(Box::new(io::stdin()), "standard input", None, false);
        }
        let name = path.to_string_lossy();
        let io_error = |source| CaptureError::Io { file: name.as_ref().into(), frames: 0, source };
        let file = File::open(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        let total = metadata.is_file().then_some(metadata.len());
        Self::start(Box::new(file), &name, total, total.is_some())
    }

    /// Reads a capture from `reader`; `name` stands for it in errors.
    ///
    /// Up to three records are read ahead to tell apart the forms of pcap that share a magic number. For a pipe that a
    /// capture is still being written to, use [`CaptureFile::open`], which does not wait for them.
    ///
    /// # Errors
    /// As [`CaptureFile::open`].
    pub fn from_reader(reader: Box<dyn Read + Send>, name: &str) -> Result<Self, CaptureError> {
        Self::start(reader, name, None, true)
    }

    fn start(
        reader: Box<dyn Read + Send>,
        name: &str,
        total_bytes: Option<u64>,
        probe: bool,
    ) -> Result<Self, CaptureError> {
        let Input { bytes, compression, meter } =
            Input::new(reader).map_err(|source| CaptureError::Io { file: name.into(), frames: 0, source })?;
        let mut window = Window::new(bytes, BUFFER);
        match open_format(&mut window, probe) {
            Ok(format) => {
                let name = name.into();
                Ok(Self { name, window, format, compression, meter, total_bytes, frames: 0, done: false })
            }
            Err(fault) => Err(fault.into_error(name, 0, blame(compression, &meter))),
        }
    }

    /// Has the file read in blocks, which threads that have nothing else to do may read ahead by [`ReadAhead::help`]. `None`
    /// of a pipe, on which one would wait for who writes to it.
    pub fn read_ahead(&mut self) -> Option<Arc<ReadAhead>> {
        self.total_bytes.map(|_| self.window.read_ahead())
    }

    /// The next frame; `None` at the end of the file, and from then on, and after an error.
    ///
    /// Cost: no copy and no allocation, see the module's figures.
    ///
    /// # Errors
    /// When the file is damaged or cut short, or can no longer be read. All frames before that point were handed out;
    /// reading does not go on after it.
    #[inline(always)]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.done {
            return Ok(None);
        }
        let record = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
            Format::Snoop(snoop) => snoop.next(&mut self.window),
        };
        match record {
            Ok(Some(Record { ts, link, iface, orig_len, data, direction })) => {
                self.frames += 1;
                Ok(Some(Frame { ts, link, iface, orig_len, data: self.window.bytes(data), direction }))
            }
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(fault) => {
                self.done = true;
                Err(fault.into_error(&self.name, self.frames, blame(self.compression, &self.meter)))
            }
        }
    }

    /// Bytes of the file that are dealt with, of [`CaptureFile::total_bytes`]; compressed ones if it is compressed.
    pub fn bytes_read(&self) -> u64 {
        match self.compression {
            Compression::None => self.window.offset(),
            Compression::Gzip | Compression::Zstd => self.meter.bytes(),
        }
    }

    /// Size of the file when it was opened; `None` for a pipe.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Frames handed out so far.
    pub fn frames_read(&self) -> u64 {
        self.frames
    }

    /// The interfaces described so far, over all sections of the file.
    ///
    /// A pcapng file describes them as it goes, at the latest before their first frame.
    pub fn interfaces(&self) -> &[CaptureInterface] {
        match &self.format {
            Format::Pcap(pcap) => pcap.interfaces(),
            Format::Pcapng(pcapng) => pcapng.interfaces(),
            Format::Snoop(snoop) => snoop.interfaces(),
        }
    }

    /// The format in words, such as `pcap 2.4, microseconds, little-endian, gzip`.
    pub fn format(&self) -> String {
        let format = match &self.format {
            Format::Pcap(pcap) => pcap.describe(),
            Format::Pcapng(pcapng) => pcapng.describe(),
            Format::Snoop(snoop) => snoop.describe(),
        };
        match self.compression.name() {
            Some(compression) => format!("{format}, {compression}"),
            None => format,
        }
    }
}

fn open_format(window: &mut Window, probe: bool) -> Result<Format, Box<Fault>> {
    // What is shorter than this can still be the cut-off start of a capture.
    window.fill(12);
    let head = window.unread();
    if let Some((order, magic)) = pcap::recognise(head) {
        return pcap::Pcap::open(window, order, magic, probe).map(Format::Pcap);
    }
    if pcapng::recognise(head) {
        return pcapng::Pcapng::open(window).map(Format::Pcapng);
    }
    if snoop::recognise(head) {
        return snoop::Snoop::open(window).map(Format::Snoop);
    }
    // An unreadable file is not "empty".
    window.at_end()?;
    Err(Fault::not_a_capture(window.unread()))
}

/// Whom a failed read is put down to: the decompressor, unless the file below it could not be read.
fn blame(compression: Compression, meter: &Meter) -> Option<&'static str> {
    if meter.failed() { None } else { compression.name() }
}
