//! Frames in, streams and datagrams out.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use netspectra_common::dissect::{Next, Session, Side};
use netspectra_common::wire::link;
use std::collections::HashMap;
use std::sync::Mutex;

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 80);
const FIN: u8 = 0x11;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Writes down what its sessions are fed.
#[derive(Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

struct Recording(Arc<Mutex<Vec<String>>>);

impl Recording {
    fn note(&self, side: Side, what: &str) -> Next {
        let from = if side == Side::Forward { '>' } else { '<' };
        self.0.lock().unwrap().push(format!("{from}{what}"));
        if what == "quit" { Next::Done } else { Next::More }
    }
}

impl Opener for Recorder {
    fn open(&self, key: &FlowKey) -> Option<Box<dyn Session>> {
        self.0.lock().unwrap().push(format!("open {}", key.src_port));
        Some(Box::new(Recording(self.0.clone())))
    }
}

impl Session for Recording {
    fn stream(&mut self, side: Side, bytes: &[u8], _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        say(Observation::Other { protocol: "test".into(), fields: Vec::new() });
        self.note(side, &String::from_utf8_lossy(bytes))
    }

    fn gap(&mut self, side: Side, missing: u64) -> Next {
        self.note(side, &format!("gap {missing}"))
    }

    fn left_out(&mut self, side: Side, missing: u64) -> Next {
        self.note(side, &format!("left out {missing}"))
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], len: u32, _: Nanos, _: &mut dyn FnMut(Observation)) -> Next {
        self.note(side, &format!("{} of {len}", String::from_utf8_lossy(bytes)))
    }

    fn end(&mut self, side: Side, _: &mut dyn FnMut(Observation)) {
        self.note(side, "end");
    }
}

struct Bench {
    payloads: Payloads,
    notes: Arc<Mutex<Vec<String>>>,
    /// Takes the same with what is known after the packet before, and must come to the same.
    knowing: Payloads,
    known: HashMap<FlowKey, Known>,
    its_notes: Arc<Mutex<Vec<String>>>,
    time: u64,
}

impl Bench {
    fn new(limits: PayloadLimits) -> Self {
        let [(payloads, notes), (knowing, its_notes)] = [(); 2].map(|()| {
            let recorder = Recorder::default();
            let notes = recorder.0.clone();
            (Payloads::new(Arc::new(recorder), limits), notes)
        });
        Self { payloads, notes, knowing, known: HashMap::new(), its_notes, time: 0 }
    }

    fn ip(&mut self, ip: &[u8]) {
        let mut packet = Packet::default();
        link::parse(link::RAW, &ip, ip.len() as u32, &mut packet).unwrap();
        self.time += 1;
        self.payloads.packet(&packet, ip, ip.len() as u32, self.time);
        if packet.fragment == Fragment::No && matches!(packet.key.proto, proto::TCP | proto::UDP) {
            let known = self.known.entry(packet.key).or_default();
            self.knowing.packet_of(&packet, ip, ip.len() as u32, self.time, known);
        } else {
            self.knowing.packet(&packet, ip, ip.len() as u32, self.time);
        }
        assert_eq!(self.knowing.stats(), self.payloads.stats());
    }

    fn hint(&mut self, hint: &Hint) {
        self.payloads.hint(hint);
        self.knowing.hint(hint);
    }

    fn drain(&mut self) -> Vec<Observed> {
        let said = self.payloads.drain();
        assert_eq!(self.knowing.drain(), said);
        said
    }

    fn finish(&mut self) {
        self.payloads.finish();
        self.knowing.finish();
    }

    fn tcp(&mut self, src: (u8, u16), dst: (u8, u16), flags: u8, (seq, ack): (u32, u32), payload: &str) {
        self.ip(&ipv4(6, src.0, dst.0, &tcp(src.1, dst.1, flags, (seq, ack), payload.as_bytes())));
    }

    fn notes(&mut self) -> Vec<String> {
        let notes = std::mem::take(&mut *self.notes.lock().unwrap());
        assert_eq!(std::mem::take(&mut *self.its_notes.lock().unwrap()), notes);
        notes
    }
}

fn ipv4(proto: u8, src: u8, dst: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0];
    p.extend((20 + payload.len() as u16).to_be_bytes());
    p.extend([0, 7, 0, 0, 64, proto, 0, 0, 10, 0, 0, src, 10, 0, 0, dst]);
    p.extend(payload);
    p
}

fn tcp(src: u16, dst: u16, flags: u8, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut t = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    t.extend(seq.to_be_bytes());
    t.extend(ack.to_be_bytes());
    t.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    t.extend(payload);
    t
}

fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut u = [src.to_be_bytes(), dst.to_be_bytes(), (8 + payload.len() as u16).to_be_bytes(), [0, 0]].concat();
    u.extend(payload);
    u
}

#[test]
fn a_connection_is_read_in_order_and_ends_with_its_fins() {
    let mut b = Bench::new(PayloadLimits::default());
    b.tcp(CLIENT, SERVER, SYN, (100, 0), "");
    b.tcp(SERVER, CLIENT, SYN | ACK, (500, 101), "");
    b.tcp(CLIENT, SERVER, ACK, (104, 501), "def");
    b.tcp(CLIENT, SERVER, ACK, (101, 501), "abc");
    b.tcp(CLIENT, SERVER, ACK, (101, 501), "abcdef");
    b.tcp(SERVER, CLIENT, FIN, (501, 107), "xyz");
    b.tcp(CLIENT, SERVER, FIN, (107, 505), "");
    b.tcp(CLIENT, SERVER, ACK, (107, 505), "late");
    assert_eq!(b.notes(), ["open 40000", ">abc", ">def", "<xyz", "<end", ">end"]);
    assert_eq!((b.payloads.stats().repeated_bytes, b.payloads.stats().missing_bytes), (6, 0));
    let said: Vec<u16> = b.drain().iter().map(|o| o.key.src_port).collect();
    assert_eq!(said, [40_000, 40_000, 80], "each with the sender's key");
}

#[test]
fn a_new_connection_at_the_same_ports_has_a_session_of_its_own_and_a_repeated_syn_has_not() {
    let mut b = Bench::new(PayloadLimits::default());
    b.tcp(CLIENT, SERVER, SYN, (100, 0), "");
    b.tcp(CLIENT, SERVER, SYN, (100, 0), "");
    b.tcp(CLIENT, SERVER, ACK, (101, 1), "a");
    b.tcp(CLIENT, SERVER, SYN, (9000, 0), "");
    b.tcp(CLIENT, SERVER, ACK, (9001, 1), "b");
    b.tcp(SERVER, CLIENT, RST, (1, 1), "");
    assert_eq!(b.notes(), ["open 40000", ">a", ">end", "<end", "open 40000", ">b", "<end", ">end"]);
}

#[test]
fn a_connection_whose_begin_was_not_seen_is_announced_as_such() {
    let mut b = Bench::new(PayloadLimits::default());
    b.tcp(SERVER, CLIENT, ACK, (499, 101), "?");
    b.tcp(SERVER, CLIENT, ACK, (500, 101), "pong");
    b.tcp(CLIENT, SERVER, ACK, (101, 504), "ping");
    assert_eq!(b.notes(), ["open 80", ">gap 0", ">pong", "<gap 0", "<ping"], "the probe of one byte is left out");
    let mut b = Bench::new(PayloadLimits::default());
    b.tcp(SERVER, CLIENT, SYN | ACK, (500, 101), "");
    b.tcp(CLIENT, SERVER, ACK, (101, 501), "ping");
    assert_eq!(b.notes(), ["open 40000", ">gap 0", ">ping"], "who answers a SYN did not begin");
}

#[test]
fn what_waits_is_bounded_over_all_flows_and_given_out_at_the_end() {
    let limits = PayloadLimits { held: 8, held_per_direction: 6, flows: 2, ..PayloadLimits::default() };
    let mut b = Bench::new(limits);
    for port in [1000, 1001] {
        b.tcp((1, port), SERVER, SYN, (0, 0), "");
        b.tcp((1, port), SERVER, ACK, (3, 0), "4444");
    }
    assert_eq!(b.payloads.sink.held, 8);
    b.tcp((1, 1001), SERVER, ACK, (20, 0), "x");
    assert_eq!(b.notes(), ["open 1000", "open 1001", ">gap 2", ">4444", ">gap 13", ">x"]);
    b.tcp((1, 1002), SERVER, SYN, (0, 0), "");
    assert_eq!(b.payloads.stats().evicted_flows, 1);
    b.finish();
    assert_eq!(b.payloads.sink.held, 0);
    assert_eq!(b.payloads.stats().missing_bytes, 2 + 13 + 2);
    assert_eq!(b.notes().iter().filter(|n| n.as_str() == ">4444").count(), 1);
}

#[test]
fn a_session_that_is_done_is_not_fed_any_more() {
    let mut b = Bench::new(PayloadLimits::default());
    b.tcp(CLIENT, SERVER, SYN, (0, 0), "");
    b.tcp(CLIENT, SERVER, ACK, (10, 0), "later");
    b.tcp(CLIENT, SERVER, ACK, (1, 0), "quit");
    b.tcp(CLIENT, SERVER, ACK, (5, 0), "more");
    b.finish();
    assert_eq!((b.notes(), b.payloads.sink.held), (vec!["open 40000".to_owned(), ">quit".to_owned()], 0));
}

