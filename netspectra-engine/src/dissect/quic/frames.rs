//! Frames of Initial packets, and the stream of handshake bytes in them (RFC 9000 section 19).

use super::super::reader::Reader;
use super::packet::varint;

/// Bytes of the handshake that are kept: hellos are at its begin.
const MAX_BYTES: usize = 32 << 10;
/// Pieces that wait for what is before them.
const MAX_PIECES: usize = 64;

/// Hands the CRYPTO frames of `payload` to `crypto`: offset and data. Ends at a frame that is malformed or does not
/// belong into an Initial (RFC 9000 section 12.4).
pub(super) fn read(payload: &[u8], crypto: &mut dyn FnMut(u64, &[u8])) {
    let mut r = Reader(payload);
    while next(&mut r, crypto).is_some() {}
}

fn next(r: &mut Reader<'_>, crypto: &mut dyn FnMut(u64, &[u8])) -> Option<()> {
    match r.u8()? {
        // PADDING, PING
        0x00 | 0x01 => {}
        // ACK, with or without ECN counts
        kind @ (0x02 | 0x03) => {
            let (_largest, _delay, ranges, _first) = (varint(r)?, varint(r)?, varint(r)?, varint(r)?);
            for _ in 0..ranges {
                varint(r)?;
                varint(r)?;
            }
            if kind == 0x03 {
                for _ in 0..3 {
                    varint(r)?;
                }
            }
        }
        0x06 => {
            let (offset, len) = (varint(r)?, varint(r)?);
            crypto(offset, r.take(usize::try_from(len).ok()?)?);
        }
        _ => return None,
    }
    Some(())
}

/// One side's handshake bytes, in any order in and from the begin out.
#[derive(Debug, Default)]
pub(super) struct CryptoStream {
    front: Vec<u8>,
    /// Sorted by offset.
    pieces: Vec<(usize, Vec<u8>)>,
}

impl CryptoStream {
    /// Takes the data of a frame.
    pub(super) fn add(&mut self, offset: u64, data: &[u8]) {
        let Some(offset) = usize::try_from(offset).ok().filter(|o| o.saturating_add(data.len()) <= MAX_BYTES) else {
            return;
        };
        if offset > self.front.len() {
            if self.pieces.len() < MAX_PIECES {
                let place = self.pieces.partition_point(|(o, _)| *o <= offset);
                self.pieces.insert(place, (offset, data.to_vec()));
            }
            return;
        }
        self.join(offset, data);
        while self.pieces.first().is_some_and(|(o, _)| *o <= self.front.len()) {
            let (offset, data) = self.pieces.remove(0);
            self.join(offset, &data);
        }
    }

    /// The bytes from the begin that are there.
    pub(super) fn front(&self) -> &[u8] {
        &self.front
    }

    /// `offset` is not beyond the front's end.
    fn join(&mut self, offset: usize, data: &[u8]) {
        if let Some(fresh) = data.get(self.front.len() - offset..) {
            self.front.extend_from_slice(fresh);
        }
    }
}
