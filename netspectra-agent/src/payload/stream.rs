//! One direction of a TCP connection: segments in any order in, bytes in order out.

use netspectra_common::model::Nanos;
use std::collections::VecDeque;

/// Segments that wait in one direction at most.
const MAX_SEGMENTS: usize = 1024;

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The next bytes.
    Bytes(&'a [u8], Nanos),
    /// So many bytes are missing.
    Gap(u64),
    /// Nothing follows.
    End,
}

/// A segment's payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    /// Sequence number of the first byte.
    pub(super) seq: u32,
    /// What was captured.
    pub(super) bytes: &'a [u8],
    /// Bytes behind it that were not captured.
    pub(super) cut: u32,
    /// Time of the packet.
    pub(super) at: Nanos,
}

impl Segment<'_> {
    fn len(&self) -> u32 {
        self.bytes.len() as u32 + self.cut
    }
}

#[derive(Debug)]
struct Held {
    seq: u32,
    bytes: Vec<u8>,
    cut: u32,
    at: Nanos,
}

/// Puts segments in order. Sequence numbers wrap; all distances are signed 32-bit (RFC 9293 section 3.4).
///
/// Bytes that come again are dropped: the first copy counts. Bytes that come early wait, within bounds.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the SYN, when that was seen.
    pub(super) isn: Option<u32>,
    /// Number of the next byte to give out.
    pub(super) next: Option<u32>,
    /// Number after the last byte.
    fin: Option<u32>,
    ended: bool,
    /// What waits, in order; on most streams nothing ever does.
    #[allow(clippy::box_collection, reason = "a quarter of the size, in each of many connections twice")]
    held: Option<Box<VecDeque<Held>>>,
    held_bytes: usize,
}

/// What happened to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Bytes that had been given out, or waited, already.
    pub(super) repeated: u64,
    /// Bytes given up as missing.
    pub(super) missing: u64,
}

impl Stream {
    /// Bytes that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether nothing follows.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The stream begins after the SYN with number `seq`.
    pub(super) fn begin(&mut self, seq: u32) {
        self.isn = Some(seq);
        self.next.get_or_insert(seq.wrapping_add(1));
    }

    /// The last byte has the number before `seq`.
    pub(super) fn finish_at(&mut self, seq: u32) {
        self.fin.get_or_insert(seq);
    }

