//! Partitions that change hands. The log and the store are in memory; real ones are in `tests/`. What a store does with a
//! block of which it has half is shown there.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::live::PartitionSet;
use super::task::{Setting, Task};
use super::*;
use crate::testing::{ACK, Agent, FIN, SYN, SYN_ACK, tcp};
use crate::{Engine, EngineConfig};
use netspectra_common::model::{BusMessage, EndReason, LogEntry, Nanos, TimeRange};
use netspectra_common::ports::{
    BlockStore, BoxFuture, LivePartitions, LiveReport, PortError, Store, StoreBatch, Through,
};
use netspectra_common::query::{Answer, Metric, Partial, Plan, Query, answer, parse_filter};
use netspectra_common::schema::Dimension;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const TOPIC: &str = "flows";

/// Blocks and states in memory. Refuses a block that is another one than what it has under its name, or that leaves a gap.
#[derive(Default)]
struct Blocks {
    stored: Mutex<BTreeMap<(u32, u64), StoreBatch>>,
    states: Mutex<BTreeMap<u32, (u64, Vec<u8>)>>,
    /// Blocks that came again.
    again: AtomicU32,
    /// Calls to fail for now.
    failures: AtomicU32,
}

/// What a block says. Observations are hints: sessions of dissectors are not part of a state.
fn said(batch: &StoreBatch) -> String {
    let windows: Vec<_> = batch
        .windows
        .iter()
        .map(|w| (w.resolution, w.start, w.total, w.new_flows, &w.protocols, postcard::to_stdvec(&w.sketches).unwrap()))
        .collect();
    format!("{:?}", (&batch.block, &batch.flows, &batch.rollups, &batch.ledger, windows))
}

impl Blocks {
    fn fails(&self) -> bool {
        self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }

    fn fold(&self, plan: &Plan, wanted: impl Fn(u32, u64) -> bool) -> Partial {
        let mut partial = Partial::new(plan).unwrap();
        for ((partition, last), batch) in &*self.stored.lock().unwrap() {
            if wanted(*partition, *last) {
                batch.fold(plan, &mut partial);
            }
        }
        partial
    }

    fn all(&self) -> Vec<String> {
        self.stored.lock().unwrap().values().map(said).collect()
    }
}

impl Store for Blocks {
    fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            if self.fails() {
                return Err(PortError::transient("away"));
            }
            let block = batch.block.as_ref().expect("a block has a name");
            let mut stored = self.stored.lock().unwrap();
            let of_partition = (block.partition, 0)..=(block.partition, u64::MAX);
            let before = stored.range(of_partition).next_back().map(|((_, last), _)| *last);
            match stored.get(&(block.partition, block.last)) {
                Some(there) => {
                    assert_eq!(said(there), said(batch), "a block that comes again is the same");
                    self.again.fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    assert_eq!(
                        block.first,
                        before.map_or(0, |last| last + 1),
                        "blocks leave no gap and do not overlap"
                    );
                    stored.insert((block.partition, block.last), batch.clone());
                }
            }
            Ok(())
        })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move { Ok(self.fold(plan, |_, _| true)) })
    }

    fn last_generation<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}

impl BlockStore for Blocks {
    fn stored_through<'a>(&'a self, _: &'a str, partition: u32) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async move {
            if self.fails() {
                return Err(PortError::transient("away"));
            }
            let stored = self.stored.lock().unwrap();
            Ok(stored.range((partition, 0)..=(partition, u64::MAX)).next_back().map(|((_, last), _)| *last))
        })
    }

    fn query_through<'a>(
        &'a self,
        plan: &'a Plan,
        _: &'a str,
        through: &'a Through,
    ) -> BoxFuture<'a, Result<Partial, PortError>> {
        let wanted = |partition, last| through.get(&partition).is_none_or(|until| Some(last) <= *until);
        Box::pin(async move { Ok(self.fold(plan, wanted)) })
    }

    fn save_state<'a>(
        &'a self,
        _: &'a str,
        partition: u32,
        offset: u64,
        state: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        self.states.lock().unwrap().insert(partition, (offset, state.to_vec()));
        Box::pin(async { Ok(()) })
    }

    fn load_state<'a>(
        &'a self,
        _: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<Option<(u64, Vec<u8>)>, PortError>> {
        let state = self.states.lock().unwrap().get(&partition).cloned();
        Box::pin(async move { Ok(state) })
    }
}

