//! One flow: its session, and for TCP the two streams.

use super::stream::{Part, Pushed, Segment, Stream};
use netspectra_common::dissect::{Next, Session, Side, reversed};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::wire::Packet;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Hands on what a session says: the sender's key, the time, the message.
pub(super) type Say<'a> = &'a mut dyn FnMut(&FlowKey, Nanos, Observation);

/// What a TCP segment says (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp<'a> {
    ack: u32,
    flags: u8,
    /// `seq` is that of the first payload byte.
    payload: Segment<'a>,
}

impl<'a> Tcp<'a> {
    /// The segment of `packet` in `frame`; `None` when its header was not captured or contradicts itself.
    pub(super) fn parse(packet: &Packet, frame: &'a [u8], at: Nanos) -> Option<Self> {
        let header = packet.l4_offset as usize;
        let h: &[u8; 20] = frame.get(header..)?.first_chunk()?;
        let header_len = usize::from(h[12] >> 4) * 4;
        let len = (packet.l3_end as usize).checked_sub(header)?.checked_sub(header_len)?;
        if header_len < 20 {
            return None;
        }
        let there = frame.get(header + header_len..).unwrap_or_default();
        let bytes = there.get(..len).unwrap_or(there);
        let flags = h[13];
        let seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        let seq = if flags & SYN != 0 { seq.wrapping_add(1) } else { seq };
        let ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
        Some(Self { ack, flags, payload: Segment { seq, bytes, cut: (len - bytes.len()) as u32, at } })
    }

    /// A piece of a stream: `bytes` are the first of `len`, the first one has the number `seq`.
    pub(super) fn piece(seq: u32, bytes: &'a [u8], len: u32, at: Nanos) -> Self {
        let cut = len.saturating_sub(bytes.len() as u32);
        Self { ack: 0, flags: 0, payload: Segment { seq, bytes, cut, at } }
    }

    /// Whether it is more than a bare acknowledgement.
    pub(super) fn changes_anything(&self) -> bool {
        self.flags & (SYN | FIN | RST) != 0 || self.len() > 0
    }

    pub(super) fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    pub(super) fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }

    pub(super) fn is_syn_ack(&self) -> bool {
        self.flags & (SYN | ACK) == SYN | ACK
    }

    fn len(&self) -> u32 {
        self.payload.bytes.len() as u32 + self.payload.cut
    }
}

/// A flow.
pub(super) struct Connection {
    /// Whether [`Side::Forward`] is the flow's own direction.
    forward_is_own: bool,
    reader: Reader,
    /// Streams by [`Side`]; only TCP has them.
    streams: Option<[Stream; 2]>,
}

/// Who reads what comes.
struct Reader {
    /// `None` when nothing on it is of interest any more.
    session: Option<Box<dyn Session>>,
    /// Key of [`Side::Forward`].
    forward: FlowKey,
    /// Only pieces of the streams come, see [`Connection::pieces`].
    is_pieces: bool,
    last: Nanos,
}

impl Connection {
    /// A TCP connection that `forward` began.
    pub(super) fn tcp(session: Option<Box<dyn Session>>, forward: FlowKey, forward_is_own: bool) -> Self {
        let streams = Some(Default::default());
        Self { streams, ..Self::udp(session, forward, forward_is_own) }
    }

    /// A TCP connection of which only those pieces come in which something seems to begin; the first one came from `forward`.
    pub(super) fn pieces(session: Option<Box<dyn Session>>, forward: FlowKey, forward_is_own: bool) -> Self {
        let mut connection = Self::tcp(session, forward, forward_is_own);
        connection.reader.is_pieces = true;
        connection
    }

    /// Datagrams, the first of which had the key `forward`.
    pub(super) fn udp(session: Option<Box<dyn Session>>, forward: FlowKey, forward_is_own: bool) -> Self {
        let reader = Reader { session, forward, is_pieces: false, last: Nanos(0) };
        Self { forward_is_own, reader, streams: None }
    }

    /// Whether nothing on it is of interest any more.
    pub(super) fn is_over(&self) -> bool {
        self.reader.session.is_none()
    }

    /// Whether only pieces of it come.
    pub(super) fn is_pieces(&self) -> bool {
        self.reader.is_pieces
    }

    /// Who sent a packet whose direction is the flow's `own` one, or the other.
    fn side(&self, own: bool) -> Side {
        if own == self.forward_is_own { Side::Forward } else { Side::Reverse }
    }

