//! Of which packets the first bytes of the payload are wanted.

use super::{Packet, UDP_HEADER, proto};
use crate::abi::EventKind;

/// A payload whose first bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub kind: EventKind,
    /// Its offset in the frame.
    pub at: u32,
    /// Its length as the headers state it, bytes.
    pub len: u32,
}

/// Whether the payload of `packet`, which ends at offset `end`, may say what the flow is about: names that are asked for, the
/// begin of a QUIC connection, the first segments of a TCP connection, and any segment that looks like the begin of a
/// message.
///
/// `opening`: the connection began in this generation, a few packets ago. `begin` says what [`begins`] says of the four bytes at
/// an offset (zeros where there are none); it is asked at most once.
#[inline(always)]
pub fn wanted(packet: &Packet, end: u32, opening: bool, begin: impl FnOnce(EventKind, u32) -> bool) -> Option<Wanted> {
    if packet.is_segment {
        let len = packet.segment.payload;
        let at = end.wrapping_sub(len);
        return if len != 0 && (opening || begin(EventKind::Stream, at)) {
            Some(Wanted { kind: EventKind::Stream, at, len })
        } else {
            None
        };
    }
    if packet.key.proto != proto::UDP || packet.l4_offset == 0 {
        return None;
    }
    let at = packet.l4_offset + UDP_HEADER;
    let (source, destination) = (packet.key.src_port, packet.key.dst_port);
    if is_names(destination) || is_names(source) || (destination == HTTPS && begin(EventKind::Datagram, at)) {
        return Some(Wanted { kind: EventKind::Datagram, at, len: end.saturating_sub(at) });
    }
    None
}

/// Whether a payload that begins with `first` is likely to begin a message: of a stream one that dissectors read, of a datagram
/// to port 443 a connection.
#[inline(always)]
pub const fn begins(kind: EventKind, first: [u8; 4]) -> bool {
    match kind {
        EventKind::Stream => begins_message(first),
        EventKind::Datagram => begins_quic(first),
    }
}

const HTTPS: u16 = 443;

/// DNS, multicast DNS (RFC 6762), LLMNR (RFC 4795).
#[inline(always)]
const fn is_names(port: u16) -> bool {
    matches!(port, 53 | 5353 | 5355)
}

/// An Initial packet of QUIC version 1 (RFC 9000 section 17.2.2).
#[inline(always)]
const fn begins_quic([first, a, b, c]: [u8; 4]) -> bool {
    first & 0xf0 == 0xc0 && a == 0 && b == 0 && c == 0
}

/// A word that a message may begin with, as [`begins_message`] compares it.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

/// Whether a TCP segment whose payload begins with `first` is likely to begin a message of a protocol that dissectors read:
/// a request or response of HTTP/1.x (RFC 9110 section 9, RFC 5789, RFC 4918) or a handshake of TLS (RFC 8446 section 5.1).
///
/// A guess that costs a few comparisons; what is made of the message is the dissector's matter.
#[inline(always)]
const fn begins_message(first: [u8; 4]) -> bool {
    const HANDSHAKE: u32 = 0x0316;
    const GET: u32 = word(*b"GET ");
    const POST: u32 = word(*b"POST");
    const HEAD: u32 = word(*b"HEAD");
    const PUT: u32 = word(*b"PUT ");
    const DELETE: u32 = word(*b"DELE");
    const OPTIONS: u32 = word(*b"OPTI");
    const PATCH: u32 = word(*b"PATC");
    const CONNECT: u32 = word(*b"CONN");
    const TRACE: u32 = word(*b"TRAC");
    const PROPFIND: u32 = word(*b"PROP");
    const RESPONSE: u32 = word(*b"HTTP");
    let first = word(first);
    if first & 0xffff == HANDSHAKE {
        return true;
    }
    matches!(first, GET | POST | HEAD | PUT | DELETE | OPTIONS | PATCH | CONNECT | TRACE | PROPFIND | RESPONSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::FlowKey;
    use crate::wire::Segment;

    #[test]
    fn messages_are_told_from_what_is_in_them_by_four_bytes() {
        for begins in [b"GET ", b"POST", b"HTTP", b"CONN", b"\x16\x03\x01\x02", b"\x16\x03\x03\x00"] {
            assert!(begins_message(*begins), "{begins:?}");
        }
        // Application data of TLS, a method in the middle, a body, another case.
        for goes_on in [b"\x17\x03\x03\x40", b"ET /", b"<htm", b"get ", b"\x16\x02\x00\x00"] {
            assert!(!begins_message(*goes_on), "{goes_on:?}");
        }
    }

    #[test]
    fn segments_are_wanted_when_they_open_a_connection_or_begin_a_message() {
        let key = FlowKey { proto: proto::TCP, dst_port: 8080, ..FlowKey::default() };
        let segment = Segment { payload: 100, ..Segment::default() };
        let packet = Packet { key, l4_offset: 34, l3_end: 154, is_segment: true, segment, ..Packet::default() };
        let stream = Some(Wanted { kind: EventKind::Stream, at: 54, len: 100 });
        let get = |kind, at| begins(kind, if at == 54 { *b"GET " } else { [0; 4] });
        assert_eq!(wanted(&packet, 154, false, get), stream);
        assert_eq!(wanted(&packet, 154, true, |_, _| false), stream);
        assert_eq!(wanted(&packet, 154, false, |kind, _| begins(kind, *b"abcd")), None);
        let bare = Packet { segment: Segment::default(), ..packet };
        assert_eq!(wanted(&bare, 54, true, get), None);
    }

    #[test]
    fn datagrams_are_wanted_by_their_ports_and_those_of_quic_by_their_first_bytes() {
        let packet = |src_port, dst_port| Packet {
            key: FlowKey { proto: proto::UDP, src_port, dst_port, ..FlowKey::default() },
            l4_offset: 34,
            ..Packet::default()
        };
        let datagram = Some(Wanted { kind: EventKind::Datagram, at: 42, len: 58 });
        for (source, destination) in [(9, 53), (53, 9), (5353, 5353), (9, 5355)] {
            assert_eq!(wanted(&packet(source, destination), 100, false, |_, _| false), datagram);
        }
        assert_eq!(wanted(&packet(9, 443), 100, false, |kind, _| begins(kind, [0xc3, 0, 0, 0])), datagram);
        for (source, destination, first) in [(9, 443, 0x43), (443, 9, 0xc3), (9, 444, 0xc3)] {
            let begin = |kind, _| begins(kind, [first, 0, 0, 0]);
            assert_eq!(wanted(&packet(source, destination), 100, false, begin), None);
        }
    }
}
