use crate::source::capture_file::error::Fault;
use crate::source::capture_file::window::{Order, Window};

/// `len` rounded up to a multiple of four.
#[inline]
pub(super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The start of a block.
#[derive(Clone, Copy)]
pub(super) struct BlockHeader {
    /// Stream offset of the block.
    pub(super) offset: u64,
    pub(super) kind: u32,
    /// Length of the whole block in bytes, rounded up to a multiple of four: some writers forget the padding.
    pub(super) len: u64,
}

impl BlockHeader {
    /// Reads the header at the front of `w`, of which 8 bytes must be there.
    #[inline]
    pub(super) fn read(w: &Window, order: Order) -> Self {
        let head = w.unread();
        let len = u64::from(order.u32(head, 4)).next_multiple_of(4);
        Self { offset: w.offset(), kind: order.u32(head, 0), len }
    }

    /// That the block is not shorter than its kind can be.
    #[inline]
    pub(super) fn at_least(self, min: u64, kind: &'static str) -> Result<(), Box<Fault>> {
        if self.len >= min {
            return Ok(());
        }
        Err(Fault::length(kind, "block length", self.offset, self.len, format!("at least {min}")))
    }

    /// [`Self::at_least`], and the block's fixed part is in memory.
    #[inline]
    pub(super) fn head(self, w: &mut Window, min: u64, head: usize, kind: &'static str) -> Result<(), Box<Fault>> {
        self.at_least(min, kind)?;
        if w.fill(head) { Ok(()) } else { Err(w.short(kind, self.offset, self.len)) }
    }

    /// Moves past the block, of which nothing is consumed yet.
    pub(super) fn skip_rest(self, w: &mut Window, kind: &'static str, order: Order) -> Result<(), Box<Fault>> {
        if !w.skip(self.len - 4) || !w.fill(4) {
            return Err(w.short(kind, self.offset, self.len));
        }
        let end = w.take(4);
        self.check_end(w.bytes(end), kind, order)
    }

    /// That the length at the end of `block` repeats the one at its start.
    #[inline]
    pub(super) fn check_end(self, block: &[u8], kind: &'static str, order: Order) -> Result<(), Box<Fault>> {
        let end = u64::from(order.u32(block, block.len() - 4)).next_multiple_of(4);
        if end == self.len {
            return Ok(());
        }
        Err(Fault::length(kind, "length at its end", self.offset, end, format!("{} as at its start", self.len)))
    }
}

/// The options of a block, up to their end mark or the first one that does not fit.
pub(super) struct Options<'a> {
    rest: &'a [u8],
    order: Order,
}

impl<'a> Options<'a> {
    pub(super) fn new(bytes: &'a [u8], order: Order) -> Self {
        Self { rest: bytes, order }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_at_checked(4)?;
        let code = self.order.u16(head, 0);
        let len = usize::from(self.order.u16(head, 2));
        let value = rest.get(..len)?;
        if code == 0 {
            return None;
        }
        self.rest = rest.get(padded(len)..).unwrap_or_default();
        Some((code, value))
    }
}
