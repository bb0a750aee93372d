//! The engine as a whole: nothing is lost or counted twice, whatever comes. Speed is measured elsewhere.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::testing::*;
use crate::{Engine, EngineConfig, Wanted};
use netspectra_common::abi::Obs;
use netspectra_common::model::{
    BusMessage, Chunk, Counter, Direction, DnsKind, DnsMessage, EndReason, Family, FlowDelta, FlowKey, FlowStats,
    Nanos, Observation, Observed, PayloadSeen, Resolution, Sampling, WindowState,
};
use netspectra_common::ports::StoreBatch;
use netspectra_common::sketch::{Hll, Quantiles, TopK};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 80);

fn five() -> Vec<FlowDelta> {
    (0..5).map(|i| tcp((1, 1000 + i), SERVER, ACK, (0.1, 0.2))).collect()
}

#[test]
fn deltas_count_when_their_manifest_comes_and_not_before() {
    let mut b = Bench::new(EngineConfig::default());
    let messages = b.agent.generation((0.0, 1.0), &five());
    assert_eq!(messages.len(), 4);
    b.apply(&messages[..3]);
    assert!(b.live_flows().is_empty());
    assert_eq!(b.engine.stats().pending_deltas, 5 + 3 * 4);
    let batch = b.apply(&messages[3..]);
    assert_eq!(b.live_flows().len(), 5);
    assert_eq!(b.engine.stats().pending_deltas, 0);
    assert_eq!(batch.ledger.len(), 1);
    assert_eq!(batch.ledger[0].ledger.seen, Counter::new(50, 5000));
}

#[test]
fn what_is_not_wanted_is_not_made_and_the_rest_is_the_same() {
    let run = |wanted| {
        let mut b = Bench::new(EngineConfig { wanted, ..EngineConfig::default() });
        for second in 0..100u16 {
            let from = f64::from(second);
            let deltas: Vec<_> = (0..20)
                .map(|i| {
                    tcp((1, 1000 + i + second % 7), SERVER, if i % 3 == 0 { SYN } else { ACK }, (from, from + 0.5))
                })
                .collect();
            b.feed((from, from + 1.0), &deltas);
        }
        b.finish();
        b
    };
    let all = run(Wanted::Everything);
    let (without, records) = (run(Wanted::NoRollups), run(Wanted::Records));
    assert!(!all.all_rollups().is_empty() && !all.all_windows().is_empty());
    for b in [&without, &records] {
        assert_eq!(b.all_flows(), all.all_flows());
        assert_eq!(b.written.ledger, all.written.ledger);
        assert!(b.all_rollups().is_empty());
    }
    assert_eq!(without.written.windows.len(), all.written.windows.len());
    for (mine, theirs) in without.written.windows.iter().zip(&all.written.windows) {
        assert_eq!((mine.start, mine.total, mine.new_flows), (theirs.start, theirs.total, theirs.new_flows));
        assert_eq!(
            mine.sketches.as_ref().map(|s| s.flows.to_bytes()),
            theirs.sketches.as_ref().map(|s| s.flows.to_bytes())
        );
    }
    assert!(records.all_windows().is_empty());
    assert_eq!(records.engine.stats().open_rollup_rows, 0);
}

#[test]
fn duplicates_are_counted_and_change_nothing() {
    let mut b = Bench::new(EngineConfig::default());
    let messages = b.agent.generation((0.0, 1.0), &five());
    b.apply(&messages[..2]);
    b.apply(&messages);
    assert!(b.apply(&messages).ledger.is_empty());
    assert_eq!(b.live_flows().len(), 5);
    let stats = b.engine.stats();
    assert_eq!((stats.duplicate_chunks, stats.duplicate_generations, stats.generations), (5, 1, 1));
    assert_eq!(stats.pending_deltas, 0);
}

#[test]
fn a_missing_chunk_is_counted_and_the_rest_applied() {
    let mut b = Bench::new(EngineConfig::default());
    let mut messages = b.agent.generation((0.0, 1.0), &five());
    messages.remove(1);
    let batch = b.apply(&messages);
    assert_eq!(b.live_flows().len(), 3);
    assert_eq!(b.engine.stats().missing_chunks, 1);
    assert_eq!(batch.ledger[0].ledger.flows.packets, 50, "the ledger is the agent's");
}

