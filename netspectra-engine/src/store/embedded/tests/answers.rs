use super::sample::{T0, batch};
use super::{append, memory_dir, quiet, run};
use crate::store::embedded::EmbeddedStore;
use netspectra_common::model::TimeRange;
use netspectra_common::ports::Store;
use netspectra_common::query::{
    Answer, CmpOp, Filter, Metric, Plan, PlanError, Predicate, Quantity, Query, RowCursor, Value, answer,
};
use netspectra_common::schema::Dimension;
use std::cmp::Reverse;
use std::time::Duration;

fn plans() -> Vec<Plan> {
    let range = TimeRange { from: T0, to: T0.plus(Duration::from_secs(120)) };
    let top = |by: &[Dimension], exact| Query::Top { by: by.to_vec(), metric: Metric::Packets, limit: 10, exact };
    let queries = [
        Query::Flows { limit: 50, after: None },
        Query::Flows { limit: 1000, after: None },
        top(&[Dimension::SrcIp], false),
        top(&[Dimension::SrcIp, Dimension::DstPort], true),
        Query::Series { step: Duration::from_secs(10), by: Vec::new() },
        Query::Series { step: Duration::from_secs(60), by: vec![Dimension::Proto] },
        Query::Cardinality { of: vec![Dimension::SrcIp] },
        Query::Quantiles { of: Quantity::PacketSize, q: vec![0.5, 0.99] },
        Query::Ledger,
        Query::Alerts { limit: 50, after: None },
        Query::Messages { limit: 50, after: None },
        Query::Messages { limit: 1000, after: None },
    ];
    let mut plans: Vec<Plan> = queries.into_iter().map(|query| Plan { range, filter: Filter::ALL, query }).collect();
    for (d, filter) in filters() {
        if d.in_flows() {
            let first = Plan { range, filter: filter.clone(), query: Query::Flows { limit: 7, after: None } };
            plans.push(first.clone());
            let of = Query::Quantiles { of: Quantity::FlowDuration, q: vec![0.5] };
            plans.push(Plan { query: of, ..first });
        }
        let list = |query| Plan { range, filter: filter.clone(), query };
        plans.extend(d.in_alerts().then(|| list(Query::Alerts { limit: 9, after: None })));
        plans.extend(d.in_messages().then(|| list(Query::Messages { limit: 9, after: None })));
        if d.in_rollups() {
            let exact = |metric| Query::Top { by: vec![d], metric, limit: 20, exact: true };
            let queries = [
                exact(Metric::Bytes),
                exact(Metric::Packets),
                exact(Metric::Flows),
                top(&[Dimension::Iface, Dimension::DstIp], true),
                Query::Series { step: Duration::from_secs(20), by: vec![d] },
                Query::Cardinality { of: if d == Dimension::Node { vec![d] } else { vec![d, Dimension::Node] } },
                Query::Cardinality { of: vec![Dimension::Proto, Dimension::DstPort] },
            ];
            plans.extend(queries.into_iter().map(|query| Plan { range, filter: filter.clone(), query }));
            let unfiltered = Plan { range, filter: Filter::ALL, query: exact(Metric::Bytes) };
            plans.push(unfiltered);
            for exact in [true, false] {
                let query = Query::Top { by: vec![Dimension::SrcIp], metric: Metric::Peers, limit: 20, exact };
                plans.push(Plan { range, filter: filter.clone(), query });
            }
        }
    }
    plans
}

/// For each dimension a condition that some rows meet and some do not.
fn filters() -> Vec<(Dimension, Filter)> {
    let text = |t: &str| (CmpOp::Eq, Value::Text(t.into()));
    let filter = |d: Dimension| {
        let (op, value) = match d {
            Dimension::SrcIp | Dimension::DstIp => (CmpOp::Eq, Value::Net([10, 0, 0, 0].into(), 24)),
            Dimension::SrcPort | Dimension::DstPort | Dimension::EtherType | Dimension::Vlan => {
                (CmpOp::Lt, Value::Number(30_000))
            }
            Dimension::Tunnel => text("vxlan"),
            Dimension::TunnelId => (CmpOp::Gt, Value::Number(5)),
            Dimension::SrcAs | Dimension::DstAs => (CmpOp::Gt, Value::Number(30_000)),
            Dimension::Sampling => (CmpOp::Ge, Value::Number(2)),
            Dimension::SrcCountry | Dimension::DstCountry => text("DE"),
            Dimension::SrcNetwork | Dimension::DstNetwork => text("lab"),
            Dimension::SrcName | Dimension::DstName => text("www.example.com"),
            Dimension::SrcPod | Dimension::DstPod => text("web-1"),
            Dimension::SrcNamespace | Dimension::DstNamespace => text("shop"),
            Dimension::SrcWorkload | Dimension::DstWorkload => text("Deployment/web"),
            Dimension::SrcProcess | Dimension::DstProcess => text("nginx"),
            Dimension::SrcCgroup | Dimension::DstCgroup => text("/system.slice/nginx.service"),
            Dimension::Service => text("https"),
            Dimension::Proto => (CmpOp::Ge, Value::Number(100)),
            Dimension::Iface => text("eth0"),
            Dimension::Node => text("alpha"),
            Dimension::Direction => text("ingress"),
            Dimension::State => text("closed"),
            Dimension::EndReason => text("fin"),
            Dimension::App => text("dns"),
            Dimension::Message => text("response"),
            Dimension::Name => text("host1.example"),
            Dimension::Code => (CmpOp::Ge, Value::Number(2)),
            Dimension::Detector => text("port_scan"),
            Dimension::Severity => text("high"),
            Dimension::Phase => text("open"),
            Dimension::Subject => text("10.0.0.1"),
        };
        let is = Filter::Is(Predicate { any_of: vec![d], op, values: vec![value] });
        // Every other one inside out.
        if (d as usize).is_multiple_of(2) { is } else { Filter::Not(Box::new(is)) }
    };
    Dimension::ALL.into_iter().map(|d| (d, filter(d))).collect()
}

