//! ClickHouse over TLS. Needs a real server in `NETSPECTRA_CLICKHOUSE` (`cargo xtask cluster up`).
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_common::model::{Alert, AlertPhase, BlockId, Nanos, Severity, TimeRange};
use netspectra_common::ports::{Store as _, StoreBatch};
use netspectra_common::query::{Answer, Filter, Plan, Query, answer};
use netspectra_common::report::chain;
use netspectra_engine::store::clickhouse::{ClickHouseConfig, ClickHouseStore};
use std::sync::Arc;

const TOPIC: &str = "flows";

/// TLS in front of the server, with a certificate of its own authority; returns its port and the authority.
async fn with_tls(server: String) -> (u16, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = front.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = front.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                // Either end may go at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, pem)
}

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
    let (port, authority) = with_tls(server.strip_prefix("http://").unwrap().to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
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
