//! pcapng: sections, interfaces, and the blocks that carry packets.
//!
//! Blocks of other kinds, known or not, are skipped at any length. Where the specification is broken in a way that
//! leaves the frame itself whole (a length that is no multiple of four, options that run over the block's end), the
//! frame is read. Source: draft-ietf-opsawg-pcapng.

use super::error::Fault;
use super::interface::{CaptureInterface, TickClock, TsResolution};
use super::window::{Order, Window};
use super::{LinkType, Record};
use netspectra_common::model::{Direction, Nanos};

mod block;
use block::{BlockHeader, Options, padded};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_IF_TSOFFSET: u16 = 14;
/// `epb_flags` and `pack_flags`: the same bits.
const OPTION_PACKET_FLAGS: u16 = 2;

/// A file may define interfaces without end; memory may not.
const MAX_INTERFACES: usize = 65_536;
/// Options are looked at up to this many bytes; what is beyond is skipped.
const MAX_OPTIONS: usize = 64 * 1024;
const MAX_NAME_CHARS: usize = 128;

pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<CaptureInterface>,
    clocks: Vec<TickClock>,
    /// Index of the current section's interface 0.
    section_start: usize,
    /// Time of the last packet that had one.
    last_ts: Nanos,
    /// End of a block with huge options: bytes to skip before the next one.
    pending: u64,
}

/// Whether `head` (12 bytes of it) starts a section.
pub(super) fn recognise(head: &[u8]) -> bool {
    Order::Big.u32(head, 0) == SECTION_HEADER && section_order(head).is_some()
}

fn section_order(head: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| order.u32(head, 8) == BYTE_ORDER_MAGIC)
}

/// The fixed part of a packet block, whichever of the three kinds it is.
struct PacketBlock {
    kind: &'static str,
    /// Bytes before the frame.
    head_len: usize,
    interface: u32,
    /// `None` for the kind that has no timestamp, and no options either.
    ticks: Option<u64>,
    captured: u32,
    orig_len: u32,
}

impl Pcapng {
    /// Reads the first section's header and the interfaces that follow it directly.
    pub(super) fn open(w: &mut Window) -> Result<Self, Box<Fault>> {
        let mut pcapng = Self {
            order: Order::Little,
            interfaces: Vec::new(),
            clocks: Vec::new(),
            section_start: 0,
            last_ts: Nanos(0),
            pending: 0,
        };
        pcapng.section(w)?;
        Ok(pcapng)
    }

    pub(super) fn describe(&self) -> String {
        format!("pcapng, {}", self.order.name())
    }

    pub(super) fn interfaces(&self) -> &[CaptureInterface] {
        &self.interfaces
    }

    pub(super) fn next(&mut self, w: &mut Window) -> Result<Option<Record>, Box<Fault>> {
        let pending = std::mem::take(&mut self.pending);
        if pending != 0 && !w.skip(pending) {
            let offset = w.offset();
            return Err(w.short("pcapng block's options", offset, 1));
        }
        loop {
            if !w.fill(8) {
                if w.at_end()? {
                    return Ok(None);
                }
                let offset = w.offset();
                return Err(w.short("pcapng block header", offset, 8));
            }
            let block = BlockHeader::read(w, self.order);
            match block.kind {
                // The same bytes in both orders.
                SECTION_HEADER => self.section(w)?,
                INTERFACE_DESCRIPTION => self.interface(w, block)?,
                ENHANCED_PACKET => return self.enhanced(w, block).map(Some),
                PACKET => return self.obsolete(w, block).map(Some),
                SIMPLE_PACKET => return self.simple(w, block).map(Some),
                _ => {
                    block.at_least(12, "pcapng block")?;
                    block.skip_rest(w, "pcapng block", self.order)?;
                }
            }
        }
    }

    fn section(&mut self, w: &mut Window) -> Result<(), Box<Fault>> {
        const KIND: &str = "pcapng section header";
        let offset = w.offset();
        if !w.fill(16) {
            return Err(w.short(KIND, offset, 28));
        }
        let Some(order) = section_order(w.unread()) else {
            let found = Order::Big.u32(w.unread(), 8);
            let what = format!("a {KIND} has the byte-order mark `{found:08x}`, expected `1a2b3c4d` in either order");
            return Err(Fault::structure(offset, what));
        };
        let (major, minor) = (order.u16(w.unread(), 12), order.u16(w.unread(), 14));
        if major != 1 {
            return Err(Fault::structure(
                offset,
                format!("pcapng version `{major}.{minor}` is not known, expected 1.x"),
            ));
        }
        let block = BlockHeader::read(w, order);
        block.at_least(28, KIND)?;
        block.skip_rest(w, KIND, order)?;
        self.order = order;
        self.section_start = self.interfaces.len();
        Ok(())
    }