/// Messages that were buried, and when ticks came.
#[derive(Default)]
struct Noted {
    buried: Mutex<Vec<(u64, String)>>,
    ticks: Mutex<Vec<tokio::time::Instant>>,
}

impl Notes for Noted {
    fn bury<'a>(&'a self, _: &'a str, _: u32, offset: u64, poison: &'a Poison) -> BoxFuture<'a, Result<(), PortError>> {
        self.buried.lock().unwrap().push((offset, poison.reason.clone()));
        Box::pin(async { Ok(()) })
    }

    fn tick<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(), PortError>> {
        self.ticks.lock().unwrap().push(tokio::time::Instant::now());
        Box::pin(async { Ok(()) })
    }
}

/// A partition's entries; `None` is one that cannot be read.
type Log = Arc<Vec<Option<LogEntry>>>;

/// What agents wrote.
fn messages(log: &[Option<LogEntry>]) -> impl Iterator<Item = &BusMessage> {
    log.iter().flatten().filter_map(|entry| match entry {
        LogEntry::Message(message) => Some(message),
        LogEntry::Tick => None,
    })
}

/// `log` as far as agents come, and then an hour in which nobody writes but its owners.
fn abandoned(log: &Log, offset: usize) -> Log {
    Arc::new(log[..offset].iter().cloned().chain((0..900).map(|_| Some(LogEntry::Tick))).collect())
}

/// Packets that `node` sent.
fn sent(log: &Log, node: &str) -> u64 {
    let of = |message: &BusMessage| match message {
        BusMessage::Manifest(m) if &*m.id.node == node => Some(m.ledger.seen.packets),
        BusMessage::Manifest(_)
        | BusMessage::Chunk(_)
        | BusMessage::Payload { .. }
        | BusMessage::Observed { .. }
        | BusMessage::Sockets { .. } => None,
    };
    messages(log).filter_map(of).sum()
}

/// Packets of the records of `node` that are stored.
fn recorded(store: &Blocks, node: &str) -> u64 {
    let stored = store.stored.lock().unwrap();
    let flows = stored.values().flat_map(|b| &b.flows).filter(|f| &*f.node == node);
    flows.map(|f| f.packets + f.reverse_packets).sum()
}

/// `generations` of three nodes whose chunks and manifests interleave, with flows that go on, end and time out, and a
/// message that nobody can read. The clock of one node is an hour ahead.
fn log(generations: usize) -> Log {
    let mut nodes: Vec<(Agent, f64)> =
        [("a", 0.0), ("b", 3600.0), ("c", 0.25)].map(|(name, ahead)| (Agent::new(name), ahead)).into();
    let mut queues: Vec<std::collections::VecDeque<BusMessage>> = vec![Default::default(); 3];
    for i in 0..generations {
        for ((agent, ahead), queue) in nodes.iter_mut().zip(&mut queues) {
            let s = *ahead + i as f64;
            let port = 1000 + (i / 4) as u16;
            let way = if i % 4 < 2 { (SYN, SYN_ACK) } else { (FIN, FIN) };
            let deltas = [
                tcp((1, 5000), (2, 443), ACK, (s, s + 0.9)),
                tcp((1, port), (3, 80), way.0, (s + 0.1, s + 0.2)),
                tcp((3, 80), (1, port), way.1, (s + 0.2, s + 0.3)),
            ];
            // Now and then a node is busy, and its generations are long.
            let length = if i % 11 == 10 { 4.0 } else { 1.0 };
            queue.extend(agent.generation((s, s + length), &deltas[..1 + i % 3]));
        }
    }
    let mut log = Vec::new();
    let mut turn = 0usize;
    while queues.iter().any(|q| !q.is_empty()) {
        turn = turn.wrapping_mul(5).wrapping_add(3) % 1009;
        if let Some(message) = queues[turn % 3].pop_front() {
            log.push(Some(message.into()));
        }
        if log.len() == 20 {
            log.push(None);
        }
    }
    Arc::new(log)
}

