//! ClickHouse against the embedded store: the same rows, the same questions, the same answers. Needs a real server in
//! `NETSPECTRA_CLICKHOUSE` (`cargo xtask cluster up`); each test has a database of its own.
//!
//! TLS: `tests/clickhouse_tls.rs`. Not proven: replicas, users.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::store::embedded::tests::sample::{T0, batch};
use crate::store::embedded::{Config, EmbeddedStore};
use netspectra_common::model::{Alert, Counter, Nanos, Observation};
use netspectra_common::query::{
    Answer, CmpOp, Filter, Metric, Predicate, Quantity, Query, RowCursor, Value, answer, parse_filter,
};
use netspectra_common::schema::Dimension;
use std::net::IpAddr;
use std::time::Duration;

const TOPIC: &str = "flows";

/// A store over a database that nobody else has, whose tables are made.
pub(crate) async fn store(name: &str) -> ClickHouseStore {
    let store = unmade(name);
    assert_eq!(store.migrate().await.unwrap().len(), 6);
    store
}

/// The same, and nothing is made yet.
pub(super) fn unmade(name: &str) -> ClickHouseStore {
    let url = std::env::var("NETSPECTRA_CLICKHOUSE").unwrap_or_else(|_| {
        panic!(
            "`NETSPECTRA_CLICKHOUSE` is not set: expected the URL of a ClickHouse server, see `cargo xtask cluster up`"
        )
    });
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let database = format!("test_{name}_{}_{unique}", std::process::id());
    // Rows of tests are older than any retention.
    let config = ClickHouseConfig {
        url,
        database,
        retention_days: 10_000,
        window_retention_days: 10_000,
        ..ClickHouseConfig::default()
    };
    ClickHouseStore::new(&config, TOPIC).unwrap()
}

pub(super) async fn drop_database(store: &ClickHouseStore) {
    store.client.query_raw(&format!("DROP DATABASE {}", store.config.database)).execute().await.unwrap();
}