#[test]
fn missing_manifests_and_generations_are_counted() {
    let mut b = Bench::new(EngineConfig::default());
    b.feed((0.0, 1.0), &[]);
    let lost = b.agent.generation((1.0, 2.0), &five());
    b.apply(&lost[..2]);
    b.agent.next += 1;
    b.feed((3.0, 4.0), &five());
    let stats = b.engine.stats();
    assert_eq!((stats.missing_generations, stats.abandoned_chunks, stats.pending_deltas), (2, 2, 0));
    b.apply(&lost);
    assert_eq!(b.engine.stats().generations, 2, "what comes too late is taken for a duplicate");
}

#[test]
fn a_manifest_that_is_missing_altered_or_late_breaks_the_chain_once() {
    let mut b = Bench::new(EngineConfig::default());
    let mut generations: Vec<_> = (0..12).map(|n| b.agent.generation((n as f64, n as f64 + 1.0), &[])).collect();
    if let Some(BusMessage::Manifest(m)) = generations[6].last_mut() {
        Arc::make_mut(m).ledger.seen.packets += 1;
    }
    generations.remove(9);
    generations.swap(1, 2);
    let broken: Vec<u64> =
        generations.iter().flat_map(|g| b.apply(g).ledger).filter(|e| e.chain_break).map(|e| e.generation).collect();
    // 2 came before 1, which came too late; 3 follows 2. What follows an altered one does not fit it.
    assert_eq!(broken, [2, 7, 10]);
    let stats = b.engine.stats();
    assert_eq!((stats.chain_breaks, stats.missing_generations, stats.duplicate_generations), (3, 2, 1));
}

#[test]
fn a_run_whose_begin_is_not_known_here_begins_its_chain_where_it_is_first_heard() {
    let mut b = Bench::new(EngineConfig::default());
    b.agent.generation((0.0, 1.0), &[]);
    b.feed((1.0, 2.0), &[]);
    b.feed((2.0, 3.0), &[]);
    assert_eq!(b.engine.stats().chain_breaks, 0);
    b.agent.previous = None;
    assert!(b.feed((3.0, 4.0), &[]).ledger[0].chain_break, "a manifest that says nothing of the one before it");
}

#[test]
fn a_generation_that_comes_again_with_another_manifest_is_counted_and_changes_nothing() {
    let mut b = Bench::new(EngineConfig::default());
    let mut messages = b.agent.generation((0.0, 1.0), &five());
    b.apply(&messages);
    if let Some(BusMessage::Manifest(m)) = messages.last_mut() {
        Arc::make_mut(m).last = true;
    }
    assert!(b.apply(&messages).ledger.is_empty());
    assert_eq!(b.engine.stats().altered_generations, 0, "that it is the last one is not part of its identity");
    if let Some(BusMessage::Manifest(m)) = messages.last_mut() {
        Arc::make_mut(m).ledger.seen.packets += 1;
    }
    assert!(b.apply(&messages).ledger.is_empty());
    let stats = b.engine.stats();
    assert_eq!((stats.altered_generations, stats.duplicate_generations, stats.chain_breaks), (1, 2, 0));
    assert!(!b.feed((1.0, 2.0), &[]).ledger[0].chain_break);
}

#[test]
fn the_runs_of_an_agent_count_their_generations_apart() {
    let mut b = Bench::new(EngineConfig::default());
    for epoch in [5, 9, 7] {
        b.agent.epoch = epoch;
        b.agent.next = 0;
        b.agent.previous = None;
        b.feed((0.0, 1.0), &[tcp(CLIENT, SERVER, ACK, (0.1, 0.2))]);
    }
    assert_eq!((b.engine.stats().generations, b.engine.stats().chain_breaks), (3, 0));
    assert_eq!(b.live_flows()[0].packets, 30);
}

#[test]
fn chunks_that_no_manifest_closes_are_bounded_and_the_oldest_go_first() {
    let mut b = Bench::new(EngineConfig { max_pending_deltas: 40, ..EngineConfig::default() });
    let mut other = Agent::new("dead");
    b.apply(&other.generation((0.0, 1.0), &five())[..3]);
    for _ in 0..100 {
        let messages = b.agent.generation((0.0, 1.0), &five());
        b.apply(&messages[..3]);
        assert!(b.engine.stats().pending_deltas <= 40);
    }
    let stats = b.engine.stats();
    assert_eq!(stats.abandoned_chunks, 3 * (101 - 2));
    let big = b.agent.generation((0.0, 1.0), &(0..60).flat_map(|_| five()).collect::<Vec<_>>());
    b.apply(&big);
    assert!(b.engine.stats().missing_chunks > 100, "a generation that does not fit is applied as far as it came");
    assert_eq!(b.engine.stats().pending_deltas, 0);
}

