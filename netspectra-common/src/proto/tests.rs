//! Messages there and back, and bytes that are none.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::v1;
use super::*;
use crate::abi::{FlowKey, FlowStats, LossReason};
use crate::model::*;
use crate::sketch::OverflowSummary;
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::FromBytes;

fn generation() -> GenerationId {
    GenerationId { node: "n1".into(), epoch: 1_700_000_000_000_000_000, generation: 42 }
}

fn key(seed: u8) -> FlowKey {
    FlowKey::read_from_bytes(&[seed; 48]).unwrap()
}

fn chunk(rows: usize) -> BusMessage {
    let delta = |n: usize| FlowDelta {
        key: FlowKey { src_port: n as u16, ..key(n as u8) },
        stats: FlowStats { packets: n as u64, mark: 7, ..FlowStats::read_from_bytes(&[n as u8; 56]).unwrap() },
        sampling: Sampling(n as u8 % 17),
    };
    let id = ChunkId { generation: generation(), chunk: 3 };
    BusMessage::Chunk(Arc::new(Chunk { id, deltas: (0..rows).map(delta).collect() }))
}

fn sockets() -> Vec<SocketSeen> {
    let owner = |process: Option<&str>| Owner { process: process.map(Into::into), cgroup: Some("/a.slice".into()) };
    vec![
        SocketSeen {
            proto: 6,
            local: ("10.0.0.1".parse().unwrap(), 40_000),
            remote: Some(("2001:db8::1".parse().unwrap(), 443)),
            owner: owner(Some("curl")).into(),
        },
        SocketSeen {
            proto: 17,
            local: ("::ffff:10.0.0.1".parse().unwrap(), 53),
            remote: None,
            owner: owner(None).into(),
        },
    ]
}

fn manifest() -> Manifest {
    let mut ledger = Ledger { seen: Counter::new(9, 900), flows: Counter::new(5, 500), ..Ledger::default() };
    ledger.non_ip = Counter::new(1, 60);
    ledger.reasons[LossReason::RingFull as usize] = Counter::new(3, 340);
    ledger.orphan_fragments = 2;
    ledger.events_lost = 1;
    ledger.overflow = Some(Box::new(OverflowSummary::default()));
    let gained = NicCounters { rx_packets: 10, tx_bytes: 7, rx_no_buffer: 1, ..NicCounters::default() };
    Manifest {
        id: generation(),
        chunks: 4,
        start: Nanos(5),
        end: Nanos(6),
        ledger,
        sizes: SizeHistogram(vec![(60, 1), (2050, 7)]),
        interfaces: vec![Interface { slot: 3, ifindex: 9, name: "eth0".into() }],
        nics: vec![NicDelta { ifindex: 9, iface: "eth0".into(), gained, reset: true }],
        previous: Some(ManifestHash([7; 32])),
        last: true,
    }
}

fn observations() -> Vec<Observation> {
    let record = DnsRecord { name: "a.example".into(), rtype: 1, ttl: 300, data: "10.0.0.1".into() };
    let dns = |kind, question| {
        Observation::Dns(Box::new(DnsMessage {
            kind,
            id: 65_535,
            response: true,
            opcode: 4,
            rcode: 3,
            truncated: true,
            question,
            questions: 1,
            answers: 2,
            records: vec![record.clone(); 2],
            udp_size: Some(1232),
            complete: true,
            repeated: true,
            latency: Some(Duration::from_nanos(1_500_000)),
        }))
    };
    let question = DnsQuestion { name: "a.example".into(), qtype: 28, qclass: 1 };
    vec![
        dns(DnsKind::Dns, Some(question)),
        dns(DnsKind::Mdns, None),
        dns(DnsKind::Llmnr, None),
        Observation::HttpRequest(Box::new(HttpRequest {
            method: "GET".into(),
            target: "/".into(),
            host: Some("h".into()),
            minor_version: 1,
            user_agent: Some(String::new()),
            content_type: None,
            content_length: Some(0),
        })),
        Observation::HttpResponse(Box::new(HttpResponse {
            status: 404,
            minor_version: 0,
            content_type: Some("text/html".into()),
            content_length: None,
            method: Some("GET".into()),
            host: None,
            latency: Some(Duration::ZERO),
        })),
        Observation::TlsClient(Box::new(TlsClient {
            sni: None,
            alpn: vec!["h2".into(), "http/1.1".into()],
            version: 0x0304,
            ja4: "t13d".into(),
            quic: Some(1),
        })),
        Observation::TlsServer(Box::new(TlsServer { version: 0x0303, cipher: 0x1301, alpn: Some("h2".into()) })),
        Observation::Other { protocol: "ssh".into(), fields: vec![("banner".into(), "SSH-2.0-x".into())] },
    ]
}

