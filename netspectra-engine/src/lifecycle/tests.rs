//! What becomes of flows. That queries see them is not proved here.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::EngineConfig;
use crate::testing::*;
use netspectra_common::abi::{FLAG_FIRST_SEQ, FLAG_FOLLOWED, FLAG_OPENS, FLAG_SYN_AGAIN, ICMP_UNKNOWN};
use netspectra_common::model::{
    EndReason, Family, FlowDelta, FlowKey, FlowRecord, FlowState, InitiatorBy, Nanos, Resolution,
};
use std::time::Duration;

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 80);

fn bench() -> Bench {
    Bench::new(EngineConfig::default())
}

/// The records of one generation of `deltas`, in this order and reversed: both must agree.
fn record(deltas: &[FlowDelta]) -> FlowRecord {
    let run = |deltas: &[FlowDelta]| {
        let mut b = bench();
        b.feed((0.0, 1.0), deltas);
        let mut flows = b.finish().flows;
        assert_eq!(flows.len(), 1);
        flows.remove(0)
    };
    let reversed: Vec<_> = deltas.iter().rev().copied().collect();
    assert_eq!(run(deltas), run(&reversed), "the order of deltas in a generation plays no part");
    run(deltas)
}

#[test]
fn the_initiator_is_found_by_syn_then_first_packet_then_port() {
    let cases = [
        ("syn seen", SYN, (0.5, 0.6), ACK, (0.1, 0.6), CLIENT, InitiatorBy::Syn),
        ("only the syn+ack seen", ACK, (0.5, 0.6), SYN_ACK, (0.1, 0.6), CLIENT, InitiatorBy::Syn),
        ("syn and syn+ack, server first", SYN, (0.5, 0.6), SYN_ACK, (0.1, 0.6), CLIENT, InitiatorBy::Syn),
        ("mid-stream, server first", ACK, (0.5, 0.6), ACK, (0.1, 0.6), SERVER, InitiatorBy::FirstPacket),
        ("mid-stream, client first", ACK, (0.1, 0.6), ACK, (0.2, 0.6), CLIENT, InitiatorBy::FirstPacket),
        ("mid-stream, same instant", ACK, (0.1, 0.6), ACK, (0.1, 0.6), CLIENT, InitiatorBy::Port),
        ("simultaneous open", SYN, (0.3, 0.6), SYN, (0.2, 0.6), SERVER, InitiatorBy::FirstPacket),
    ];
    for (name, there, there_seen, back, back_seen, initiator, by) in cases {
        let r = record(&[tcp(CLIENT, SERVER, there, there_seen), tcp(SERVER, CLIENT, back, back_seen)]);
        assert_eq!((r.src_port, r.initiator_by), (initiator.1, by), "{name}");
        assert_eq!(r.src_ip.unwrap().to_string(), format!("10.0.0.{}", initiator.0), "{name}");
        assert_eq!((r.packets, r.reverse_packets, r.bytes, r.reverse_l3_bytes), (10, 10, 1000, 860), "{name}");
        assert_eq!(r.first_seen, Nanos(at(there_seen.0.min(back_seen.0))), "{name}");
        assert_eq!(r.last_seen, Nanos(at(0.6)), "{name}");
    }
}

#[test]
fn a_syn_ack_alone_makes_its_receiver_the_initiator_of_a_record_without_its_packets() {
    let r = record(&[tcp(SERVER, CLIENT, SYN_ACK, (0.1, 0.2))]);
    assert_eq!((r.src_port, r.packets, r.reverse_packets), (CLIENT.1, 0, 10));
    assert_eq!((r.tcp_flags, r.reverse_tcp_flags), (0, 0x12), "internal bits are not in records");
}

