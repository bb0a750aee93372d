//! pcapng: sections, each in its own byte order, with interfaces of their own.

use super::buffer::Buffer;
use super::{CaptureError, Found, LinkType, MAX_FRAME, MAX_RECORD};
use netspectra_common::model::{Direction, Nanos};

pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Interfaces of a section that are kept; a file with more is refused rather than growing without bound.
const MAX_INTERFACES: usize = 65_536;

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    resolution: Resolution,
    /// Seconds added to each time stamp.
    offset: i64,
}

/// Units of a second: 10^n or 2^n.
#[derive(Clone, Copy)]
enum Resolution {
    Decimal(u8),
    Binary(u8),
}

impl Resolution {
    fn nanos(self, units: u64) -> u64 {
        let wide = u128::from(units) * u128::from(Nanos::PER_SECOND);
        let nanos = match self {
            Self::Decimal(n) => match 10u128.checked_pow(u32::from(n)) {
                Some(divisor) => wide / divisor,
                None => 0,
            },
            Self::Binary(n) => wide >> n.min(127),
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[derive(Default)]
pub(super) struct Reader {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before.
    base: u32,
    last_ts: Nanos,
}

impl Reader {
    /// The next packet block; other blocks are read over.
    pub(super) fn next(&mut self, input: &mut Buffer) -> Result<Option<Found>, CaptureError> {
        loop {
            let have = input.fill(12)?;
            let offset = input.offset();
            if have == 0 {
                return Ok(None);
            }
            if have < 12 {
                return Err(CaptureError::Truncated { what: "a block header", offset });
            }
            let kind = self.u32(input.bytes(), 0);
            if kind == SECTION {
                self.section_order(input.bytes(), offset)?;
            }
            let length = self.u32(input.bytes(), 4);
            if length < 12 || !length.is_multiple_of(4) {
                return Err(CaptureError::Damaged {
                    what: "length of a block",
                    offset,
                    found: length.to_string(),
                    expected: "a multiple of 4, at least 12",
                });
            }
            let known = matches!(kind, SECTION | INTERFACE | PACKET | SIMPLE | ENHANCED);
            if length as usize > MAX_RECORD {
                if known {
                    return Err(CaptureError::Damaged {
                        what: "length of a block",
                        offset,
                        found: length.to_string(),
                        expected: "at most 16777216",
                    });
                }
                if !input.skip(u64::from(length))? {
                    return Err(CaptureError::Truncated { what: "a block", offset });
                }
                continue;
            }
            let length = length as usize;
            if input.fill(length)? < length {
                return Err(CaptureError::Truncated { what: "a block", offset });
            }
            let trailer = self.u32(input.bytes(), length - 4) as usize;
            if trailer != length {
                return Err(CaptureError::Damaged {
                    what: "second length of a block",
                    offset,
                    found: trailer.to_string(),
                    expected: "the same as the first length",
                });
            }
            let found = match kind {
                SECTION => {
                    self.base = self.base.saturating_add(self.interfaces.len() as u32);
                    self.interfaces.clear();
                    None
                }
                INTERFACE => {
                    self.interface(&input.bytes()[..length], offset)?;
                    None
                }
                ENHANCED => Some(self.enhanced(&input.bytes()[..length], offset)?),
                PACKET => Some(self.obsolete(&input.bytes()[..length], offset)?),
                SIMPLE => Some(self.simple(&input.bytes()[..length], offset)?),
                _ => None,
            };
            match found {
                Some(f) => return Ok(Some(f)),
                None => input.consume(length),
            }
        }
    }

    fn section_order(&mut self, block: &[u8], offset: u64) -> Result<(), CaptureError> {
        let magic = [block[8], block[9], block[10], block[11]];
        self.big_endian = match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
            (BYTE_ORDER, _) => true,
            (_, BYTE_ORDER) => false,
            (other, _) => {
                return Err(CaptureError::Damaged {
                    what: "byte-order magic of a section",
                    offset,
                    found: format!("{other:08x}"),
                    expected: "1a2b3c4d in either order",
                });
            }
        };
        Ok(())
    }

    fn interface(&mut self, block: &[u8], offset: u64) -> Result<(), CaptureError> {
        if block.len() < 20 {
            return Err(short("an interface description", offset, block.len()));
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(CaptureError::Damaged {
                what: "number of interfaces of a section",
                offset,
                found: (self.interfaces.len() + 1).to_string(),
                expected: "at most 65536",
            });
        }
        let mut interface = Interface {
            link: LinkType::from_file(u32::from(self.u16(block, 8))),
            snaplen: self.u32(block, 12),
            resolution: Resolution::Decimal(6),
            offset: 0,
        };
        self.options(&block[16..block.len() - 4], |reader, code, value| match (code, value) {
            (9, [n, ..]) if n & 0x80 != 0 => interface.resolution = Resolution::Binary(n & 0x7f),
            (9, [n, ..]) => interface.resolution = Resolution::Decimal(*n),
            (14, [_, _, _, _, _, _, _, _]) => interface.offset = reader.u64(value, 0) as i64,
            _ => {}
        });
        self.interfaces.push(interface);
        Ok(())
    }

    fn enhanced(&mut self, block: &[u8], offset: u64) -> Result<Found, CaptureError> {
        if block.len() < 32 {
            return Err(short("an enhanced packet block", offset, block.len()));
        }
        let iface = self.u32(block, 8);
        let units = u64::from(self.u32(block, 12)) << 32 | u64::from(self.u32(block, 16));
        let (len, orig_len) = (self.u32(block, 20), self.u32(block, 24));
        self.packet(block, offset, iface, units, len, orig_len, 28)
    }

    /// The Packet Block of the first drafts.
    fn obsolete(&mut self, block: &[u8], offset: u64) -> Result<Found, CaptureError> {
        if block.len() < 32 {
            return Err(short("a packet block", offset, block.len()));
        }
        let iface = u32::from(self.u16(block, 8));
        let units = u64::from(self.u32(block, 12)) << 32 | u64::from(self.u32(block, 16));
        let (len, orig_len) = (self.u32(block, 20), self.u32(block, 24));
        self.packet(block, offset, iface, units, len, orig_len, 28)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a packet block")]
    fn packet(
        &mut self,
        block: &[u8],
        offset: u64,
        iface: u32,
        units: u64,
        len: u32,
        orig_len: u32,
        at: usize,
    ) -> Result<Found, CaptureError> {
        let Some(interface) = self.interfaces.get(iface as usize).copied() else {
            return Err(CaptureError::Damaged {
                what: "interface of a packet block",
                offset,
                found: iface.to_string(),
                expected: "an interface that the section has described before",
            });
        };
        let len = len as usize;
        if len > MAX_FRAME || at + len > block.len() - 4 {
            return Err(CaptureError::Damaged {
                what: "captured length of a packet block",
                offset,
                found: len.to_string(),
                expected: "at most what the block holds, and 262144",
            });
        }
        let mut direction = None;
        let options = at + len.next_multiple_of(4);
        if options + 4 <= block.len() - 4 {
            self.options(&block[options..block.len() - 4], |reader, code, value| {
                if code == 2 && value.len() == 4 {
                    direction = match reader.u32(value, 0) & 3 {
                        1 => Some(Direction::Ingress),
                        2 => Some(Direction::Egress),
                        _ => None,
                    };
                }
            });
        }
        let nanos = interface.resolution.nanos(units);
        let shift = interface.offset.unsigned_abs().saturating_mul(Nanos::PER_SECOND);
        let ts = Nanos(if interface.offset < 0 { nanos.saturating_sub(shift) } else { nanos.saturating_add(shift) });
        self.last_ts = ts;
        Ok(Found {
            ts,
            link: interface.link,
            iface: self.base.saturating_add(iface),
            orig_len,
            direction,
            at,
            len,
            record: block.len(),
        })
    }

    /// A Simple Packet Block has no time: it gets that of the packet before.
    fn simple(&mut self, block: &[u8], offset: u64) -> Result<Found, CaptureError> {
        let Some(interface) = self.interfaces.first().copied() else {
            return Err(CaptureError::Damaged {
                what: "simple packet block",
                offset,
                found: "no interface".into(),
                expected: "an interface description before it",
            });
        };
        if block.len() < 16 {
            return Err(short("a simple packet block", offset, block.len()));
        }
        let orig_len = self.u32(block, 8);
        let room = block.len() - 16;
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let len = (orig_len.min(limit) as usize).min(room);
        if len > MAX_FRAME {
            return Err(CaptureError::Damaged {
                what: "length of a simple packet block",
                offset,
                found: len.to_string(),
                expected: "at most 262144",
            });
        }
        Ok(Found {
            ts: self.last_ts,
            link: interface.link,
            iface: self.base,
            orig_len,
            direction: None,
            at: 12,
            len,
            record: block.len(),
        })
    }

    /// Hands each option to `each`; stops at the end-of-options mark and at the first one that does not fit.
    fn options(&self, mut bytes: &[u8], mut each: impl FnMut(&Self, u16, &[u8])) {
        while bytes.len() >= 4 {
            let (code, len) = (self.u16(bytes, 0), usize::from(self.u16(bytes, 2)));
            let padded = len.next_multiple_of(4);
            if code == 0 || 4 + padded > bytes.len() {
                return;
            }
            each(self, code, &bytes[4..4 + len]);
            bytes = &bytes[4 + padded..];
        }
    }

    fn u16(&self, b: &[u8], at: usize) -> u16 {
        let b = [b[at], b[at + 1]];
        if self.big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }
    }

    fn u32(&self, b: &[u8], at: usize) -> u32 {
        let b = [b[at], b[at + 1], b[at + 2], b[at + 3]];
        if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }

    fn u64(&self, b: &[u8], at: usize) -> u64 {
        let (first, second) = (u64::from(self.u32(b, at)), u64::from(self.u32(b, at + 4)));
        if self.big_endian { first << 32 | second } else { second << 32 | first }
    }
}

fn short(what: &'static str, offset: u64, len: usize) -> CaptureError {
    CaptureError::Damaged { what, offset, found: format!("{len} bytes"), expected: "room for its fixed fields" }
}
