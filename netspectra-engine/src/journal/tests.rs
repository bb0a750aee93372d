//! The journal and the engine's state over a kill. What a power failure does to a file that was synced is the disk's part.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::EngineConfig;
use crate::testing::{ACK, Agent, FIN, SYN, SYN_ACK, tcp};
use netspectra_common::abi::Obs;
use netspectra_common::model::{FlowKey, Nanos, PayloadSeen};
use netspectra_common::ports::StoreBatch;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Generations in which flows begin, go on over active timeouts, end, time out, and are evicted.
fn log(n: usize) -> Vec<Vec<BusMessage>> {
    let mut agent = Agent::new("n1");
    let one = |i: usize| {
        let s = i as f64 * 7.0;
        let mut deltas = vec![tcp((1, 5000), (2, 443), ACK, (s, s + 6.0)), tcp((2, 443), (1, 5000), ACK, (s, s + 6.5))];
        let port = 1000 + (i % 5) as u16;
        deltas.push(tcp((1, port), (3, 80), if i.is_multiple_of(2) { SYN } else { FIN }, (s + 1.0, s + 1.5)));
        deltas.push(tcp((3, 80), (1, port), if i.is_multiple_of(2) { SYN_ACK } else { FIN }, (s + 1.1, s + 1.6)));
        for extra in 0..i % 7 {
            deltas.push(tcp((4, 2000 + extra as u16), (5, 53), ACK, (s + 2.0, s + 2.0)));
        }
        let mut messages = agent.generation((s, s + 7.0), &deltas);
        let of = match messages.last() {
            Some(BusMessage::Manifest(m)) => m.id.clone(),
            other => panic!("expected a manifest, found {other:?}"),
        };
        let key = FlowKey { src_port: 53, obs: Obs(1).0, ..FlowKey::default() };
        let seen = vec![PayloadSeen { at: Nanos(5), key, prefix: vec![1, 2, 3], len: 900 }];
        messages.insert(messages.len() - 1, BusMessage::Payload { of, seen: Arc::new(seen) });
        messages
    };
    (0..n).map(one).collect()
}

fn config() -> EngineConfig {
    // Small enough for flows to be evicted.
    EngineConfig { max_flows: 6, ..EngineConfig::default() }
}

fn apply(engine: &mut Engine, messages: &[BusMessage]) -> Vec<StoreBatch> {
    messages.iter().filter_map(|m| engine.apply(m)).collect()
}