/// When the log took the message at `offset`.
fn written(offset: usize) -> Nanos {
    Nanos((1_700_000_000 + 4 * offset as u64) * Nanos::PER_SECOND)
}

/// `log` without what node `c` wrote from `offset` on.
fn dying(log: &Log, offset: usize) -> Log {
    let of_dead = |entry: &LogEntry| matches!(entry, LogEntry::Message(message) if &**message.node() == "c");
    let kept = |(at, message): &(usize, &Option<LogEntry>)| *at < offset || !message.as_ref().is_some_and(of_dead);
    Arc::new(log.iter().enumerate().filter(kept).map(|(_, message)| message.clone()).collect())
}

/// Gives the messages from `at` on up to `until`, `step` at once; then the partition is somebody else's.
struct Reader {
    log: Log,
    at: usize,
    until: usize,
    step: usize,
}

impl PartitionLog for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Delivered>>, PortError>> {
        let end = (self.at + self.step).min(self.until);
        let deliver = |offset: usize| Delivered {
            offset: offset as u64,
            written: written(offset),
            message: self.log[offset].clone().ok_or_else(|| Poison { reason: "no message".into(), bytes: vec![1] }),
        };
        let messages: Vec<_> = (self.at..end).map(deliver).collect();
        self.at = end.max(self.at);
        Box::pin(async move { Ok((!messages.is_empty()).then_some(messages)) })
    }

    fn stored(&mut self, _: u64) {}
}

struct Rig {
    store: Arc<Blocks>,
    notes: Arc<Noted>,
    set: PartitionSet,
    after: Arc<dyn AfterBlock>,
}

impl Rig {
    fn new() -> Self {
        Self::over(Arc::default())
    }

    /// Another process over the same store.
    fn over(store: Arc<Blocks>) -> Self {
        Self { store, notes: Arc::default(), set: PartitionSet::new(TOPIC.into()), after: Arc::new(()) }
    }

    fn setting(&self, config: EngineConfig) -> Setting {
        Setting {
            config,
            store: self.store.clone(),
            notes: self.notes.clone(),
            set: self.set.clone(),
            after: self.after.clone(),
        }
    }

    /// Takes partition 0 over and applies the log up to `until`; then it is given back.
    async fn own(&self, log: &Log, until: usize, step: usize) {
        self.own_with(EngineConfig::default(), log, until, step).await;
    }

