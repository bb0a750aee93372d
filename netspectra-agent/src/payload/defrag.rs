//! Puts fragmented IP datagrams together, within bounds. Sources: RFC 791 section 3.2, RFC 8200 section 4.5.

use netspectra_common::abi::Family;
use netspectra_common::dissect::Recent;
use netspectra_common::wire::{Packet, proto};

/// Datagrams in pieces at the same time; with 64 KiB each the bound on memory is 32 MiB.
const DATAGRAMS: usize = 512;
/// Pieces of one datagram.
const PIECES: usize = 128;
/// Time after which the pieces of a datagram that is not complete are given up (RFC 8200: 60 s).
const TIMEOUT_NS: u64 = 60_000_000_000;
/// The longest IPv4 packet.
const LONGEST: usize = 0xffff;
/// Extension headers before the fragment header.
const MAX_EXTENSIONS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    src: [u8; 16],
    dst: [u8; 16],
    family: u8,
    /// IPv4 tells datagrams apart by protocol too.
    proto: u8,
    id: u32,
}

struct Datagram {
    since: u64,
    /// IP header of the first fragment, as a whole packet would have it, but for its length.
    header: Option<Vec<u8>>,
    /// Length of what is behind the header, known from the last fragment.
    total: Option<usize>,
    /// `(offset, bytes)`, sorted; overlapping ones too.
    pieces: Vec<(usize, Vec<u8>)>,
}

/// A fragment, as its header states it.
struct Piece<'a> {
    id: Id,
    offset: usize,
    more: bool,
    header: Vec<u8>,
    bytes: &'a [u8],
}

/// Datagrams in pieces.
pub(super) struct Defrag {
    datagrams: Recent<Id, Datagram>,
}

impl Defrag {
    pub(super) fn new() -> Self {
        Self { datagrams: Recent::new(DATAGRAMS) }
    }

    /// Takes a fragment, `packet` in `frame`; returns the whole IP packet (IP header first) when it is complete.
    ///
    /// Of bytes that come twice the first copy counts. A fragment that was not captured whole is left out.
    pub(super) fn add(&mut self, packet: &Packet, frame: &[u8], at: u64) -> Option<Vec<u8>> {
        let from = packet.l3_end.checked_sub(packet.l3_len)? as usize;
        let ip = frame.get(from..packet.l3_end as usize)?;
        let piece = if packet.key.family == Family::V4 as u8 { piece_v4(ip)? } else { piece_v6(ip)? };
        if piece.offset + piece.bytes.len() > LONGEST {
            return None;
        }
        let fresh = || Datagram { since: at, header: None, total: None, pieces: Vec::new() };
        if self.datagrams.use_mut(&piece.id).is_none_or(|d| at.saturating_sub(d.since) > TIMEOUT_NS) {
            self.datagrams.insert(piece.id, fresh());
        }
        let datagram = self.datagrams.use_mut(&piece.id)?;
        if piece.offset == 0 {
            datagram.header.get_or_insert(piece.header);
        }
        if !piece.more {
            datagram.total.get_or_insert(piece.offset + piece.bytes.len());
        }
        if datagram.pieces.len() >= PIECES || piece.bytes.is_empty() {
            return None;
        }
        let place = datagram.pieces.partition_point(|(offset, _)| *offset <= piece.offset);
        datagram.pieces.insert(place, (piece.offset, piece.bytes.to_vec()));
        let whole = whole(datagram)?;
        self.datagrams.remove(&piece.id);
        Some(whole)
    }
}

/// The packet, if all of it is there.
fn whole(datagram: &Datagram) -> Option<Vec<u8>> {
    let (header, total) = (datagram.header.as_ref()?, datagram.total?);
    let mut packet = header.clone();
    packet.reserve(total);
    let mut have = 0usize;
    for (offset, bytes) in &datagram.pieces {
        let old = have.checked_sub(*offset)?;
        if let Some(fresh) = bytes.get(old..) {
            packet.extend_from_slice(fresh);
            have += fresh.len();
        }
    }
    if have < total {
        return None;
    }
    packet.truncate(header.len() + total);
    let (place, len) = match packet.first()? >> 4 {
        4 => (2, packet.len()),
        _ => (4, total),
    };
    let len = u16::try_from(len).ok()?;
    packet.get_mut(place..place + 2)?.copy_from_slice(&len.to_be_bytes());
    Some(packet)
}

fn padded(address: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(address).for_each(|(to, from)| *to = *from);
    out
}