#[test]
fn hostile_manifests_and_deltas_neither_panic_nor_allocate_without_bound() {
    let mut b = Bench::new(EngineConfig::default());
    let mut worst = tcp(CLIENT, SERVER, 0xffff, (0.1, 0.2));
    worst.stats = FlowStats {
        packets: u64::MAX,
        bytes: u64::MAX,
        l3_bytes: u64::MAX,
        first_seen: u64::MAX,
        last_seen: 0,
        tcp_flags: 0xffff,
        retransmitted: u16::MAX,
        out_of_order: u16::MAX,
        zero_windows: u8::MAX,
        gap_at: u8::MAX,
        next_seq: u32::MAX,
        mark: u32::MAX,
    };
    worst.key.obs = 0xff;
    worst.key.family = 77;
    for (start, end) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (T0, T0 + SECOND)] {
        let mut messages = b.agent.generation((0.0, 1.0), &[worst, worst, worst]);
        if let Some(BusMessage::Manifest(m)) = messages.last_mut() {
            let m = Arc::make_mut(m);
            (m.start, m.end, m.chunks) = (Nanos(start), Nanos(end), u32::MAX);
            m.sizes.0 = vec![(u32::MAX, 1), (0, 2)];
        }
        if let BusMessage::Chunk(c) = &mut messages[0] {
            Arc::make_mut(c).id.chunk = u32::MAX;
        }
        b.apply(&messages);
        assert!(b.engine.stats().open_windows < 4000);
    }
    assert_eq!(b.engine.stats().unnamed_chunks, 5);
    b.finish();
    assert_eq!(b.engine.stats().active_flows, 0);
}

#[test]
fn nodes_beyond_the_limit_are_refused_and_counted() {
    let mut b = Bench::new(EngineConfig { max_nodes: 1, ..EngineConfig::default() });
    b.feed((0.0, 1.0), &five());
    let mut other = Agent::new("n2");
    b.apply(&other.generation((0.0, 1.0), &five()));
    assert_eq!((b.engine.stats().refused_messages, b.engine.stats().nodes), (4, 1));
    // The silent one makes room, once all of it is written.
    let ended = b.engine.end_node("n1").unwrap();
    assert_eq!(ended.flows.len(), 5);
    assert!(ended.flows.iter().all(|f| f.end_reason == EndReason::IdleTimeout), "{:?}", ended.flows);
    assert_eq!((b.engine.stats().active_flows, b.engine.stats().open_windows), (0, 0));
    b.apply(&other.generation((1.0, 2.0), &five()));
    assert_eq!((b.engine.stats().refused_messages, b.engine.stats().nodes, b.live_flows().len()), (4, 1, 5));
    assert!(b.engine.end_node("n1").is_none());
}

#[test]
fn a_node_that_was_ended_as_silent_goes_on_where_it_was() {
    let mut b = Bench::new(EngineConfig::default());
    let sent = b.agent.generation((0.0, 1.0), &five());
    b.apply(&sent);
    let ended = b.engine.end_node("n1").unwrap();
    b.apply(&sent);
    assert_eq!((b.engine.stats().duplicate_generations, b.engine.stats().active_flows), (1, 0), "counted once");
    b.feed((1.0, 2.0), &five());
    assert_eq!((b.engine.stats().missing_generations, b.engine.stats().chain_breaks), (0, 0));
    assert_eq!((ended.flows.len(), b.live_flows().len()), (5, 5));
}

#[test]
fn a_node_with_a_wrong_clock_does_not_touch_the_flows_of_others() {
    let mut b = Bench::new(EngineConfig::default());
    b.feed((0.0, 1.0), &five());
    let mut wrong = Agent::new("n2");
    assert!(b.apply(&wrong.generation((1e6, 1e6 + 1.0), &[])).flows.is_empty());
    assert_eq!(b.live_flows().len(), 5);
}