    async fn own_with(&self, config: EngineConfig, log: &Log, until: usize, step: usize) {
        let (_stop_to, mut stop) = watch::channel(false);
        let task = Task::take_over(self.setting(config), 0, &mut stop).await.unwrap().unwrap();
        let at = task.resume().unwrap_or(0) as usize;
        let mut reader = Reader { log: log.clone(), at, until, step };
        task.run(&mut reader, &mut stop).await.unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// The blocks that one owner makes of the whole log.
fn whole(log: &Log) -> Vec<String> {
    let rig = Rig::new();
    runtime().block_on(rig.own(log, log.len(), 7));
    rig.store.all()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn owners_that_come_and_go_write_the_blocks_of_one_owner(
        ends in prop::collection::vec((0usize..1200, 1usize..40, 0u32..4), 1..12),
        forget in prop::collection::vec(prop::bool::weighted(0.2), 12),
        death in prop::option::of(0usize..300),
        end in prop::option::of(100usize..300),
    ) {
        let log = death.map_or_else(|| log(100), |offset| dying(&log(100), offset));
        let log = end.map_or_else(|| log.clone(), |offset| abandoned(&log, offset.min(log.len())));
        let expected = whole(&log);
        let store: Arc<Blocks> = Arc::default();
        runtime().block_on(async {
            for ((until, step, failures), forget) in ends.into_iter().zip(forget) {
                store.failures.store(failures, Ordering::SeqCst);
                Rig::over(store.clone()).own(&log, until.min(log.len()), step).await;
                if forget {
                    store.states.lock().unwrap().clear();
                }
            }
            Rig::over(store.clone()).own(&log, log.len(), 13).await;
        });
        let kept = store.states.lock().unwrap().contains_key(&0);
        prop_assert!(kept || end.is_some(), "states were kept on the way");
        prop_assert_eq!(store.all(), expected);
    }
}

/// The pieces of requests that blocks give, as often as they come.
#[cfg(feature = "remote-write")]
#[derive(Default)]
struct Samples(Mutex<BTreeMap<Vec<u8>, u32>>);

#[cfg(feature = "remote-write")]
impl AfterBlock for Samples {
    fn stored(&self, _: u32, batch: &StoreBatch, _: &crate::EngineStats) {
        for piece in crate::remote_write::pieces(batch) {
            *self.0.lock().unwrap().entry(piece).or_default() += 1;
        }
    }

    fn released(&self, _: u32) {}
}

/// Owners as they come and go offer pieces more often than one owner does, and no others.
#[cfg(feature = "remote-write")]
#[test]
fn owners_that_come_and_go_offer_the_samples_of_one_owner() {
    let log = log(100);
    let (whole, parts) = (Arc::<Samples>::default(), Arc::<Samples>::default());
    let store: Arc<Blocks> = Arc::default();
    runtime().block_on(async {
        Rig { after: whole.clone(), ..Rig::new() }.own(&log, log.len(), 7).await;
        for (until, step) in [(40, 3), (171, 11), (172, 1), (300, 40), (log.len(), 13)] {
            Rig { after: parts.clone(), ..Rig::over(store.clone()) }.own(&log, until, step).await;
        }
    });
    let (whole, parts) = (whole.0.lock().unwrap(), parts.0.lock().unwrap());
    assert!(whole.len() > 100, "{}", whole.len());
    assert!(parts.values().sum::<u32>() > whole.values().sum(), "some blocks came again");
    assert_eq!(parts.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
}

#[test]
fn flows_of_a_node_that_died_are_over_once_the_others_went_on_for_long_enough() {
    let log = dying(&log(100), 150);
    let rig = Rig::new();
    runtime().block_on(rig.own(&log, log.len(), 7));
    let stored = rig.store.stored.lock().unwrap();
    let ends = stored.iter().flat_map(|((_, last), batch)| {
        let ended = batch.flows.iter().filter(|f| &*f.node == "c" && f.end_reason == EndReason::IdleTimeout);
        ended.map(|flow| (*last as usize, flow.last_seen))
    });
    let (last, _) = ends.max_by_key(|(_, seen)| *seen).unwrap();
    let after = written(last).since(written(150));
    assert!(after >= std::time::Duration::from_secs(15 * 60), "{after:?}");
    drop(stored);
    // Nothing that the node sent is missing.
    assert_eq!(recorded(&rig.store, "c"), sent(&log, "c"));
}

#[test]
fn flows_of_nodes_alone_on_their_partition_are_over_when_ticks_say_that_time_went_on() {
    // In the middle of a generation, and of a block.
    for offset in [150, 151, 153] {
        let log = abandoned(&log(100), offset);
        let rig = Rig::new();
        let open = async { rig.set.stats()[&0].engine.active_flows };
        assert_eq!(runtime().block_on(while_owned(&rig, &log, log.len(), open)), 0);
        for node in ["a", "b", "c"] {
            assert!(sent(&log, node) > 0);
            assert_eq!(recorded(&rig.store, node), sent(&log, node), "{node}, {offset}");
        }
        let stored = rig.store.stored.lock().unwrap();
        let last = stored.keys().next_back().unwrap().1 as usize;
        let after = written(last).since(written(offset - 1));
        assert!((900..950).contains(&after.as_secs()), "{after:?}");
    }
}

#[test]
fn an_owner_writes_ticks_while_nobody_writes_and_something_may_have_to_end() {
    let log = log(40);
    let minute = || tokio::time::sleep(std::time::Duration::from_secs(61));
    runtime().block_on(async {
        let rig = Rig::new();
        let before = tokio::time::Instant::now();
        while_owned(&rig, &log, 100, minute()).await;
        let ticks: Vec<u64> = rig.notes.ticks.lock().unwrap().iter().map(|at| (*at - before).as_secs()).collect();
        assert_eq!(ticks, (1..=12).map(|n| 5 * n).collect::<Vec<_>>());
        // Nobody was heard yet; everybody is over.
        for (log, until) in [(log.clone(), 0), (abandoned(&log, 100), 1000)] {
            let rig = Rig::new();
            while_owned(&rig, &log, until, minute()).await;
            assert_eq!(rig.notes.ticks.lock().unwrap().len(), 0);
        }
    });
}

#[test]
fn two_owners_at_once_write_the_same_blocks() {
    let log = log(100);
    let store: Arc<Blocks> = Arc::default();
    runtime().block_on(async {
        let (one, other) = (Rig::over(store.clone()), Rig::over(store.clone()));
        one.own(&log, 200, 3).await;
        // Taken over by both from here: they write in turns.
        let (a, b) = tokio::join!(one.own(&log, log.len(), 5), other.own(&log, log.len(), 1));
        let ((), ()) = (a, b);
    });
    assert!(store.again.load(Ordering::SeqCst) > 10, "blocks came again");
    assert_eq!(store.all(), whole(&log));
}

#[test]
fn another_configuration_holds_from_the_next_new_block_on_and_moves_no_border() {
    let log = log(100);
    let names = |blocks: &Blocks| blocks.stored.lock().unwrap().keys().copied().collect::<Vec<_>>();
    let expected = Rig::new();
    let changed = Rig::new();
    runtime().block_on(async {
        expected.own(&log, log.len(), 7).await;
        changed.own(&log, 300, 7).await;
        let short = EngineConfig { active_timeout: std::time::Duration::from_secs(5), ..EngineConfig::default() };
        Rig::over(changed.store.clone()).own_with(short, &log, log.len(), 7).await;
    });
    assert_eq!(names(&changed.store), names(&expected.store));
    let (stored, whole) = (changed.store.all(), expected.store.all());
    let same = stored.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    assert!(same > 5 && same < whole.len(), "{same} of {}", whole.len());
}

#[test]
fn a_message_that_cannot_be_read_is_buried_once_for_each_reading_and_stops_nothing() {
    let log = log(30);
    let rig = Rig::new();
    runtime().block_on(rig.own(&log, log.len(), 7));
    assert_eq!(*rig.notes.buried.lock().unwrap(), [(20, "no message".to_owned())]);
    assert!(rig.store.stored.lock().unwrap().keys().any(|(_, last)| *last > 20));
}

fn plans() -> Vec<Plan> {
    let plan = |filter: &str, query| Plan { range: TimeRange::ALL, filter: parse_filter(filter).unwrap(), query };
    let top = |exact| Query::Top { by: vec![Dimension::SrcIp], metric: Metric::Bytes, limit: 10, exact };
    vec![
        plan("", Query::Ledger),
        plan("", Query::Flows { limit: 10_000, after: None }),
        plan("dst_port = 80", Query::Flows { limit: 10_000, after: None }),
        plan("", top(true)),
        plan("", top(false)),
        plan("node = b", Query::Cardinality { of: vec![Dimension::SrcPort] }),
        plan("", Query::Series { step: std::time::Duration::from_secs(10), by: vec![] }),
    ]
}

/// What one engine says after the first `until` messages: everything that it let go, and what is live.
fn expected(log: &Log, until: usize, plan: &Plan) -> Answer {
    let mut engine = Engine::new(EngineConfig::default());
    let mut all = StoreBatch::default();
    messages(&log[..until]).filter_map(|m| engine.apply(m)).for_each(|batch| all.absorb(batch));
    let mut partial = engine.live(plan).unwrap();
    all.fold(plan, &mut partial);
    answer(plan, partial).unwrap()
}

/// Flow records have no order of their own at one position, and all answers are text in the end.
fn text(answer: &Answer) -> String {
    format!("{answer:?}")
}

/// An owner as it was when it was last asked: stopped, and not aware of it.
struct Stale(LiveReport);

impl LivePartitions for Stale {
    fn report<'a>(&'a self, _: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>> {
        let report = self.0.clone();
        Box::pin(async move { Ok(Some(report)) })
    }
}

/// An owner that does not answer.
struct Gone;

impl LivePartitions for Gone {
    fn report<'a>(&'a self, _: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>> {
        Box::pin(async { Err(PortError::transient("connection refused")) })
    }
}

/// A log that gives messages up to `until` and then has no more for now.
struct Following(Reader, Arc<tokio::sync::Notify>);

impl PartitionLog for Following {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Delivered>>, PortError>> {
        Box::pin(async move {
            match self.0.next().await? {
                Some(messages) => Ok(Some(messages)),
                None => {
                    self.1.notify_one();
                    std::future::pending().await
                }
            }
        })
    }

    fn stored(&mut self, _: u64) {}
}

/// Runs `ask` while `rig` owns partition 0 and has applied the log up to `until`.
async fn while_owned<T>(rig: &Rig, log: &Log, until: usize, ask: impl Future<Output = T>) -> T {
    let (stop_to, mut stop) = watch::channel(false);
    let task = Task::take_over(rig.setting(EngineConfig::default()), 0, &mut stop).await.unwrap().unwrap();
    let arrived = Arc::new(tokio::sync::Notify::new());
    let at = task.resume().unwrap_or(0) as usize;
    let mut reader = Following(Reader { log: log.clone(), at, until, step: 6 }, arrived.clone());
    let running = tokio::spawn(async move { task.run(&mut reader, &mut stop).await });
    arrived.notified().await;
    let answer = ask.await;
    stop_to.send(true).unwrap();
    running.await.unwrap().unwrap();
    answer
}

async fn ask(rig: &Rig, owners: Vec<Arc<dyn LivePartitions>>, plan: &Plan) -> String {
    let federation = Federation::new(TOPIC.into(), rig.store.clone(), Arc::new(owners));
    text(&answer(plan, federation.query(plan).await.unwrap()).unwrap())
}

#[test]
fn every_row_is_seen_once_wherever_it_is() {
    let log = log(60);
    runtime().block_on(async {
        let rig = Rig::new();
        for until in [3, 17, 60, 61, 150, 151, 152, log.len()] {
            for plan in plans() {
                let owner: Arc<dyn LivePartitions> = Arc::new(rig.set.clone());
                let found = while_owned(&rig, &log, until, ask(&rig, vec![owner, Arc::new(Gone)], &plan)).await;
                assert_eq!(found, text(&expected(&log, until, &plan)), "after {until} messages: {plan:?}");
            }
        }
    });
}

#[test]
fn an_owner_that_lost_a_partition_and_does_not_know_is_not_believed() {
    let log = log(60);
    let plan = &plans()[0];
    runtime().block_on(async {
        let rig = Rig::new();
        let report = while_owned(&rig, &log, 90, async { rig.set.report(plan).await.unwrap().unwrap() }).await;
        let stale: Arc<dyn LivePartitions> = Arc::new(Stale(report));
        let other = Rig::over(rig.store.clone());
        let owner: Arc<dyn LivePartitions> = Arc::new(other.set.clone());
        let found = while_owned(&other, &log, log.len(), ask(&other, vec![stale, owner], plan)).await;
        assert_eq!(found, text(&expected(&log, log.len(), plan)));
    });
}

#[test]
fn who_reads_the_log_again_says_nothing_until_it_is_where_the_store_is() {
    let log = log(60);
    runtime().block_on(async {
        let rig = Rig::new();
        rig.own(&log, log.len(), 7).await;
        rig.store.states.lock().unwrap().clear();
        let again = Rig::over(rig.store.clone());
        let plan = &plans()[0];
        let (halfway, end) = (60, log.len());
        assert!(while_owned(&again, &log, halfway, again.set.report(plan)).await.unwrap().is_none());
        assert!(while_owned(&again, &log, end, again.set.report(plan)).await.unwrap().is_some());
        assert_eq!(again.store.again.load(Ordering::SeqCst), 0, "what is stored is not written again");
    });
}

#[test]
fn bytes_of_another_state_are_refused() {
    for bytes in [
        &b""[..],
        b"NSP2",
        b"NSP2\0\0\0\0\0\0\0\0\0\0\0\0\xff",
        b"NSP2\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
        b"NSP3aaaaaaaaaaaaaaaaaaaa",
    ] {
        assert!(matches!(state::State::read(bytes), Err(StateError::Damaged)), "{bytes:?}");
    }
}
