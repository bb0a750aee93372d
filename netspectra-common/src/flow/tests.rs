//! TCP measurement against sequences of segments whose truth is known. The parser is tested in `wire`.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::abi::{FLAG_FIRST_SEQ, FLAG_FOLLOWED, FLAG_OPENS, FLAG_SYN_AGAIN, FLAG_SYN_SEEN};
use crate::wire::Segment;
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const FIN: u16 = 0x11;
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;
const RST: u16 = 0x04;

/// Milliseconds, flags, sequence number, payload, window.
type Sent = (u64, u16, u32, u32, u16);

fn packet(flags: u16, seq: u32, payload: u32, window: u16) -> Packet {
    let segment = Segment { seq, payload, window };
    Packet { tcp_flags: flags, is_segment: true, segment, ..Packet::default() }
}

fn count(sent: &[Sent]) -> FlowStats {
    let mut stats: Option<FlowStats> = None;
    for (ms, flags, seq, payload, window) in sent {
        let (packet, at, weight) = (packet(*flags, *seq, *payload, *window), 1000 * MS + ms * MS, Weight::frame(60));
        match &mut stats {
            Some(stats) => fold(stats, &packet, weight, &At(at)),
            None => stats = Some(first(&packet, weight, at)),
        }
    }
    stats.unwrap()
}

fn data(ms: u64, seq: u32, payload: u32) -> Sent {
    (ms, ACK, seq, payload, 9)
}

fn counts(sent: &[Sent]) -> (u16, u16, u8) {
    let s = count(sent);
    (s.retransmitted, s.out_of_order, s.zero_windows)
}

#[test]
fn segments_in_order_are_neither_also_where_the_number_wraps() {
    for start in [0, 1000, u32::MAX - 150, u32::MAX - 101, u32::MAX - 100, u32::MAX - 99, 1 << 31] {
        let isn = start;
        let at = |n: u32| isn.wrapping_add(n);
        let sent = [
            (0, SYN, isn, 0, 9),
            data(10, at(1), 0),
            data(20, at(1), 100),
            data(30, at(101), 100),
            (40, FIN, at(201), 50, 9),
            data(50, at(252), 0),
        ];
        let s = count(&sent);
        assert_eq!((s.retransmitted, s.out_of_order, s.zero_windows), (0, 0, 0), "from {start}");
        assert_eq!((s.next_seq(), s.mark), (Some(at(252)), 10_000), "from {start}");
    }
}

#[test]
fn what_ends_at_or_before_the_highest_number_is_a_retransmission() {
    let sent = [data(0, 1000, 100), data(1, 1100, 100), data(300, 1000, 100), data(301, 1100, 100)];
    assert_eq!(counts(&sent), (2, 0, 0));
    assert_eq!(counts(&[data(0, 1000, 100), data(1, 1100, 100), data(1, 1000, 100)]), (1, 0, 0), "no gap, so repeated");
    let again = [data(0, 1000, 100), data(300, 1000, 300), data(301, 1300, 10)];
    assert_eq!(counts(&again), (1, 0, 0), "repeated together with new data");
    let fin = [(0, FIN, 1000, 0, 9), (300, FIN, 1000, 0, 9)];
    assert_eq!(counts(&fin), (1, 0, 0), "a FIN again is no keep-alive");
}

#[test]
fn what_fills_a_gap_at_once_is_out_of_order_and_later_a_retransmission() {
    let gap = |ms| [data(0, 1000, 100), data(1, 1200, 100), data(1, 1300, 100), data(ms, 1100, 100)];
    assert_eq!(counts(&gap(1)), (0, 1, 0));
    assert_eq!(counts(&gap(2)), (0, 1, 0));
    assert_eq!(counts(&gap(5)), (1, 0, 0));
    assert_eq!(counts(&gap(200)), (1, 0, 0));
    let last = [data(0, 1000, 100), data(1, 1200, 100), data(1, 1200, 100)];
    assert_eq!(counts(&last), (1, 0, 0), "the segment that made the gap, twice");
}

#[test]
fn keep_alives_probes_pure_acks_and_resets_are_neither() {
    let begin = data(0, 1000, 100);
    for (name, sent) in [
        ("keep-alive without data", data(9000, 1099, 0)),
        ("keep-alive with a byte", data(9000, 1099, 1)),
        ("the byte of a window probe again, with more", data(9000, 1099, 500)),
        ("an ACK that was overtaken", data(1, 1000, 0)),
        ("a reset with an old number", (1, RST, 500, 0, 0)),
    ] {
        assert_eq!(counts(&[begin, sent]), (0, 0, 0), "{name}");
    }
    assert_eq!(count(&[begin, data(9, 1099, 500)]).next_seq(), Some(1599));
}

#[test]
fn a_number_further_away_than_any_window_begins_anew() {
    for far in [1000u32.wrapping_sub(1 << 31), 1000 + (1 << 30) + 200] {
        let sent = [data(0, 1000, 100), data(1, far, 100), data(2, far.wrapping_add(100), 100)];
        assert_eq!(counts(&sent), (0, 0, 0));
        assert_eq!(count(&sent).next_seq(), Some(far.wrapping_add(200)));
    }
}

#[test]
fn a_syn_again_is_one_retransmission_and_spoils_the_handshake() {
    let s = count(&[(0, SYN, 7, 0, 9), (1000, SYN, 7, 0, 9), data(1010, 8, 0)]);
    assert_eq!((s.retransmitted, s.tcp_flags & FLAG_SYN_AGAIN), (1, FLAG_SYN_AGAIN));
    let s = count(&[(0, SYN, 7, 0, 9), (1000, SYN, 70_000, 0, 9), data(1010, 70_001, 10)]);
    assert_eq!((s.retransmitted, s.next_seq()), (0, Some(70_011)), "another connection's SYN");
}

