use super::error::Fault;
use std::io::{self, Read};
use std::ops::Range;

/// The part of a byte stream that is in memory: a reused buffer that slides forward, never back.
///
/// A record is looked at in place once [`Window::fill`] has made it whole, so that frames are handed out without a
/// copy. The buffer grows only for a record that is longer than it, and only as far as its bytes really arrive; the
/// caller bounds the length it asks for.
pub(super) struct Window {
    inner: Box<dyn Read + Send>,
    buf: Vec<u8>,
    pos: usize,
    end: usize,
    /// Stream offset of `buf[0]`.
    base: u64,
    ended: bool,
    /// A failed read. Kept until the bytes before it are used up, so that no frame before the damage is lost.
    failed: Option<io::Error>,
}

impl Window {
    pub(super) fn new(inner: Box<dyn Read + Send>, capacity: usize) -> Self {
        Self { inner, buf: vec![0; capacity.max(64)], pos: 0, end: 0, base: 0, ended: false, failed: None }
    }

    /// Stream offset of the next unread byte.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Size of the buffer.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// What is in memory and not consumed yet.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.buf[self.pos..self.end]
    }

    /// Bytes that [`Window::take`] handed out; valid until the next [`Window::fill`].
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buf[range]
    }

    /// Makes at least `wanted` unread bytes available; false when the stream ends (or fails) before.
    #[inline]
    pub(super) fn fill(&mut self, wanted: usize) -> bool {
        self.end - self.pos >= wanted || self.read_more(wanted)
    }

    #[cold]
    fn read_more(&mut self, wanted: usize) -> bool {
        if self.pos > 0 {
            self.buf.copy_within(self.pos..self.end, 0);
            self.base += self.pos as u64;
            self.end -= self.pos;
            self.pos = 0;
        }
        while self.end < wanted && !self.ended {
            if self.end == self.buf.len() {
                let grown = wanted.min(self.buf.len() * 2);
                self.buf.resize(grown, 0);
            }
            match self.inner.read(&mut self.buf[self.end..]) {
                Ok(0) => self.ended = true,
                // A reader that claims more than it was given room for is broken; the bound keeps that harmless.
                Ok(n) => self.end = (self.end + n).min(self.buf.len()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.ended = true;
                    self.failed = Some(e);
                }
            }
        }
        self.end >= wanted
    }

    /// Consumes the first `len` unread bytes and says where they lie. They must have been made available before.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.pos;
        self.pos = (start + len).min(self.end);
        start..self.pos
    }

    /// Consumes `len` bytes without keeping them; false when the stream ends before.
    pub(super) fn skip(&mut self, mut len: u64) -> bool {
        loop {
            let here = (self.end - self.pos) as u64;
            if len <= here {
                self.pos += len as usize;
                return true;
            }
            len -= here;
            self.pos = self.end;
            if !self.fill(1) {
                return false;
            }
        }
    }

    /// At a point where the stream may end: whether it has. A failed read is the error it is.
    pub(super) fn at_end(&mut self) -> Result<bool, Box<Fault>> {
        if !self.unread().is_empty() {
            return Ok(false);
        }
        match self.failed.take() {
            Some(e) => Err(Box::new(Fault::Read(e))),
            None => Ok(self.ended),
        }
    }

    /// The fault for a record that starts at `offset` and is not all there.
    #[cold]
    pub(super) fn short(&mut self, record: &'static str, offset: u64, wanted: u64) -> Box<Fault> {
        match self.failed.take() {
            Some(e) => Box::new(Fault::Read(e)),
            None => {
                let found = (self.base + self.end as u64).saturating_sub(offset);
                Box::new(Fault::Truncated { record, offset, wanted, found })
            }
        }
    }
}

/// Integers of a byte order that is only known at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The `u16` at `at`; 0 beyond the end (callers check lengths first).
    #[inline]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let raw = bytes.get(at..).and_then(|b| b.first_chunk::<2>()).copied().unwrap_or_default();
        match self {
            Self::Little => u16::from_le_bytes(raw),
            Self::Big => u16::from_be_bytes(raw),
        }
    }

    /// The `u32` at `at`; 0 beyond the end (callers check lengths first).
    #[inline]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = bytes.get(at..).and_then(|b| b.first_chunk::<4>()).copied().unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(raw),
            Self::Big => u32::from_be_bytes(raw),
        }
    }

    /// The word used in descriptions.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        }
    }
}