    /// Takes a segment. When more than `room` bytes would wait, what is missing before them is given up.
    pub(super) fn push(&mut self, segment: Segment<'_>, room: usize, out: &mut dyn FnMut(Part<'_>)) -> Pushed {
        let mut pushed = Pushed::default();
        if self.ended {
            pushed.repeated = u64::from(segment.len());
            return pushed;
        }
        let next = *self.next.get_or_insert(segment.seq);
        let ahead = segment.seq.wrapping_sub(next).cast_signed();
        if segment.len() > 0 && ahead > 0 {
            self.hold(segment, next);
            while self.held_bytes > room || self.waiting() > MAX_SEGMENTS {
                self.skip_hole(segment.at, &mut pushed, out);
            }
        } else if segment.len() > 0 {
            self.give(segment, &mut pushed, out);
            self.release(segment.at, &mut pushed, out);
        }
        self.end_if_complete(out);
        pushed
    }

    /// The other end has acknowledged all before `ack`: what is missing before it was there, but not captured.
    pub(super) fn acknowledged(&mut self, ack: u32, at: Nanos, out: &mut dyn FnMut(Part<'_>)) -> Pushed {
        let mut pushed = Pushed::default();
        while self.first_held().is_some_and(|h| ack.wrapping_sub(h.seq).cast_signed() >= 0) {
            self.skip_hole(at, &mut pushed, out);
        }
        self.end_if_complete(out);
        pushed
    }

    /// Gives out everything that waits, and ends.
    pub(super) fn flush(&mut self, out: &mut dyn FnMut(Part<'_>)) -> Pushed {
        let mut pushed = Pushed::default();
        while self.waiting() > 0 {
            self.skip_hole(Nanos(0), &mut pushed, out);
        }
        if !std::mem::replace(&mut self.ended, true) {
            out(Part::End);
        }
        pushed
    }

    /// Drops what waits: nobody reads this stream any more.
    pub(super) fn forget(&mut self) {
        self.held = None;
        self.held_bytes = 0;
        self.ended = true;
    }

    fn first_held(&self) -> Option<&Held> {
        self.held.as_ref()?.front()
    }

    /// Segments that wait.
    fn waiting(&self) -> usize {
        self.held.as_ref().map_or(0, |waiting| waiting.len())
    }

    fn hold(&mut self, segment: Segment<'_>, next: u32) {
        let distance = segment.seq.wrapping_sub(next);
        let waiting = self.held.get_or_insert_default();
        let at = waiting.partition_point(|h| h.seq.wrapping_sub(next) <= distance);
        self.held_bytes += segment.bytes.len();
        let held = Held { seq: segment.seq, bytes: segment.bytes.to_vec(), cut: segment.cut, at: segment.at };
        waiting.insert(at, held);
    }

    /// Gives up what is missing before the first segment that waits, and gives that out.
    fn skip_hole(&mut self, at: Nanos, pushed: &mut Pushed, out: &mut dyn FnMut(Part<'_>)) {
        if let (Some(first), Some(next)) = (self.first_held(), self.next) {
            let hole = first.seq.wrapping_sub(next);
            if hole.cast_signed() > 0 {
                pushed.missing += u64::from(hole);
                out(Part::Gap(u64::from(hole)));
                self.next = Some(first.seq);
            }
        }
        self.release(at, pushed, out);
    }

    /// Gives out what waits and is next.
    fn release(&mut self, at: Nanos, pushed: &mut Pushed, out: &mut dyn FnMut(Part<'_>)) {
        while let (Some(first), Some(next)) = (self.first_held(), self.next) {
            if first.seq.wrapping_sub(next).cast_signed() > 0 {
                break;
            }
            let Some(held) = self.held.as_mut().and_then(|waiting| waiting.pop_front()) else { break };
            self.held_bytes -= held.bytes.len();
            let segment = Segment { seq: held.seq, bytes: &held.bytes, cut: held.cut, at: held.at.max(at) };
            self.give(segment, pushed, out);
        }
    }

    /// Gives out the part of a segment that begins at or before `next` which is new.
    fn give(&mut self, segment: Segment<'_>, pushed: &mut Pushed, out: &mut dyn FnMut(Part<'_>)) {
        let Some(next) = self.next else { return };
        let old = next.wrapping_sub(segment.seq);
        pushed.repeated += u64::from(old.min(segment.len()));
        if old >= segment.len() {
            return;
        }
        let fresh = segment.bytes.get(old as usize..).unwrap_or_default();
        if !fresh.is_empty() {
            out(Part::Bytes(fresh, segment.at));
        }
        let missing = segment.len() - old - fresh.len() as u32;
        if missing > 0 {
            pushed.missing += u64::from(missing);
            out(Part::Gap(u64::from(missing)));
        }
        self.next = Some(segment.seq.wrapping_add(segment.len()));
    }

    fn end_if_complete(&mut self, out: &mut dyn FnMut(Part<'_>)) {
        if let (Some(next), Some(fin)) = (self.next, self.fin)
            && next.wrapping_sub(fin).cast_signed() >= 0
            && !self.ended
        {
            self.ended = true;
            self.held = None;
            self.held_bytes = 0;
            out(Part::End);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 1 << 20;

    /// What came out: bytes (`None` for a missing one), and whether it ended.
    #[derive(Default, Debug, PartialEq)]
    struct Out {
        bytes: Vec<Option<u8>>,
        ended: bool,
    }

    impl Out {
        fn take(&mut self, part: Part<'_>) {
            match part {
                Part::Bytes(b, _) => self.bytes.extend(b.iter().map(|b| Some(*b))),
                Part::Gap(n) => self.bytes.extend((0..n).map(|_| None)),
                Part::End => self.ended = true,
            }
        }

        fn text(&self) -> String {
            self.bytes.iter().map(|b| b.map_or('_', char::from)).collect()
        }
    }

    fn segment(seq: u32, bytes: &[u8]) -> Segment<'_> {
        Segment { seq, bytes, cut: 0, at: Nanos(1) }
    }

    #[test]
    fn order_repetition_and_overlap_are_put_right_across_the_wrap() {
        let (mut s, mut out) = (Stream::default(), Out::default());
        let isn = u32::MAX - 2;
        s.begin(isn);
        let first = isn.wrapping_add(1);
        let mut repeated = 0;
        for (offset, bytes) in [(4, &b"efgh"[..]), (0, b"abc"), (0, b"abc"), (2, b"cdef"), (8, b"ij")] {
            repeated += s.push(segment(first.wrapping_add(offset), bytes), ROOM, &mut |p| out.take(p)).repeated;
        }
        assert_eq!((out.text().as_str(), repeated, s.held_bytes()), ("abcdefghij", 3 + 1 + 2, 0));
        s.finish_at(first.wrapping_add(10));
        s.push(segment(first.wrapping_add(10), b""), ROOM, &mut |p| out.take(p));
        assert!(out.ended);
    }

    #[test]
    fn a_hole_is_given_up_when_it_was_acknowledged_or_too_much_waits_or_nothing_follows() {
        for case in 0..3 {
            let (mut s, mut out) = (Stream::default(), Out::default());
            s.begin(99);
            s.push(segment(100, b"ab"), ROOM, &mut |p| out.take(p));
            s.push(segment(105, b"fg"), ROOM, &mut |p| out.take(p));
            assert_eq!(out.text(), "ab");
            let pushed = match case {
                0 => {
                    assert_eq!(s.acknowledged(104, Nanos(2), &mut |p| out.take(p)).missing, 0);
                    s.acknowledged(107, Nanos(2), &mut |p| out.take(p))
                }
                1 => s.push(segment(108, b"i"), 2, &mut |p| out.take(p)),
                _ => s.flush(&mut |p| out.take(p)),
            };
            assert_eq!((out.text().as_str(), pushed.missing), ("ab___fg", 3), "case {case}");
        }
    }

    #[test]
    fn what_the_capture_cut_off_is_a_gap() {
        let (mut s, mut out) = (Stream::default(), Out::default());
        s.push(Segment { cut: 3, ..segment(7, b"ab") }, ROOM, &mut |p| out.take(p));
        s.push(segment(12, b"f"), ROOM, &mut |p| out.take(p));
        assert_eq!(out.text(), "ab___f");
    }

    proptest! {
        /// Every order of overlapping segments that cover everything gives the bytes.
        #[test]
        fn any_order_gives_the_same_bytes(
            isn: u32,
            len in 1usize..300,
            cuts in prop::collection::vec((0usize..300, 1usize..80), 0..40),
        ) {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (mut s, mut out) = (Stream::default(), Out::default());
            s.begin(isn);
            let first = isn.wrapping_add(1);
            s.finish_at(first.wrapping_add(len as u32));
            let whole = data.chunks(37).enumerate().map(|(n, c)| (n * 37, c.len())).rev();
            for (from, count) in cuts.into_iter().chain(whole) {
                let (from, to) = (from.min(len), (from + count).min(len));
                s.push(segment(first.wrapping_add(from as u32), &data[from..to]), ROOM, &mut |p| out.take(p));
            }
            prop_assert_eq!(out, Out { bytes: data.into_iter().map(Some).collect(), ended: true });
            prop_assert_eq!(s.held_bytes(), 0);
        }

        /// Any segments: no panic, and what waits is bounded.
        #[test]
        fn any_segments_hold_a_bounded_amount(
            segments in prop::collection::vec((any::<u32>(), 0usize..50, 0u32..9, any::<u32>()), 0..200),
        ) {
            let mut s = Stream::default();
            for (seq, len, cut, ack) in segments {
                s.push(Segment { seq, bytes: &vec![0; len], cut, at: Nanos(1) }, 500, &mut |_| ());
                prop_assert!(s.held_bytes() <= 500);
                s.acknowledged(ack, Nanos(1), &mut |_| ());
            }
            s.flush(&mut |_| ());
            prop_assert_eq!(s.held_bytes(), 0);
        }
    }
}