fn text(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

/// What a batch says, with sketches as their canonical bytes.
fn said(batches: &[StoreBatch]) -> String {
    let mut all = String::new();
    for b in batches {
        let sketches: Vec<_> = b.windows.iter().map(|w| postcard::to_stdvec(&w.sketches).unwrap()).collect();
        let windows: Vec<_> =
            b.windows.iter().map(|w| (w.resolution, w.start, w.total, w.new_flows, &w.protocols)).collect();
        all += &text(&(&b.closed_by, &b.flows, &b.rollups, &b.ledger, &b.messages, windows, sketches));
    }
    all
}

fn state_of(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.snapshot(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_engine_that_was_restored_after_any_generation_gives_the_same_batches() {
    let log = log(40);
    let mut whole = Engine::new(config());
    let expected: Vec<String> = log.iter().map(|m| said(&apply(&mut whole, m))).collect();
    let end = said(&[whole.finish()]);
    for cut in 0..log.len() {
        let mut first = Engine::new(config());
        log[..cut].iter().for_each(|m| drop(apply(&mut first, m)));
        let state = state_of(&first);
        let mut second = Engine::restore(&state).unwrap();
        assert_eq!(state_of(&second), state, "state is the same after generation {cut}");
        let (open, restored) = (first.stats(), second.stats());
        assert_eq!((open.active_flows, open.open_windows), (restored.active_flows, restored.open_windows));
        for (messages, expected) in log[cut..].iter().zip(&expected[cut..]) {
            assert_eq!(&said(&apply(&mut second, messages)), expected, "cut at {cut}");
        }
        assert_eq!(said(&[second.finish()]), end);
    }
}

#[test]
fn another_configuration_holds_for_the_flows_that_are_open() {
    let mut engine = Engine::new(EngineConfig { idle_timeout: Duration::from_secs(3600), ..config() });
    let mut agent = Agent::new("n1");
    let messages = agent.generation((0.0, 1.0), &[tcp((1, 1), (2, 2), ACK, (0.0, 0.5))]);
    apply(&mut engine, &messages);
    let mut engine = Engine::restore(&state_of(&engine)).unwrap();
    engine.reconfigure(EngineConfig { idle_timeout: Duration::from_secs(5), ..config() });
    let batches = apply(&mut engine, &agent.generation((10.0, 11.0), &[]));
    assert_eq!(batches[0].flows.len(), 1);
}

#[test]
fn what_was_appended_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(12);
    let mut engine = Engine::new(config());
    let (mut journal, recovered) = Journal::open(dir.path()).unwrap();
    assert!(recovered.state.is_none() && journal.wants_state());
    assert!(matches!(journal.append(&log[0]), Err(JournalError::NotBegun { .. })));
    journal.begin(&engine).unwrap();
    for (n, messages) in log.iter().enumerate() {
        assert!(!journal.wants_state());
        journal.append(messages).unwrap();
        apply(&mut engine, messages);
        if n == 5 {
            journal.begin(&engine).unwrap();
        }
    }
    drop(journal);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the first file went");
    let (mut journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(text(&recovered.generations), text(&&log[6..]));
    let mut again = Engine::restore(&recovered.state.unwrap()).unwrap();
    recovered.generations.iter().for_each(|m| drop(apply(&mut again, m)));
    assert_eq!(state_of(&again), state_of(&engine));
    journal.begin(&again).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    journal.finish().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A journal of three generations, and the length of its file after each.
fn three(dir: &Path) -> (PathBuf, Vec<u64>) {
    let (mut journal, _) = Journal::open(dir).unwrap();
    journal.begin(&Engine::new(config())).unwrap();
    let path = path_of(dir, 0);
    let len = || fs::metadata(&path).unwrap().len();
    let mut ends = vec![len()];
    for messages in log(3) {
        journal.append(&messages).unwrap();
        ends.push(len());
    }
    (path, ends)
}

#[test]
fn a_file_cut_anywhere_gives_the_generations_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ends) = three(dir.path());
    let bytes = fs::read(&path).unwrap();
    for cut in ends[0]..=ends[3] {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let (_, recovered) = Journal::open(dir.path()).unwrap();
        let whole = ends[1..].iter().filter(|end| **end <= cut).count();
        assert_eq!(text(&recovered.generations), text(&log(3)[..whole].to_vec()), "cut at {cut}");
        assert!(Engine::restore(&recovered.state.unwrap()).is_ok());
    }
}

#[test]
fn a_damaged_generation_is_left_out_and_those_behind_it_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ends) = three(dir.path());
    let bytes = fs::read(&path).unwrap();
    let second = ends[1] as usize..ends[2] as usize;
    for at in second.step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let (_, recovered) = Journal::open(dir.path()).unwrap();
        let log = log(3);
        assert_eq!(text(&recovered.generations), text(&vec![&log[0], &log[2]]), "byte {at}");
    }
}

#[test]
fn bytes_of_a_generation_never_panic() {
    let mut bytes = Vec::new();
    codec::encode(&log(2)[1], &mut bytes).unwrap();
    assert_eq!(text(&codec::decode(&bytes).unwrap()), text(&log(2)[1]));
    for cut in 0..bytes.len() {
        let _ = codec::decode(&bytes[..cut]);
        let mut wrong = bytes.clone();
        wrong[cut] ^= 0xff;
        let _ = codec::decode(&wrong);
    }
}

#[test]
fn what_a_kill_left_of_a_new_file_is_removed_and_the_old_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    fs::write(path_of(dir.path(), 1).with_extension("nsj.tmp"), b"half a state").unwrap();
    let (_, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.generations.len(), 3);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_journal_of_another_version_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = three(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] ^= 1;
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("start that version and end it by Ctrl-C"), "{error}");
    assert!(matches!(Engine::restore(&[9, 9, 9, 9]), Err(crate::SnapshotError::Version { .. })));
    assert!(matches!(Engine::restore(&[]), Err(crate::SnapshotError::Version { found: 0 })));
}

/// A change of what is written shows here. Raise `VERSION` in `codec`, or the ABI's (first value), or in `engine/snapshot` (second) and
/// put the new values in.
#[test]
fn the_bytes_are_those_of_this_version() {
    let mut bytes = Vec::new();
    log(3).iter().for_each(|m| codec::encode(m, &mut bytes).unwrap());
    let mut engine = Engine::new(EngineConfig::default());
    log(3).iter().for_each(|m| drop(apply(&mut engine, m)));
    let found = format!("{:016x} {:016x}", xxh3_64(&bytes), xxh3_64(&state_of(&engine)));
    assert_eq!(found, "5e93d8fd334fa6b6 3df371555f157ece");
}
