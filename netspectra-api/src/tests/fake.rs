//! Fakes at the seams, and a short way to ask.

use crate::answers::Answers;
use crate::app::{router, router_over};
use crate::problem::Problem;
use crate::{Auth, Check, Deps, Health, Limits};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use netspectra_common::abi::{FlowKey, Overflow};
use netspectra_common::model::*;
use netspectra_common::ports::{
    Board, BoxFuture, Clock, LiveState, PortError, Present, PresentWindow, Store, StoreBatch,
};
use netspectra_common::query::*;
use netspectra_common::sketch::Estimate;
use netspectra_common::sketch::OverflowSum;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "test-token-0123456789";
/// 2026-01-31T12:00:00Z.
pub(crate) const NOW: Nanos = Nanos(1_769_860_800_000_000_000);

/// A clock that stands until it is set.
pub(crate) struct FakeClock(pub(crate) AtomicU64);

impl Clock for FakeClock {
    fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Health that is told what to say.
pub(crate) struct FakeHealth(pub(crate) bool, pub(crate) Vec<Check>);

impl Health for FakeHealth {
    fn live(&self) -> bool {
        self.0
    }

    fn ready(&self) -> Vec<Check> {
        self.1.clone()
    }
}

/// Fixed answers; keeps the plans.
pub(crate) struct FakeAnswers {
    pub(crate) plans: Mutex<Vec<Plan>>,
    pub(crate) flows: Mutex<RowsAnswer<FlowRecord>>,
    /// Each question takes a permit for good; unbounded unless a test makes it scarce.
    pub(crate) gate: Semaphore,
    /// Begun questions, also those that wait at the gate.
    pub(crate) begun: Semaphore,
}

impl FakeAnswers {
    /// The plans asked, without those of completeness.
    pub(crate) fn asked(&self) -> Vec<Plan> {
        self.plans.lock().unwrap().iter().filter(|p| p.query != Query::Ledger).cloned().collect()
    }
}

impl Answers for FakeAnswers {
    fn ask<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Answer, Problem>> {
        Box::pin(async move {
            self.plans.lock().unwrap().push(plan.clone());
            self.begun.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            Ok(given(plan, &self.flows.lock().unwrap()))
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(Some(TimeRange { from: NOW.minus(std::time::Duration::from_secs(7_200)), to: NOW })) })
    }
}

/// The answer to `plan`: every group has one row, all numbers are fixed.
fn given(plan: &Plan, flows: &RowsAnswer<FlowRecord>) -> Answer {
    let range = TimeRange { from: plan.range.from.floor(std::time::Duration::from_secs(10)), to: plan.range.to };
    let value = Estimate { estimate: 1500.0, low: 1490.0, high: 1510.0, confidence: 0.99 };
    let key = |n: usize| (0..n).map(|i| if i == 0 { "10.0.0.1".to_owned() } else { String::new() }).collect();
    match &plan.query {
        Query::Flows { .. } => Answer::Flows(flows.clone()),
        Query::Alerts { .. } => {
            Answer::Alerts(RowsAnswer { items: vec![alert()], next: Some(RowCursor::of_alert(&alert())) })
        }
        Query::Messages { .. } => Answer::Messages(RowsAnswer { items: vec![message()], next: None }),
        Query::Top { by, .. } => {
            Answer::Top(TopAnswer { range, items: vec![TopRow { key: key(by.len()), value }], total: 3000 })
        }
        Query::Series { step, by } => {
            let point =
                SeriesPoint { start: range.from, key: key(by.len()), packets: 3, bytes: 300, new_flows: Some(1) };
            Answer::Series(SeriesAnswer { range, step_seconds: step.as_secs(), points: vec![point] })
        }
        Query::Cardinality { .. } => Answer::Cardinality(CardinalityAnswer { range, value }),
        Query::Quantiles { q, .. } => {
            Answer::Quantiles(QuantilesAnswer { range, count: 7, items: q.iter().map(|q| (*q, value)).collect() })
        }
        Query::Ledger => Answer::Ledger(Box::new(LedgerAnswer {
            range,
            ledger: ledger(),
            generations: 5,
            chain_breaks: 0,
            nics: vec![NicSum {
                node: "n1".into(),
                iface: "eth0".into(),
                gained: NicCounters { rx_packets: 12, rx_bytes: 1200, rx_missed: 1, ..NicCounters::default() },
                resets: 1,
            }],
        })),
    }
}

/// 100 frames seen: 90 in flows, 4 not IP, 6 with a full table.
pub(crate) fn ledger() -> Ledger {
    let mut ledger = Ledger {
        seen: Counter::new(100, 10_000),
        flows: Counter::new(90, 9_000),
        non_ip: Counter::new(4, 400),
        orphan_fragments: 2,
        events_lost: 1,
        ..Ledger::default()
    };
    ledger.reasons[netspectra_common::abi::LossReason::TableFull] = Counter::new(6, 600);
    let mut table = Box::new(Overflow::EMPTY);
    let mut key = FlowKey { family: 4, proto: 17, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&[198, 51, 100, 7]);
    netspectra_common::flow::spill(&mut table, &key, Counter::new(6, 600));
    let mut sum = OverflowSum::default();
    sum.add(&table);
    ledger.overflow = Some(Box::new(sum.finish()));
    ledger
}

pub(crate) fn record() -> FlowRecord {
    FlowRecord {
        node: "edge,1".into(),
        iface: "eth0".into(),
        src_ip: Some("10.0.0.1".parse().unwrap()),
        dst_ip: Some("2001:db8::1".parse().unwrap()),
        src_port: 40_000,
        dst_port: 443,
        proto: 6,
        ether_type: 0x86dd,
        icmp_type: None,
        icmp_code: None,
        vlan: Some(7),
        inner_vlan: None,
        tunnel: None,
        tunnel_id: None,
        src_place: Place { network: Some("office".into()), ..Place::default() },
        dst_place: Place { country: Country::new("NZ"), asn: Some(64_496), ..Place::default() },
        service: Some("https".into()),
        sampling: 1,
        packets: 10,
        bytes: 1_000,
        l3_bytes: 860,
        reverse_packets: 8,
        reverse_bytes: 9_000,
        reverse_l3_bytes: 8_888,
        tcp_flags: 0x1b,
        reverse_tcp_flags: 0x12,
        retransmitted: 1,
        reverse_retransmitted: 2,
        out_of_order: 3,
        reverse_out_of_order: 4,
        zero_windows: 5,
        reverse_zero_windows: 6,
        server_rtt_us: Some(700),
        client_rtt_us: None,
        first_seen: NOW,
        last_seen: Nanos(NOW.0 + 1_000_000_005),
        flow_start: NOW,
        state: FlowState::Closed,
        end_reason: EndReason::Fin,
        initiator_by: InitiatorBy::Syn,
        flow_id: 0xabc,
    }
}

/// What a store or a live state does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    Answer,
    FailTransiently,
    FailForGood,
    Hang,
}

