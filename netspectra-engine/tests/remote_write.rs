//! The sender of remote write against a receiver that fails in every way. What these tests do not prove: that a real
//! receiver takes the samples; that is in `netspectra/tests/remote_write.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "remote_write/receiver.rs"]
mod receiver;

use netspectra_common::model::{Counter, Ledger, LedgerEntry, Nanos};
use netspectra_common::ports::StoreBatch;
use netspectra_engine::remote_write::{RemoteWrite, RemoteWriteConfig, RemoteWriteStats};
use receiver::{Act, Read, Receiver};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For anything on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Samples of one [`block`] and node: packets and bytes, seen and in flows.
const EACH: u64 = 4;

/// What a generation counted that ended `second` seconds after the begin.
fn block(node: &str, second: u64) -> StoreBatch {
    let seen = Counter::new(1000 + second, 1_000_000 + second);
    let (start, end) = (Nanos::from_secs(1_700_000_000 + second), Nanos::from_secs(1_700_000_001 + second));
    let ledger = Ledger { seen, flows: seen, ..Ledger::default() };
    let (node, epoch, generation) = (node.into(), 1, second);
    let entry = LedgerEntry { node, epoch, generation, start, end, ledger, nics: Vec::new(), chain_break: false };
    StoreBatch { ledger: vec![entry], ..StoreBatch::default() }
}

/// Sends each unit when it comes.
fn eager(receiver: &Receiver) -> RemoteWriteConfig {
    RemoteWriteConfig { url: Some(receiver.url()), max_delay_ms: 10, ..RemoteWriteConfig::default() }
}

fn start(config: &RemoteWriteConfig) -> RemoteWrite {
    RemoteWrite::start(config).unwrap().unwrap()
}

async fn until(remote: &RemoteWrite, what: &str, is_so: impl Fn(&RemoteWriteStats) -> bool) {
    let started = Instant::now();
    while !is_so(&remote.stats()) {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}: {:?}", remote.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Offers a block of `n1`, and waits until it is off the queue.
async fn send(remote: &RemoteWrite, second: u64) {
    remote.offer(&block("n1", second));
    until(remote, "nothing waits", |stats| stats.waiting == 0).await;
}

/// Times of the packets that were seen, as often as they were taken.
fn times(taken: &[Read]) -> Vec<i64> {
    let of_series = taken.iter().filter(|(series, ..)| series.starts_with("__name__=netspectra_ledger_seen_packets"));
    of_series.map(|(_, at, _)| (at - 1_700_000_001_000) / 1000).collect()
}

#[tokio::test]
async fn a_request_has_what_the_specification_asks_for() {
    let receiver = Receiver::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let headers = [("X-Scope-OrgID".to_owned(), "t1".to_owned())].into();
    let bearer = RemoteWriteConfig { bearer_token_file: Some(file.clone()), headers, ..eager(&receiver) };
    send(&start(&bearer), 0).await;
    let basic = RemoteWriteConfig { user: Some("u".into()), password_file: Some(file), ..eager(&receiver) };
    send(&start(&basic), 1).await;
    let seen = receiver.seen();
    assert!(seen[0].head.starts_with("post /api/v1/write http/1.1\r\n"), "{}", seen[0].head);
    for line in [
        "content-encoding: snappy",
        "content-type: application/x-protobuf",
        "x-prometheus-remote-write-version: 0.1.0",
        "x-scope-orgid: t1",
        "authorization: bearer s3cret",
    ] {
        assert!(seen[0].head.lines().any(|found| found == line), "`{line}` in {}", seen[0].head);
    }
    // `u:s3cret`, in lower case as the receiver keeps it.
    assert!(seen[1].head.contains("authorization: basic dtpzm2nyzxq=\r\n"), "{}", seen[1].head);
    let expected =
        [("netspectra_ledger_seen_packets,node=n1,", 1000.0), ("netspectra_ledger_seen_bytes,node=n1,", 1_000_000.0)];
    for (found, (series, value)) in seen[0].samples.iter().zip(expected) {
        assert_eq!(found, &(format!("__name__={series}"), 1_700_000_001_000, value));
    }
}

#[tokio::test]
async fn failures_lose_nothing_keep_the_order_and_only_a_lost_answer_doubles() {
    let failing = [
        Act::Refuse(503, "", "not now"),
        Act::Cut,
        Act::Take,
        Act::Refuse(500, "", ""),
        Act::LoseAnswer,
        Act::Take,
        Act::Refuse(429, "", "slow down"),
        Act::Refuse(502, "Retry-After: 0\r\n", ""),
        Act::LoseAnswer,
        Act::LoseAnswer,
    ];
    let receiver = Receiver::start(failing).await;
    let remote = start(&eager(&receiver));
    for second in 0..4 {
        send(&remote, second).await;
    }
    assert_eq!(times(&receiver.taken()), [0, 1, 1, 2, 2, 2, 3]);
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.rejected, stats.dropped, stats.retries), (4 * EACH, 0, 0, 8));
    let distinct: BTreeSet<String> = receiver.taken().iter().map(|read| format!("{read:?}")).collect();
    assert_eq!(distinct.len() as u64, 4 * EACH, "what comes twice is the same, so a receiver has it once");
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_wait_gets_it() {
    let receiver = Receiver::start([Act::Refuse(429, "Retry-After: 1\r\n", "slow down")]).await;
    let remote = start(&eager(&receiver));
    send(&remote, 0).await;
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure_like_others() {
    let receiver = Receiver::start([Act::Silence]).await;
    let remote = start(&RemoteWriteConfig { timeout_seconds: 1, ..eager(&receiver) });
    send(&remote, 0).await;
    assert_eq!(times(&receiver.taken()), [0]);
    assert_eq!((remote.stats().sent, remote.stats().retries), (EACH, 1));
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_what_comes_later_is_sent() {
    let receiver = Receiver::start([Act::Refuse(401, "", "who are you?"), Act::Refuse(404, "", "")]).await;
    let remote = start(&eager(&receiver));
    for second in 0..3 {
        send(&remote, second).await;
    }
    assert_eq!(receiver.seen().len(), 3);
    assert_eq!(times(&receiver.taken()), [2]);
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.rejected, stats.retries), (EACH, 2 * EACH, 0));
}