#[test]
fn the_initiator_may_be_revised_until_the_first_record_and_not_after() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(SERVER, CLIENT, ACK, (0.5, 0.6))]);
    assert_eq!(b.live_flows()[0].src_port, SERVER.1);
    b.feed((1.0, 2.0), &[tcp(CLIENT, SERVER, SYN, (0.4, 1.5))]);
    assert_eq!(b.live_flows()[0].src_port, CLIENT.1);
    b.feed((29.0, 30.0), &[tcp(SERVER, CLIENT, ACK, (29.0, 29.0))]);
    b.feed((55.0, 56.0), &[tcp(SERVER, CLIENT, ACK, (55.0, 55.0))]);
    let cut = b.feed((60.4, 61.0), &[tcp(SERVER, CLIENT, SYN, (60.5, 60.5))]);
    assert_eq!(cut.flows.len(), 1);
    assert_eq!((cut.flows[0].src_port, cut.flows[0].end_reason), (CLIENT.1, EndReason::ActiveTimeout));
    let live = b.live_flows();
    assert_eq!((live[0].src_port, live[0].packets, live[0].reverse_packets), (CLIENT.1, 0, 10));
}

#[test]
fn fin_from_both_sides_or_rst_closes_after_the_linger() {
    let cases = [
        ("fin both", FIN, FIN, Some(EndReason::Fin)),
        ("fin from one", FIN, ACK, None),
        ("rst", ACK, RST, Some(EndReason::Rst)),
        ("fin both, then rst", FIN | RST, FIN, Some(EndReason::Fin)),
    ];
    for (name, there, back, expected) in cases {
        let mut b = bench();
        b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, SYN | there, (0.1, 0.9)), tcp(SERVER, CLIENT, back, (0.2, 0.9))]);
        let state = if expected.is_some() { FlowState::Closed } else { FlowState::Active };
        assert_eq!((b.live_flows()[0].state, b.live_flows()[0].end_reason), (state, EndReason::None), "{name}");
        assert!(b.feed((1.0, 2.8), &[]).flows.is_empty(), "{name}: the linger is not over");
        let flows = b.feed((2.8, 2.9), &[]).flows;
        assert_eq!(flows.first().map(|f| f.end_reason), expected, "{name}");
        assert_eq!(flows.first().map(|f| f.state), expected.map(|_| FlowState::Closed), "{name}");
        assert_eq!(b.live_flows().len(), usize::from(expected.is_none()), "{name}");
    }
}

#[test]
fn stragglers_of_a_closed_flow_belong_to_it_and_extend_the_linger() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, FIN, (0.1, 0.9)), tcp(SERVER, CLIENT, FIN, (0.2, 0.9))]);
    assert!(b.feed((1.0, 2.0), &[tcp(CLIENT, SERVER, ACK, (1.5, 1.5))]).flows.is_empty());
    assert!(b.feed((2.0, 3.0), &[]).flows.is_empty());
    let flows = b.feed((3.0, 4.0), &[]).flows;
    assert_eq!((flows.len(), flows[0].packets), (1, 20));
}

#[test]
fn a_syn_on_a_closed_flow_begins_another_even_when_its_answer_comes_first() {
    let mut b = bench();
    let refused = |t: f64| [tcp(SERVER, CLIENT, RST, (t + 0.01, t + 0.01)), tcp(CLIENT, SERVER, SYN, (t, t))];
    assert!(b.feed((0.0, 1.0), &refused(0.1)).flows.is_empty(), "the rst does not split its own attempt");
    let first = b.feed((1.0, 2.0), &refused(1.5)).flows;
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].packets, first[0].reverse_packets, first[0].end_reason), (10, 10, EndReason::Rst));
    let second = b.live_flows();
    assert_eq!((second[0].packets, second[0].reverse_packets), (10, 10));
    assert_ne!(first[0].flow_id, second[0].flow_id);
    assert_eq!(second[0].flow_start, Nanos(at(1.5)));
}

#[test]
fn a_silent_flow_is_written_at_the_idle_timeout_exactly() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.25, 0.75))]);
    assert!(b.feed((1.0, 30.749), &[]).flows.is_empty());
    let flows = b.feed((30.749, 30.75), &[]).flows;
    assert_eq!((flows[0].state, flows[0].end_reason), (FlowState::TimedOut, EndReason::IdleTimeout));
    assert!(b.live_flows().is_empty());
}