fn piece_v4(ip: &[u8]) -> Option<Piece<'_>> {
    let h: &[u8; 20] = ip.first_chunk()?;
    let header_len = usize::from(h[0] & 0x0f) * 4;
    let mut header = ip.get(..header_len)?.to_vec();
    let field = u16::from_be_bytes([h[6], h[7]]);
    header.get_mut(6..8)?.fill(0);
    Some(Piece {
        id: Id {
            src: padded(&h[12..16]),
            dst: padded(&h[16..20]),
            family: Family::V4 as u8,
            proto: h[9],
            id: u32::from(u16::from_be_bytes([h[4], h[5]])),
        },
        offset: usize::from(field & 0x1fff) * 8,
        more: field & 0x2000 != 0,
        header,
        bytes: ip.get(header_len..)?,
    })
}

fn piece_v6(ip: &[u8]) -> Option<Piece<'_>> {
    let h: &[u8; 40] = ip.first_chunk()?;
    let (mut next, mut at) = (h[6], 40);
    for _ in 0..MAX_EXTENSIONS {
        let e: &[u8; 8] = ip.get(at..)?.first_chunk()?;
        if next == proto::FRAGMENT {
            let field = u16::from_be_bytes([e[2], e[3]]);
            // The extension headers before the fragment header say nothing about the payload: they are left out.
            let mut header = h.to_vec();
            *header.get_mut(6)? = e[0];
            return Some(Piece {
                id: Id {
                    src: padded(&h[8..24]),
                    dst: padded(&h[24..40]),
                    family: Family::V6 as u8,
                    proto: 0,
                    id: u32::from_be_bytes([e[4], e[5], e[6], e[7]]),
                },
                offset: usize::from(field & 0xfff8),
                more: field & 1 != 0,
                header,
                bytes: ip.get(at + 8..)?,
            });
        }
        at += match next {
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => (usize::from(e[1]) + 1) * 8,
            proto::AH => (usize::from(e[1]) + 2) * 4,
            _ => return None,
        };
        next = e[0];
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use netspectra_common::wire::{Fragment, link};

    /// Fragment of a UDP datagram of 24 bytes (header included), `from..to` of it.
    fn v4(from: usize, to: usize) -> Vec<u8> {
        let datagram: Vec<u8> = (0..24).collect();
        let flags = if to == 24 { 0 } else { 0x20u8 };
        let mut p = vec![0x45, 0, 0, (20 + to - from) as u8, 0, 9, flags, (from / 8) as u8, 64, 17, 0, 0];
        p.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        p.extend(&datagram[from..to]);
        p
    }

    fn v6(from: usize, to: usize) -> Vec<u8> {
        let datagram: Vec<u8> = (0..24).collect();
        // A destination options header before the fragment header.
        let mut p = vec![0x60, 0, 0, 0, 0, (16 + to - from) as u8, proto::DESTINATION, 64];
        p.extend([1; 16]);
        p.extend([2; 16]);
        p.extend([proto::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        p.extend([17, 0, 0, (from as u8) | u8::from(to != 24), 0, 0, 0, 5]);
        p.extend(&datagram[from..to]);
        p
    }

    fn parse(ip: &[u8]) -> Packet {
        let mut packet = Packet::default();
        link::parse(link::RAW, &ip, ip.len() as u32, &mut packet).unwrap();
        packet
    }

    #[test]
    fn any_order_and_overlap_give_the_whole_packet_once() {
        for make in [v4, v6] {
            for order in [[(0, 8), (8, 16), (16, 24)], [(16, 24), (0, 16), (8, 16)], [(8, 24), (8, 16), (0, 16)]] {
                let mut defrag = Defrag::new();
                let packets: Vec<_> =
                    order.iter().map(|(from, to)| make(*from, *to)).map(|p| defrag.add(&parse(&p), &p, 1)).collect();
                let all: Vec<_> = packets.into_iter().flatten().collect();
                assert_eq!(all.len(), 1, "{order:?}");
                let parsed = parse(&all[0]);
                assert_eq!((parsed.fragment, parsed.key.proto, parsed.key.src_port), (Fragment::No, 17, 0x0001));
                assert_eq!(&all[0][parsed.l4_offset as usize..], (0..24).collect::<Vec<u8>>());
                assert_eq!(all[0].len(), parsed.l3_end as usize);
            }
        }
    }

    #[test]
    fn pieces_of_another_datagram_or_from_long_ago_are_not_mixed_in() {
        let mut defrag = Defrag::new();
        let (first, mut second) = (v4(0, 8), v4(8, 24));
        assert!(defrag.add(&parse(&first), &first, 1).is_none());
        second[5] = 10;
        assert!(defrag.add(&parse(&second), &second, 2).is_none(), "another identification");
        second[5] = 9;
        assert!(defrag.add(&parse(&second), &second, 2 + TIMEOUT_NS).is_none(), "too late");
        assert!(defrag.add(&parse(&second[..30]), &second[..30], 3).is_none(), "not captured whole");
    }
}
