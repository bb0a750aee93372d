//! Conversations for tests: what is said however they are cut.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Dissectors, builtin};
use netspectra_common::dissect::{Next, Opener, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use proptest::prelude::*;

pub(super) const MS: u64 = 1_000_000;

pub(super) fn key(proto: u8, dst_port: u16) -> FlowKey {
    FlowKey { proto, dst_port, src_port: 40_000, family: 4, ..FlowKey::default() }
}

/// What is said about a stream whose pieces are sent one millisecond after the other, each cut into `cuts` in turn.
pub(super) fn stream(key: FlowKey, script: &[(Side, &[u8])], cuts: &[usize]) -> Vec<Observation> {
    let mut said = Vec::new();
    let mut session = Dissectors::new(builtin()).open(&key).unwrap();
    let mut cuts = cuts.iter().copied().cycle();
    for (n, (side, bytes)) in script.iter().enumerate() {
        let at = Nanos(n as u64 * MS);
        let mut bytes = *bytes;
        while !bytes.is_empty() {
            let cut = cuts.next().unwrap_or(usize::MAX).clamp(1, bytes.len());
            let (now, rest) = bytes.split_at(cut);
            bytes = rest;
            if session.stream(*side, now, at, &mut |o| said.push(o)) == Next::Done {
                return said;
            }
        }
    }
    session.end(Side::Forward, &mut |o| said.push(o));
    session.end(Side::Reverse, &mut |o| said.push(o));
    said
}

/// [`stream`], after checking that no way of cutting changes it.
pub(super) fn stream_any_way(key: FlowKey, script: &[(Side, &[u8])]) -> Vec<Observation> {
    let whole = stream(key, script, &[usize::MAX]);
    for cuts in [&[1][..], &[2], &[3, 1], &[7], &[64], &[1, 1000]] {
        assert_eq!(stream(key, script, cuts), whole, "cut into {cuts:?}");
    }
    whole
}

/// What is said about datagrams that come one millisecond after the other.
pub(super) fn datagrams(key: FlowKey, script: &[(Side, &[u8])]) -> Vec<Observation> {
    let mut said = Vec::new();
    let mut session = Dissectors::new(builtin()).open(&key).unwrap();
    for (n, (side, bytes)) in script.iter().enumerate() {
        session.datagram(*side, bytes, bytes.len() as u32, Nanos(n as u64 * MS), &mut |o| said.push(o));
    }
    said
}

/// Pieces of real messages, mixed with noise.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03",
        b"\x00\x20\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00",
        b"\x03www\xc0\x0c\x00\x01\x00\x01",
        b"\xc3\x00\x00\x00\x01\x08abcdefgh\x00\x00\x44\x9e",
        b"SSH-2.0-x\r\n",
        b"220 x\r\n",
    ];
    let piece = prop_oneof![
        3 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Forward), Just(Side::Reverse)]
}

proptest! {
    /// Whatever is sent: the same is said however a stream is cut.
    #[test]
    fn what_is_said_does_not_depend_on_the_cuts(
        script in prop::collection::vec((side(), noise()), 0..8),
        cuts in prop::collection::vec(1usize..40, 1..8),
        port in prop::sample::select(vec![22u16, 25, 53, 80, 443]),
    ) {
        let script: Vec<(Side, &[u8])> = script.iter().map(|(s, b)| (*s, b.as_slice())).collect();
        let whole = stream(key(6, port), &script, &[usize::MAX]);
        prop_assert_eq!(stream(key(6, port), &script, &cuts), whole);
    }

    /// Whatever is sent, with gaps: no panic.
    #[test]
    fn gaps_and_datagrams_of_any_bytes_do_no_harm(
        script in prop::collection::vec((side(), noise(), 0u64..40), 0..12),
        proto in prop::sample::select(vec![6u8, 17]),
        port in prop::sample::select(vec![53u16, 67, 80, 123, 443, 1900, 5353, 5355]),
    ) {
        let mut session = Dissectors::new(builtin()).open(&key(proto, port)).unwrap();
        for (side, bytes, gap) in script {
            let next = if proto == 6 {
                let next = session.stream(side, &bytes, Nanos(1), &mut |_| ());
                if next == Next::More && gap % 3 == 0 { session.gap(side, gap) } else { next }
            } else {
                session.datagram(side, &bytes, bytes.len() as u32 + gap as u32, Nanos(1), &mut |_| ())
            };
            if next == Next::Done {
                break;
            }
        }
        session.end(Side::Forward, &mut |_| ());
    }
}
