use super::CaptureError;
use flate2::read::MultiGzDecoder;
use std::io::{self, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes asked for at a time.
const STEP: usize = 1 << 20;

/// Unread bytes of the unpacked file, contiguous, refilled on demand.
pub(super) struct Buffer {
    reader: Box<dyn Read + Send>,
    data: Vec<u8>,
    /// Unread bytes are `data[start..end]`.
    start: usize,
    end: usize,
    eof: bool,
    /// Unpacked bytes consumed.
    offset: u64,
    raw_read: Arc<AtomicU64>,
    raw_size: Option<u64>,
    compression: Option<&'static str>,
    failed: Option<io::Error>,
}

/// Counts the bytes that pass.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Buffer {
    /// Looks at the first bytes and puts the right decoder in front.
    pub(super) fn open(reader: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, CaptureError> {
        let raw_read = Arc::new(AtomicU64::new(0));
        let mut raw = Counting { inner: reader, read: raw_read.clone() };
        let mut head = Vec::new();
        Read::by_ref(&mut raw).take(4).read_to_end(&mut head).map_err(CaptureError::Io)?;
        let magic: [u8; 4] = head.first_chunk().copied().unwrap_or_default();
        let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(head).chain(raw);
        let (reader, compression): (Box<dyn Read + Send>, _) = match magic {
            [0x1f, 0x8b, ..] => {
                (Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(STEP / 8, whole))), Some("gzip"))
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                (Box::new(zstd::stream::read::Decoder::new(whole).map_err(CaptureError::Io)?), Some("zstd"))
            }
            _ => (Box::new(whole), None),
        };
        Ok(Self {
            reader,
            data: Vec::new(),
            start: 0,
            end: 0,
            eof: false,
            offset: 0,
            raw_read,
            raw_size: size,
            compression,
            failed: None,
        })
    }

    /// The unread bytes that are there.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Makes at least `want` unread bytes available, or all there are; returns how many there are. `want` is at most a
    /// legal record, which the callers check before they ask.
    #[inline]
    pub(super) fn fill(&mut self, want: usize) -> Result<usize, CaptureError> {
        if self.end - self.start >= want {
            return Ok(self.end - self.start);
        }
        self.refill(want)
    }

    #[inline(never)]
    fn refill(&mut self, want: usize) -> Result<usize, CaptureError> {
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.data.len() < want.max(STEP) {
            self.data.resize(want.max(STEP), 0);
        }
        while self.end < want && !self.eof {
            if let Some(e) = self.failed.take() {
                return Err(self.failure(e));
            }
            match self.reader.read(&mut self.data[self.end..]) {
                Ok(0) => self.eof = true,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // What was unpacked before the damage is good: hand it out first.
                Err(e) if self.end > 0 => {
                    self.failed = Some(e);
                    if self.end < want {
                        let e = self.failed.take().unwrap_or_else(|| io::ErrorKind::Other.into());
                        return Err(self.failure(e));
                    }
                }
                Err(e) => return Err(self.failure(e)),
            }
        }
        Ok(self.end - self.start)
    }

    fn failure(&mut self, source: io::Error) -> CaptureError {
        self.eof = true;
        match self.compression {
            Some(kind) => {
                CaptureError::Compression { kind, offset: self.offset + (self.end - self.start) as u64, source }
            }
            None => CaptureError::Io(source),
        }
    }

    /// Marks `n` unread bytes as read.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }

    /// Skips `n` bytes, also more than are in memory; false when the file ends before.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<bool, CaptureError> {
        while n > 0 {
            let have = self.fill(1)?;
            if have == 0 {
                return Ok(false);
            }
            let step = (have as u64).min(n);
            self.consume(step as usize);
            n -= step;
        }
        Ok(true)
    }

    /// Unpacked offset of the first unread byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn raw_read(&self) -> u64 {
        self.raw_read.load(Ordering::Relaxed)
    }

    pub(super) fn raw_size(&self) -> Option<u64> {
        self.raw_size
    }

    pub(super) fn compression(&self) -> Option<&'static str> {
        self.compression
    }
}
