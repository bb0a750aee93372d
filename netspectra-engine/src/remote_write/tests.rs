//! Samples of batches. How they are sent is tried in `tests/remote_write.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::RemoteWriteConfig;
use super::proto::WriteRequest;
use super::series::{Shape, Unit};
use crate::testing::{ACK, Agent, Bench, SECOND, T0, append, delta, tcp};
use crate::{Engine, EngineConfig};
use netspectra_common::model::{BusMessage, Direction, Nanos, Resolution};
use netspectra_common::ports::StoreBatch;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::Arc;

fn units(config: &RemoteWriteConfig, batch: &StoreBatch) -> Vec<Unit> {
    Shape::new(config).unwrap().units(batch, &mut 0)
}

/// Samples by their series, as text, and their time. A series has one sample for a time.
fn read(units: &[Unit]) -> BTreeMap<(String, i64), f64> {
    let mut all = BTreeMap::new();
    for unit in units {
        let request = WriteRequest::decode(&*unit.bytes).unwrap();
        assert_eq!(request.timeseries.len(), unit.samples);
        for series in request.timeseries {
            assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "{:?}", series.labels);
            let labels: Vec<String> = series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
            for sample in series.samples {
                let before = all.insert((labels.join(","), sample.timestamp), sample.value);
                assert_eq!(before, None, "{labels:?} twice at {}", sample.timestamp);
            }
        }
    }
    all
}

fn sum(samples: &BTreeMap<(String, i64), f64>, begin: &str) -> f64 {
    samples.iter().filter(|((series, _), _)| series.starts_with(begin)).map(|(_, value)| value).sum()
}

/// Milliseconds of `seconds` after the begin.
fn ms(seconds: f64) -> i64 {
    (T0 / 1_000_000) as i64 + (seconds * 1000.0) as i64
}

/// Generations of 2 s with flows of TCP, UDP and a protocol without a name; the batches that they give, and that of the end.
fn traffic(bench: &mut Bench, generations: u32) -> Vec<StoreBatch> {
    let mut batches = Vec::new();
    for n in 0..generations {
        let s = f64::from(n) * 2.0;
        let deltas = [
            tcp((1, 1000), (2, 80), ACK, (s, s + 1.0)),
            tcp((2, 80), (1, 1000), ACK, (s, s + 1.0)),
            delta(17, (3, 5000 + n as u16), (4, 53), (s, s + 0.5)),
            delta(99, (3, 0), (4, 0), (s, s + 0.5)),
        ];
        batches.push(bench.feed((s, s + 2.0), &deltas));
    }
    batches.push(bench.finish());
    batches
}

#[test]
fn samples_are_the_rollups_by_node_direction_and_protocol_at_the_ends_of_windows() {
    let mut bench = Bench::new(EngineConfig::default());
    let batches = traffic(&mut bench, 12);
    let config = RemoteWriteConfig::default();
    let shape = Shape::new(&config).unwrap();
    let mut folded = 0;
    let units: Vec<Unit> = batches.iter().flat_map(|batch| shape.units(batch, &mut folded)).collect();
    let samples = read(&units);
    assert_eq!(folded, 3, "a row of protocol 99 in each window");

    let mut expected: BTreeMap<(String, i64), f64> = BTreeMap::new();
    for row in &bench.written.rollups {
        let proto = match row.proto {
            6 => "tcp",
            17 => "udp",
            _ => "other",
        };
        let direction = if row.direction == Some(Direction::Ingress) { "ingress" } else { "egress" };
        let at = (row.window.plus(Resolution::S10.duration()).0 / 1_000_000) as i64;
        for (name, value) in [("packets", row.packets), ("bytes", row.bytes), ("new_flows", row.new_flows)] {
            let series = format!("__name__=netspectra_window_{name},direction={direction},node=n1,proto={proto}");
            *expected.entry((series, at)).or_default() += value as f64;
        }
    }
    let is_row =
        |series: &str| ["packets", "bytes", "new_flows"].iter().any(|n| series.contains(&format!("window_{n},")));
    let found: BTreeMap<_, _> = samples.clone().into_iter().filter(|((series, _), _)| is_row(series)).collect();
    assert_eq!(found, expected);
    assert_eq!(
        found.keys().map(|(_, at)| *at).collect::<std::collections::BTreeSet<_>>(),
        [10.0, 20.0, 30.0].map(ms).into()
    );
    // 12 generations of four deltas with ten packets each.
    assert_eq!(sum(&samples, "__name__=netspectra_window_packets"), 480.0);
}

