//! Bytes, read from the front; a read beyond the end is `None`.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|b| u16::from_be_bytes(*b))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|b| u32::from_be_bytes(*b))
    }

    /// A vector with one byte of length (RFC 8446 section 3.4).
    pub(super) fn vector8(&mut self) -> Option<Self> {
        let n = self.u8()?;
        self.take(usize::from(n)).map(Self)
    }

    /// A vector with two bytes of length.
    pub(super) fn vector16(&mut self) -> Option<Self> {
        let n = self.u16()?;
        self.take(usize::from(n)).map(Self)
    }

    /// The 16-bit numbers that are left; an odd last byte is left out.
    pub(super) fn all_u16(mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.u16()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
