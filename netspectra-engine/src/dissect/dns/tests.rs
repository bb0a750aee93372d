//! DNS messages made here. That the crate which reads the format does so rightly is shown on captures.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use super::super::testing::{MS, datagrams, key, stream_any_way};
use super::*;
use netspectra_common::model::{DnsMessage, DnsQuestion};
use proptest::prelude::*;
use std::time::Duration;

const QUERY: u16 = 0x0100;
const RESPONSE: u16 = 0x8180;

/// A name in wire format.
fn wire_name(name: &str) -> Vec<u8> {
    let mut out: Vec<u8> =
        name.split('.').flat_map(|l| [vec![l.len() as u8], l.as_bytes().to_vec()].concat()).collect();
    out.push(0);
    out
}

/// A message with one question of type A, and `answers`.
fn message(id: u16, flags: u16, name: &str, answers: &[Vec<u8>]) -> Vec<u8> {
    let mut m = Vec::new();
    for word in [id, flags, 1, answers.len() as u16, 0, 0] {
        m.extend(word.to_be_bytes());
    }
    m.extend(wire_name(name));
    m.extend([0, 1, 0, 1]);
    answers.iter().for_each(|a| m.extend(a));
    m
}

/// A record that refers to the name of the question.
fn record(rtype: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut r = vec![0xc0, 12];
    r.extend(rtype.to_be_bytes());
    r.extend([0, 1]);
    r.extend(ttl.to_be_bytes());
    r.extend((data.len() as u16).to_be_bytes());
    r.extend(data);
    r
}