fn all() -> Vec<BusMessage> {
    let said = observations().into_iter().map(|what| Observed { at: Nanos(1), key: key(5), what }).collect();
    let seen = vec![PayloadSeen { at: Nanos(u64::MAX), key: key(6), prefix: vec![0, 255, 10], len: 1400 }];
    let bare = Manifest { nics: Vec::new(), previous: None, ledger: Ledger::default(), ..manifest() };
    vec![
        chunk(0),
        chunk(1),
        chunk(1000),
        BusMessage::Payload { of: generation(), seen: Arc::new(seen) },
        BusMessage::Observed { of: generation(), said: Arc::new(said) },
        BusMessage::Sockets { of: generation(), seen: Arc::new(sockets()) },
        BusMessage::Manifest(Arc::new(manifest())),
        BusMessage::Manifest(Arc::new(bare)),
    ]
}

#[test]
fn every_message_comes_back_as_it_was() {
    for message in all() {
        let back = decode(&encode(&message)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
    }
}

/// What [`encode`] wrote, changed.
fn changed(message: &BusMessage, change: impl FnOnce(&mut v1::BusMessage)) -> Result<BusMessage, String> {
    let mut raw = v1::BusMessage::decode(&*encode(message)).unwrap();
    change(&mut raw);
    decode(&raw.encode_to_vec()).map_err(|e| e.to_string())
}

fn of_chunk(raw: &mut v1::BusMessage) -> &mut v1::Chunk {
    let Some(v1::bus_message::Body::Chunk(chunk)) = &mut raw.body else { panic!("no chunk") };
    chunk
}

fn of_manifest(raw: &mut v1::BusMessage) -> &mut v1::Manifest {
    let Some(v1::bus_message::Body::Manifest(manifest)) = &mut raw.body else { panic!("no manifest") };
    manifest
}

#[test]
fn rows_of_a_later_version_are_read_as_far_as_they_are_known() {
    let longer = changed(&chunk(2), |raw| {
        let chunk = of_chunk(raw);
        chunk.stats = chunk.stats.chunks(56).flat_map(|row| row.iter().copied().chain([1, 2, 3, 4])).collect();
        chunk.stats_bytes = 60;
    });
    assert_eq!(format!("{:?}", longer.unwrap()), format!("{:?}", chunk(2)));
    let shorter = changed(&chunk(2), |raw| {
        let chunk = of_chunk(raw);
        chunk.stats = chunk.stats.chunks(56).flat_map(|row| row[..8].to_vec()).collect();
        chunk.stats_bytes = 8;
    });
    let BusMessage::Chunk(read) = shorter.unwrap() else { panic!("no chunk") };
    assert_eq!(read.deltas[1].stats, FlowStats { packets: 1, ..FlowStats::default() });
}

#[test]
fn what_is_wrong_is_named() {
    let manifest = &BusMessage::Manifest(Arc::new(manifest()));
    let cases = [
        (changed(&chunk(2), |raw| raw.body = None), "field `body` is missing"),
        (changed(&chunk(2), |raw| raw.generation = None), "field `generation` is missing"),
        (changed(&chunk(2), |raw| of_chunk(raw).rows = 3), "field `keys` is 96 bytes: expected 3 rows of 48 bytes"),
        (changed(&chunk(2), |raw| of_chunk(raw).stats_bytes = 0), "field `stats` is 112 bytes"),
        (changed(&chunk(2), |raw| of_chunk(raw).rows = u32::MAX), "field `keys`"),
        (changed(manifest, |raw| of_manifest(raw).previous.truncate(5)), "field `previous` is 5 bytes: expected 32"),
        (changed(manifest, |raw| of_manifest(raw).ledger = None), "field `ledger` is missing"),
        (changed(manifest, |raw| of_manifest(raw).size_bins.clear()), "field `size_frames` is 2"),
        (changed(manifest, |raw| of_manifest(raw).interfaces[0].slot = 256), "field `slot` is 256: expected 0 to 255"),
        (
            changed(manifest, |raw| {
                let ledger = of_manifest(raw).ledger.as_mut().unwrap();
                ledger.reasons.resize(11, v1::Counter { packets: 1, bytes: 60 });
            }),
            "field `reasons` is 11: expected at most 10",
        ),
        (
            changed(manifest, |raw| of_manifest(raw).ledger.as_mut().unwrap().overflow = vec![1]),
            "field `overflow` is no summary",
        ),
    ];
    for (result, expected) in cases {
        let error = result.expect_err(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(decode(b"\xff\xff\xff").is_err());
    assert!(matches!(decode(b""), Err(ProtoError::Missing("generation"))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_an_error_or_a_message_that_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(format!("{:?}", decode(&encode(&message)).unwrap()), format!("{message:?}"));
        }
    }

    #[test]
    fn damaged_messages_are_an_error_or_another_message(which in 0usize..7, at: prop::sample::Index, to: u8) {
        let mut bytes = encode(&all()[which]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(format!("{:?}", decode(&encode(&message)).unwrap()), format!("{message:?}"));
        }
        bytes.truncate(at);
        let _ = decode(&bytes);
    }
}
