//! Sun snoop (RFC 1761) and Shomiti Surveyor's files, which look the same.

use super::error::Fault;
use super::interface::{CaptureInterface, TsResolution};
use super::window::{Order, Window};
use super::{LinkType, Record};
use netspectra_common::model::Nanos;

const MAGIC: &[u8; 8] = b"snoop\0\0\0";
const FILE_HEADER: usize = 16;
const RECORD_HEADER: usize = 24;
/// Shomiti puts a trailer of this size into the padding; snoop itself pads less.
const SHOMITI_TRAILER: u64 = 16;

pub(super) struct Snoop {
    datalink: u32,
    version: u32,
    interface: [CaptureInterface; 1],
    /// Padding of the record handed out last.
    padding: u64,
    seen_first: bool,
}

pub(super) fn recognise(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

impl Snoop {
    pub(super) fn open(w: &mut Window) -> Result<Self, Box<Fault>> {
        if !w.fill(FILE_HEADER) {
            return Err(w.short("snoop file header", 0, FILE_HEADER as u64));
        }
        let version = Order::Big.u32(w.unread(), 8);
        let datalink = Order::Big.u32(w.unread(), 12);
        if !(2..=5).contains(&version) {
            return Err(Fault::structure(0, format!("snoop version `{version}` is not known, expected 2 to 5")));
        }
        w.take(FILE_HEADER);
        let link = link_of(datalink);
        let interface = CaptureInterface { name: None, link, snaplen: 0, ts_resolution: TsResolution::MICROS };
        Ok(Self { datalink, version, interface: [interface], padding: 0, seen_first: false })
    }

    pub(super) fn describe(&self) -> String {
        format!("snoop version {}, microseconds, big-endian", self.version)
    }

    pub(super) fn interfaces(&self) -> &[CaptureInterface] {
        &self.interface
    }

    #[inline]
    pub(super) fn next(&mut self, w: &mut Window) -> Result<Option<Record>, Box<Fault>> {
        let padding = std::mem::take(&mut self.padding);
        if padding != 0 && !w.skip(padding) {
            let offset = w.offset();
            return Err(w.short("snoop record's padding", offset, 1));
        }
        if !w.fill(RECORD_HEADER) {
            if w.at_end()? {
                return Ok(None);
            }
            let offset = w.offset();
            return Err(w.short("snoop record header", offset, RECORD_HEADER as u64));
        }
        let header = w.unread();
        let [orig_len, captured, record_len, _drops, secs, micros] =
            std::array::from_fn(|i| Order::Big.u32(header, i * 4));
        let offset = w.offset();
        let whole = RECORD_HEADER as u64 + u64::from(captured);
        if u64::from(record_len) < whole {
            let expected = format!("at least {whole} for {captured} bytes of frame");
            return Err(Fault::length("snoop record", "record length", offset, record_len.into(), expected));
        }
        let padding = u64::from(record_len) - whole;
        if !self.seen_first {
            self.seen_first = true;
            if padding >= SHOMITI_TRAILER {
                self.interface[0].link = shomiti_link_of(self.datalink);
            }
        }
        let link = self.interface[0].link;
        let limit = link.max_captured();
        if captured > limit {
            let expected = format!("at most {limit}");
            return Err(Fault::length("snoop record", "captured length", offset, captured.into(), expected));
        }
        if !w.fill(whole as usize) {
            return Err(w.short("snoop record", offset, whole));
        }
        let mut data = w.take(whole as usize);
        data.start += RECORD_HEADER;
        self.padding = padding;
        let ts = Nanos(u64::from(secs) * Nanos::PER_SECOND + u64::from(micros) * 1_000);
        Ok(Some(Record { ts, link, iface: 0, orig_len, data, direction: None }))
    }
}

/// Source: <https://www.iana.org/assignments/snoop-datalink-types>.
fn link_of(datalink: u32) -> LinkType {
    match datalink {
        0 | 4 => LinkType::ETHERNET,
        2 => LinkType::IEEE802_5,
        8 => LinkType::FDDI,
        9 | 14 => LinkType::NULL,
        16 => LinkType::IP_OVER_FC,
        18 => LinkType::SUNATM,
        0x8000_0005 => LinkType::IPNET,
        _ => LinkType::UNKNOWN,
    }
}

/// Shomiti gave meanings of its own to numbers that RFC 1761 leaves open.
fn shomiti_link_of(datalink: u32) -> LinkType {
    match datalink {
        0 | 4 | 10 | 12 | 19 => LinkType::ETHERNET,
        2 | 11 | 13 | 14 => LinkType::IEEE802_5,
        8 => LinkType::FDDI,
        _ => LinkType::UNKNOWN,
    }
}