pub(crate) struct FakeStore {
    pub(crate) does: Does,
    pub(crate) plans: Mutex<Vec<Plan>>,
}

impl FakeStore {
    pub(crate) fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does, plans: Mutex::default() })
    }

    async fn run(&self, plan: &Plan) -> Result<Partial, PortError> {
        self.plans.lock().unwrap().push(plan.clone());
        match self.does {
            Does::Answer => Partial::new(plan).map_err(|e| PortError::permanent(e.to_string())),
            Does::FailTransiently => Err(PortError::transient("server `db` is away").because(std::fmt::Error)),
            Does::FailForGood => Err(PortError::permanent("segment `7` is corrupt")),
            Does::Hang => std::future::pending().await,
        }
    }
}

impl Store for FakeStore {
    fn append<'a>(&'a self, _: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(self.run(plan))
    }

    fn last_generation<'a>(&'a self, _node: &'a str, _epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}

impl LiveState for FakeStore {
    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(self.run(plan))
    }
}

/// The board of a cluster with one sender.
pub(crate) struct FakeBoard;

impl Board for FakeBoard {
    fn present(&self, top: usize) -> BoxFuture<'_, Result<Present, PortError>> {
        let window = PresentWindow {
            range: TimeRange { from: NOW.minus(Duration::from_secs(10)), to: NOW },
            nodes: 2,
            packets: 30,
            bytes: 3000,
            new_flows: 4,
            active_addresses: Estimate { estimate: 5.0, low: 4.0, high: 6.0, confidence: 0.95 },
            top_senders: vec![([10, 0, 0, 1].into(), Estimate::exact(2000.0)); top.min(1)],
        };
        let present = Present { partitions: 2, unreadable: 0, nodes: 3, active_flows: 7, window: Some(window) };
        Box::pin(async { Ok(present) })
    }
}

