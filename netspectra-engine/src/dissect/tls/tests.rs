//! Handshakes made here.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use super::super::testing::{key, stream_any_way};
use super::*;
use netspectra_common::model::{TlsClient, TlsServer};

fn with_len16(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

fn ext(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_len16(data)].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// Handshake bytes in records of at most `size`.
fn records(handshake: &[u8], size: usize) -> Vec<u8> {
    handshake.chunks(size).flat_map(|c| [&[HANDSHAKE, 3, 1][..], &with_len16(c)].concat()).collect()
}

pub(in super::super) fn client_hello(name: &str) -> Vec<u8> {
    let sni = with_len16(&[&[0][..], &with_len16(name.as_bytes())].concat());
    let extensions = [
        ext(0x2a2a, &[]),
        ext(0, &sni),
        ext(16, &with_len16(b"\x02h2\x08http/1.1")),
        ext(43, &[4, 3, 4, 3, 3]),
        ext(13, &with_len16(&[4, 3, 8, 4])),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    body.extend(with_len16(&extensions));
    handshake(1, &body)
}

fn server_hello(random: [u8; 32], extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random);
    body.extend([0, 0x13, 0x01, 0]);
    body.extend(with_len16(extensions));
    handshake(2, &body)
}

#[test]
fn hellos_are_read_across_records_and_segments() {
    let (client, server) = (client_hello("a.example"), server_hello([1; 32], &ext(43, &[3, 4])));
    let after = [&[20, 3, 3, 0, 1, 1][..], &[23, 3, 3, 0, 2, 9, 9]].concat();
    for size in [1, 10, 16_384] {
        let (c, s) = (records(&client, size), [records(&server, size), after.clone()].concat());
        // A record of one byte does not show the type of the message: it is not claimed.
        let c = if size == 1 { records(&client, 2) } else { c };
        let said = stream_any_way(key(6, 9999), &[(Side::Forward, &c), (Side::Reverse, &s)]);
        let [Observation::TlsClient(hello), Observation::TlsServer(chosen)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(**hello, TlsClient { ja4: hello.ja4.clone(), ..expected("a.example") });
        assert!(hello.ja4.starts_with("t13d0204h2_"), "{}", hello.ja4);
        assert_eq!(**chosen, TlsServer { version: 0x0304, cipher: 0x1301, alpn: None });
    }
}

fn expected(name: &str) -> TlsClient {
    TlsClient {
        sni: Some(name.into()),
        alpn: vec!["h2".into(), "http/1.1".into()],
        version: 0x0304,
        ja4: String::new(),
        quic: None,
    }
}

#[test]
fn a_retry_request_is_not_the_servers_choice() {
    let retry = {
        let mut r = [0; 32];
        r.copy_from_slice(&hello_retry());
        r
    };
    let (client, first, second) = (
        records(&client_hello("a"), 999),
        records(&server_hello(retry, &ext(43, &[3, 4])), 999),
        records(&server_hello([2; 32], &ext(16, &with_len16(b"\x02h2"))), 999),
    );
    let server = [&first[..], &[20, 3, 3, 0, 1, 1], &second].concat();
    let said =
        stream_any_way(key(6, 443), &[(Side::Forward, &client), (Side::Reverse, &server), (Side::Forward, &client)]);
    assert_eq!(said.len(), 2, "{said:?}");
    let Observation::TlsServer(s) = &said[1] else { panic!("{said:?}") };
    assert_eq!((s.version, s.alpn.as_deref()), (0x0303, Some("h2")));
}

/// SHA-256 of `HelloRetryRequest` (RFC 8446 section 4.1.3).
fn hello_retry() -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(b"HelloRetryRequest").to_vec()
}

#[test]
fn a_hello_that_is_cut_off_says_whom_it_asks_for() {
    let whole = records(&client_hello("cut.example"), 16_384);
    let cut = &whole[..whole.len() - 5];
    let said = stream_any_way(key(6, 443), &[(Side::Forward, cut)]);
    let Observation::TlsClient(hello) = &said[0] else { panic!("{said:?}") };
    assert_eq!((hello.sni.as_deref(), hello.ja4.as_str(), said.len()), (Some("cut.example"), "", 1));
}

#[test]
fn a_hello_without_extensions_has_the_version_of_its_message() {
    let mut body = vec![3, 0];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 5, 1, 0]);
    let said = stream_any_way(key(6, 443), &[(Side::Forward, &records(&handshake(1, &body), 99))]);
    let Observation::TlsClient(hello) = &said[0] else { panic!("{said:?}") };
    assert_eq!((hello.version, hello.sni.clone()), (0x0300, None));
    assert!(hello.ja4.starts_with("ts3i010000_"), "{}", hello.ja4);
}

#[test]
fn an_endless_message_is_given_up() {
    let mut session = Tls.open(&key(6, 443));
    let mut bytes = records(&handshake(1, &[0; 10]), 99);
    bytes[6] = 0xff;
    let mut next = session.stream(Side::Forward, &bytes, Nanos(0), &mut |_| ());
    for _ in 0..100 {
        next = session.stream(Side::Forward, &records(&[0; 1000], 999), Nanos(0), &mut |o| panic!("{o:?}"));
    }
    assert_eq!(next, Next::More, "the server may still speak");
    assert_eq!(session.stream(Side::Reverse, &[21, 3, 3, 0, 2, 1, 0, 0], Nanos(0), &mut |_| ()), Next::Done);
}