#[test]
fn the_last_generation_of_a_source_ends_its_flows_and_windows() {
    let mut b = Bench::new(EngineConfig::default());
    let mut messages = b.agent.generation((0.0, 1.0), &five());
    if let Some(BusMessage::Manifest(m)) = messages.last_mut() {
        Arc::make_mut(m).last = true;
    }
    let batch = b.apply(&messages);
    assert_eq!((batch.flows.len(), batch.rollups.len(), batch.windows.len()), (5, 5, 3));
    assert!(b.live_flows().is_empty() && b.live_windows().is_empty());
    assert!(b.finish().is_empty());
}

#[test]
fn prefixes_at_the_dns_port_are_counted_by_what_they_say_and_stored_where_messages_are_kept() {
    for keep_messages in [true, false] {
        prefixes_are_counted(keep_messages);
    }
}

fn prefixes_are_counted(keep_messages: bool) {
    let mut b = Bench::new(EngineConfig { keep_messages, ..EngineConfig::default() });
    let key = FlowKey { proto: 17, dst_port: 53, ..FlowKey::default() };
    let seen = |prefix: &[u8]| PayloadSeen { at: Nanos(1), key, prefix: prefix.to_vec(), len: 40 };
    let query = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let mut agent = Agent::new("n");
    let generation = agent.generation((0.0, 1.0), &[]);
    let BusMessage::Manifest(manifest) = &generation[0] else { unreachable!("nothing else in it") };
    let payload = BusMessage::Payload { of: manifest.id.clone(), seen: Arc::new(vec![seen(&query), seen(&[])]) };
    for expected in [usize::from(keep_messages), 0] {
        // The second time it is a duplicate.
        assert!(b.engine.apply(&payload).is_none());
        let observed = b.engine.apply(&generation[0]).map_or(0, |batch| batch.messages.len());
        assert_eq!(observed, expected);
        assert_eq!((b.engine.stats().dns_queries, b.engine.stats().not_dns), (1, 1));
    }
}

#[test]
fn the_times_of_dns_answers_are_in_the_window_of_their_generation() {
    let mut b = Bench::new(EngineConfig::default());
    let answer = |kind, millis: Option<u64>| Observed {
        at: Nanos(at(0.5)),
        key: FlowKey::default(),
        what: Observation::Dns(Box::new(DnsMessage { latency: millis.map(Duration::from_millis), ..dns(kind, true) })),
    };
    let said = vec![
        answer(DnsKind::Dns, Some(20)),
        answer(DnsKind::Dns, Some(40)),
        answer(DnsKind::Dns, None),
        answer(DnsKind::Mdns, Some(9000)),
    ];
    let mut messages = b.agent.generation((0.0, 1.0), &[]);
    let BusMessage::Manifest(manifest) = &messages[0] else { unreachable!("nothing else in it") };
    let of = manifest.id.clone();
    messages.insert(0, BusMessage::Observed { of, said: Arc::new(said) });
    b.apply(&messages);
    b.feed((60.0, 70.0), &[]);
    b.finish();
    for resolution in [Resolution::S10, Resolution::S60] {
        let window = b.written.windows.iter().find(|w| w.resolution == resolution).unwrap();
        let latency = &window.sketches.as_deref().unwrap().dns_latency;
        assert_eq!((window.start, latency.count()), (Nanos(T0), 2));
        let longest = latency.quantile(1.0).unwrap();
        assert!((longest.low..=longest.high).contains(&0.04), "{longest:?} s");
    }
}

#[test]
fn the_extent_is_that_of_live_rows() {
    let mut b = Bench::new(EngineConfig::default());
    assert_eq!(b.engine.extent(), None);
    b.feed((3.0, 4.0), &[tcp(CLIENT, SERVER, ACK, (3.1, 3.2))]);
    let extent = b.engine.extent().unwrap();
    assert_eq!((extent.from, extent.to), (Nanos(T0), Nanos(at(4.0))));
}

/// Tight limits, so that every one is met.
fn tight() -> EngineConfig {
    EngineConfig {
        idle_timeout: Duration::from_secs(5),
        active_timeout: Duration::from_secs(8),
        clock_step: Duration::from_secs(60),
        max_flows: 4,
        max_rollup_rows: 6,
        max_open_windows: 5,
        ..EngineConfig::default()
    }
}