#[test]
fn datagrams_come_from_fragments_and_from_inside_tunnels() {
    let mut b = Bench::new(PayloadLimits::default());
    let inner = ipv4(17, 1, 2, &udp(5000, 53, b"question"));
    let gre = ipv4(47, 8, 9, &[&[0, 0, 8, 0][..], &inner].concat());
    b.ip(&gre);
    b.ip(&ipv4(17, 2, 1, &[&udp(53, 5000, b"answer")[..], b"padding"].concat()));
    assert_eq!(
        b.notes(),
        ["open 5000", ">question of 8", "open 53", ">answer of 6"],
        "inside the tunnel is another flow than beside it"
    );
    let mut b = Bench::new(PayloadLimits::default());
    b.ip(&ipv4(17, 2, 1, &[&udp(53, 5000, b"answer")[..], b"padding"].concat()));
    assert_eq!(b.notes(), ["open 53", ">answer of 6"]);
    // The tunnel's packet in two fragments, the later one first.
    let payload = &gre[20..];
    let mut first = ipv4(47, 8, 9, &payload[..24]);
    first[6] = 0x20;
    let mut later = ipv4(47, 8, 9, &payload[24..]);
    later[7] = 3;
    b.ip(&later);
    b.ip(&first);
    assert_eq!(b.notes(), ["open 5000", ">question of 8"]);
}

#[test]
fn messages_beyond_the_bound_are_counted() {
    let mut b = Bench::new(PayloadLimits { observed: 2, ..PayloadLimits::default() });
    b.tcp(CLIENT, SERVER, SYN, (0, 0), "");
    for n in 1..=5 {
        b.tcp(CLIENT, SERVER, ACK, (n, 0), "x");
    }
    assert_eq!((b.drain().len(), b.payloads.stats().dropped_messages), (2, 3));
    b.tcp(CLIENT, SERVER, ACK, (6, 0), "x");
    assert_eq!(b.drain().len(), 1);
}

/// A piece of a stream of `len` bytes, of which `prefix` came.
fn piece(src: (u8, u16), dst: (u8, u16), seq: u32, prefix: &str, len: u32) -> Hint {
    let mut key = FlowKey { proto: proto::TCP, family: 4, src_port: src.1, dst_port: dst.1, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&[10, 0, 0, src.0]);
    key.dst[..4].copy_from_slice(&[10, 0, 0, dst.0]);
    Hint { at: Nanos(1), key, seq: Some(seq), len, prefix: prefix.as_bytes().to_vec() }
}

#[test]
fn what_lies_between_pieces_is_left_out_at_once() {
    let mut b = Bench::new(PayloadLimits::live());
    for hint in [
        piece(CLIENT, SERVER, 100, "GET /1", 6),
        piece(SERVER, CLIENT, 500, "HTTP 200", 3000),
        // The same packet at another interface.
        Hint {
            key: FlowKey { obs: 9, ..piece(SERVER, CLIENT, 0, "", 0).key },
            ..piece(SERVER, CLIENT, 500, "HTTP 200", 3000)
        },
        piece(CLIENT, SERVER, 106, "GET /2", 6),
        piece(SERVER, CLIENT, 500 + 3000 + 7000, "HTTP 404", 8),
    ] {
        b.hint(&hint);
    }
    let expected = [
        "open 40000",
        ">left out 0",
        ">GET /1",
        "<left out 0",
        "<HTTP 200",
        "<left out 2992",
        ">GET /2",
        "<left out 7000",
        "<HTTP 404",
    ];
    assert_eq!(b.notes(), expected);
    assert_eq!(b.drain().len(), 4);
}

#[test]
fn a_piece_far_behind_is_of_another_connection() {
    let mut b = Bench::new(PayloadLimits::live());
    b.hint(&piece(CLIENT, SERVER, 3_000_000_000, "a", 2));
    b.hint(&piece(CLIENT, SERVER, 2_999_999_000, "b", 2));
    b.hint(&piece(CLIENT, SERVER, 2_000_000_000, "cc", 2));
    let expected =
        ["open 40000", ">left out 0", ">a", ">left out 1", ">end", "<end", "open 40000", ">left out 0", ">cc"];
    assert_eq!(b.notes(), expected);
}

#[test]
fn a_first_piece_of_a_datagram_is_a_datagram() {
    let mut b = Bench::new(PayloadLimits::live());
    let hint = piece(CLIENT, SERVER, 0, "dns", 90);
    b.hint(&Hint { seq: None, key: FlowKey { proto: proto::UDP, ..hint.key }, ..hint });
    assert_eq!(b.notes(), ["open 40000", ">dns of 90"]);
}
