use crate::model::{EndReason, FlowRecord};
use crate::query::testing::{Data, flow, plan, range, secs};
use crate::query::{Answer, Partial, Quantity, Query, RowCursor, RowsAnswer, answer};
use proptest::prelude::*;

fn ask(data: &Data, filter: &str, limit: usize, after: Option<RowCursor>) -> RowsAnswer<FlowRecord> {
    let Answer::Flows(page) = data.answer(&plan(range(0, 60), filter, Query::Flows { limit, after })) else {
        panic!("a page of flows")
    };
    page
}

fn at(first: u64, last: u64, flow_id: u64) -> FlowRecord {
    FlowRecord { first_seen: secs(first), last_seen: secs(last), flow_start: secs(first), flow_id, ..flow() }
}

fn data(flows: Vec<FlowRecord>) -> Data {
    Data { flows, ..Data::default() }
}

#[test]
fn flows_come_newest_first_and_equal_times_by_identity() {
    let data = data(vec![at(0, 5, 1), at(0, 9, 1), at(2, 5, 2), at(1, 5, 1)]);
    let page = ask(&data, "", 10, None);
    let order: Vec<_> = page.items.iter().map(|f| (f.last_seen, f.flow_id, f.first_seen)).collect();
    assert_eq!(order, [(secs(9), 1, secs(0)), (secs(5), 2, secs(2)), (secs(5), 1, secs(1)), (secs(5), 1, secs(0))]);
    assert_eq!(page.next, None);
}

#[test]
fn flows_that_overlap_the_range_and_satisfy_the_filter_are_found() {
    let before = FlowRecord { first_seen: secs(0).minus(std::time::Duration::from_secs(9)), ..at(0, 0, 3) };
    let gone = FlowRecord { last_seen: before.first_seen, ..before.clone() };
    let udp = FlowRecord { proto: 17, ..at(1, 2, 4) };
    let data = data(vec![at(0, 90, 1), at(60, 70, 2), before, gone, udp]);
    let ids = |filter| ask(&data, filter, 10, None).items.iter().map(|f| f.flow_id).collect::<Vec<_>>();
    assert_eq!(ids(""), [1, 4, 3]);
    assert_eq!(ids("proto = tcp"), [1, 3]);
}

