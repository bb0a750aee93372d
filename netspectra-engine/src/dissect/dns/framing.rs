//! Messages in a TCP stream: two bytes of length, then the message (RFC 7766 section 8).

/// Bytes of a message that are kept; the rest of a longer one is passed over.
const KEPT: usize = 4096;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// First byte of a length whose second did not come yet.
    half: Option<u8>,
    /// Bytes of the message that are still to come.
    left: usize,
    kept: Vec<u8>,
    /// Bytes of this message were not kept.
    cut: bool,
    /// Bytes of this message are missing: what comes after them is not kept.
    holed: bool,
}

impl Framing {
    /// Takes the next bytes; `message` gets each message that ends in them, and whether all of it was kept.
    pub(super) fn feed(&mut self, mut bytes: &[u8], message: &mut dyn FnMut(&[u8], bool)) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left == 0 {
                bytes = rest;
                match self.half.take() {
                    None => self.half = Some(*first),
                    Some(high) => self.left = usize::from(u16::from_be_bytes([high, *first])),
                }
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.left));
            let room = if self.holed { 0 } else { KEPT.saturating_sub(self.kept.len()) };
            self.cut |= now.len() > room;
            self.kept.extend_from_slice(&now[..now.len().min(room)]);
            self.left -= now.len();
            bytes = later;
            if self.left == 0 {
                message(&self.kept, !self.cut && !self.holed);
                self.begin();
            }
        }
    }

    /// Passes over `missing` bytes; false when it is not known any more where messages begin.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        if missing == 0 {
            return true;
        }
        if self.half.is_some() || missing >= self.left as u64 {
            return false;
        }
        self.left -= missing as usize;
        self.holed = true;
        true
    }

    fn begin(&mut self) {
        self.kept.clear();
        self.cut = false;
        self.holed = false;
    }
}
