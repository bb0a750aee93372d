//! Classic pcap.

use super::buffer::Buffer;
use super::{CaptureError, Found, LinkType, MAX_FRAME};
use netspectra_common::model::Nanos;

/// Byte order, fraction of the time stamps, and length of record headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    big_endian: bool,
    nanoseconds: bool,
    header: usize,
}

/// What `magic` says, if it is one of pcap's.
pub(super) fn order(magic: [u8; 4]) -> Option<Order> {
    for big_endian in [false, true] {
        let number = if big_endian { u32::from_be_bytes(magic) } else { u32::from_le_bytes(magic) };
        let (nanoseconds, header) = match number {
            0xa1b2_c3d4 => (false, 16),
            0xa1b2_3c4d => (true, 16),
            // The "modified" format of Alexey Kuznetsov's patch: interface, protocol and packet type follow.
            0xa1b2_cd34 => (false, 24),
            _ => continue,
        };
        return Some(Order { big_endian, nanoseconds, header });
    }
    None
}

pub(super) struct Reader {
    order: Order,
    link: LinkType,
}

impl Reader {
    pub(super) fn open(input: &mut Buffer, order: Order) -> Result<Self, CaptureError> {
        if input.fill(24)? < 24 {
            return Err(CaptureError::Truncated { what: "the file header", offset: 0 });
        }
        let link = order.u32(input.bytes(), 20);
        input.consume(24);
        Ok(Self { order, link: LinkType::from_file(link) })
    }

    pub(super) fn describe(&self) -> String {
        let order = if self.order.big_endian { "big-endian" } else { "little-endian" };
        let unit = if self.order.nanoseconds { "nanoseconds" } else { "microseconds" };
        format!("pcap, {order}, {unit}, link type {}", self.link.0)
    }

    #[inline]
    pub(super) fn next(&mut self, input: &mut Buffer) -> Result<Option<Found>, CaptureError> {
        let header = self.order.header;
        let have = input.fill(header)?;
        let offset = input.offset();
        if have < header {
            return if have == 0 { Ok(None) } else { Err(CaptureError::Truncated { what: "a record header", offset }) };
        }
        let h = input.bytes();
        let (secs, fraction) = (self.order.u32(h, 0), self.order.u32(h, 4));
        let (len, orig_len) = (self.order.u32(h, 8) as usize, self.order.u32(h, 12));
        if len > MAX_FRAME {
            return Err(CaptureError::Damaged {
                what: "captured length of a record",
                offset,
                found: len.to_string(),
                expected: "at most 262144",
            });
        }
        if input.fill(header + len)? < header + len {
            return Err(CaptureError::Truncated { what: "a frame", offset });
        }
        let unit = if self.order.nanoseconds { 1 } else { 1000 };
        let ts = u64::from(secs) * Nanos::PER_SECOND + u64::from(fraction) * unit;
        Ok(Some(Found {
            ts: Nanos(ts),
            link: self.link,
            iface: 0,
            orig_len,
            direction: None,
            at: header,
            len,
            record: header + len,
        }))
    }
}

impl Order {
    #[inline]
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let b = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }
}
