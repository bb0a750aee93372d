use super::ahead::{HEAD, ReadAhead};
use super::error::Fault;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// Where bytes come from.
enum Supply {
    /// Read when they are needed.
    Here(Box<dyn Read + Send>),
    /// Read in blocks, maybe by other threads.
    Ahead(Arc<ReadAhead>),
}

/// The part of a byte stream that is in memory: a reused buffer that slides forward, never back.
///
/// A record is looked at in place once [`Window::fill`] has made it whole, so that frames are handed out without a
/// copy. The buffer grows only for a record that is longer than it, and only as far as its bytes really arrive; the
/// caller bounds the length it asks for.
pub(super) struct Window {
    supply: Supply,
    buf: Vec<u8>,
    pos: usize,
    end: usize,
    /// Stream offset of `buf[0]`; modulo 2^64, because room before the first byte is before the stream.
    base: u64,
    ended: bool,
    /// A failed read. Kept until the bytes before it are used up, so that no frame before the damage is lost.
    failed: Option<io::Error>,
}

impl Window {
    pub(super) fn new(inner: Box<dyn Read + Send>, capacity: usize) -> Self {
        Self {
            supply: Supply::Here(inner),
            buf: vec![0; capacity.max(64)],
            pos: 0,
            end: 0,
            base: 0,
            ended: false,
            failed: None,
        }
    }

    /// Stream offset of the next unread byte.
    pub(super) fn offset(&self) -> u64 {
        self.base.wrapping_add(self.pos as u64)
    }

    /// From now on reads in blocks, which other threads may do through what is returned.
    pub(super) fn read_ahead(&mut self) -> Arc<ReadAhead> {
        let before = std::mem::replace(&mut self.supply, Supply::Here(Box::new(io::empty())));
        let ahead = match before {
            Supply::Here(inner) => Arc::new(ReadAhead::new(inner)),
            Supply::Ahead(ahead) => ahead,
        };
        self.supply = Supply::Ahead(ahead.clone());
        ahead
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
        while self.end - self.pos < wanted && !self.ended {
            let read = match &mut self.supply {
                Supply::Here(_) => self.read_here(wanted),
                Supply::Ahead(ahead) => {
                    let ahead = ahead.clone();
                    self.take_block(&ahead)
                }
            };
            match read {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.ended = true;
                    self.failed = Some(e);
                }
            }
        }
        self.end - self.pos >= wanted
    }

    /// Moves what is unread to the front of the buffer.
    fn slide(&mut self) {
        if self.pos > 0 {
            self.buf.copy_within(self.pos..self.end, 0);
            self.base = self.offset();
            self.end -= self.pos;
            self.pos = 0;
        }
    }

    /// Reads what the buffer, which grows up to `wanted` bytes, has room for; false at the end.
    fn read_here(&mut self, wanted: usize) -> io::Result<bool> {
        self.slide();
        let Supply::Here(inner) = &mut self.supply else { return Ok(false) };
        if self.end == self.buf.len() {
            let grown = wanted.min(self.buf.len() * 2);
            self.buf.resize(grown, 0);
        }
        let n = inner.read(&mut self.buf[self.end..])?;
        // A reader that claims more than it was given room for is broken; the bound keeps that harmless.
        self.end = (self.end + n).min(self.buf.len());
        Ok(n > 0)
    }

    /// Takes the next block in place of the buffer; false at the end. What is unread goes into the room before it or, of a
    /// record that is longer than that, the block behind what is unread.
    fn take_block(&mut self, ahead: &ReadAhead) -> io::Result<bool> {
        let Some(block) = ahead.next()? else { return Ok(false) };
        let unread = self.end - self.pos;
        let mut bytes = block.bytes;
        if unread <= HEAD {
            let start = HEAD - unread;
            bytes[start..HEAD].copy_from_slice(&self.buf[self.pos..self.end]);
            self.base = self.offset().wrapping_sub(start as u64);
            (self.pos, self.end) = (start, block.end);
            std::mem::swap(&mut self.buf, &mut bytes);
        } else {
            self.slide();
            self.buf.truncate(self.end);
            self.buf.extend_from_slice(&bytes[HEAD..block.end]);
            self.end = self.buf.len();
        }
        ahead.give_back(bytes);
        Ok(true)
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
                let found = self.base.wrapping_add(self.end as u64).saturating_sub(offset);
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
