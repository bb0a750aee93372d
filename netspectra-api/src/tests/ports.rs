//! The store and the live state behind the handlers.

use super::fake::*;
use axum::http::StatusCode;
use netspectra_common::query::Query;

#[tokio::test]
async fn a_store_that_is_away_is_a_503_to_be_repeated_and_a_broken_one_a_500() {
    let reply = get(&over(FakeStore::new(Does::FailTransiently), None), "/api/v1/flows").await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));
    assert_eq!(reply.json()["detail"], "server `db` is away", "causes go to the log only");
    let reply = get(&over(FakeStore::new(Does::FailForGood), None), "/api/v1/flows").await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::INTERNAL_SERVER_ERROR, None));
}

#[tokio::test]
async fn an_answer_without_the_live_part_is_not_given() {
    let router = over(FakeStore::new(Does::Answer), Some(FakeStore::new(Does::FailTransiently)));
    assert_eq!(get(&router, "/api/v1/flows").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn store_and_live_are_asked_the_same_question_and_its_ledger() {
    let (store, live) = (FakeStore::new(Does::Answer), FakeStore::new(Does::Answer));
    get(&over(store.clone(), Some(live.clone())), "/api/v1/top?by=dst_ip&from=100&to=200").await;
    let by_kind = |s: &FakeStore| {
        let mut plans = s.plans.lock().unwrap().clone();
        plans.sort_by_key(|p| p.query == Query::Ledger);
        plans
    };
    let (stored, lived) = (by_kind(&store), by_kind(&live));
    assert_eq!(lived.len(), 2);
    assert!(matches!(lived[0].query, Query::Top { .. }));
    assert_eq!(lived[1].query, Query::Ledger);
    assert_eq!(lived[0].range, lived[1].range);
    // When the core refuses an answer, the store may not be asked for the second plan any more.
    assert!(!stored.is_empty() && stored.iter().all(|p| lived.contains(p)));
}