    /// Bytes that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.streams.as_ref().map_or(0, |s| s.iter().map(Stream::held_bytes).sum())
    }

    /// Whether `segment` begins another connection between the same ports.
    pub(super) fn is_replaced_by(&self, own: bool, segment: &Tcp<'_>) -> bool {
        let Some(streams) = &self.streams else { return false };
        if segment.flags & SYN == 0 {
            return false;
        }
        let stream = &streams[self.side(own) as usize];
        match stream.isn {
            Some(isn) => isn != segment.payload.seq.wrapping_sub(1),
            None => stream.next.is_some() && segment.flags & ACK == 0,
        }
    }

    /// Whether `seq` is so far before what came last that it is of another connection between the same ports.
    pub(super) fn is_far_behind(&self, own: bool, seq: u32) -> bool {
        const FAR: u32 = 1 << 20;
        let Some(streams) = &self.streams else { return false };
        let next = streams[self.side(own) as usize].next;
        next.is_some_and(|next| next.wrapping_sub(seq).cast_signed() > 0 && next.wrapping_sub(seq) > FAR)
    }

    /// Takes a datagram of `len` bytes.
    pub(super) fn datagram(&mut self, own: bool, bytes: &[u8], len: u32, at: Nanos, say: Say<'_>) {
        let side = self.side(own);
        let reader = &mut self.reader;
        let Some(session) = &mut reader.session else { return };
        let key = key_of(&reader.forward, side);
        if session.datagram(side, bytes, len, at, &mut |what| say(&key, at, what)) == Next::Done {
            reader.session = None;
        }
    }

    /// Takes a TCP segment; at most `room` bytes may wait.
    pub(super) fn segment(&mut self, own: bool, segment: &Tcp<'_>, room: usize, say: Say<'_>) -> Pushed {
        let side = self.side(own);
        let Self { reader, streams, .. } = self;
        reader.last = reader.last.max(segment.payload.at);
        let mut pushed = Pushed::default();
        let Some([forward, reverse]) = streams else { return pushed };
        let (stream, other) = if side == Side::Forward { (forward, reverse) } else { (reverse, forward) };
        if segment.flags & SYN != 0 {
            stream.begin(segment.payload.seq.wrapping_sub(1));
        }
        if reader.session.is_none() {
            return pushed;
        }
        if segment.flags & FIN != 0 {
            stream.finish_at(segment.payload.seq.wrapping_add(segment.len()));
        }
        if stream.next.is_none() && segment.len() > 0 {
            // A probe of one old byte (RFC 1122 section 4.2.3.6) is no place to begin.
            if segment.len() == 1 {
                return pushed;
            }
            reader.feed(side, Part::Gap(0), say);
        }
        if segment.len() > 0 || segment.flags & FIN != 0 {
            add(&mut pushed, stream.push(segment.payload, room, &mut |part| reader.feed(side, part, say)));
        }
        if segment.flags & ACK != 0 {
            let at = segment.payload.at;
            let out = &mut |part: Part<'_>| reader.feed(side.other(), part, say);
            add(&mut pushed, other.acknowledged(segment.ack, at, out));
        }
        if segment.is_reset() {
            add(&mut pushed, stream.flush(&mut |part| reader.feed(side, part, say)));
            add(&mut pushed, other.flush(&mut |part| reader.feed(side.other(), part, say)));
            reader.session = None;
        }
        if stream.has_ended() && other.has_ended() {
            reader.session = None;
        }
        if reader.session.is_none() {
            stream.forget();
            other.forget();
        }
        pushed
    }

    /// Gives out everything that waits, and ends the session.
    pub(super) fn flush(&mut self, say: Say<'_>) -> Pushed {
        let Self { reader, streams, .. } = self;
        let mut pushed = Pushed::default();
        match streams.take() {
            Some([mut forward, mut reverse]) => {
                add(&mut pushed, forward.flush(&mut |part| reader.feed(Side::Forward, part, say)));
                add(&mut pushed, reverse.flush(&mut |part| reader.feed(Side::Reverse, part, say)));
            }
            None => {
                reader.feed(Side::Forward, Part::End, say);
                reader.feed(Side::Reverse, Part::End, say);
            }
        }
        reader.session = None;
        pushed
    }
}

impl Reader {
    fn feed(&mut self, side: Side, part: Part<'_>, say: Say<'_>) {
        let Some(session) = &mut self.session else { return };
        let (key, last) = (key_of(&self.forward, side), self.last);
        let next = match part {
            Part::Bytes(bytes, at) => session.stream(side, bytes, at, &mut |what| say(&key, at, what)),
            Part::Gap(missing) if self.is_pieces => session.left_out(side, missing),
            Part::Gap(missing) => session.gap(side, missing),
            Part::End => {
                session.end(side, &mut |what| say(&key, last, what));
                Next::More
            }
        };
        if next == Next::Done {
            self.session = None;
        }
    }
}

/// The key of what `side` sends.
fn key_of(forward: &FlowKey, side: Side) -> FlowKey {
    if side == Side::Forward { *forward } else { reversed(forward) }
}

fn add(sum: &mut Pushed, more: Pushed) {
    sum.repeated += more.repeated;
    sum.missing += more.missing;
}