#[test]
fn packets_after_an_idle_gap_begin_another_flow_also_inside_one_generation() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.5, 0.5))]);
    let flows = b.feed((1.0, 50.0), &[tcp(CLIENT, SERVER, ACK, (30.5, 49.0))]).flows;
    assert_eq!((flows.len(), flows[0].end_reason), (1, EndReason::IdleTimeout));
    assert_eq!(b.live_flows()[0].flow_start, Nanos(at(30.5)));
}

#[test]
fn an_active_cut_continues_the_flow_with_continuous_totals() {
    let mut b = bench();
    for s in 0..130 {
        let s = f64::from(s);
        b.feed(
            (s, s + 1.0),
            &[tcp(CLIENT, SERVER, ACK, (s + 0.1, s + 0.9)), tcp(SERVER, CLIENT, ACK, (s + 0.2, s + 0.8))],
        );
    }
    b.feed((130.0, 200.0), &[]);
    let flows = &b.written.flows;
    let reasons: Vec<_> = flows.iter().map(|f| f.end_reason).collect();
    assert_eq!(reasons, [EndReason::ActiveTimeout, EndReason::ActiveTimeout, EndReason::IdleTimeout]);
    assert_eq!(sum_flows(flows).packets, 130 * 20);
    assert!(flows.iter().all(|f| f.flow_id == flows[0].flow_id && f.flow_start == Nanos(at(0.1))));
    assert!(flows.windows(2).all(|w| w[0].last_seen < w[1].first_seen), "parts do not overlap");
    assert_eq!(flows.iter().map(|f| f.state).collect::<Vec<_>>()[..2], [FlowState::Active; 2]);
}

#[test]
fn a_flow_that_ends_right_after_a_cut_still_gets_a_record_with_its_end() {
    let mut b = Bench::new(EngineConfig { idle_timeout: Duration::from_secs(70), ..EngineConfig::default() });
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.9))]);
    b.feed((1.0, 200.0), &[]);
    let mut ends: Vec<_> = b.written.flows.iter().map(|f| (f.packets, f.end_reason)).collect();
    ends.sort();
    // The generation's end is past both timeouts, and the idle one is looked at first.
    assert_eq!(ends, [(10, EndReason::IdleTimeout)]);
    let mut b = Bench::new(EngineConfig { idle_timeout: Duration::from_secs(70), ..EngineConfig::default() });
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.9))]);
    b.feed((1.0, 61.0), &[]);
    b.feed((61.0, 71.0), &[]);
    let ends: Vec<_> = b.written.flows.iter().map(|f| (f.packets, f.end_reason, f.last_seen)).collect();
    let last = Nanos(at(0.9));
    assert_eq!(ends, [(10, EndReason::ActiveTimeout, last), (0, EndReason::IdleTimeout, last)]);
}

#[test]
fn a_full_table_writes_the_flow_that_was_silent_longest() {
    let mut b = Bench::new(EngineConfig { max_flows: 3, ..EngineConfig::default() });
    let flow = |port: u16, t: f64| tcp((1, port), SERVER, ACK, (t, t));
    b.feed((0.0, 5.0), &[flow(1001, 1.1), flow(1002, 2.1), flow(1003, 3.1)]);
    b.feed((5.0, 6.0), &[flow(1001, 5.5)]);
    let flows = b.feed((6.0, 7.0), &[flow(1004, 6.5), flow(1005, 6.5)]).flows;
    let gone: Vec<_> = flows.iter().map(|f| (f.src_port, f.end_reason)).collect();
    assert_eq!(gone, [(1002, EndReason::LackOfResources), (1003, EndReason::LackOfResources)]);
    assert_eq!(b.engine.stats().active_flows, 3);
    assert_eq!(b.engine.stats().exported_for(EndReason::LackOfResources), 2);
}

/// A delta whose first packet was a SYN: its ACK came `ack_us` later, 0 for not yet.
fn opens(src: (u8, u16), dst: (u8, u16), flags: u16, seen: (f64, f64), ack_us: u32) -> FlowDelta {
    let mut delta = tcp(src, dst, flags | FLAG_OPENS | FLAG_FOLLOWED, seen);
    (delta.stats.next_seq, delta.stats.mark) = (101, ack_us);
    delta
}

