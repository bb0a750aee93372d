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
    ledger.reasons[LossReason::RingFull] = Counter::new(3, 340);
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
        let back = read(&encode(&message)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
    }
}

/// A message, which bytes are that are no tick.
fn read(bytes: &[u8]) -> Result<BusMessage, ProtoError> {
    decode(bytes).map(|entry| match entry {
        LogEntry::Message(message) => message,
        LogEntry::Tick => panic!("a tick"),
    })
}

#[test]
fn a_tick_is_one_and_belongs_to_no_generation() {
    let bytes = encode_tick("engine-0");
    assert!(matches!(decode(&bytes), Ok(LogEntry::Tick)));
    // A release that has no ticks finds a message without generation, and puts it aside.
    let raw = v1::BusMessage::decode(&*bytes).unwrap();
    assert_eq!(raw.generation, None);
}

/// What [`encode`] wrote, changed.
fn changed(message: &BusMessage, change: impl FnOnce(&mut v1::BusMessage)) -> Result<BusMessage, String> {
    let mut raw = v1::BusMessage::decode(&*encode(message)).unwrap();
    change(&mut raw);
    read(&raw.encode_to_vec()).map_err(|e| e.to_string())
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

/// `raw` with what a later release may have added to it: fields of every kind that nobody knows.
fn later(raw: &[u8]) -> Vec<u8> {
    // Field 1000: a varint, 8 bytes, a text of 3 bytes, 4 bytes.
    let unknown = [
        &[0xc0, 0x3e, 7][..],
        &[0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xc2, 0x3e, 3, 97, 98, 99],
        &[0xc5, 0x3e, 1, 2, 3, 4],
    ];
    [raw, &unknown.concat()].concat()
}

/// The message with such fields in it, and in what is in it.
fn later_everywhere(message: &BusMessage) -> Vec<u8> {
    let raw = v1::BusMessage::decode(&*encode(message)).unwrap();
    let field = |tag: u8, bytes: Vec<u8>| {
        let mut out = vec![tag << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend(bytes);
        out
    };
    let (tag, body) = match raw.body.unwrap() {
        v1::bus_message::Body::Chunk(chunk) => (2, later(&chunk.encode_to_vec())),
        v1::bus_message::Body::Payloads(list) => {
            let each = list.payloads.iter().flat_map(|p| field(1, later(&p.encode_to_vec()))).collect::<Vec<u8>>();
            (3, later(&each))
        }
        v1::bus_message::Body::Observations(list) => {
            let each = list.observations.iter().flat_map(|o| field(1, later(&o.encode_to_vec()))).collect::<Vec<u8>>();
            (4, later(&each))
        }
        v1::bus_message::Body::Manifest(manifest) => {
            let ledger = field(4, later(&manifest.ledger.clone().unwrap().encode_to_vec()));
            let rest = v1::Manifest { ledger: None, ..manifest };
            (5, later(&[rest.encode_to_vec(), ledger].concat()))
        }
        v1::bus_message::Body::Sockets(list) => {
            let each = list.sockets.iter().flat_map(|s| field(1, later(&s.encode_to_vec()))).collect::<Vec<u8>>();
            (7, later(&each))
        }
        v1::bus_message::Body::Tick(_) => panic!("a tick"),
    };
    let generation = field(1, later(&raw.generation.unwrap().encode_to_vec()));
    later(&[generation, field(tag, body)].concat())
}

#[test]
fn fields_that_a_later_release_added_change_nothing_of_the_rest() {
    for message in all() {
        let bytes = later_everywhere(&message);
        assert!(bytes.len() > encode(&message).len() + 60);
        assert_eq!(format!("{:?}", read(&bytes).unwrap()), format!("{message:?}"));
    }
}

#[test]
fn frames_under_a_reason_of_a_later_release_are_in_the_balance_and_in_the_chain() {
    let mut newer = manifest();
    let told: Vec<Counter> = (0..14).map(|n| Counter::new(n, 60 * n)).collect();
    newer.ledger.reasons = Reasons::of_list(&told).unwrap();
    newer.ledger.seen = newer.ledger.accounted();
    let bytes = encode(&BusMessage::Manifest(Arc::new(newer.clone())));
    let BusMessage::Manifest(read) = read(&bytes).unwrap() else { panic!("no manifest") };
    assert_eq!((read.ledger.residual(), read.ledger.reasons.told()), ((0, 0), told));
    assert_eq!(read.hash(), newer.hash());
}

#[test]
fn a_summary_of_a_later_release_is_left_out_and_shows_in_the_chain() {
    let message = BusMessage::Manifest(Arc::new(manifest()));
    let read = changed(&message, |raw| of_manifest(raw).ledger.as_mut().unwrap().overflow[1] = 99);
    let BusMessage::Manifest(read) = read.unwrap() else { panic!("no manifest") };
    assert_eq!((&read.ledger.overflow, read.ledger.seen), (&None, manifest().ledger.seen));
    assert_ne!(read.hash(), manifest().hash());
}

#[test]
fn what_a_later_dissector_says_is_known_to_have_been_said() {
    let said = observations().into_iter().map(|what| Observed { at: Nanos(1), key: key(5), what }).collect();
    let message = BusMessage::Observed { of: generation(), said: Arc::new(said) };
    let read = changed(&message, |raw| {
        let Some(v1::bus_message::Body::Observations(list)) = &mut raw.body else { panic!("no observations") };
        let Some(v1::observation::What::Dns(dns)) = &mut list.observations[0].what else { panic!("no DNS") };
        dns.kind = 77;
        list.observations[3].what = None;
    });
    let BusMessage::Observed { said: read, .. } = read.unwrap() else { panic!("no observations") };
    let BusMessage::Observed { said, .. } = message else { panic!("no observations") };
    assert_eq!(read.len(), said.len());
    for (n, (read, said)) in read.iter().zip(said.iter()).enumerate() {
        assert_eq!((read.at, read.key), (said.at, said.key));
        match n {
            0 | 3 => assert!(matches!(&read.what, Observation::Other { protocol, .. } if protocol == "unknown"), "{n}"),
            _ => assert_eq!(format!("{:?}", read.what), format!("{:?}", said.what)),
        }
    }
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
                ledger.reasons.resize(65, v1::Counter { packets: 1, bytes: 60 });
            }),
            "field `reasons` is 65: expected a list of one for each reason",
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
        if let Ok(LogEntry::Message(message)) = decode(&bytes) {
            prop_assert_eq!(format!("{:?}", read(&encode(&message)).unwrap()), format!("{message:?}"));
        }
    }

    #[test]
    fn damaged_messages_are_an_error_or_another_message(which in 0usize..7, at: prop::sample::Index, to: u8) {
        let mut bytes = encode(&all()[which]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(LogEntry::Message(message)) = decode(&bytes) {
            prop_assert_eq!(format!("{:?}", read(&encode(&message)).unwrap()), format!("{message:?}"));
        }
        bytes.truncate(at);
        let _ = decode(&bytes);
    }
}