#[test]
fn zero_windows_count_unless_the_segment_opens_or_ends() {
    let sent =
        [(0, SYN, 7, 0, 0), (1, ACK, 8, 0, 0), (2, ACK, 8, 0, 0), (3, FIN, 8, 0, 0), (4, RST, 9, 0, 0), data(5, 9, 0)];
    assert_eq!(counts(&sent).2, 2);
    assert_eq!(counts(&vec![(0, ACK, 8, 0, 0); 300]).2, u8::MAX, "stays at the highest value");
}

#[test]
fn the_ack_delay_is_rounded_up_and_never_nothing() {
    for (nanos, micros) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (u64::MAX, u32::MAX)] {
        assert_eq!(crate::abi::micros_up(nanos), micros);
    }
    let s = count(&[(0, SYN, 7, 0, 9), (3, ACK, 8, 0, 9), (9, ACK, 8, 5, 9)]);
    assert_eq!((s.mark, s.acked_at()), (3000, Some(1003 * MS)));
    let s = count(&[data(0, 7, 5), (3, SYN, 70, 0, 9), data(5, 71, 0)]);
    assert_eq!((s.acked_at(), s.mark), (None, 7), "the SYN was not the first packet");
}

#[test]
fn a_packet_from_before_the_syn_takes_the_measurement_back() {
    let mut s = count(&[(5, SYN, 7, 0, 9), (9, ACK, 8, 0, 9)]);
    fold(&mut s, &packet(ACK, 7, 0, 9), Weight::frame(60), &At(1001 * MS));
    assert_eq!((s.tcp_flags & (FLAG_OPENS | FLAG_FIRST_SEQ), s.mark, s.first_seen), (0, 0, 1001 * MS));
}

#[test]
fn segments_that_were_not_measured_leave_the_sequence_alone() {
    let blind = Packet { tcp_flags: ACK, ..Packet::default() };
    let mut s = first(&blind, Weight::frame(60), 5);
    assert_eq!((s.tcp_flags, s.next_seq()), (ACK, None));
    fold(&mut s, &packet(ACK, 10, 0, 9), Weight::frame(60), &At(6));
    assert_eq!((s.tcp_flags, s.next_seq()), (ACK | FLAG_FOLLOWED, Some(10)));
    fold(&mut s, &blind, Weight::frame(60), &At(7));
    assert_eq!((s.next_seq(), s.packets), (Some(10), 3));
}

/// Cuts `sent` at `at` and counts both parts apart, as two CPUs do one after the other.
fn cut(sent: &[Sent], at: usize) -> FlowStats {
    let (mut early, late) = (count(&sent[..at]), count(&sent[at..]));
    let mut other_way = late;
    other_way.merge(&early);
    early.merge(&late);
    assert_eq!(early, other_way, "merging is commutative");
    early
}

#[test]
fn counts_of_two_cpus_say_what_one_would_have_said() {
    let sent = [
        (0, SYN, 7, 0, 9),
        (1000, SYN, 7, 0, 9),
        data(1010, 8, 0),
        data(1011, 8, 100),
        data(1311, 8, 100),
        data(1312, 108, 100),
        (1400, FIN, 208, 0, 9),
    ];
    let whole = count(&sent);
    assert_eq!(whole.retransmitted, 2);
    for at in 1..sent.len() {
        let s = cut(&sent, at);
        assert_eq!((s.retransmitted, s.next_seq(), s.mark), (2, whole.next_seq(), whole.mark), "cut at {at}");
        assert_eq!(s.tcp_flags & (FLAG_SYN_AGAIN | FLAG_SYN_SEEN | FLAG_OPENS), 0x7000, "cut at {at}");
    }
}

fn any_sent() -> impl Strategy<Value = Vec<Sent>> {
    let flags = prop::sample::select(vec![ACK, ACK, ACK, SYN, SYN | ACK, FIN, RST, 0]);
    let seq = prop::sample::select(vec![0u32, 1, 100, 101, 200, 1 << 30, 1 << 31, u32::MAX - 50, u32::MAX]);
    prop::collection::vec((0u64..40, flags, seq, prop::sample::select(vec![0u32, 1, 100, 65_000]), 0u16..2), 1..12)
}

proptest! {
    #[test]
    fn no_sequence_of_segments_counts_more_than_it_has(sent in any_sent(), at in 0usize..12) {
        let s = count(&sent);
        prop_assert!(usize::from(s.retransmitted) + usize::from(s.out_of_order) < sent.len());
        prop_assert!(usize::from(s.zero_windows) <= sent.len());
        prop_assert_eq!(s.packets, sent.len() as u64);
        if at > 0 && at < sent.len() {
            let merged = cut(&sent, at);
            prop_assert_eq!(merged.packets, s.packets);
            prop_assert!(usize::from(merged.retransmitted) < sent.len());
        }
    }
}

#[test]
fn an_orphan_of_an_icmp_datagram_has_an_unknown_type() {
    struct Nothing;
    impl Fragments for Nothing {
        fn remember(&mut self, _: &FragmentKey, _: &FragmentValue) {}
        fn recall(&self, _: &FragmentKey) -> Option<FragmentValue> {
            None
        }
    }
    for (proto, port) in [(proto::ICMP, ICMP_UNKNOWN), (proto::ICMPV6, ICMP_UNKNOWN), (proto::UDP, 0)] {
        let mut packet = Packet { fragment: Fragment::Later(1), ..Packet::default() };
        packet.key.proto = proto;
        assert!(resolve_fragment(&mut packet, &mut Nothing, &At(0)));
        assert_eq!((packet.key.src_port, packet.key.dst_port), (port, 0));
    }
}