/// Random rows with sums that fit, and EtherTypes that go with the addresses.
pub(super) fn block(partition: u32, number: u64) -> StoreBatch {
    let mut all = batch(number * 7 + u64::from(partition));
    let ether_type = |ip: Option<IpAddr>, other: u16| match ip {
        Some(IpAddr::V4(_)) => 0x0800,
        Some(IpAddr::V6(_)) => 0x86dd,
        None => other,
    };
    let family = |ip: IpAddr, like: Option<IpAddr>| match (like, ip) {
        (Some(IpAddr::V4(_)), IpAddr::V6(_)) => IpAddr::from([10, 9, 8, 7]),
        (Some(IpAddr::V6(_)), IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
        (_, ip) => ip,
    };
    for row in &mut all.flows {
        row.dst_ip = row.src_ip.and(row.dst_ip).map(|ip| family(ip, row.src_ip)).or(row.src_ip);
        row.ether_type = ether_type(row.src_ip, row.ether_type % 0x0700);
        row.tunnel = None;
    }
    for row in &mut all.rollups {
        row.dst_ip = row.src_ip.and(row.dst_ip).map(|ip| family(ip, row.src_ip)).or(row.src_ip);
        row.ether_type = ether_type(row.src_ip, row.ether_type % 0x0700);
        for sum in [&mut row.packets, &mut row.bytes, &mut row.l3_bytes, &mut row.new_flows] {
            *sum %= 1 << 40;
        }
        // No row has bytes without packets.
        if row.packets == 0 {
            (row.bytes, row.l3_bytes) = (0, 0);
        }
    }
    for window in &mut all.windows {
        let fits = |c: &mut Counter| *c = Counter::new(c.packets % (1 << 40), c.bytes % (1 << 40));
        fits(&mut window.total);
        window.protocols.values_mut().for_each(fits);
        window.new_flows %= 1 << 40;
    }
    for row in &mut all.messages {
        row.src_ip = row.src_ip.map(|ip| ip.to_canonical());
        row.dst_ip = row.dst_ip.map(|ip| ip.to_canonical());
    }
    let first = number * 10;
    all.block = Some(BlockId { topic: TOPIC.into(), partition, first, last: first + 9 });
    all
}

pub(super) fn plans() -> Vec<Plan> {
    use Dimension::*;
    let ranges = [
        TimeRange::ALL,
        TimeRange { from: T0.plus(Duration::from_secs(7)), to: T0.plus(Duration::from_secs(23)) },
        TimeRange { from: T0.plus(Duration::from_millis(10_500)), to: T0.plus(Duration::from_millis(10_501)) },
    ];
    let queries = [
        Query::Flows { limit: 1, after: None },
        Query::Flows { limit: 7, after: None },
        Query::Flows { limit: 10_000, after: None },
        Query::Flows {
            limit: 5,
            after: Some(RowCursor { at: T0.plus(Duration::from_secs(15)), id: u64::MAX / 2, since: T0 }),
        },
        Query::Top { by: vec![SrcIp], metric: Metric::Bytes, limit: 10, exact: false },
        Query::Top { by: vec![SrcIp], metric: Metric::Packets, limit: 10, exact: true },
        Query::Top { by: vec![SrcIp], metric: Metric::Peers, limit: 20, exact: false },
        Query::Top { by: vec![DstIp], metric: Metric::Peers, limit: 20, exact: true },
        Query::Top { by: vec![DstPort, Proto], metric: Metric::Bytes, limit: 1000, exact: false },
        Query::Top { by: vec![Node, Iface, Direction, Vlan], metric: Metric::Flows, limit: 100, exact: false },
        Query::Top {
            by: vec![SrcIp, DstIp, SrcPort, DstPort, Proto],
            metric: Metric::Packets,
            limit: 50,
            exact: false,
        },
        Query::Top { by: vec![EtherType, Tunnel, TunnelId], metric: Metric::Bytes, limit: 100, exact: false },
        Query::Top { by: vec![SrcCountry, DstAs, SrcNetwork], metric: Metric::Bytes, limit: 100, exact: false },
        Query::Top { by: vec![SrcName, DstPod, Service], metric: Metric::Bytes, limit: 100, exact: false },
        Query::Top { by: vec![DstProcess, SrcCgroup], metric: Metric::Flows, limit: 100, exact: false },
        Query::Cardinality { of: vec![DstName, SrcNamespace, SrcWorkload] },
        Query::Top { by: vec![DstCountry], metric: Metric::Packets, limit: 100, exact: false },
        Query::Cardinality { of: vec![DstNetwork, SrcAs] },
        Query::Top { by: vec![Sampling, Proto], metric: Metric::Bytes, limit: 100, exact: false },
        Query::Series { step: Duration::from_secs(1), by: vec![] },
        Query::Series { step: Duration::from_secs(60), by: vec![Proto] },
        Query::Series { step: Duration::from_secs(20), by: vec![SrcIp, Direction] },
        Query::Cardinality { of: vec![SrcIp] },
        Query::Cardinality { of: vec![SrcIp, DstIp] },
        Query::Cardinality { of: vec![Node, SrcPort] },
        Query::Quantiles { of: Quantity::PacketSize, q: vec![0.0, 0.5, 0.99, 1.0] },
        Query::Quantiles { of: Quantity::FlowDuration, q: vec![0.5, 0.9] },
        Query::Ledger,
        Query::Alerts { limit: 7, after: None },
        Query::Alerts { limit: 10_000, after: None },
        Query::Alerts { limit: 3, after: Some(RowCursor { at: T0.plus(Duration::from_secs(15)), id: 7, since: T0 }) },
        Query::Messages { limit: 7, after: None },
        Query::Messages { limit: 10_000, after: None },
        Query::Messages { limit: 3, after: Some(RowCursor { at: T0.plus(Duration::from_secs(15)), id: 7, since: T0 }) },
    ];
    let filters = [
        "",
        "src_ip in 10.0.0.0/25",
        "app = dns and message = response and code >= 1",
        "name = host1.example or dst_port = 443",
        "severity = high or subject = 10.0.0.1",
        "not src_ip in 10.0.0.0/25",
        "src_ip in ::/0",
        "not dst_ip in ::/0 and not src_ip in 10.0.0.128/26",
        "ip = 10.0.0.7 or port > 60000",
        "not (proto in (1..100) or src_port > 20000)",
        "not (vlan = 3 or not node = alpha)",
        "vlan < 4000 or tunnel_id > 5",
        "not (vlan < 4000 and tunnel_id > 5)",
        "direction = ingress and not ether_type = 0x0800",
        "not (state = closed or end_reason in (fin, rst)) and iface = eth0",
        "not code > 1 and not name = host1.example",
        "not (detector = port_scan and not phase = open)",
        "src_country = DE or dst_network = lab",
        "sampling > 1",
        "service = https and not hostname = db.example",
        "pod = web-1 or process = curl",
        "not (dst_namespace = shop or src_workload = \"Deployment/web\") and cgroup = \"/system.slice/nginx.service\"",
        "not (src_country in (DE, NZ) and not src_as < 30000)",
        "dst_as >= 20000 and not src_network = lab",
    ];
    let mut all = Vec::new();
    for range in ranges {
        for query in &queries {
            for filter in filters {
                let plan = Plan { range, filter: parse_filter(filter).unwrap(), query: query.clone() };
                if plan.validate().is_ok() {
                    all.push(plan);
                }
            }
        }
    }
    all
}

pub(super) fn text(plan: &Plan, partial: Partial) -> String {
    match answer(plan, partial).unwrap() {
        Answer::Flows(flows) => serde_json::to_string(&flows.items).unwrap() + &format!("{:?}", flows.next),
        Answer::Top(top) => serde_json::to_string(&top).unwrap(),
        Answer::Series(series) => serde_json::to_string(&series).unwrap(),
        Answer::Cardinality(value) => serde_json::to_string(&value).unwrap(),
        Answer::Quantiles(quantiles) => serde_json::to_string(&quantiles).unwrap(),
        Answer::Ledger(ledger) => serde_json::to_string(&ledger).unwrap(),
        Answer::Alerts(alerts) => format!("{alerts:?}"),
        Answer::Messages(messages) => format!("{messages:?}"),
    }
}

/// The embedded store with these blocks.
pub(super) async fn embedded(dir: &std::path::Path, blocks: &[StoreBatch]) -> EmbeddedStore {
    let store = EmbeddedStore::open(dir, Config::default()).unwrap();
    for block in blocks {
        store.append(block).await.unwrap();
    }
    store
}

#[tokio::test]
async fn the_answers_are_those_of_the_embedded_store() {
    let store = store("contract").await;
    let blocks: Vec<StoreBatch> = (0..24).map(|n| block((n % 3) as u32, n / 3)).collect();
    for block in &blocks {
        store.append(block).await.unwrap();
        // Again, as an engine does that did not hear of it.
        store.append(block).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let other = embedded(dir.path(), &blocks).await;
    let plans = plans();
    assert!(plans.len() > 600, "{}", plans.len());
    for plan in &plans {
        let (found, expected) = (store.query(plan).await.unwrap(), other.query(plan).await.unwrap());
        assert_eq!(text(plan, found), text(plan, expected), "{plan:?}");
    }
    assert_eq!(store.extent().await.unwrap(), other.extent().await.unwrap());
    for entry in blocks.iter().flat_map(|b| &b.ledger) {
        let found = store.last_generation(&entry.node, entry.epoch).await.unwrap();
        assert_eq!(found, other.last_generation(&entry.node, entry.epoch).await.unwrap());
    }
    assert_eq!(store.last_generation("alpha", 1).await.unwrap(), None);
    drop_database(&store).await;
}

#[tokio::test]
async fn a_question_takes_the_blocks_up_to_the_cuts_and_no_others() {
    let store = store("through").await;
    let blocks: Vec<StoreBatch> = (0..12).map(|n| block((n % 3) as u32, n / 3)).collect();
    for block in &blocks {
        store.append(block).await.unwrap();
    }
    for through in [
        Through::new(),
        Through::from([(0, None), (1, Some(19)), (2, Some(39))]),
        Through::from([(1, Some(9))]),
        Through::from([(0, None), (1, None), (2, None)]),
    ] {
        let wanted = |b: &&StoreBatch| {
            let id = b.block.as_ref().unwrap();
            through.get(&id.partition).is_none_or(|until| Some(id.last) <= *until)
        };
        let dir = tempfile::tempdir().unwrap();
        let kept: Vec<StoreBatch> = blocks.iter().filter(wanted).cloned().collect();
        let other = embedded(dir.path(), &kept).await;
        for plan in plans().iter().step_by(5) {
            let found = store.query_through(plan, TOPIC, &through).await.unwrap();
            let expected = other.query(plan).await.unwrap();
            assert_eq!(text(plan, found), text(plan, expected), "{through:?} {plan:?}");
        }
    }
    assert_eq!(store.stored_through(TOPIC, 2).await.unwrap(), Some(39));
    assert_eq!(store.stored_through(TOPIC, 3).await.unwrap(), None);
    assert_eq!(store.stored_through("other", 2).await.unwrap(), None);
    drop_database(&store).await;
}

#[tokio::test]
async fn a_block_whose_writer_died_on_the_way_is_in_no_answer_and_then_whole() {
    let store = store("half").await;
    let (one, two) = (block(0, 0), block(0, 1));
    store.append(&one).await.unwrap();
    let id = two.block.clone().unwrap();
    // As far as a writer came: two tables of seven.
    store.insert("flows", &id, &two.flows, |row| FlowRow::of(&id, row)).await.unwrap();
    store.insert("rollups", &id, &two.rollups, |row| RollupRow::of(&id, row)).await.unwrap();
    assert_eq!(store.stored_through(TOPIC, 0).await.unwrap(), Some(9));
    let plan = Plan {
        range: TimeRange::ALL,
        filter: parse_filter("").unwrap(),
        query: Query::Flows { limit: 1000, after: None },
    };
    let flows = |partial| match answer(&plan, partial).unwrap() {
        Answer::Flows(flows) => flows.items.len(),
        other @ (Answer::Top(_)
        | Answer::Series(_)
        | Answer::Cardinality(_)
        | Answer::Quantiles(_)
        | Answer::Ledger(_)
        | Answer::Alerts(_)
        | Answer::Messages(_)) => panic!("{other:?}"),
    };
    assert_eq!(flows(store.query(&plan).await.unwrap()), one.flows.len());
    store.append(&two).await.unwrap();
    assert_eq!(flows(store.query(&plan).await.unwrap()), one.flows.len() + two.flows.len());
    drop_database(&store).await;
}

#[tokio::test]
async fn the_latest_whole_state_comes_back_and_older_ones_go() {
    let store = store("state").await;
    assert_eq!(store.load_state(TOPIC, 4).await.unwrap(), None);
    // More than two parts, and bytes of all kinds: a blank line, quotes, zeros.
    let large: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let states: [(u64, &[u8]); 4] = [(10, b"\n\n'\0\\"), (20, b""), (30, &large), (40, b"last")];
    for (offset, state) in states {
        store.save_state(TOPIC, 4, offset, state).await.unwrap();
        let (found, bytes) = store.load_state(TOPIC, 4).await.unwrap().unwrap();
        assert!(found == offset && bytes == state, "state {offset} came back as {found} of {} bytes", bytes.len());
    }
    assert_eq!(store.load_state(TOPIC, 5).await.unwrap(), None);
    // Two engines keep the same state: it is there once.
    store.save_state(TOPIC, 4, 40, b"last").await.unwrap();
    assert_eq!(store.load_state(TOPIC, 4).await.unwrap(), Some((40, b"last".to_vec())));
    drop_database(&store).await;
}

#[tokio::test]
async fn the_schema_is_made_once_and_a_newer_one_is_refused() {
    let store = store("schema").await;
    assert_eq!(store.migrate().await.unwrap(), []);
    store.check().await.unwrap();
    let newer = "INSERT INTO schema_migrations (version, what) SELECT 99, 'from the future'";
    store.client.query_raw(newer).execute().await.unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("has schema 99, newer than this build's 6"), "{error}");
    assert!(store.migrate().await.is_err());
    let config = ClickHouseConfig { database: "nobody_made_this".into(), ..store.config.clone() };
    let error = ClickHouseStore::new(&config, TOPIC).unwrap().check().await.unwrap_err().to_string();
    assert_eq!(error, "database `nobody_made_this` has schema 0, expected 6: run `netspectra admin migrate`");
    // A table that a newer release gave a column: this build's rows go in, and come back.
    let column = "ALTER TABLE flows ADD COLUMN score Float64 DEFAULT 0.5";
    store.client.query_raw(column).execute().await.unwrap();
    store.append(&block(0, 0)).await.unwrap();
    let plan = Plan {
        range: TimeRange::ALL,
        filter: parse_filter("").unwrap(),
        query: Query::Flows { limit: 10, after: None },
    };
    assert!(
        matches!(answer(&plan, store.query(&plan).await.unwrap()).unwrap(), Answer::Flows(f) if f.items.len() == 5)
    );
    drop_database(&store).await;
}

#[tokio::test]
async fn the_first_schema_becomes_this_one_and_its_views_show_the_messages() {
    let store = store("upgrade").await;
    let run = |sql: &'static str| store.client.query_raw(sql).execute();
    for what in ["VIEW dns", "VIEW http", "VIEW tls", "TABLE messages", "TABLE alerts", "TABLE merged_windows"] {
        store.client.query_raw(&format!("DROP {what}")).execute().await.unwrap();
    }
    run("ALTER TABLE schema_migrations DELETE WHERE version > 1 SETTINGS mutations_sync = 2").await.unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.ends_with("has schema 1, expected 6: run `netspectra admin migrate`"), "{error}");
    assert_eq!(store.migrate().await.unwrap().iter().map(|step| step.version).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    store.check().await.unwrap();
    let blocks: Vec<StoreBatch> = (0..20).map(|n| block(0, n)).collect();
    for block in &blocks {
        store.append(block).await.unwrap();
    }
    let messages = || blocks.iter().flat_map(|b| &b.messages);
    let apps = |apps: &'static [&'static str]| messages().filter(move |m| apps.contains(&m.what.protocol()));
    for (view, apps) in
        [("dns", apps(&["dns", "mdns", "llmnr"])), ("http", apps(&["http"])), ("tls", apps(&["tls", "quic"]))]
    {
        let rows: u64 = store.client.query_raw(&format!("SELECT count() FROM {view}")).fetch_one().await.unwrap();
        assert_eq!(rows, apps.count() as u64, "{view}");
        assert!(rows > 0, "{view}");
    }
    let of = |sql: &'static str| store.client.query_raw(sql).fetch_one::<u64>();
    let texts = of("SELECT countIf(answers = ['\"quoted\" \\\\ text\\n']) FROM dns").await.unwrap();
    assert_eq!(texts, apps(&["dns", "mdns", "llmnr"]).count() as u64);
    let gets = messages().filter(|m| matches!(m.what, Observation::HttpRequest(_))).count() as u64;
    assert_eq!(of("SELECT countIf(method = 'GET' AND target = '/a?b=c') FROM http").await.unwrap(), gets);
    let hellos = messages().filter(|m| matches!(m.what, Observation::TlsClient(_))).count() as u64;
    assert_eq!(of("SELECT countIf(ja4 = 't13d' AND version = 772) FROM tls").await.unwrap(), hellos);
    drop_database(&store).await;
}