    fn interface(&mut self, w: &mut Window, block: BlockHeader) -> Result<(), Box<Fault>> {
        const KIND: &str = "pcapng interface description";
        block.at_least(20, KIND)?;
        if self.interfaces.len() == MAX_INTERFACES {
            let what = format!("it describes more than {MAX_INTERFACES} interfaces, split it into several files");
            return Err(Fault::structure(block.offset, what));
        }
        let looked_at = (block.len - 4).min(16 + MAX_OPTIONS as u64) as usize;
        if !w.fill(looked_at) {
            return Err(w.short(KIND, block.offset, block.len));
        }
        let body = &w.unread()[..looked_at];
        let order = self.order;
        let mut interface = CaptureInterface {
            name: None,
            link: LinkType::from_file(order.u16(body, 8)),
            snaplen: order.u32(body, 12),
            ts_resolution: TsResolution::MICROS,
        };
        let mut offset_secs = 0;
        for (code, value) in Options::new(&body[16..], order) {
            match (code, value) {
                (OPTION_IF_NAME, name) if interface.name.is_none() => interface.name = clean_name(name),
                (OPTION_IF_TSRESOL, &[byte]) => interface.ts_resolution = TsResolution::from_option(byte),
                (OPTION_IF_TSOFFSET, value) if value.len() == 8 => {
                    let (a, b) = (u64::from(order.u32(value, 0)), u64::from(order.u32(value, 4)));
                    let bits = if order == Order::Little { b << 32 | a } else { a << 32 | b };
                    offset_secs = bits.cast_signed();
                }
                _ => {}
            }
        }
        block.skip_rest(w, KIND, order)?;
        self.clocks.push(TickClock::new(interface.ts_resolution, offset_secs));
        self.interfaces.push(interface);
        Ok(())
    }

    fn enhanced(&mut self, w: &mut Window, block: BlockHeader) -> Result<Record, Box<Fault>> {
        const KIND: &str = "pcapng enhanced packet block";
        block.head(w, 32, 28, KIND)?;
        let (b, order) = (w.unread(), self.order);
        let packet = PacketBlock {
            kind: KIND,
            head_len: 28,
            interface: order.u32(b, 8),
            ticks: Some(u64::from(order.u32(b, 12)) << 32 | u64::from(order.u32(b, 16))),
            captured: order.u32(b, 20),
            orig_len: order.u32(b, 24),
        };
        self.packet(w, block, &packet)
    }

    fn obsolete(&mut self, w: &mut Window, block: BlockHeader) -> Result<Record, Box<Fault>> {
        const KIND: &str = "pcapng packet block";
        block.head(w, 32, 28, KIND)?;
        let (b, order) = (w.unread(), self.order);
        let packet = PacketBlock {
            kind: KIND,
            head_len: 28,
            interface: order.u16(b, 8).into(),
            ticks: Some(u64::from(order.u32(b, 12)) << 32 | u64::from(order.u32(b, 16))),
            captured: order.u32(b, 20),
            orig_len: order.u32(b, 24),
        };
        self.packet(w, block, &packet)
    }

    fn simple(&mut self, w: &mut Window, block: BlockHeader) -> Result<Record, Box<Fault>> {
        const KIND: &str = "pcapng simple packet block";
        block.head(w, 16, 12, KIND)?;
        let orig_len = self.order.u32(w.unread(), 8);
        let snaplen = self.interfaces.get(self.section_start).map_or(0, |i| i.snaplen);
        let captured = if snaplen == 0 { orig_len } else { orig_len.min(snaplen) };
        let packet = PacketBlock { kind: KIND, head_len: 12, interface: 0, ticks: None, captured, orig_len };
        self.packet(w, block, &packet)
    }

    #[inline]
    fn packet(&mut self, w: &mut Window, block: BlockHeader, p: &PacketBlock) -> Result<Record, Box<Fault>> {
        let of_section = self.interfaces.len() - self.section_start;
        if p.interface as usize >= of_section {
            return Err(Fault::structure(
                block.offset,
                format!("a {} names interface `{}`, but its section describes {of_section}", p.kind, p.interface),
            ));
        }
        let index = self.section_start + p.interface as usize;
        let link = self.interfaces[index].link;
        let limit = link.max_captured();
        let captured = p.captured as usize;
        // What the frame needs, with its padding and the length at the block's end.
        let needed = (p.head_len + padded(captured) + 4) as u64;
        if p.captured > limit || needed > block.len {
            let room = u64::from(limit).min(block.len.saturating_sub(p.head_len as u64 + 4));
            let expected = format!("at most {room}");
            return Err(Fault::length(p.kind, "captured length", block.offset, p.captured.into(), expected));
        }
        let options_len = block.len - needed;
        let huge = options_len > MAX_OPTIONS as u64;
        let in_memory = if huge { p.head_len + padded(captured) + MAX_OPTIONS } else { block.len as usize };
        if !w.fill(in_memory) {
            return Err(w.short(p.kind, block.offset, block.len));
        }
        if !huge {
            block.check_end(&w.unread()[..in_memory], p.kind, self.order)?;
        }
        let direction = if options_len >= 8 && p.ticks.is_some() {
            let from = p.head_len + padded(captured);
            let to = from + (options_len as usize).min(MAX_OPTIONS);
            direction_of(&w.unread()[from..to], self.order)
        } else {
            None
        };
        if let Some(ticks) = p.ticks {
            self.last_ts = self.clocks[index].at(ticks);
        }
        let block_at = w.take(in_memory).start;
        self.pending = block.len - in_memory as u64;
        let start = block_at + p.head_len;
        let data = start..start + captured;
        Ok(Record { ts: self.last_ts, link, iface: index as u32, orig_len: p.orig_len, data, direction })
    }
}

fn direction_of(options: &[u8], order: Order) -> Option<Direction> {
    let (_, flags) = Options::new(options, order).find(|&(code, v)| code == OPTION_PACKET_FLAGS && v.len() == 4)?;
    match order.u32(flags, 0) & 3 {
        1 => Some(Direction::Ingress),
        2 => Some(Direction::Egress),
        _ => None,
    }
}

/// A name fit to be shown: ends at the first NUL, has no control characters and a bounded length.
fn clean_name(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
    let bytes = &bytes[..bytes.len().min(MAX_NAME_CHARS * 4)];
    let name: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(MAX_NAME_CHARS)
        .collect();
    (!name.is_empty()).then_some(name)
}
