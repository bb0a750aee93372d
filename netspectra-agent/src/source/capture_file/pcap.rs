//! Classic pcap and the forms that other systems made of it.

use super::error::Fault;
use super::interface::{CaptureInterface, TsResolution};
use super::window::{Order, Window};
use super::{LinkType, Record};
use netspectra_common::model::{Direction, Nanos};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Linux distributions of 1999, with interface and packet type in the record header ("Kuznetzov").
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;
/// Ixia's hardware and software captures: four more bytes after the file header.
const MAGIC_IXIA_HARD: u32 = 0x1c00_01ac;
const MAGIC_IXIA_SOFT: u32 = 0x1c00_01ab;

/// Bytes looked at, at most, to tell apart the record layouts that share a magic number.
const PROBE_BYTES: usize = 1024 * 1024;
const PROBE_RECORDS: usize = 3;

/// What follows the 16 bytes that all record headers begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Standard,
    /// Interface index, EtherType, packet type: 8 bytes.
    PacketType,
    /// The same and five bytes of SMP debugging, padded: 12 bytes.
    PacketTypeSmp,
    /// 4 bytes.
    Nokia,
}

impl Layout {
    const fn header_len(self) -> usize {
        match self {
            Self::Standard => 16,
            Self::PacketType => 24,
            Self::PacketTypeSmp => 28,
            Self::Nokia => 20,
        }
    }
}

/// Which of the two lengths in a record header comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Files before version 2.3, and DG/UX.
    OriginalFirst,
    /// Version 2.3 was written both ways: the smaller one is the captured length.
    SmallerIsCaptured,
}

pub(super) struct Pcap {
    order: Order,
    layout: Layout,
    lengths: Lengths,
    nanos_per_tick: u64,
    max_captured: u32,
    interface: [CaptureInterface; 1],
    version: (u16, u16),
}

/// The byte order and the magic number, if `head` is the start of a pcap file.
pub(super) fn recognise(head: &[u8]) -> Option<(Order, u32)> {
    let first = *head.first_chunk::<4>()?;
    [(Order::Little, u32::from_le_bytes(first)), (Order::Big, u32::from_be_bytes(first))].into_iter().find(
        |&(_, magic)| matches!(magic, MAGIC_MICROS | MAGIC_NANOS | MAGIC_MODIFIED | MAGIC_IXIA_HARD | MAGIC_IXIA_SOFT),
    )
}

impl Pcap {
    /// Reads the file header. With `probe`, up to three records are looked at to find out the record layout where
    /// the magic number leaves that open; without, the usual one is taken.
    pub(super) fn open(w: &mut Window, order: Order, magic: u32, probe: bool) -> Result<Self, Box<Fault>> {
        let ixia = matches!(magic, MAGIC_IXIA_HARD | MAGIC_IXIA_SOFT);
        let header_len = if ixia { 28 } else { 24 };
        if !w.fill(header_len) {
            return Err(w.short("pcap file header", 0, header_len as u64));
        }
        let header = w.unread();
        let version = (order.u16(header, 4), order.u16(header, 6));
        let snaplen = order.u32(header, 16);
        let network = order.u32(header, 20);
        if version.0 < 2 {
            let (major, minor) = version;
            return Err(Fault::structure(
                0,
                format!("pcap version `{major}.{minor}` is not known, expected 2.0 or later"),
            ));
        }
        w.take(header_len);

        let aix = if magic == MAGIC_MICROS && version == (2, 2) { aix_link(network) } else { None };
        let link = aix.unwrap_or_else(|| link_of(network));
        let nanos = matches!(magic, MAGIC_NANOS | MAGIC_IXIA_HARD) || aix.is_some();
        let lengths = match version {
            (2, 0..=2) | (543, _) => Lengths::OriginalFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            _ => Lengths::CapturedFirst,
        };
        let ts_resolution = if nanos { TsResolution::NANOS } else { TsResolution::MICROS };
        let mut pcap = Self {
            order,
            layout: if magic == MAGIC_MODIFIED { Layout::PacketType } else { Layout::Standard },
            lengths,
            nanos_per_tick: if nanos { 1 } else { 1_000 },
            max_captured: link.max_captured(),
            interface: [CaptureInterface { name: None, link, snaplen, ts_resolution }],
            version,
        };
        if probe && lengths == Lengths::CapturedFirst {
            match magic {
                MAGIC_MICROS => pcap.choose_layout(w, &[Layout::Standard, Layout::PacketType, Layout::Nokia]),
                MAGIC_MODIFIED => pcap.choose_layout(w, &[Layout::PacketType, Layout::PacketTypeSmp]),
                _ => {}
            }
        }
        Ok(pcap)
    }

    pub(super) fn describe(&self) -> String {
        let layout = match self.layout {
            Layout::Standard => "",
            Layout::PacketType | Layout::PacketTypeSmp => ", modified record headers",
            Layout::Nokia => ", Nokia record headers",
        };
        let (major, minor) = self.version;
        format!("pcap {major}.{minor}, {}, {}{layout}", self.interface[0].ts_resolution, self.order.name())
    }

    pub(super) fn interfaces(&self) -> &[CaptureInterface] {
        &self.interface
    }