#[test]
fn a_full_page_says_where_the_next_one_begins_and_the_last_says_nothing() {
    let data = data((0..4).map(|i| at(i, i, i)).collect());
    let page = ask(&data, "", 2, None);
    assert_eq!(page.items.iter().map(|f| f.flow_id).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(page.next, Some(RowCursor { at: secs(2), id: 2, since: secs(2) }));
    let page = ask(&data, "", 2, page.next);
    assert_eq!(page.items.iter().map(|f| f.flow_id).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(page.next, None);
    assert_eq!(ask(&data, "vlan = 1", 2, None).items, []);
}

#[test]
fn records_at_one_position_stay_on_one_page() {
    let cut = FlowRecord { end_reason: EndReason::ActiveTimeout, ..at(5, 5, 7) };
    let idle = FlowRecord { end_reason: EndReason::IdleTimeout, packets: 0, bytes: 0, ..at(5, 5, 7) };
    let data = data(vec![at(9, 9, 1), idle, cut, at(1, 1, 1)]);
    let sizes = |limit| {
        let (mut sizes, mut after) = (Vec::new(), None);
        loop {
            let page = ask(&data, "", limit, after);
            sizes.push(page.items.len());
            after = page.next;
            if after.is_none() {
                return sizes;
            }
        }
    };
    assert_eq!([sizes(1), sizes(2), sizes(3), sizes(4)], [vec![1, 2, 1], vec![1, 2, 1], vec![3, 1], vec![4]]);
}

#[test]
fn too_many_records_at_one_position_are_an_error_unless_they_are_on_another_page() {
    let mut flows = vec![at(5, 5, 7); 5000];
    flows.extend([at(9, 9, 1), at(8, 8, 1)]);
    let data = data(flows);
    let ask = |limit| {
        let plan = plan(range(0, 60), "", Query::Flows { limit, after: None });
        answer(&plan, data.partial(&plan))
    };
    assert!(ask(1).is_ok());
    assert_eq!(
        ask(2).unwrap_err().to_string(),
        "more than 4096 records of one flow have the same times: narrow `filter`, or repair the clock of their source"
    );
}

#[test]
fn durations_are_those_of_flows_that_ended_in_the_range() {
    let ended = |start: u64, end: u64, end_reason| FlowRecord { end_reason, ..at(start, end, 1) };
    let data = data(vec![
        ended(0, 10, EndReason::Fin),
        ended(0, 30, EndReason::IdleTimeout),
        FlowRecord { first_seen: secs(50), ..ended(9, 59, EndReason::Rst) },
        ended(0, 60, EndReason::Fin),
        ended(0, 1, EndReason::ActiveTimeout),
        ended(0, 2, EndReason::None),
    ]);
    let query = Query::Quantiles { of: Quantity::FlowDuration, q: vec![0.0, 0.5, 1.0] };
    let Answer::Quantiles(answer) = data.answer(&plan(range(0, 60), "proto = tcp", query)) else { panic!("quantiles") };
    assert_eq!((answer.count, answer.range), (3, range(0, 60)));
    assert_eq!(answer.items.iter().map(|(q, _)| *q).collect::<Vec<_>>(), [0.0, 0.5, 1.0]);
    for ((_, value), seconds) in answer.items.iter().zip([10.0, 30.0, 50.0]) {
        assert!((value.low..=value.high).contains(&seconds), "{seconds} in {value:?}");
    }
}

#[test]
fn round_trip_times_count_once_a_flow_where_its_first_record_has_them() {
    let rtt = |start, end_reason, micros| FlowRecord {
        end_reason,
        server_rtt_us: Some(micros),
        client_rtt_us: None,
        ..at(start, start + 5, 1)
    };
    let data = data(vec![
        rtt(0, EndReason::ActiveTimeout, 20_000),
        // Its second record, which repeats what the first one said.
        FlowRecord { flow_start: secs(0), ..rtt(6, EndReason::Fin, 20_000) },
        rtt(10, EndReason::None, 500_000),
        rtt(60, EndReason::Fin, 900_000),
        FlowRecord { server_rtt_us: None, ..rtt(20, EndReason::Fin, 0) },
    ]);
    let ask = |of| {
        let query = Query::Quantiles { of, q: vec![0.0, 1.0] };
        let Answer::Quantiles(answer) = data.answer(&plan(range(0, 60), "proto = tcp", query)) else {
            panic!("quantiles")
        };
        answer
    };
    let server = ask(Quantity::ServerRtt);
    assert_eq!(server.count, 2);
    for ((_, value), seconds) in server.items.iter().zip([0.02, 0.5]) {
        assert!((value.low..=value.high).contains(&seconds), "{seconds} in {value:?}");
    }
    assert_eq!(ask(Quantity::ClientRtt).count, 0);
}

fn records() -> impl Strategy<Value = Vec<FlowRecord>> {
    // Few values, so that positions meet.
    let record =
        (0u64..70, 0u64..3, 0u64..3, 0u64..3, prop::bool::ANY).prop_map(|(first, length, id, packets, tcp)| {
            FlowRecord { packets, proto: if tcp { 6 } else { 17 }, ..at(first, first + length, id) }
        });
    prop::collection::vec(record, 0..60)
}

proptest! {
    #[test]
    fn records_below_the_floor_of_a_page_change_nothing(records in records(), limit in 1usize..12) {
        let plan = plan(range(0, 60), "proto = tcp", Query::Flows { limit, after: None });
        let mut newest_first = records.clone();
        newest_first.sort_by_key(|r| std::cmp::Reverse(r.last_seen));
        let mut partial = Partial::new(&plan).unwrap();
        for record in newest_first {
            if partial.page_floor().is_some_and(|floor| record.last_seen < floor) {
                break;
            }
            partial.fold_flow(&plan, &record);
        }
        prop_assert_eq!(answer(&plan, partial), Ok(data(records).answer(&plan)));
    }

    #[test]
    fn paging_visits_every_record_once_in_order(records in records(), limit in 1usize..12) {
        let data = data(records);
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let page = ask(&data, "proto = tcp", limit, after);
            prop_assert!(!page.items.is_empty() || page.next.is_none());
            read.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> =
            data.flows.iter().filter(|f| f.proto == 6 && f.first_seen < secs(60)).cloned().collect();
        expected.sort_by(|a, b| RowCursor::of_flow(b).cmp(&RowCursor::of_flow(a)).then(a.cmp(b)));
        prop_assert_eq!(read, expected);
    }
}
