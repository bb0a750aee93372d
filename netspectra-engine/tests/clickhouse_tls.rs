//! ClickHouse over TLS. Needs a real server in `NETSPECTRA_CLICKHOUSE` (`cargo xtask cluster up`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use netspectra_common::model::{Alert, AlertPhase, BlockId, Nanos, Severity, TimeRange};
use netspectra_common::ports::{Store as _, StoreBatch};
use netspectra_common::query::{Answer, Filter, Plan, Query, answer};
use netspectra_common::report::chain;
use netspectra_engine::store::clickhouse::{ClickHouseConfig, ClickHouseStore};

const TOPIC: &str = "flows";

fn alert() -> Alert {
    Alert {
        id: 7,
        node: "n1".into(),
        detector: "port_scan".into(),
        phase: AlertPhase::Open,
        severity: Severity::Medium,
        subject: "10.0.0.1".into(),
        why: "it tried 100 ports".into(),
        at: Nanos::from_secs(1_700_000_000),
        first_seen: Nanos::from_secs(1_699_999_990),
        last_seen: Nanos::from_secs(1_699_999_999),
        score: 100.0,
        threshold: 60.0,
        evidence: Vec::new(),
        flows: vec![1],
    }
}

#[tokio::test]
async fn the_authority_that_is_named_is_trusted_and_no_other() {
    let server = std::env::var("NETSPECTRA_CLICKHOUSE").unwrap_or_else(|_| {
        panic!(
            "`NETSPECTRA_CLICKHOUSE` is not set: expected the URL of a ClickHouse server, see `cargo xtask cluster up`"
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let behind = server.strip_prefix("http://").unwrap().to_owned();
    let (port, file) = support::with_tls(folder.path(), behind).await;
    let database = format!("tls_{}", std::process::id());
    let config = ClickHouseConfig {
        url: format!("https://127.0.0.1:{port}"),
        database: database.clone(),
        retention_days: 10_000,
        window_retention_days: 10_000,
        ..ClickHouseConfig::default()
    };
    let stranger = ClickHouseStore::new(&config, TOPIC).unwrap();
    let error = chain(&stranger.check().await.unwrap_err());
    assert!(error.contains("certificate"), "{error}");

    let trusting = ClickHouseConfig { ca_file: Some(file.clone()), ..config };
    let store = ClickHouseStore::new(&trusting, TOPIC).unwrap();
    store.migrate().await.unwrap();
    let block = Some(BlockId { topic: TOPIC.into(), partition: 0, first: 0, last: 9 });
    store.append(&StoreBatch { block, alerts: vec![alert()], ..StoreBatch::default() }).await.unwrap();
    let plan = Plan { range: TimeRange::ALL, filter: Filter::ALL, query: Query::Alerts { limit: 9, after: None } };
    let Answer::Alerts(found) = answer(&plan, store.query(&plan).await.unwrap()).unwrap() else { panic!("alerts") };
    assert_eq!(found.items, [alert()]);
    let drop = format!("DROP DATABASE {database}");
    clickhouse::Client::default().with_url(server).query(&drop).execute().await.unwrap();

    std::fs::write(&file, "no certificate").unwrap();
    assert_eq!(
        ClickHouseStore::new(&trusting, TOPIC).err().unwrap().to_string(),
        format!(
            "`clickhouse.ca_file` is `{}: there is no certificate in it`: expected a file with certificates as PEM",
            file.display()
        )
    );
}
