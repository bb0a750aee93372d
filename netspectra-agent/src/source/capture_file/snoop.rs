//! Sun snoop, version 2 (RFC 1761). Big-endian.

use super::buffer::Buffer;
use super::{CaptureError, Found, LinkType, MAX_FRAME};
use netspectra_common::model::Nanos;
use netspectra_common::wire::link;

pub(super) const MAGIC: [u8; 8] = *b"snoop\0\0\0";
const HEADER: usize = 24;

pub(super) struct Reader {
    link: LinkType,
}

impl Reader {
    pub(super) fn open(input: &mut Buffer) -> Result<Self, CaptureError> {
        if input.fill(16)? < 16 {
            return Err(CaptureError::Truncated { what: "the file header", offset: 0 });
        }
        let h = input.bytes();
        if h[..8] != MAGIC {
            return Err(CaptureError::Unknown { found: h[..8].to_vec() });
        }
        let version = be32(h, 8);
        let datalink = be32(h, 12);
        if version != 2 {
            return Err(CaptureError::Damaged {
                what: "snoop version",
                offset: 8,
                found: version.to_string(),
                expected: "2",
            });
        }
        input.consume(16);
        // Numbers of RFC 1761 to LINKTYPEs; what has no parser keeps a number that is counted as unsupported.
        let link = match datalink {
            0 => 6,
            4 => link::ETHERNET,
            5 => link::C_HDLC,
            8 => 10,
            _ => u16::MAX,
        };
        Ok(Self { link: LinkType(link) })
    }

    pub(super) fn next(&mut self, input: &mut Buffer) -> Result<Option<Found>, CaptureError> {
        let have = input.fill(HEADER)?;
        let offset = input.offset();
        if have < HEADER {
            return if have == 0 { Ok(None) } else { Err(CaptureError::Truncated { what: "a record header", offset }) };
        }
        let h = input.bytes();
        let (orig_len, len, record) = (be32(h, 0), be32(h, 4) as usize, be32(h, 8) as usize);
        let (secs, micros) = (be32(h, 16), be32(h, 20));
        if len > MAX_FRAME || record < HEADER + len || record > HEADER + MAX_FRAME + 8 {
            return Err(CaptureError::Damaged {
                what: "lengths of a record",
                offset,
                found: format!("{len} captured in a record of {record}"),
                expected: "a record of 24 bytes, the frame, and padding",
            });
        }
        if input.fill(record)? < HEADER + len {
            return Err(CaptureError::Truncated { what: "a frame", offset });
        }
        let ts = u64::from(secs) * Nanos::PER_SECOND + u64::from(micros) * 1000;
        Ok(Some(Found { ts: Nanos(ts), link: self.link, iface: 0, orig_len, direction: None, at: HEADER, len, record }))
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
