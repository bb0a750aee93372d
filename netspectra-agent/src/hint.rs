//! First bytes of payloads, as the kernel programs send them and user space keeps them: hints, never counts.

use netspectra_common::abi::{EventHead, EventKind, PREFIX_LEN};
use netspectra_common::model::{FlowKey, Nanos};
use netspectra_common::wire::{Packet, begins, wanted};

/// Hints kept between two drains.
const MOST: usize = 16_384;

/// The first bytes of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// When the packet was seen, Unix time.
    pub at: Nanos,
    /// The packet's flow.
    pub key: FlowKey,
    /// For a TCP segment the sequence number of the first byte; `None` for a datagram.
    pub seq: Option<u32>,
    /// Length of the payload, bytes.
    pub len: u32,
    /// As much of it as was kept, at most [`PREFIX_LEN`].
    pub prefix: Vec<u8>,
}

impl Hint {
    /// The hint in a record of the ring buffer; `offset` turns its clock into Unix time. `None` for a record that no program of
    /// this version makes.
    pub(crate) fn of_record(record: &[u8], offset: u64) -> Option<Self> {
        let (head, prefix) = EventHead::split(record)?;
        let seq = seq_of(EventKind::from_raw(head.kind)?, head.seq);
        let at = Nanos(head.seen_at.wrapping_add(offset));
        Some(Self { at, key: head.key, seq, len: head.payload_len, prefix: prefix.to_vec() })
    }
}

/// The sequence number of what has one.
const fn seq_of(kind: EventKind, seq: u32) -> Option<u32> {
    match kind {
        EventKind::Datagram => None,
        EventKind::Stream => Some(seq),
    }
}

/// What was kept since the last drain.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    kept: Vec<Hint>,
}

impl Hints {
    /// Keeps the first bytes of a payload if they are wanted; `opening` as for [`wanted`]. Returns `false` when they are and
    /// there was no room for them.
    #[inline]
    pub(crate) fn packet(&mut self, packet: &Packet, opening: bool, data: &[u8], at: u64) -> bool {
        let first = |at: u32| data.get(at as usize..).and_then(|d| d.first_chunk()).copied().unwrap_or_default();
        let begin = |kind, at| begins(kind, first(at));
        let Some(wanted) = wanted(packet, packet.l3_end, opening, begin) else { return true };
        if self.kept.len() >= MOST {
            return false;
        }
        let there = data.get(wanted.at as usize..).unwrap_or_default();
        let prefix = there[..there.len().min(wanted.len as usize).min(PREFIX_LEN)].to_vec();
        let seq = seq_of(wanted.kind, packet.segment.seq);
        self.kept.push(Hint { at: Nanos(at), key: packet.key, seq, len: wanted.len, prefix });
        true
    }

    /// Takes what was kept.
    pub(crate) fn drain(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use netspectra_common::wire::proto;
    use zerocopy::IntoBytes as _;

    #[test]
    fn hints_are_kept_up_to_their_bounds_and_nothing_else_is() {
        let key = FlowKey { proto: proto::UDP, dst_port: 53, ..FlowKey::default() };
        let dns = Packet { key, l4_offset: 34, l3_end: 34 + 8 + 3000, ..Packet::default() };
        let web = Packet { key: FlowKey { dst_port: 443, ..key }, ..dns };
        let (mut hints, data) = (Hints::default(), vec![7; 4096]);
        let mut packet = |packet, data: &[u8], at| hints.packet(packet, false, data, at);
        assert!(packet(&web, &data, 1) && packet(&dns, &data, 2) && packet(&dns, &data[..50], 3));
        let kept: Vec<(u64, u32, usize)> = hints.drain().iter().map(|p| (p.at.0, p.len, p.prefix.len())).collect();
        assert_eq!(kept, [(2, 3000, PREFIX_LEN), (3, 3000, 8)]);
        let room = (0..=MOST).filter(|_| hints.packet(&dns, false, &data, 4)).count();
        assert_eq!((room, hints.drain().len()), (MOST, MOST));
    }

    #[test]
    fn a_record_is_a_hint_when_it_holds_what_it_says() {
        let head = |kind, prefix_len| EventHead {
            key: FlowKey { dst_port: 80, ..FlowKey::default() },
            seen_at: 5,
            payload_len: 900,
            seq: 77,
            prefix_len,
            kind,
            reserved: [0; 5],
        };
        let record = |kind, prefix_len| [head(kind, prefix_len).as_bytes(), b"GET / HTTP/1.1"].concat();
        let hint = Hint::of_record(&record(2, 4), 100).unwrap();
        assert_eq!((hint.at, hint.seq, hint.len, hint.prefix), (Nanos(105), Some(77), 900, b"GET ".to_vec()));
        assert_eq!(Hint::of_record(&record(1, 0), 0).unwrap().seq, None);
        assert_eq!(Hint::of_record(&record(2, 15), 0), None, "shorter than it says");
        assert_eq!(Hint::of_record(&record(3, 4), 0), None, "of an unknown kind");
        assert_eq!(Hint::of_record(&record(2, 4)[..71], 0), None, "half a head");
    }
}