#[tokio::test]
async fn any_text_is_compared_as_it_is() {
    let store = store("texts").await;
    let mut one = block(0, 0);
    let texts = ["a\\b", "tab\tnew\nline\r", "it's \"quoted\"", "{f0:String}", "\\N", "\\", "é 漢", "a\0b", "NULL"];
    let first = one.alerts[0].clone();
    one.alerts = texts.iter().map(|text| Alert { subject: (*text).to_owned(), ..first.clone() }).collect();
    for (n, alert) in one.alerts.iter_mut().enumerate() {
        alert.id = n as u64;
    }
    store.append(&one).await.unwrap();
    for alert in &one.alerts {
        let is = Filter::Is(Predicate {
            any_of: vec![Dimension::Subject],
            op: CmpOp::Eq,
            values: vec![Value::Text(alert.subject.clone())],
        });
        for (filter, expected) in [(is.clone(), 1), (Filter::Not(Box::new(is)), texts.len() - 1)] {
            let plan = Plan { range: TimeRange::ALL, filter, query: Query::Alerts { limit: 100, after: None } };
            let Answer::Alerts(found) = answer(&plan, store.query(&plan).await.unwrap()).unwrap() else {
                panic!("alerts")
            };
            assert_eq!(found.items.len(), expected, "{:?}", alert.subject);
        }
    }
    drop_database(&store).await;
}

#[tokio::test]
async fn a_server_that_is_away_may_come_back_and_a_batch_without_a_name_never_fits() {
    let config = ClickHouseConfig { url: "http://127.0.0.1:1".into(), ..ClickHouseConfig::default() };
    let away = ClickHouseStore::new(&config, TOPIC).unwrap();
    let error = away.append(&block(0, 0)).await.unwrap_err();
    assert!(error.transient, "{error}");
    assert!(away.stored_through(TOPIC, 0).await.unwrap_err().transient);
    let nameless = StoreBatch { block: None, ..block(0, 0) };
    assert!(!away.append(&nameless).await.unwrap_err().transient);
    let _ = Nanos(0);
}