/// A router over [`FakeAnswers`], and handles on its fakes.
pub(crate) struct Bench {
    pub(crate) answers: Arc<FakeAnswers>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) router: Router,
}

pub(crate) fn deps(limits: Limits) -> Deps {
    Deps {
        store: FakeStore::new(Does::Answer),
        live: None,
        board: Some(Arc::new(FakeBoard)),
        clock: Arc::new(FakeClock(AtomicU64::new(NOW.0))),
        auth: Auth::bearer([TOKEN, "another-token-456789"]).unwrap(),
        health: Arc::new(FakeHealth(true, Vec::new())),
        metrics: Default::default(),
        limits,
    }
}

pub(crate) fn bench() -> Bench {
    bench_with(Limits::default())
}

pub(crate) fn bench_with(limits: Limits) -> Bench {
    let answers = Arc::new(FakeAnswers {
        plans: Mutex::default(),
        flows: Mutex::new(RowsAnswer { items: vec![record()], next: None }),
        gate: Semaphore::new(Semaphore::MAX_PERMITS),
        begun: Semaphore::new(0),
    });
    let clock = Arc::new(FakeClock(AtomicU64::new(NOW.0)));
    let deps = Deps { clock: clock.clone(), ..deps(limits) };
    Bench { router: router_over(answers.clone(), deps), answers, clock }
}

/// A router over a fake store and live state.
pub(crate) fn over(store: Arc<FakeStore>, live: Option<Arc<FakeStore>>) -> Router {
    router(Deps { store, live: live.map(|l| l as Arc<dyn LiveState>), ..deps(Limits::default()) })
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Reply { status: head.status, headers: head.headers, body }
}

/// A request with the token.
pub(crate) fn request(method: Method, uri: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
}

pub(crate) async fn get(router: &Router, uri: &str) -> Reply {
    send(router, request(Method::GET, uri).body(Body::empty()).unwrap()).await
}

pub(super) fn alert() -> Alert {
    Alert {
        id: 0xabc,
        node: "edge,1".into(),
        detector: "port_scan".into(),
        phase: AlertPhase::Updated,
        severity: Severity::High,
        subject: "10.0.0.9".into(),
        why: "10.0.0.9 tried 4,000 ports of 10.0.0.1".into(),
        at: NOW.minus(std::time::Duration::from_secs(5)),
        first_seen: NOW.minus(std::time::Duration::from_secs(65)),
        last_seen: NOW.minus(std::time::Duration::from_secs(6)),
        score: 4000.0,
        threshold: 100.0,
        evidence: vec![Evidence { name: "ports".into(), value: 4000.0 }],
        flows: vec![1, 0xdef],
    }
}

pub(super) fn message() -> AppMessage {
    let what = Observation::HttpResponse(Box::new(HttpResponse {
        status: 503,
        minor_version: 1,
        host: Some("Example.com".into()),
        latency: Some(std::time::Duration::from_nanos(1_234_567)),
        ..HttpResponse::default()
    }));
    AppMessage {
        id: 0x123,
        node: "edge,1".into(),
        at: NOW.minus(std::time::Duration::from_secs(9)),
        src_ip: Some([10, 0, 0, 1].into()),
        dst_ip: Some([10, 0, 0, 2].into()),
        src_port: 80,
        dst_port: 40_000,
        proto: 6,
        vlan: None,
        name: what.subject(),
        what,
    }
}