fn answers(store: &EmbeddedStore) -> Vec<Result<Answer, PlanError>> {
    plans().iter().map(|plan| answer(plan, run(store.query(plan)).unwrap())).collect()
}

#[test]
fn the_same_question_has_the_same_answer_wherever_the_rows_are() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    (0..100).for_each(|n| append(&store, &batch(n)).unwrap());
    let from_memory = answers(&store);
    let said = from_memory.iter().filter(|a| !is_nothing(a)).count();
    assert!(said * 10 > from_memory.len() * 8, "{said} of {} answers say something", from_memory.len());
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

fn is_nothing(answer: &Result<Answer, PlanError>) -> bool {
    match answer {
        Ok(Answer::Flows(a)) => a.items.is_empty(),
        Ok(Answer::Alerts(a)) => a.items.is_empty(),
        Ok(Answer::Messages(a)) => a.items.is_empty(),
        Ok(Answer::Top(a)) => a.items.is_empty(),
        Ok(Answer::Series(a)) => a.points.is_empty(),
        Ok(Answer::Cardinality(a)) => a.value.estimate == 0.0,
        Ok(Answer::Quantiles(a)) => a.items.is_empty(),
        Ok(Answer::Ledger(a)) => a.generations == 0,
        Err(_) => true,
    }
}

#[test]
fn pages_of_messages_and_alerts_follow_each_other_too() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..40 {
        append(&store, &batch(n)).unwrap();
        if n % 10 == 5 {
            run(store.seal()).unwrap();
        }
    }
    let all = |query: fn(Option<RowCursor>) -> Query| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let plan = Plan { range: TimeRange::ALL, filter: Filter::ALL, query: query(after) };
            match answer(&plan, run(store.query(&plan)).unwrap()) {
                Ok(Answer::Messages(page)) => {
                    found.extend(page.items.iter().map(RowCursor::of_message));
                    after = page.next;
                }
                Ok(Answer::Alerts(page)) => {
                    found.extend(page.items.iter().map(RowCursor::of_alert));
                    after = page.next;
                }
                other => panic!("{other:?}"),
            }
            if after.is_none() {
                return found;
            }
        }
    };
    let sorted = |mut rows: Vec<RowCursor>| {
        rows.sort_by_key(|at| Reverse(*at));
        rows
    };
    let messages = (0..40).flat_map(|n| batch(n).messages).map(|m| RowCursor::of_message(&m)).collect();
    assert_eq!(all(|after| Query::Messages { limit: 7, after }), sorted(messages));
    let alerts = (0..40).flat_map(|n| batch(n).alerts).map(|a| RowCursor::of_alert(&a)).collect();
    assert_eq!(all(|after| Query::Alerts { limit: 3, after }), sorted(alerts));
}

#[test]
fn pages_of_flows_follow_each_other_through_memory_and_segments() {
    let dir = memory_dir();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    for n in 0..60 {
        append(&store, &batch(n)).unwrap();
        if n % 10 == 5 {
            run(store.seal()).unwrap();
        }
    }
    let filter = Filter::Not(Box::new(filters()[0].1.clone()));
    let mut expected: Vec<_> = (0..60).flat_map(|n| batch(n).flows).filter(|f| filter.matches(f)).collect();
    expected.sort_by_key(|f| Reverse(RowCursor::of_flow(f)));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let plan = Plan { range: TimeRange::ALL, filter: filter.clone(), query: Query::Flows { limit: 9, after } };
        let Ok(Answer::Flows(page)) = answer(&plan, run(store.query(&plan)).unwrap()) else { panic!("flows") };
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
}
