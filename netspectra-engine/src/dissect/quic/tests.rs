//! Initial packets made here and by the RFCs.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::super::testing::{datagrams, key};
use super::super::tls::tests::client_hello;
use super::crypto::Secrets;
use super::*;

/// Destination identifier of the examples in the appendices of RFC 9001 and RFC 9369.
const ID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

/// The CRYPTO frame of RFC 9001 appendix A.2.
const FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c000004130113\
    02010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e0005000501\
    00000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b00030203040\
    00d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff\
    0801100104800075300901100f088394c8f03e51570806048000ffff";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect()
}

/// An Initial packet of `version` with packet number `number` (four bytes), protected by the client's keys for `keys`.
fn initial(version: u32, (keys, id): (&[u8], &[u8]), number: u32, frames: &[u8], from_client: bool) -> Vec<u8> {
    let kind = if version == crypto::V2 { 0xd3 } else { 0xc3 };
    let mut packet = vec![kind];
    packet.extend(version.to_be_bytes());
    packet.push(id.len() as u8);
    packet.extend(id);
    packet.extend([0, 0]);
    packet.extend((0x4000 + 4 + frames.len() as u16 + 16).to_be_bytes());
    let number_at = packet.len();
    packet.extend(number.to_be_bytes());
    Secrets::new(version, keys).unwrap().seal(&mut packet, number_at, frames, from_client);
    packet
}

fn crypto_frame(offset: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend((0x4000 + offset).to_be_bytes());
    frame.extend((0x4000 + data.len() as u16).to_be_bytes());
    frame.extend(data);
    frame
}

fn names(said: &[Observation]) -> Vec<String> {
    said.iter()
        .map(|o| match o {
            Observation::TlsClient(hello) => hello.sni.clone().unwrap_or_default(),
            Observation::TlsServer(_) => "server".into(),
            other @ (Observation::Dns(_)
            | Observation::HttpRequest(_)
            | Observation::HttpResponse(_)
            | Observation::Other { .. }) => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_examples_of_the_rfcs_are_protected_as_there_and_read() {
    let mut frames = hex(FRAME);
    frames.resize(1162, 0);
    for (version, begin) in [
        (1, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"),
        (crypto::V2, "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485"),
    ] {
        let packet = initial(version, (&ID, &ID), 2, &frames, true);
        assert_eq!((packet.len(), &packet[..32]), (1200, &hex(begin)[..]));
        let said = datagrams(key(17, 443), &[(Side::Forward, &packet)]);
        let Observation::TlsClient(hello) = &said[0] else { panic!("{said:?}") };
        assert_eq!(
            (hello.sni.as_deref(), hello.quic, &hello.alpn[..]),
            (Some("example.com"), Some(version), &["alpn".into()][..])
        );
        assert!(hello.ja4.starts_with("q13d02"), "{}", hello.ja4);
    }
}

#[test]
fn frames_in_any_order_and_over_several_packets_and_datagrams_are_put_together() {
    let hello = client_hello("split.example");
    let (a, b) = (hello.len() / 3, hello.len() / 2);
    let first = [crypto_frame(b as u16, &hello[b..]), vec![1, 0, 0], crypto_frame(0, &hello[..a])].concat();
    let second = [&[2, 0, 0, 0, 0][..], &crypto_frame(a as u16 - 3, &hello[a - 3..b + 4])].concat();
    let (one, two) = (initial(1, (&ID, &ID), 0, &first, true), initial(1, (&ID, &ID), 1, &second, true));
    for script in [
        vec![(Side::Forward, [&one[..], &two].concat())],
        vec![(Side::Forward, one.clone()), (Side::Forward, two.clone())],
        vec![(Side::Forward, two.clone()), (Side::Forward, one.clone()), (Side::Forward, one.clone())],
    ] {
        let script: Vec<(Side, &[u8])> = script.iter().map(|(s, b)| (*s, b.as_slice())).collect();
        assert_eq!(names(&datagrams(key(17, 443), &script)), ["split.example"]);
    }
}

#[test]
fn after_a_retry_the_keys_are_those_of_the_new_identifier_and_the_server_has_its_own() {
    let hello = client_hello("retried.example");
    let half = hello.len() / 2;
    let begin = initial(1, (&ID, &ID), 0, &crypto_frame(0, &hello[..half]), true);
    let again = initial(1, (b"new-one", b"new-one"), 1, &crypto_frame(0, &hello), true);
    let mut server = vec![2, 0, 0, 40, 3, 3];
    server.extend([1; 32]);
    server.extend([0, 0x13, 0x01, 0, 0, 0]);
    let answer = initial(1, (b"new-one", b"client"), 0, &crypto_frame(0, &server), false);
    let script: [(Side, &[u8]); 3] = [(Side::Forward, &begin), (Side::Forward, &again), (Side::Reverse, &answer)];
    assert_eq!(names(&datagrams(key(17, 443), &script)), ["retried.example", "server"]);
}

#[test]
fn what_is_damaged_or_of_an_unknown_version_says_nothing() {
    let packet = initial(1, (&ID, &ID), 0, &crypto_frame(0, &client_hello("x")), true);
    for at in 0..packet.len() {
        let mut damaged = packet.clone();
        damaged[at] ^= 0x20;
        assert!(datagrams(key(17, 443), &[(Side::Forward, &damaged)]).is_empty(), "byte {at}");
        assert!(datagrams(key(17, 443), &[(Side::Forward, &packet[..at])]).is_empty(), "cut at {at}");
    }
    let mut unknown = packet;
    unknown[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    assert!(!packet::is_initial(&unknown));
}