#[test]
fn the_ledger_of_a_batch_is_one_moment_whose_places_add_up() {
    let mut bench = Bench::new(EngineConfig::default());
    let batches = traffic(&mut bench, 3);
    let mut block = StoreBatch::default();
    batches.iter().for_each(|batch| append(&mut block, batch));
    block.ledger[1].ledger.reasons[netspectra_common::abi::LossReason::TruncatedLink].packets = 5;
    block.ledger[1].ledger.seen.packets += 5;
    block.ledger[1].chain_break = true;
    let samples = read(&units(&RemoteWriteConfig::default(), &block));
    let at = |name: &str| samples[&(format!("__name__=netspectra_ledger_{name}"), ms(6.0))];
    assert_eq!(at("seen_packets,node=n1"), 125.0);
    assert_eq!(at("packets,node=n1,place=flows"), 120.0);
    assert_eq!(at("packets,node=n1,place=truncated_link"), 5.0);
    assert_eq!(at("chain_breaks,node=n1"), 1.0);
    assert_eq!(sum(&samples, "__name__=netspectra_ledger_packets"), at("seen_packets,node=n1"));
    assert_eq!(sum(&samples, "__name__=netspectra_ledger_bytes"), at("seen_bytes,node=n1"));
}

#[test]
fn estimates_have_their_bounds_and_can_be_left_out() {
    let mut bench = Bench::new(EngineConfig::default());
    let batches = traffic(&mut bench, 6);
    let config = RemoteWriteConfig::default();
    let samples = read(&batches.iter().flat_map(|batch| units(&config, batch)).collect::<Vec<_>>());
    for bound in ["low", "estimate", "high"] {
        let value = samples[&(format!("__name__=netspectra_window_distinct_sources,bound={bound},node=n1"), ms(10.0))];
        assert!((2.9..3.1).contains(&value), "{bound}: {value}, expected senders 1, 2 and 3");
    }
    assert!(!samples.keys().any(|(series, _)| series.contains("rtt")), "no handshake, no time");
    let without = RemoteWriteConfig { sketches: false, ..config };
    let samples = read(&batches.iter().flat_map(|batch| units(&without, batch)).collect::<Vec<_>>());
    assert!(!samples.keys().any(|(series, _)| series.contains("bound=")));
    assert_eq!(sum(&samples, "__name__=netspectra_window_packets"), 240.0);
}

#[test]
fn an_engine_that_takes_over_from_a_state_makes_the_same_bytes() {
    let mut agent = Agent::new("n1");
    let log: Vec<Vec<BusMessage>> = (0..30)
        .map(|n| {
            let s = f64::from(n);
            agent.generation((s, s + 1.0), &[tcp((1, 1000 + n as u16 % 7), (2, 80), ACK, (s, s + 0.5))])
        })
        .collect();
    let config = RemoteWriteConfig::default();
    let samples_of = |engine: &mut Engine, messages: &[BusMessage]| -> Vec<Unit> {
        messages.iter().filter_map(|m| engine.apply(m)).flat_map(|batch| units(&config, &batch)).collect()
    };
    let mut first = Engine::new(EngineConfig::default());
    let mut state = Vec::new();
    let mut expected = Vec::new();
    for (n, messages) in log.iter().enumerate() {
        if n == 13 {
            first.snapshot(&mut state).unwrap();
        }
        expected.push(samples_of(&mut first, messages));
    }
    assert!(expected.iter().flatten().map(|unit| unit.samples).sum::<usize>() > 100);
    let mut second = Engine::restore(&state).unwrap();
    for (n, messages) in log.iter().enumerate().skip(13) {
        assert_eq!(samples_of(&mut second, messages), expected[n], "generation {n}");
    }
}

