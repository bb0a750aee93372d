//! What an engine says of its partitions, over HTTP.

use super::fake::*;
use crate::service::{REPORT_PATH, ServiceDeps, router};
use crate::{Auth, Limits};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use netspectra_common::model::TimeRange;
use netspectra_common::ports::{BoxFuture, LivePartitions, LiveReport, PortError, Through};
use netspectra_common::query::{Answer, Filter, Partial, Plan, Query, answer, encode_plan};
use std::sync::Arc;

/// Owns partition 3, or nothing.
struct Owner(bool);

impl LivePartitions for Owner {
    fn report<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>> {
        let mut partial = Partial::new(plan).unwrap();
        partial.fold_flow(plan, &record());
        let report = LiveReport { topic: "t".into(), through: Through::from([(3, Some(41)), (4, None)]), partial };
        Box::pin(async move { Ok(self.0.then_some(report)) })
    }
}

fn service(partitions: Option<Owner>) -> axum::Router {
    router(ServiceDeps {
        health: Arc::new(FakeHealth(true, Vec::new())),
        metrics: Default::default(),
        partitions: partitions.map(|owner| Arc::new(owner) as Arc<dyn LivePartitions>),
        auth: Auth::bearer([TOKEN]).unwrap(),
        limits: Limits::default(),
    })
}

fn plan() -> Plan {
    Plan { range: TimeRange::ALL, filter: Filter::ALL, query: Query::Flows { limit: 10, after: None } }
}

fn asked(body: Vec<u8>) -> Request<Body> {
    request(Method::POST, REPORT_PATH).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_report_arrives_whole() {
    let reply = send(&service(Some(Owner(true))), asked(encode_plan(&plan()).unwrap())).await;
    assert_eq!(reply.status, StatusCode::OK);
    let report = LiveReport::decode(&reply.body).unwrap();
    assert_eq!((&*report.topic, report.through), ("t", Through::from([(3, Some(41)), (4, None)])));
    let Answer::Flows(flows) = answer(&plan(), report.partial).unwrap() else { panic!("expected flows") };
    assert_eq!(flows.items, [record()]);
}

#[tokio::test]
async fn who_owns_nothing_says_so_and_who_cannot_own_has_no_such_path() {
    let body = encode_plan(&plan()).unwrap();
    assert_eq!(send(&service(Some(Owner(false))), asked(body.clone())).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send(&service(None), asked(body)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn strangers_and_other_bytes_are_refused() {
    let router = service(Some(Owner(true)));
    let stranger = Request::post(REPORT_PATH).body(Body::from(encode_plan(&plan()).unwrap())).unwrap();
    assert_eq!(send(&router, stranger).await.status, StatusCode::UNAUTHORIZED);
    let reply = send(&router, asked(b"GET".to_vec())).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("the body is no plan: the plan has version 71"));
    let large = vec![0; Limits::default().max_body_bytes + 1];
    assert_eq!(send(&router, asked(large)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let router = service(None);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let reply = send(&router, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
}