/// A delta of segments that begin with number `first` and end before `next`.
fn segments(src: (u8, u16), dst: (u8, u16), (first, next): (u32, u32), seen: (f64, f64)) -> FlowDelta {
    let mut delta = tcp(src, dst, ACK | FLAG_FIRST_SEQ | FLAG_FOLLOWED, seen);
    (delta.stats.next_seq, delta.stats.mark) = (next, first);
    delta
}

#[test]
fn a_handshake_gives_the_times_of_both_sides_unless_a_syn_came_twice() {
    let cases = [
        ("in one generation", 0, 0, 7_000, Some(2_000), Some(5_000)),
        ("no ACK", 0, 0, 0, Some(2_000), None),
        ("SYN twice", FLAG_SYN_AGAIN, 0, 7_000, None, Some(5_000)),
        ("SYN+ACK twice", 0, FLAG_SYN_AGAIN, 7_000, Some(2_000), None),
        ("an ACK before the SYN+ACK", 0, 0, 1_000, Some(2_000), None),
    ];
    for (name, syn, syn_ack, ack_us, server, client) in cases {
        let there = opens(CLIENT, SERVER, SYN | ACK | syn, (0.1, 0.5), ack_us);
        let r = record(&[there, opens(SERVER, CLIENT, SYN_ACK | syn_ack, (0.102, 0.5), 0)]);
        assert_eq!((r.server_rtt_us, r.client_rtt_us), (server, client), "{name}");
    }
    let r = record(&[opens(CLIENT, SERVER, SYN | ACK, (0.1, 0.5), 7_000)]);
    assert_eq!((r.server_rtt_us, r.client_rtt_us), (None, None), "one side seen");
    let r = record(&[tcp(CLIENT, SERVER, SYN, (0.1, 0.5)), opens(SERVER, CLIENT, SYN_ACK, (0.102, 0.5), 0)]);
    assert_eq!((r.server_rtt_us, r.client_rtt_us), (None, None), "the SYN was not the first packet");
}

#[test]
fn round_trip_times_are_in_the_windows_once_a_flow_when_they_become_known() {
    let mut b = bench();
    let rtts = |b: &Bench| {
        let all = b.all_windows();
        let of = |r| {
            all.iter().filter(move |w| w.resolution == r).filter_map(|w| w.sketches.as_deref().map(|s| (w.start, s)))
        };
        let tens: Vec<_> = of(Resolution::S10)
            .map(|(start, s)| ((start.0 - T0) / SECOND, s.server_rtt.count(), s.client_rtt.count()))
            .filter(|(_, server, client)| server + client > 0)
            .collect();
        let minute = of(Resolution::S60)
            .fold((0, 0), |sum, (_, s)| (sum.0 + s.server_rtt.count(), sum.1 + s.client_rtt.count()));
        (tens, minute)
    };
    b.feed((5.0, 6.0), &[opens(CLIENT, SERVER, SYN, (5.5, 5.5), 0), opens(SERVER, CLIENT, SYN_ACK, (5.75, 5.75), 0)]);
    assert_eq!(rtts(&b), (vec![(0, 1, 0)], (1, 0)));
    b.feed((10.0, 11.0), &[segments(CLIENT, SERVER, (101, 201), (10.25, 10.75))]);
    b.feed((11.0, 12.0), &[segments(CLIENT, SERVER, (201, 301), (11.25, 11.75))]);
    // Begun, answered and reset in one generation, whose flow ends before the next.
    let again = |src_port, seen| opens((1, src_port), SERVER, SYN | ACK | RST, seen, 1000);
    b.feed((12.0, 13.0), &[again(9, (12.1, 12.5)), opens(SERVER, (1, 9), SYN_ACK, (12.2, 12.5), 0)]);
    let expected = (vec![(0, 1, 0), (10, 1, 1)], (2, 1));
    assert_eq!(rtts(&b), expected);
    b.feed((80.0, 81.0), &[]);
    b.finish();
    assert_eq!(rtts(&b), expected, "what is written is what was live");
    let all = b.all_windows();
    let ten = all.iter().find(|w| w.resolution == Resolution::S10 && w.start.0 == T0).unwrap();
    let value = ten.sketches.as_deref().unwrap().server_rtt.quantile(0.5).unwrap();
    assert!((value.low..=value.high).contains(&0.25), "{value:?} s");
}