#[tokio::test]
async fn of_a_request_that_is_refused_for_some_samples_the_others_are_taken() {
    let receiver = Receiver::start(vec![Act::RefuseNode("bad"); 100]).await;
    // All in one request: it goes at the end.
    let remote = start(&RemoteWriteConfig { max_delay_ms: 60_000, flush_seconds: 30, ..eager(&receiver) });
    for second in 0..10 {
        for node in ["good", if second == 3 { "bad" } else { "fine" }] {
            remote.offer(&block(node, second));
        }
    }
    remote.close().await;
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.rejected, stats.dropped), (19 * EACH, EACH, 0));
    assert_eq!(receiver.seen()[0].samples.len() as u64, 20 * EACH);
    let of_good: Vec<_> = receiver.taken().into_iter().filter(|(series, ..)| series.contains("node=good")).collect();
    assert_eq!(times(&of_good), (0..10).collect::<Vec<_>>(), "in their order");
}

#[tokio::test]
async fn samples_from_the_future_are_kept_back() {
    let receiver = Receiver::start([]).await;
    let remote = start(&eager(&receiver));
    // In the year 2100.
    remote.offer(&block("n1", 2_402_444_800));
    send(&remote, 1).await;
    assert_eq!((remote.stats().ahead, remote.stats().sent), (EACH, EACH));
    assert_eq!(times(&receiver.taken()), [1]);
}