#[test]
fn parts_of_a_window_have_times_of_their_own_and_add_up() {
    let mut bench = Bench::new(EngineConfig::default());
    let one = |bench: &mut Bench, s: f64, is_last: bool| {
        let mut messages = bench.agent.generation((s, s + 1.0), &[tcp((1, 1000), (2, 80), ACK, (s, s + 0.5))]);
        if let Some(BusMessage::Manifest(manifest)) = messages.last_mut() {
            Arc::make_mut(manifest).last = is_last;
        }
        bench.apply(&messages)
    };
    // The agent ends in the window, and another run of it goes on in it.
    let mut batches = vec![one(&mut bench, 2.0, false), one(&mut bench, 3.0, true)];
    bench.agent.epoch += 1;
    (bench.agent.next, bench.agent.previous) = (0, None);
    batches.extend([5.0, 6.0, 13.0].map(|s| one(&mut bench, s, false)));
    let samples = read(&batches.iter().flat_map(|b| units(&RemoteWriteConfig::default(), b)).collect::<Vec<_>>());
    let packets: Vec<_> =
        samples.iter().filter(|((s, _), _)| s.starts_with("__name__=netspectra_window_packets")).collect();
    let times: Vec<(i64, f64)> = packets.iter().map(|((_, at), value)| (*at, **value)).collect();
    assert_eq!(times, [(ms(4.0), 20.0), (ms(10.0), 20.0)]);
}

#[test]
fn windows_of_a_block_that_were_written_early_are_one_moment_with_merged_estimates() {
    let mut bench = Bench::new(EngineConfig::default());
    let batches = traffic(&mut bench, 3);
    let mut block = StoreBatch::default();
    batches.iter().chain(&batches).for_each(|batch| append(&mut block, batch));
    let once = read(&units(
        &RemoteWriteConfig::default(),
        &batches.iter().fold(StoreBatch::default(), |mut all, batch| {
            append(&mut all, batch);
            all
        }),
    ));
    let twice = read(&units(&RemoteWriteConfig::default(), &block));
    let at = |samples: &BTreeMap<(String, i64), f64>, series: &str| samples[&(series.to_owned(), ms(6.0))];
    let packets = "__name__=netspectra_window_packets,direction=ingress,node=n1,proto=tcp";
    assert_eq!((at(&once, packets), at(&twice, packets)), (30.0, 60.0));
    let sources = "__name__=netspectra_window_distinct_sources,bound=estimate,node=n1";
    assert_eq!(at(&once, sources), at(&twice, sources), "distinct is no sum");
}

#[test]
fn ports_and_labels_are_those_that_are_asked_for() {
    let mut bench = Bench::new(EngineConfig::default());
    let batches = traffic(&mut bench, 1);
    let config = RemoteWriteConfig {
        ports: vec![53, 80],
        protocols: vec!["udp".into(), "99".into()],
        labels: [("cluster".to_owned(), "c1".to_owned())].into(),
        sketches: false,
        ..RemoteWriteConfig::default()
    };
    let samples = read(&batches.iter().flat_map(|batch| units(&config, batch)).collect::<Vec<_>>());
    let packets: BTreeMap<&str, f64> = samples
        .iter()
        .filter_map(|((s, _), v)| Some((s.strip_prefix("__name__=netspectra_window_packets,cluster=c1,")?, *v)))
        .collect();
    let expected = [
        ("direction=egress,node=n1,port=80,proto=other", 10.0),
        ("direction=ingress,node=n1,port=53,proto=udp", 10.0),
        ("direction=ingress,node=n1,port=80,proto=other", 10.0),
        ("direction=ingress,node=n1,port=other,proto=99", 10.0),
    ];
    assert_eq!(packets, expected.into());
}

#[test]
fn nodes_are_apart_and_a_batch_without_ledger_has_the_ends_of_its_windows() {
    let mut bench = Bench::new(EngineConfig::default());
    let whole = traffic(&mut bench, 1);
    let mut both = whole.last().unwrap().clone();
    assert!(both.ledger.is_empty() && !both.rollups.is_empty());
    let other: Vec<_> = both
        .rollups
        .iter()
        .cloned()
        .map(|mut row| {
            row.node = "n2".into();
            row.window = Nanos(row.window.0 + 10 * SECOND);
            row
        })
        .collect();
    both.rollups.extend(other);
    let units = units(&RemoteWriteConfig { sketches: false, ..RemoteWriteConfig::default() }, &both);
    assert_eq!(units.len(), 2);
    let samples = read(&units);
    for (node, at) in [("n1", ms(10.0)), ("n2", ms(20.0))] {
        let of_node: Vec<_> = samples.keys().filter(|(series, _)| series.contains(&format!("node={node},"))).collect();
        assert!(!of_node.is_empty() && of_node.iter().all(|(_, time)| *time == at), "{of_node:?}");
    }
}
