use std::fmt::Write as _;
use std::io;

/// Why a capture file could not be opened, or not be read to its end.
///
/// Frames handed out before the error stay valid; `frames` says how many there were. Offsets count bytes of the
/// uncompressed stream.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The first bytes belong to no format this reader knows.
    #[error(
        "`{file}` is not a capture file: it {found}, expected pcap, pcapng or snoop, as it is or compressed with gzip or zstd"
    )]
    NotACapture {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// What stands at its start.
        found: Box<str>,
    },
    /// The file ends inside a record.
    #[error(
        "`{file}` ends inside a {record} at byte {offset}: expected {wanted} bytes, found {found}, after {frames} frames"
    )]
    Truncated {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// Kind of the record.
        record: &'static str,
        /// Where the record starts.
        offset: u64,
        /// Bytes the record needs, as far as that is known.
        wanted: u64,
        /// Bytes that were left.
        found: u64,
        /// Frames read before.
        frames: u64,
    },
    /// A length field holds a value that no writer produces.
    #[error(
        "`{file}` is damaged at byte {offset}: a {record} says its {what} is {length}, expected {expected}, after {frames} frames"
    )]
    BadLength {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// Kind of the record.
        record: &'static str,
        /// Which length.
        what: &'static str,
        /// Where the record starts.
        offset: u64,
        /// The value found.
        length: u64,
        /// The values that are possible, in words.
        expected: Box<str>,
        /// Frames read before.
        frames: u64,
    },
    /// A record has a legal length but contents that make no sense where it stands.
    #[error("`{file}` is damaged at byte {offset}: {what}, after {frames} frames")]
    BadStructure {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// Where the record starts.
        offset: u64,
        /// What is wrong.
        what: Box<str>,
        /// Frames read before.
        frames: u64,
    },
    /// The compressed stream is damaged or cut short.
    #[error("`{file}` cannot be decompressed as {format} any further, after {frames} frames")]
    Decompress {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// Frames read before.
        frames: u64,
        /// What the decompressor says.
        #[source]
        source: io::Error,
    },
    /// The operating system refused to open or read the file.
    #[error("cannot read `{file}`, after {frames} frames")]
    Io {
        /// Path, or the name given to the reader.
        file: Box<str>,
        /// Frames read before.
        frames: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What a format's reader found wrong; [`CaptureError`] adds the file's name and the count of frames.
#[derive(Debug)]
pub(super) enum Fault {
    Truncated { record: &'static str, offset: u64, wanted: u64, found: u64 },
    Length { record: &'static str, what: &'static str, offset: u64, length: u64, expected: String },
    Structure { offset: u64, what: String },
    NotACapture { found: String },
    Read(io::Error),
}

impl Fault {
    #[cold]
    pub(super) fn length(
        record: &'static str,
        what: &'static str,
        offset: u64,
        length: u64,
        expected: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self::Length { record, what, offset, length, expected: expected.into() })
    }

    #[cold]
    pub(super) fn structure(offset: u64, what: impl Into<String>) -> Box<Self> {
        Box::new(Self::Structure { offset, what: what.into() })
    }

    /// `head` is what the file starts with, at least as far as it was looked at.
    #[cold]
    pub(super) fn not_a_capture(head: &[u8]) -> Box<Self> {
        let found = if head.is_empty() {
            "is empty".to_owned()
        } else {
            let mut text = "starts with the bytes `".to_owned();
            for (i, byte) in head.iter().take(8).enumerate() {
                let space = if i == 0 { "" } else { " " };
                // Writing to a String cannot fail.
                let _ = write!(text, "{space}{byte:02x}");
            }
            text.push('`');
            text
        };
        Box::new(Self::NotACapture { found })
    }

    /// `decompressor` is the compression to blame for a [`Fault::Read`], if the file itself could be read.
    #[cold]
    pub(super) fn into_error(self, file: &str, frames: u64, decompressor: Option<&'static str>) -> CaptureError {
        let file: Box<str> = file.into();
        match self {
            Self::Truncated { record, offset, wanted, found } => {
                CaptureError::Truncated { file, record, offset, wanted, found, frames }
            }
            Self::Length { record, what, offset, length, expected } => {
                CaptureError::BadLength { file, record, what, offset, length, expected: expected.into(), frames }
            }
            Self::Structure { offset, what } => CaptureError::BadStructure { file, offset, what: what.into(), frames },
            Self::NotACapture { found } => CaptureError::NotACapture { file, found: found.into() },
            Self::Read(source) => match decompressor {
                Some(format) => CaptureError::Decompress { file, format, frames, source },
                None => CaptureError::Io { file, frames, source },
            },
        }
    }
}