    /// The next record. In one piece with whoever calls it: what it returns then needs no place in memory.
    #[inline(always)]
    pub(super) fn next(&mut self, w: &mut Window) -> Result<Option<Record>, Box<Fault>> {
        let header_len = self.layout.header_len();
        if !w.fill(header_len) {
            return self.end(w);
        }
        let header = w.unread();
        let secs = self.order.u32(header, 0);
        let ticks = self.order.u32(header, 4);
        let (captured, orig_len) = self.lengths_of(header);
        let direction = self.direction_of(header);
        if captured > self.max_captured {
            return Err(self.too_long(captured, w));
        }
        let whole = header_len + captured as usize;
        if !w.fill(whole) {
            let offset = w.offset();
            return Err(w.short("pcap record", offset, whole as u64));
        }
        let mut data = w.take(whole);
        data.start += header_len;
        // No overflow: both factors of each product are below 2^32, and the sum is below 2^63.
        let ts = Nanos(u64::from(secs) * Nanos::PER_SECOND + u64::from(ticks) * self.nanos_per_tick);
        Ok(Some(Record { ts, link: self.interface[0].link, iface: 0, orig_len, data, direction }))
    }

    /// There is no whole record header any more.
    #[cold]
    fn end(&self, w: &mut Window) -> Result<Option<Record>, Box<Fault>> {
        if w.at_end()? {
            return Ok(None);
        }
        let offset = w.offset();
        Err(w.short("pcap record header", offset, self.layout.header_len() as u64))
    }

    #[cold]
    fn too_long(&self, captured: u32, w: &Window) -> Box<Fault> {
        let limit = self.max_captured;
        Fault::length(
            "pcap record",
            "captured length",
            w.offset(),
            captured.into(),
            format!("at most {limit} for link type `{}`", self.interface[0].link),
        )
    }

    #[inline(always)]
    fn lengths_of(&self, header: &[u8]) -> (u32, u32) {
        let first = self.order.u32(header, 8);
        let second = self.order.u32(header, 12);
        let swapped = match self.lengths {
            Lengths::CapturedFirst => false,
            Lengths::OriginalFirst => true,
            Lengths::SmallerIsCaptured => first > second,
        };
        if swapped { (second, first) } else { (first, second) }
    }

    /// From Linux's packet type, in the layouts that have it.
    #[inline(always)]
    fn direction_of(&self, header: &[u8]) -> Option<Direction> {
        match self.layout {
            Layout::Standard | Layout::Nokia => None,
            Layout::PacketType | Layout::PacketTypeSmp => match header.get(22)? {
                0..=2 => Some(Direction::Ingress),
                4 => Some(Direction::Egress),
                _ => None,
            },
        }
    }

    /// Takes the layout under which the first records look least strange; the first of `layouts` on a tie.
    fn choose_layout(&mut self, w: &mut Window, layouts: &[Layout]) {
        let mut least = u32::MAX;
        let mut best = self.layout;
        for &layout in layouts {
            self.layout = layout;
            let oddities = self.oddities(w);
            if oddities < least {
                least = oddities;
                best = layout;
            }
            if least == 0 {
                break;
            }
        }
        self.layout = best;
    }

    /// How many things are strange about the first records when they are read with the layout that is set now.
    ///
    /// That the file ends early is not strange: a cut file of the usual layout is far more common than any other
    /// layout. A wrong layout shows in the second record, where seconds since 1970 turn up as a length.
    fn oddities(&self, w: &mut Window) -> u32 {
        let header_len = self.layout.header_len();
        let snaplen = self.interface[0].snaplen;
        let mut oddities = 0;
        let mut at = 0;
        for _ in 0..PROBE_RECORDS {
            if at + header_len > PROBE_BYTES || !w.fill(at + header_len) {
                break;
            }
            let header = &w.unread()[at..at + header_len];
            let (captured, orig_len) = self.lengths_of(header);
            let too_long = captured > self.max_captured;
            oddities += u32::from(self.order.u32(header, 4) >= 1_000_000)
                + u32::from(too_long)
                + u32::from(captured > snaplen)
                + u32::from(orig_len > 128 * 1024 * 1024)
                + u32::from(captured > orig_len)
                + self.extra_oddities(header);
            if too_long {
                break;
            }
            at += header_len + captured as usize;
        }
        oddities
    }

    fn extra_oddities(&self, header: &[u8]) -> u32 {
        match self.layout {
            Layout::Standard => 0,
            Layout::PacketType | Layout::PacketTypeSmp => {
                let index = self.order.u32(header, 16);
                let ether_type = self.order.u16(header, 20);
                let known_type = ether_type >= 0x0600 || matches!(ether_type, 0..=0x17 | 0x60 | 0x200 | 0x400);
                let packet_type = header.get(22).copied().unwrap_or(u8::MAX);
                u32::from(index > 10_000) + u32::from(!known_type) + u32::from(packet_type > 4)
            }
            // The values seen in the wild are `?fbf??0?`, with few values at each question mark.
            Layout::Nokia => {
                let extra = self.order.u32(header, 16);
                let known = extra & 0x0fff_00f0 == 0x0fbf_0000
                    && matches!(extra >> 28, 0x9 | 0xb)
                    && matches!(extra >> 12 & 0xf, 0xb | 0xd)
                    && matches!(extra >> 8 & 0xf, 0x6 | 0x9)
                    && matches!(extra & 0xf, 1 | 2);
                u32::from(!known)
            }
        }
    }
}

/// The file header's link field: the type in the lower half; above it the FCS length, which leaves lengths as stated.
fn link_of(network: u32) -> LinkType {
    const RESERVED: u32 = 0x03ff_0000;
    if network & RESERVED == 0 { LinkType::from_file(network as u16) } else { LinkType::UNKNOWN }
}

/// AIX writes interface types of RFC 1573 where others write link types.
fn aix_link(network: u32) -> Option<LinkType> {
    match network {
        6 => Some(LinkType::ETHERNET),
        9 => Some(LinkType::IEEE802_5),
        15 => Some(LinkType::FDDI),
        24 => Some(LinkType::NULL),
        _ => None,
    }
}