#[test]
fn a_handshake_is_put_together_across_generations() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[opens(CLIENT, SERVER, SYN, (0.5, 0.5), 0)]);
    b.feed((1.0, 2.0), &[opens(SERVER, CLIENT, SYN_ACK, (1.25, 1.25), 0)]);
    b.feed((2.0, 3.0), &[segments(CLIENT, SERVER, (101, 201), (2.5, 2.75))]);
    let r = b.live_flows().remove(0);
    assert_eq!((r.server_rtt_us, r.client_rtt_us, r.retransmitted), (Some(750_000), Some(1_250_000), 0));
    b.feed((3.0, 4.0), &[opens(SERVER, CLIENT, SYN_ACK, (3.5, 3.5), 0)]);
    let r = b.live_flows().remove(0);
    assert_eq!((r.server_rtt_us, r.client_rtt_us), (Some(750_000), None), "the SYN+ACK came again");
    assert_eq!((r.retransmitted, r.reverse_retransmitted), (0, 1));
}

#[test]
fn a_segment_sent_again_in_a_later_generation_is_counted_once_in_the_record_of_its_time() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[segments(CLIENT, SERVER, (u32::MAX - 99, 100), (0.1, 0.2))]);
    b.feed((1.0, 2.0), &[segments(CLIENT, SERVER, (100, 300), (1.1, 1.2))]);
    assert_eq!(b.live_flows()[0].retransmitted, 0, "it follows");
    b.feed((2.0, 3.0), &[segments(CLIENT, SERVER, (200, 300), (2.1, 2.2))]);
    assert_eq!(b.live_flows()[0].retransmitted, 1);
    b.feed((3.0, 4.0), &[segments(CLIENT, SERVER, (299, 300), (3.1, 3.2))]);
    assert_eq!(b.live_flows()[0].retransmitted, 1, "a keep-alive");
    let mut counted = segments(SERVER, CLIENT, (5, 6), (4.1, 4.2));
    (counted.stats.retransmitted, counted.stats.out_of_order, counted.stats.zero_windows) = (3, 2, 1);
    b.feed((4.0, 5.0), &[counted]);
    let cut = b.feed((61.0, 62.0), &[segments(CLIENT, SERVER, (100, 200), (61.1, 61.2))]).flows.remove(0);
    assert_eq!((cut.end_reason, cut.retransmitted), (EndReason::IdleTimeout, 1));
    assert_eq!((cut.reverse_retransmitted, cut.reverse_out_of_order, cut.reverse_zero_windows), (3, 2, 1));
    assert_eq!(b.finish().flows[0].retransmitted, 0, "another flow begins with its first segment");
}

#[test]
fn each_direction_of_observation_follows_the_numbers_by_itself() {
    let mut b = bench();
    let seen_by = |obs: u8, d: FlowDelta| FlowDelta { key: FlowKey { obs, ..d.key }, ..d };
    let syn = opens(CLIENT, SERVER, SYN | ACK, (0.1, 0.2), 50);
    b.feed((0.0, 1.0), &[seen_by(0, syn), seen_by(1, syn)]);
    let data = segments(CLIENT, SERVER, (101, 500), (1.1, 1.2));
    b.feed((1.0, 2.0), &[seen_by(1, data), seen_by(0, data)]);
    b.feed((1.0, 2.0), &[opens(SERVER, CLIENT, SYN_ACK, (0.10001, 0.2), 0)]);
    let r = b.live_flows().remove(0);
    assert_eq!((r.packets, r.retransmitted, r.server_rtt_us), (40, 0, Some(0)));
}