fn any_delta() -> impl Strategy<Value = FlowDelta> {
    let proto = prop::sample::select(vec![0u8, 1, 6, 6, 6, 17, 58]);
    let flags = prop::sample::select(vec![0, ACK, SYN, SYN_ACK, FIN, RST, SYN | FIN]);
    (proto, flags, 1u8..4, 1u8..4, 1u16..4, 0u8..4, 0u64..120_000, 0u64..3_000, 0u64..4).prop_map(
        |(proto, flags, src, dst, port, obs, first, lasts, packets)| {
            let mut key = FlowKey { proto, src_port: port, dst_port: port << 8, obs, ..FlowKey::default() };
            if proto != 0 {
                key.family = Family::V4 as u8;
                key.src[0] = src;
                key.dst[0] = dst;
            }
            let first_seen = T0 + first * 1_000_000;
            let last_seen = first_seen + lasts * 1_000_000;
            let bytes = packets * 100;
            let tcp_flags = if proto == 6 { flags } else { 0 };
            let stats =
                FlowStats { packets, bytes, l3_bytes: bytes, first_seen, last_seen, tcp_flags, ..FlowStats::default() };
            FlowDelta { key, stats, sampling: Sampling::ALL }
        },
    )
}

/// Node, begin and length in seconds, deltas.
fn any_log() -> impl Strategy<Value = Vec<(bool, u32, u32, Vec<FlowDelta>)>> {
    prop::collection::vec((any::<bool>(), 0u32..120, 0u32..5, prop::collection::vec(any_delta(), 0..12)), 1..20)
}

fn messages(log: &[(bool, u32, u32, Vec<FlowDelta>)]) -> Vec<BusMessage> {
    let mut agents = [Agent::new("a"), Agent::new("b")];
    let of = |(node, begin, length, deltas): &(bool, u32, u32, Vec<FlowDelta>)| {
        let begin = f64::from(*begin);
        agents[usize::from(*node)].generation((begin, begin + f64::from(*length)), deltas)
    };
    log.iter().flat_map(of).collect()
}

fn seen(messages: &[BusMessage]) -> Counter {
    let mut sum = Counter::default();
    for m in messages {
        if let BusMessage::Manifest(m) = m {
            sum.add(m.ledger.seen);
        }
    }
    sum
}

type Sketches = ([Hll; 6], [TopK; 5], [Quantiles; 2]);