#[tokio::test]
async fn two_senders_of_the_same_blocks_send_the_same_bytes() {
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let receiver = Receiver::start([]).await;
        let remote = start(&RemoteWriteConfig { max_delay_ms: 60_000, flush_seconds: 30, ..eager(&receiver) });
        (0..50).for_each(|second| remote.offer(&block("n1", second)));
        remote.close().await;
        assert_eq!(remote.stats().sent, 50 * EACH);
        bodies.push(receiver.seen().into_iter().map(|seen| seen.body).collect::<Vec<_>>());
    }
    assert_eq!(bodies[0].len(), 1);
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn requests_are_as_large_as_they_may_be() {
    let receiver = Receiver::start([]).await;
    let remote =
        start(&RemoteWriteConfig { max_samples: 100, max_delay_ms: 60_000, flush_seconds: 30, ..eager(&receiver) });
    // Nothing awaits in here, and there is one thread: all are offered before one can be sent.
    (0..60).for_each(|second| remote.offer(&block("n1", second)));
    until(&remote, "two are sent because they are full", |stats| stats.sent == 200).await;
    remote.close().await;
    assert_eq!(receiver.seen().iter().map(|seen| seen.samples.len()).collect::<Vec<_>>(), [100, 100, 40]);
    assert_eq!(times(&receiver.taken()), (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_queue_that_is_full_drops_the_oldest_and_says_so_and_nobody_waits() {
    let receiver = Receiver::start([Act::Silence]).await;
    let remote = start(&RemoteWriteConfig { queue_mib: 1, timeout_seconds: 1, ..eager(&receiver) });
    remote.offer(&block("n1", 0));
    receiver.until("the first is being sent", |receiver| !receiver.seen().is_empty()).await;
    // Nothing awaits from here on: nothing is sent meanwhile.
    let mut offered = 1;
    while remote.stats().dropped == 0 {
        remote.offer(&block("n1", offered));
        offered += 1;
    }
    (0..100).for_each(|more| remote.offer(&block("n1", offered + more)));
    offered += 100;
    let stats = remote.stats();
    assert!(stats.waiting_bytes <= 1 << 20, "{}", stats.waiting_bytes);
    assert_eq!(stats.dropped % EACH, 0);
    assert_eq!(stats.dropped + stats.waiting, offered * EACH);
    until(&remote, "the rest is sent", |stats| stats.waiting == 0).await;
    // The one that was on its way is the oldest of all: it goes too, when it failed again.
    let lost = (stats.dropped / EACH) as i64 + 1;
    assert_eq!(times(&receiver.taken()), (lost..offered as i64).collect::<Vec<_>>(), "the newest, in their order");
    assert_eq!(remote.stats().sent + remote.stats().dropped, offered * EACH);
}

#[tokio::test]
async fn the_end_sends_what_waits_and_gives_up_in_time() {
    let receiver = Receiver::start([Act::Take, Act::Refuse(503, "", ""), Act::Refuse(503, "", "")]).await;
    let late = RemoteWriteConfig { max_delay_ms: 60_000, flush_seconds: 30, ..eager(&receiver) };
    let remote = start(&late);
    (0..3).for_each(|second| remote.offer(&block("n1", second)));
    remote.close().await;
    assert_eq!((remote.stats().sent, times(&receiver.taken()).len()), (3 * EACH, 3));
    remote.offer(&block("n1", 3));
    assert_eq!(remote.stats().dropped, EACH, "after the end");
    let again = start(&late);
    again.offer(&block("n1", 4));
    again.close().await;
    assert_eq!((again.stats().sent, again.stats().retries), (EACH, 2));

    let silent = Receiver::start(vec![Act::Silence; 10]).await;
    let remote = start(&RemoteWriteConfig { flush_seconds: 1, max_samples: 100, ..eager(&silent) });
    (0..60).for_each(|second| remote.offer(&block("n1", second)));
    remote.close().await;
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.dropped, stats.waiting), (0, 60 * EACH, 0));
}

#[tokio::test]
async fn a_receiver_that_is_away_is_asked_again_and_nothing_is_dropped() {
    // A port that nobody listens at: another one may take it, but hardly in this moment.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let remote = start(&RemoteWriteConfig {
        url: Some(format!("http://{address}/write")),
        max_delay_ms: 10,
        ..RemoteWriteConfig::default()
    });
    remote.offer(&block("n1", 0));
    until(&remote, "it was tried twice", |stats| stats.retries >= 2).await;
    let stats = remote.stats();
    assert_eq!((stats.sent, stats.dropped, stats.waiting), (0, 0, EACH));
}

#[tokio::test]
async fn tls_trusts_the_authorities_that_are_named_and_no_others() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let receiver = Receiver::with_tls([], Some(Arc::new(tls).into())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority_pem).unwrap();
    let url = Some(format!("https://{}/write", receiver.address));

    let stranger = start(&RemoteWriteConfig { url: url.clone(), ..eager(&receiver) });
    stranger.offer(&block("n1", 0));
    until(&stranger, "it is refused", |stats| stats.retries >= 1).await;
    assert!(receiver.seen().is_empty());
    let trusting = start(&RemoteWriteConfig { url, ca_file: Some(file), ..eager(&receiver) });
    send(&trusting, 1).await;
    assert_eq!((times(&receiver.taken()), trusting.stats().sent), (vec![1], EACH));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let receiver = Receiver::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let refusal = |config: RemoteWriteConfig| RemoteWrite::start(&config).unwrap_err().to_string();
    let error = refusal(RemoteWriteConfig { bearer_token_file: Some(missing.clone()), ..eager(&receiver) });
    assert_eq!(error, format!("cannot read `{}`, which `remote_write` names", missing.display()));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let error = refusal(RemoteWriteConfig { bearer_token_file: Some(empty.clone()), ..eager(&receiver) });
    assert!(error.ends_with("holds no token or password: expected one line of text"), "{error}");
    let error = refusal(RemoteWriteConfig { ca_file: Some(empty), ..eager(&receiver) });
    assert!(error.ends_with("cannot be used: there is no certificate in it"), "{error}");
    assert!(RemoteWrite::start(&RemoteWriteConfig::default()).unwrap().is_none(), "no URL, no sender");
}