#[test]
fn a_message_of_unknown_type_has_neither_type_nor_code() {
    let mut unknown = delta(1, (9, 0), (1, 0), (0.1, 0.2));
    unknown.key.src_port = ICMP_UNKNOWN;
    let r = record(&[unknown]);
    assert_eq!((r.icmp_type, r.icmp_code, r.src_port, r.dst_port), (None, None, 0, 0));
    assert_eq!((r.src_ip.unwrap().to_string(), r.packets), ("10.0.0.9".to_owned(), 10));
}

#[test]
fn echo_request_and_reply_are_one_flow_of_the_requester() {
    let icmp = |src, dst, kind: u16, t| delta(1, (src, 0), (dst, kind << 8), (t, t));
    let r = record(&[icmp(9, 1, 8, 0.2), icmp(1, 9, 0, 0.1)]);
    assert_eq!(r.src_ip.unwrap().to_string(), "10.0.0.9");
    assert_eq!((r.packets, r.reverse_packets, r.icmp_type, r.icmp_code), (10, 10, Some(8), Some(0)));
    assert_eq!((r.src_port, r.dst_port), (0, 0));
    let r = record(&[delta(1, (9, 0), (1, 0x0301), (0.1, 0.2))]);
    assert_eq!((r.icmp_type, r.icmp_code, r.reverse_packets), (Some(3), Some(1), 0));
    let mut b = bench();
    b.feed((0.0, 1.0), &[icmp(9, 1, 3, 0.1), icmp(1, 9, 3, 0.1), icmp(9, 1, 8, 0.1), icmp(9, 1, 11, 0.1)]);
    assert_eq!(b.live_flows().len(), 4, "other messages are flows of their own, by sender and type");
}

#[test]
fn non_ip_frames_have_a_record_by_ether_type_and_tag() {
    let frame = |ether_type, vlan| FlowDelta {
        key: FlowKey { src_port: ether_type, vlan, family: Family::NonIp as u8, ..FlowKey::default() },
        ..delta(0, (0, 0), (0, 0), (0.1, 0.2))
    };
    let r = record(&[frame(0x0806, 0x8000 | 12)]);
    assert_eq!((r.ether_type, r.vlan, r.src_ip, r.src_port, r.proto), (0x0806, Some(12), None, 0, 0));
    let mut b = bench();
    b.feed((0.0, 1.0), &[frame(0x0806, 0), frame(0x0806, 0x8001), frame(0x88cc, 0)]);
    assert_eq!(b.finish().flows.len(), 3);
}

#[test]
fn identities_depend_on_the_flow_and_not_on_who_came_before() {
    let id = |b: &Bench| b.live_flows().iter().find(|f| f.src_port == CLIENT.1).unwrap().flow_id;
    let mut alone = bench();
    alone.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, SYN, (0.5, 0.6))]);
    let mut crowd = bench();
    let mut other = Agent::new("n0");
    crowd.apply(&other.generation((0.0, 1.0), &[tcp((1, 5), SERVER, SYN, (0.5, 0.6))]));
    crowd.feed((0.0, 1.0), &[tcp((1, 6), SERVER, SYN, (0.5, 0.6)), tcp(CLIENT, SERVER, SYN, (0.5, 0.6))]);
    assert_eq!(id(&alone), id(&crowd));
    let mut elsewhere = bench();
    elsewhere.agent.node = "n2".into();
    elsewhere.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, SYN, (0.5, 0.6))]);
    assert_ne!(id(&alone), id(&elsewhere));
}

#[test]
fn at_the_end_of_input_closed_flows_say_how_they_closed() {
    let mut b = bench();
    b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, RST, (0.1, 0.9)), tcp((1, 7), SERVER, ACK, (0.2, 0.3))]);
    let ends: Vec<_> = b.finish().flows.iter().map(|f| (f.state, f.end_reason)).collect();
    assert_eq!(ends, [(FlowState::Closed, EndReason::Rst), (FlowState::Active, EndReason::EndOfInput)]);
}