/// Everything batches say: all but the sketches as text, and the sketches.
fn said(batches: &[StoreBatch]) -> (Vec<String>, Vec<Sketches>) {
    let sketches = batches.iter().flat_map(|b| &b.windows).filter_map(|w| w.sketches.as_deref().cloned()).map(|s| {
        (
            [s.src_ips, s.dst_ips, s.ips, s.dst_ports, s.pairs, s.flows],
            [s.top_src_bytes, s.top_dst_bytes, s.top_src_packets, s.top_dst_packets, s.top_dst_port_bytes],
            [s.packet_size, s.flow_duration],
        )
    });
    let text = |b: &StoreBatch| {
        let windows = b.windows.iter().map(|w| WindowState { sketches: None, ..w.clone() }).collect();
        format!("{:?}", StoreBatch { windows, ..b.clone() })
    };
    (batches.iter().map(text).collect(), sketches.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn at_every_step_what_is_written_and_what_is_live_add_up_to_what_came(log in any_log(), small: bool) {
        let config = if small { tight() } else { EngineConfig::default() };
        let mut b = Bench::new(config.clone());
        let messages = messages(&log);
        for n in 0..=messages.len() {
            if let Some(m) = messages.get(n) {
                b.apply(std::slice::from_ref(m));
            } else {
                b.finish();
                prop_assert!(b.live_flows().is_empty() && b.live_rollups().is_empty() && b.live_windows().is_empty());
            }
            let came = seen(&messages[..messages.len().min(n + 1)]);
            prop_assert_eq!(sum_flows(&b.all_flows()), came, "flows, step {}", n);
            let rows = b.all_rollups();
            let mut sum = Counter::default();
            rows.iter().for_each(|r| sum.add(Counter::new(r.packets, r.bytes)));
            prop_assert_eq!(sum, came, "roll-ups, step {}", n);
            let began: u64 = rows.iter().map(|r| r.new_flows).sum();
            for resolution in Resolution::ALL {
                let (mut total, mut protocols, mut flows) = (Counter::default(), Counter::default(), 0);
                for w in b.all_windows().iter().filter(|w| w.resolution == resolution) {
                    total.add(w.total);
                    w.protocols.values().for_each(|c| protocols.add(*c));
                    flows += w.new_flows;
                }
                prop_assert_eq!((total, protocols, flows), (came, came, began), "{:?}, step {}", resolution, n);
            }
            let stats = b.engine.stats();
            prop_assert!(stats.active_flows <= config.max_flows);
            prop_assert!(stats.open_rollup_rows <= config.max_rollup_rows);
            prop_assert!(stats.open_windows <= config.max_open_windows);
            prop_assert_eq!(stats.active_flows, b.live_flows().len());
            prop_assert_eq!(stats.open_rollup_rows, b.live_rollups().len());
            prop_assert_eq!(stats.open_windows, b.live_windows().len());
        }
        let ids: std::collections::HashSet<u64> = b.written.flows.iter().map(|f| f.flow_id).collect();
        let began: u64 = b.written.rollups.iter().map(|r| r.new_flows).sum();
        prop_assert!(ids.len() as u64 <= began, "every identity began once");
        prop_assert_eq!(b.written.flows.len() as u64, b.engine.stats().exported.iter().sum::<u64>());
    }

    #[test]
    fn the_same_log_gives_the_same_batches_and_duplicates_change_nothing(log in any_log(), again in any::<u64>()) {
        let run = |messages: &[BusMessage]| {
            let mut engine = Engine::new(tight());
            let mut batches: Vec<_> = messages.iter().filter_map(|m| engine.apply(m)).collect();
            batches.push(engine.finish());
            said(&batches)
        };
        let once = messages(&log);
        let mut twice = Vec::new();
        for (n, m) in once.iter().enumerate() {
            twice.push(m.clone());
            if again >> (n % 64) & 1 == 1 {
                twice.extend(once[n.saturating_sub(3)..=n].iter().cloned());
            }
        }
        let expected = run(&once);
        prop_assert_eq!(&expected, &run(&once));
        prop_assert_eq!(&expected, &run(&twice));
    }

    #[test]
    fn batches_are_sorted_and_parts_of_a_flow_agree(log in any_log()) {
        let mut b = Bench::new(tight());
        for m in messages(&log) {
            let batch = b.apply(&[m]);
            prop_assert!(batch.flows.is_sorted_by_key(|f| (f.first_seen, f.flow_id)));
        }
        b.finish();
        let mut parts = std::collections::HashMap::new();
        for f in &b.written.flows {
            let ends = (f.src_ip, f.dst_ip, f.src_port, f.dst_port, f.initiator_by, f.flow_start);
            prop_assert_eq!(*parts.entry(f.flow_id).or_insert(ends), ends);
            prop_assert!(f.first_seen <= f.last_seen);
        }
    }
}

#[test]
fn memory_stays_bounded_under_a_flood_of_new_flows() {
    let config = EngineConfig { max_flows: 100, max_rollup_rows: 150, ..EngineConfig::default() };
    let mut b = Bench::new(config);
    for s in 0..40u32 {
        let at = f64::from(s) / 10.0;
        let flood: Vec<_> = (0..500u16).map(|p| tcp((1, p + 500 * (s as u16 % 100)), SERVER, SYN, (at, at))).collect();
        b.feed((at, at + 0.1), &flood);
        let stats = b.engine.stats();
        assert!(stats.active_flows <= 100 && stats.open_rollup_rows <= 150);
    }
    assert_eq!(b.engine.flows.slots(), 100, "slots are reused");
    assert_eq!(sum_flows(&b.all_flows()).packets, 40 * 500 * 10);
}

#[test]
fn flows_that_come_and_go_leave_nothing_in_the_agenda() {
    let config = EngineConfig { max_flows: 100, ..EngineConfig::default() };
    let mut b = Bench::new(config);
    for s in 0..40u32 {
        let at = f64::from(s) / 10.0;
        let flood: Vec<_> =
            (0..500).map(|p| tcp((1 + (s / 20) as u8, p + 500 * (s as u16 % 20)), SERVER, SYN, (at, at))).collect();
        b.feed((at, at + 0.1), &flood);
        assert!(b.engine.flows.listed() <= 2 * 100 + 4096 + 1, "{}", b.engine.flows.listed());
    }
    let ended = b.feed((4.0, 60.0), &[]);
    assert_eq!((ended.flows.len(), b.engine.flows.len(), b.engine.flows.listed()), (100, 0, 0));
}

/// Of a full table those go that were silent longest, whenever they came.
#[test]
fn a_full_table_ends_the_flows_that_were_silent_longest() {
    let mut b = Bench::new(EngineConfig { max_flows: 64, ..EngineConfig::default() });
    let flow = |port, at| tcp((1, port), SERVER, ACK, (at, at));
    b.feed((0.0, 1.0), &(0..64).map(|p| flow(p, f64::from(p) / 100.0)).collect::<Vec<_>>());
    // The first half again, in the other order: then the second half was silent longest, and after it these.
    b.feed((1.0, 2.0), &(0..32).rev().map(|p| flow(p, 2.0 - f64::from(p) / 100.0)).collect::<Vec<_>>());
    let mut gone: Vec<u16> = Vec::new();
    for n in 0..64 {
        let at = 2.0 + f64::from(n) / 100.0;
        let batch = b.feed((at, at + 0.01), &[flow(1000 + n, at)]);
        assert!(batch.flows.iter().all(|f| f.end_reason == EndReason::LackOfResources));
        gone.extend(batch.flows.iter().map(|f| f.src_port));
    }
    assert_eq!(gone, (32..64).chain((0..32).rev()).collect::<Vec<_>>());
}

#[test]
fn an_end_in_pieces_is_the_end_at_once() {
    let log: Vec<BusMessage> = {
        let mut agent = Agent::new("n1");
        let second = |s: u16| {
            let at = f64::from(s);
            // Many begin at the same time, which leaves their order to their identities.
            (0..1000)
                .map(|p| tcp((1, p + 1000 * s), SERVER, SYN, (at + f64::from(p / 100) / 10.0, at + 0.95)))
                .collect()
        };
        (0..9).flat_map(|s| agent.generation((f64::from(s), f64::from(s) + 1.0), &second(s) as &Vec<_>)).collect()
    };
    let fed = || {
        let mut engine = Engine::new(EngineConfig::default());
        log.iter().for_each(|m| drop(engine.apply(m)));
        engine
    };
    let whole = fed().finish();
    let mut engine = fed();
    let mut pieces: Vec<StoreBatch> = Vec::new();
    while let Some(piece) = engine.finish_some() {
        assert_eq!(
            engine.stats().active_flows + pieces.iter().map(|p| p.flows.len()).sum::<usize>() + piece.flows.len(),
            9000
        );
        pieces.push(piece);
    }
    assert_eq!(pieces.iter().map(|p| p.flows.len()).collect::<Vec<_>>(), [4096, 4096, 808]);
    assert!(pieces[..2].iter().all(|p| p.windows.is_empty()) && !pieces[2].windows.is_empty());
    let mut together = StoreBatch::default();
    pieces.into_iter().for_each(|piece| together.absorb(piece));
    assert_eq!(together.flows, whole.flows, "and sorted");
    assert_eq!(said(&[together]), said(&[whole]));
    assert_eq!(
        (engine.stats().active_flows, engine.finish_some().map(|b| b.is_empty())),
        (0, Some(true)),
        "it can go on"
    );
}

#[test]
fn directions_of_observation_belong_to_one_flow() {
    let mut b = Bench::new(EngineConfig::default());
    let received = tcp(CLIENT, SERVER, ACK, (0.1, 0.2));
    let mut sent = received;
    sent.key.obs = Obs::new(0, Direction::Egress).0;
    b.feed((0.0, 1.0), &[received, sent]);
    assert_eq!((b.live_flows().len(), b.live_rollups().len()), (1, 2));
}

#[test]
fn a_chunk_without_deltas_is_harmless() {
    let mut b = Bench::new(EngineConfig::default());
    let mut messages = b.agent.generation((0.0, 1.0), &five()[..1]);
    if let BusMessage::Chunk(c) = &messages[0] {
        messages[0] = BusMessage::Chunk(Arc::new(Chunk { id: c.id.clone(), deltas: vec![] }));
    }
    b.apply(&messages);
    assert!(b.live_flows().is_empty());
}