fn dns(said: Vec<Observation>) -> Vec<DnsMessage> {
    said.into_iter()
        .map(|o| match o {
            Observation::Dns(m) => *m,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_response_has_its_records_and_the_time_since_its_query() {
    let query = message(7, QUERY, "www.Example.org", &[]);
    let mx = [&[0, 10][..], &wire_name("mail.example.org")].concat();
    let answers = [record(1, 300, &[192, 0, 2, 1]), record(15, 60, &mx), record(16, 1, b"\x05hello")];
    let response = message(7, RESPONSE, "www.example.ORG", &answers);
    let said = dns(datagrams(key(17, 53), &[(Side::Forward, &query), (Side::Reverse, &response)]));
    let question = |name: &str| Some(DnsQuestion { name: name.into(), qtype: 1, qclass: 1 });
    assert_eq!((said[0].response, said[0].id, said[0].question.clone()), (false, 7, question("www.Example.org")));
    let r = &said[1];
    assert_eq!((r.response, r.rcode, r.answers, r.complete), (true, 0, 3, true));
    assert_eq!(r.latency, Some(Duration::from_nanos(MS)));
    let records: Vec<_> = r.records.iter().map(|r| (r.rtype, r.ttl, r.data.trim_end_matches('.'))).collect();
    assert_eq!(records, [(1, 300, "192.0.2.1"), (15, 60, "10 mail.example.org"), (16, 1, "\"hello\"")]);
    assert_eq!(r.records[0].name, "www.example.ORG");
}

#[test]
fn only_the_response_to_the_same_question_from_the_other_end_matches() {
    let query = message(7, QUERY, "a.example", &[]);
    let other = message(7, RESPONSE, "b.example", &[]);
    let response = message(7, RESPONSE | 3, "a.example", &[]);
    let script: [(Side, &[u8]); 6] = [
        (Side::Forward, &query),
        (Side::Forward, &query),
        (Side::Forward, &response),
        (Side::Reverse, &other),
        (Side::Reverse, &response),
        (Side::Reverse, &response),
    ];
    let said = dns(datagrams(key(17, 53), &script));
    assert_eq!(said.iter().map(|m| m.repeated).collect::<Vec<_>>(), [false, true, false, false, false, false]);
    let latencies: Vec<_> = said.iter().map(|m| m.latency).collect();
    assert_eq!(latencies, [None, None, None, None, Some(Duration::from_nanos(4 * MS)), None]);
    assert_eq!((said[4].rcode, said[0].rcode), (3, 0));
}

#[test]
fn edns_extends_the_response_code_and_names_the_udp_size() {
    // BADVERS (16) is 1 in the OPT record and 0 in the header.
    let mut m = message(1, RESPONSE, "a", &[]);
    m[11] = 1;
    m.extend([0, 0, 41, 0x04, 0xd0, 1, 0, 0, 0, 0, 0]);
    let said = dns(datagrams(key(17, 53), &[(Side::Reverse, &m)]));
    assert_eq!((said[0].rcode, said[0].udp_size), (16, Some(1232)));
}

#[test]
fn names_are_in_presentation_format() {
    for (wire, text) in [
        (&b"\x00"[..], "."),
        (b"\x03a.b\x00", "a\\.b"),
        (b"\x02\xe4\x20\x00", "\\228\\032"),
        (b"\x03WWW\x02xx\x00", "WWW.xx"),
    ] {
        let mut m = message(1, QUERY, "", &[])[..12].to_vec();
        m.extend(wire);
        m.extend([0, 1, 0, 1]);
        let said = dns(datagrams(key(17, 53), &[(Side::Forward, &m)]));
        assert_eq!(said[0].question.as_ref().unwrap().name.replace("\\ ", "\\032"), text);
    }
}

#[test]
fn multicast_dns_and_llmnr_are_kept_apart() {
    let mut m = message(0, QUERY, "host.local", &[]);
    let class = m.len() - 2;
    m[class] = 0x80;
    for (port, kind, qclass) in [(5353, DnsKind::Mdns, 1), (5355, DnsKind::Llmnr, 0x8001), (53, DnsKind::Dns, 0x8001)] {
        let said = dns(datagrams(key(17, port), &[(Side::Forward, &m)]));
        assert_eq!((said[0].kind, said[0].question.as_ref().unwrap().qclass), (kind, qclass));
    }
    assert!(datagrams(key(17, 54), &[(Side::Forward, &m)]).is_empty());
}

#[test]
fn every_message_of_a_tcp_stream_is_read_and_a_long_one_as_far_as_it_is_kept() {
    let frame = |m: Vec<u8>| [&(m.len() as u16).to_be_bytes()[..], &m].concat();
    let queries = [frame(message(1, QUERY, "a", &[])), frame(message(2, QUERY, "b", &[]))].concat();
    let long: Vec<Vec<u8>> = (0..600).map(|n| record(1, n, &[10, 0, 0, 1])).collect();
    let responses = [frame(message(2, RESPONSE, "b", &long)), frame(message(1, RESPONSE | 2, "a", &[]))].concat();
    let said = dns(stream_any_way(key(6, 53), &[(Side::Forward, &queries), (Side::Reverse, &responses)]));
    let short: Vec<_> = said.iter().map(|m| (m.id, m.response, m.rcode, m.complete, m.latency.is_some())).collect();
    assert_eq!(
        short,
        [(1, false, 0, true, false), (2, false, 0, true, false), (2, true, 0, false, true), (1, true, 2, true, true)]
    );
    assert_eq!((said[2].answers, said[2].records.len()), (600, DnsMessage::MAX_RECORDS));
}

#[test]
fn a_gap_inside_a_message_costs_that_message_and_one_across_its_end_the_stream() {
    let frame = |m: Vec<u8>| [&(m.len() as u16).to_be_bytes()[..], &m].concat();
    let (first, second) = (frame(message(1, QUERY, "long-name", &[])), frame(message(2, QUERY, "b", &[])));
    for (gap, expected) in [(5, vec![(1, false), (2, true)]), (first.len(), vec![])] {
        let mut said = Vec::new();
        let mut session = Dns.open(&key(6, 53));
        session.stream(Side::Forward, &first[..16], Nanos(1), &mut |o| said.push(o));
        if session.gap(Side::Forward, gap as u64) == Next::More {
            session.stream(Side::Forward, &first[16 + gap..], Nanos(1), &mut |o| said.push(o));
            session.stream(Side::Forward, &second, Nanos(1), &mut |o| said.push(o));
        }
        assert_eq!(dns(said).iter().map(|m| (m.id, m.question.is_some())).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_no_dns_says_nothing() {
    let query = message(1, QUERY, "a", &[]);
    let mut reserved = query.clone();
    reserved[3] |= 0x40;
    let mut unknown_operation = query.clone();
    unknown_operation[2] |= 0x78;
    for bytes in [&query[..11], &reserved, &unknown_operation, &[]] {
        assert!(datagrams(key(17, 53), &[(Side::Forward, bytes)]).is_empty(), "{bytes:?}");
    }
}

#[test]
fn a_compression_loop_ends() {
    let mut m = message(1, RESPONSE, "", &[])[..12].to_vec();
    m.extend([0xc0, 12, 0, 1, 0, 1]);
    let said = dns(datagrams(key(17, 53), &[(Side::Reverse, &m)]));
    assert_eq!((said.len(), said[0].question.clone()), (1, None));
}

proptest! {
    /// Truncation at any place and any damage: the header's counts stay, nothing panics.
    #[test]
    fn damaged_messages_do_no_harm(cut in 0usize..200, at in 0usize..200, value: u8) {
        let soa = [wire_name("ns.example.org"), wire_name("admin.example.org"), vec![1; 20]].concat();
        let answers = [record(6, 1, &soa), record(1, 1, &[1, 2, 3, 4]), record(65, 1, &[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2'])];
        let mut m = message(9, RESPONSE, "www.example.org", &answers);
        if let Some(byte) = m.get_mut(at) {
            *byte = value;
        }
        m.truncate(cut.max(1));
        let said = datagrams(key(17, 53), &[(Side::Reverse, &m)]);
        prop_assert!(said.len() <= 1);
    }
}
