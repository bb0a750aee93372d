//! TLS over TCP on any port: ClientHello and ServerHello. Sources: RFC 8446, 5246, 6066, 7301.

pub(super) mod hello;
mod ja4;
mod records;
#[cfg(test)]
pub(super) mod tests;

use hello::Hello;
use netspectra_common::dissect::{Claim, Dissector, Next, Session, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::wire::proto;
use records::Records;

/// Record type of handshake messages.
pub(super) const HANDSHAKE: u8 = 22;

/// SSL 3.0 and TLS over TCP. The first ClientHello of a connection, and the ServerHello that is not a retry request.
#[derive(Clone, Copy, Debug)]
pub struct Tls;

impl Dissector for Tls {
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim {
        const CONTENT: [u8; 2] = [HANDSHAKE, 3];
        if key.proto != proto::TCP || !first.iter().zip(CONTENT).all(|(a, b)| *a == b) {
            return Claim::No;
        }
        match first.get(2..6) {
            None => Claim::NeedMore,
            Some([0..=4, 0..=0x48, _, hello::CLIENT | hello::SERVER]) => Claim::Yes,
            Some(_) => Claim::No,
        }
    }

    fn open(&self, _: &FlowKey) -> Box<dyn Session> {
        Box::new(TlsSession::default())
    }
}

#[derive(Default)]
struct TlsSession {
    sides: [Records; 2],
}

impl Session for TlsSession {
    fn stream(&mut self, side: Side, bytes: &[u8], _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let records = &mut self.sides[side as usize];
        records.feed(bytes);
        while let Some(message) = records.next_message() {
            match hello::parse(&message, None) {
                Some(Hello::Retry) => continue,
                Some(Hello::Client(hello)) => say(Observation::TlsClient(Box::new(hello))),
                Some(Hello::Server(hello)) => say(Observation::TlsServer(Box::new(hello))),
                None => {}
            }
            records.finish();
        }
        if records.is_over() {
            self.end(side, say);
        }
        self.next()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Next {
        let records = &mut self.sides[side as usize];
        if missing > 0 || !records.is_at_start() {
            // What there is of a ClientHello is said with the next bytes or at the end.
            records.cut();
        }
        Next::More
    }

    fn end(&mut self, side: Side, say: &mut dyn FnMut(Observation)) {
        // A ClientHello that was cut off says at least whom it asks for.
        let records = &mut self.sides[side as usize];
        if let Some(Hello::Client(hello)) = hello::parse(records.partial(), None)
            && hello.sni.is_some()
        {
            say(Observation::TlsClient(Box::new(hello)));
        }
        records.finish();
    }
}

impl TlsSession {
    fn next(&self) -> Next {
        if self.sides.iter().all(Records::is_finished) { Next::Done } else { Next::More }
    }
}
