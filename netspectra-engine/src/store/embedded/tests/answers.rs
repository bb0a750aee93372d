use super::sample::{T0, batch};
use super::{append, quiet, run};
use crate::store::embedded::EmbeddedStore;
use netspectra_common::model::TimeRange;
use netspectra_common::ports::Store;
use netspectra_common::query::{Answer, Filter, Metric, Plan, PlanError, Quantity, Query, answer};
use netspectra_common::schema::Dimension;
use std::time::Duration;

fn plans() -> Vec<Plan> {
    let range = TimeRange { from: T0, to: T0.plus(Duration::from_secs(120)) };
    let top = |by: &[Dimension], exact| Query::Top { by: by.to_vec(), metric: Metric::Packets, limit: 10, exact };
    let queries = [
        Query::Flows { limit: 50, after: None },
        top(&[Dimension::SrcIp], false),
        top(&[Dimension::SrcIp, Dimension::DstPort], true),
        Query::Series { step: Duration::from_secs(10), by: Vec::new() },
        Query::Series { step: Duration::from_secs(60), by: vec![Dimension::Proto] },
        Query::Cardinality { of: vec![Dimension::SrcIp] },
        Query::Quantiles { of: Quantity::PacketSize, q: vec![0.5, 0.99] },
        Query::Ledger,
    ];
    queries.into_iter().map(|query| Plan { range, filter: Filter::ALL, query }).collect()
}

fn answers(store: &EmbeddedStore) -> Vec<Result<Answer, PlanError>> {
    plans().iter().map(|plan| answer(plan, run(store.query(plan)).unwrap())).collect()
}

#[test]
fn the_same_question_has_the_same_answer_wherever_the_rows_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    (0..100).for_each(|n| append(&store, &batch(n)).unwrap());
    let from_memory = answers(&store);
    run(store.seal()).unwrap();
    assert_eq!(answers(&store), from_memory, "from segments");
    drop(store);
    std::fs::remove_dir_all(dir.path()).unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..100 {
        append(&store, &batch(n)).unwrap();
        if n % 30 == 20 {
            run(store.seal()).unwrap();
        }
    }
    assert_eq!(answers(&store), from_memory, "from three segments and memory");
}
