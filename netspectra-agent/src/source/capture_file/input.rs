use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Compressed bytes are read in pieces of this size.
const COMPRESSED_BUFFER: usize = 256 * 1024;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// What the file itself (below any decompressor) has been through.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Meter {
    /// Bytes read from the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the file could not be read, as opposed to decompressed.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

struct Metered {
    inner: Box<dyn Read + Send>,
    meter: Arc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf);
        match &read {
            Ok(n) => {
                self.meter.bytes.fetch_add(*n as u64, Ordering::Relaxed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.meter.failed.store(true, Ordering::Relaxed),
        }
        read
    }
}

type Source = io::Chain<io::Cursor<Vec<u8>>, Metered>;

/// A capture's bytes with any compression taken off.
pub(super) struct Input {
    pub(super) bytes: Box<dyn Read + Send>,
    pub(super) compression: Compression,
    pub(super) meter: Arc<Meter>,
}

impl Input {
    /// Finds out from the first four bytes how `inner` is packed, and unpacks it.
    ///
    /// One layer only: a gzip file inside a zstd file is not looked into.
    pub(super) fn new(inner: Box<dyn Read + Send>) -> io::Result<Self> {
        let meter = Arc::new(Meter::default());
        let mut raw = Metered { inner, meter: Arc::clone(&meter) };
        let mut head = Vec::with_capacity(4);
        raw.by_ref().take(4).read_to_end(&mut head)?;
        let compression = detect(&head);
        let source = io::Cursor::new(head).chain(raw);
        let bytes: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(source),
            Compression::Gzip => {
                Box::new(Gunzip(Some(GzDecoder::new(BufReader::with_capacity(COMPRESSED_BUFFER, source)))))
            }
            // The library refuses windows above 128 MiB, which bounds its memory.
            Compression::Zstd => {
                Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(COMPRESSED_BUFFER, source))?)
            }
        };
        Ok(Self { bytes, compression, meter })
    }
}

fn detect(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or the skippable frame that parallel compressors put first.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Gzip members one after another; what follows the last one and is no member is ignored, as gzip(1) does.
struct Gunzip(Option<GzDecoder<BufReader<Source>>>);

impl Read for Gunzip {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = self.0.as_mut() {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            let Some(member) = self.0.take() else { break };
            let mut rest = member.into_inner();
            if rest.fill_buf()?.first() == Some(&0x1f) {
                self.0 = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}
