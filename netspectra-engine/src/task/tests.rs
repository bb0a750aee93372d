//! The task between bus and store. Time is tokio's own, paused: waits cost nothing and are exact.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::EngineConfig;
use crate::testing::{ACK, Agent, append, sum_flows, tcp};
use netspectra_common::model::{FlowRecord, TimeRange};
use netspectra_common::ports::{BoxFuture, LiveState, Publisher};
use netspectra_common::query::{Answer, Filter, Partial, Plan, Query, answer};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Semaphore;

/// Keeps batches in memory; fails and waits as told.
struct TestStore {
    rows: Mutex<StoreBatch>,
    /// Attempts that fail for now.
    failures: AtomicU32,
    permanent: bool,
    attempts: AtomicU32,
    /// Taken once by every append, after its rows can be seen.
    leave: Semaphore,
    entered: Semaphore,
}

impl TestStore {
    fn new() -> Self {
        Self {
            rows: Mutex::default(),
            failures: AtomicU32::new(0),
            permanent: false,
            attempts: AtomicU32::new(0),
            leave: Semaphore::new(1000),
            entered: Semaphore::new(0),
        }
    }
}

impl Store for TestStore {
    fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            if self.permanent {
                return Err(PortError::permanent("broken"));
            }
            if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(PortError::transient("disk full"));
            }
            append(&mut self.rows.lock().unwrap(), batch);
            self.entered.add_permits(1);
            self.leave.acquire().await.unwrap().forget();
            Ok(())
        })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move {
            let mut partial = Partial::new(plan).unwrap();
            self.rows.lock().unwrap().flows.iter().for_each(|f| partial.fold_flow(plan, f));
            Ok(partial)
        })
    }

    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        let rows = self.rows.lock().unwrap();
        let of_run = rows.ledger.iter().filter(|e| &*e.node == node && e.epoch == epoch);
        let last = of_run.map(|e| e.generation).max();
        Box::pin(async move { Ok(last) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}

fn plan() -> Plan {
    Plan { range: TimeRange::ALL, filter: Filter::ALL, query: Query::Flows { limit: 1000, after: None } }
}

async fn flows(view: &ConsistentView) -> Vec<FlowRecord> {
    let plan = plan();
    let answered = answer(&plan, view.query(&plan).await.unwrap()).unwrap();
    let Answer::Flows(answer) = answered else { panic!("expected flows, found {answered:?}") };
    answer.items
}

fn start(store: TestStore) -> (EngineTask, InProcessBus, BusReceiver, Arc<TestStore>) {
    let store = Arc::new(store);
    let (bus, inbox) = in_process_bus(4);
    (EngineTask::new(Engine::new(EngineConfig::default()), store.clone()), bus, inbox, store)
}

fn one(agent: &mut Agent, s: f64) -> Vec<BusMessage> {
    agent.generation((s, s + 1.0), &[tcp((1, 1000 + s as u16), (2, 80), ACK, (s, s + 0.5))])
}

#[tokio::test]
async fn a_generation_is_acknowledged_once_stored_and_the_end_writes_the_rest() {
    let (task, bus, inbox, store) = start(TestStore::new());
    let view = task.view();
    let task = tokio::spawn(task.run(inbox));
    let mut agent = Agent::new("n");
    for s in [0.0, 40.0, 80.0] {
        bus.publish(one(&mut agent, s)).await.unwrap();
        assert_eq!(store.rows.lock().unwrap().ledger.len(), 1 + (s / 40.0) as usize);
        assert_eq!(flows(&view).await.len(), 1 + (s / 40.0) as usize);
    }
    assert_eq!(store.rows.lock().unwrap().flows.len(), 2);
    let extent = view.extent().await.unwrap().unwrap();
    assert!(extent.from < extent.to);
    drop(bus);
    let stats = task.await.unwrap().unwrap();
    assert_eq!((stats.generations, stats.active_flows), (3, 0));
    assert_eq!(sum_flows(&store.rows.lock().unwrap().flows).packets, 30);
    assert_eq!(flows(&view).await.len(), 3, "nothing is pending after the last write");
}

#[tokio::test]
async fn a_query_during_a_write_sees_every_row_once() {
    let mut slow = TestStore::new();
    slow.leave = Semaphore::new(1);
    let (task, bus, inbox, store) = start(slow);
    let (view, live) = (task.view(), task.live());
    let task = tokio::spawn(task.run(inbox));
    let mut agent = Agent::new("n");
    bus.publish(one(&mut agent, 0.0)).await.unwrap();
    store.entered.acquire().await.unwrap().forget();
    let second = tokio::spawn({
        let (bus, messages) = (bus.clone(), one(&mut agent, 40.0));
        async move { bus.publish(messages).await }
    });
    // The store shows the rows already, and the write has not ended: the first flow is pending and stored.
    store.entered.acquire().await.unwrap().forget();
    assert_eq!(store.rows.lock().unwrap().flows.len(), 1);
    let plan = plan();
    let partial = live.query(&plan).await.unwrap();
    assert!(matches!(answer(&plan, partial).unwrap(), Answer::Flows(f) if f.items.len() == 2));
    let mut query = std::pin::pin!(flows(&view));
    let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(query.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "the query waits for the write to end");
    store.leave.add_permits(100);
    assert_eq!(query.await.len(), 2);
    second.await.unwrap().unwrap();
    drop(bus);
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_for_now_is_tried_again_and_its_rows_stay_visible() {
    let mut failing = TestStore::new();
    failing.failures = AtomicU32::new(8);
    let (task, bus, inbox, store) = start(failing);
    let view = task.view();
    let task = tokio::spawn(task.run(inbox));
    let began = tokio::time::Instant::now();
    let mut agent = Agent::new("n");
    bus.publish(one(&mut agent, 0.0)).await.unwrap();
    assert_eq!(store.attempts.load(Ordering::SeqCst), 9);
    // 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 5 + 5
    let waited = began.elapsed().as_millis();
    assert!((16_300..16_400).contains(&waited), "{waited}");
    assert_eq!(flows(&view).await.len(), 1);
    drop(bus);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_that_fails_for_good_stops_the_task_and_tells_the_publisher() {
    let mut broken = TestStore::new();
    broken.permanent = true;
    let (task, bus, inbox, _store) = start(broken);
    let view = task.view();
    let task = tokio::spawn(task.run(inbox));
    let mut agent = Agent::new("n");
    let error = bus.publish(one(&mut agent, 0.0)).await.unwrap_err();
    assert!(!error.transient && error.to_string().starts_with("the engine has stopped"));
    assert!(matches!(task.await.unwrap(), Err(TaskError::Store(_))));
    assert!(bus.publish(one(&mut agent, 1.0)).await.is_err());
    assert_eq!(flows(&view).await.len(), 1, "what was not written can still be seen");
}

#[tokio::test]
async fn a_view_cannot_be_written_to() {
    let (task, ..) = start(TestStore::new());
    assert!(task.view().append(&StoreBatch::default()).await.is_err());
}

/// Runs a task with a journal over `store`, publishes `log`, and lets it die when the last generation is acknowledged.
async fn live_and_die(store: &Arc<TestStore>, dir: &std::path::Path, log: &[Vec<BusMessage>]) {
    let task = EngineTask::recover(EngineConfig::default(), store.clone(), dir).await.unwrap();
    let (bus, inbox) = in_process_bus(4);
    let running = tokio::spawn(task.run(inbox));
    for messages in log {
        bus.publish(messages.clone()).await.unwrap();
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn tasks_that_die_after_any_generation_write_what_one_task_writes() {
    let mut agent = Agent::new("n");
    // Flows that go on over several generations and active timeouts.
    let log: Vec<Vec<BusMessage>> = (0..16)
        .map(|i| {
            let s = f64::from(i) * 11.0;
            let own = tcp((3, 4000 + i as u16), (4, 80), ACK, (s + 1.0, s + 2.0));
            agent.generation((s, s + 11.0), &[tcp((1, 1000), (2, 80), ACK, (s, s + 10.0)), own])
        })
        .collect();
    let (task, bus, inbox, expected) = start(TestStore::new());
    let task = tokio::spawn(task.run(inbox));
    for messages in &log {
        bus.publish(messages.clone()).await.unwrap();
    }
    drop(bus);
    task.await.unwrap().unwrap();

    for step in [1, 2, 3, 5, 16] {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(TestStore::new());
        for (n, part) in log.chunks(step).enumerate() {
            // The agent did not hear of the last acknowledgement: what it sends comes again.
            let again = if n == 0 { 0 } else { 1 };
            let from = n * step - again;
            live_and_die(&store, dir.path(), &log[from..n * step + part.len()]).await;
        }
        let task = EngineTask::recover(EngineConfig::default(), store.clone(), dir.path()).await.unwrap();
        let stats = task.live().stats().await.unwrap();
        assert!(stats.active_flows > 0, "the journal has what is open");
        // The end of the source: everything is written, and nothing stays.
        let mut last = agent.generation((176.0, 177.0), &[]);
        if let Some(BusMessage::Manifest(m)) = last.last_mut() {
            Arc::make_mut(m).last = true;
        }
        agent.next -= 1;
        let (bus, inbox) = in_process_bus(4);
        let task = tokio::spawn(task.run(inbox));
        bus.publish(last).await.unwrap();
        drop(bus);
        task.await.unwrap().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

        let (rows, whole) = (store.rows.lock().unwrap(), expected.rows.lock().unwrap());
        let key = |f: &FlowRecord| (f.flow_id, f.flow_start, f.first_seen, f.packets, f.bytes);
        let sorted = |rows: &StoreBatch| {
            let mut keys: Vec<_> = rows.flows.iter().map(key).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(sorted(&rows), sorted(&whole), "deaths after every {step} generations");
        assert_eq!(rows.ledger.len(), log.len() + 1);
    }
}

#[tokio::test]
async fn a_batch_that_was_not_stored_when_the_task_died_is_stored_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut broken = TestStore::new();
    broken.permanent = true;
    let task = EngineTask::recover(EngineConfig::default(), Arc::new(broken), dir.path()).await.unwrap();
    let (bus, inbox) = in_process_bus(4);
    let task = tokio::spawn(task.run(inbox));
    let mut agent = Agent::new("n");
    assert!(bus.publish(one(&mut agent, 0.0)).await.is_err(), "it is in the journal, but not acknowledged");
    assert!(matches!(task.await.unwrap(), Err(TaskError::Store(_))));
    let store = Arc::new(TestStore::new());
    let task = EngineTask::recover(EngineConfig::default(), store.clone(), dir.path()).await.unwrap();
    assert_eq!(store.rows.lock().unwrap().ledger.len(), 1);
    let view = task.view();
    assert_eq!(flows(&view).await.len(), 1);
}
