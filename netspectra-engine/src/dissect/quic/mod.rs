//! QUIC: the TLS hellos in Initial packets, whose keys anybody can derive. Sources: RFC 9000, 9001, 9369.

mod crypto;
mod frames;
mod packet;
#[cfg(test)]
mod tests;

use super::tls::hello::{self, Hello};
use crypto::Secrets;
use frames::CryptoStream;
use netspectra_common::dissect::{Claim, Dissector, Next, Session, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::wire::proto;
use packet::{Initial, Packet, Packets};

/// Datagrams of a flow that are looked at: the hellos are in the first few.
const MAX_DATAGRAMS: u32 = 64;

/// QUIC version 1 and version 2 at any port. Of draft versions 29 to 32 the salt is known too.
#[derive(Clone, Copy, Debug)]
pub struct Quic;

impl Dissector for Quic {
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim {
        let is_initial = key.proto == proto::UDP && packet::is_initial(first);
        if is_initial { Claim::Yes } else { Claim::No }
    }

    fn open(&self, _: &FlowKey) -> Box<dyn Session> {
        Box::new(QuicSession::default())
    }
}

#[derive(Default)]
struct QuicSession {
    datagrams: u32,
    /// Who sent the first Initial, and the secrets by the connection identifier in it.
    client: Option<(Side, Secrets)>,
    streams: [CryptoStream; 2],
    said: [bool; 2],
}

impl QuicSession {
    /// The payload of an Initial that `side` sent.
    ///
    /// Its keys come from the identifier that the client's first Initial was sent to; after a Retry, from that of the
    /// first one behind it (RFC 9001 section 5.2).
    fn open(&mut self, side: Side, initial: &Initial<'_>) -> Option<Vec<u8>> {
        if let Some((client, secrets)) = &self.client {
            let from_client = *client == side;
            if let Some(payload) = secrets.open(initial, from_client) {
                return Some(payload);
            }
            if !from_client {
                return None;
            }
        }
        let secrets = Secrets::new(initial.version, initial.destination)?;
        let payload = secrets.open(initial, true)?;
        self.client = Some((side, secrets));
        Some(payload)
    }

    fn initial(&mut self, side: Side, initial: &Initial<'_>, say: &mut dyn FnMut(Observation)) {
        let Some(payload) = self.open(side, initial) else { return };
        let stream = &mut self.streams[side as usize];
        frames::read(&payload, &mut |offset, data| stream.add(offset, data));
        let message = stream.front();
        let is_whole = message
            .first_chunk()
            .is_some_and(|[_, a, b, c]| message.len() - 4 >= u32::from_be_bytes([0, *a, *b, *c]) as usize);
        if !is_whole || self.said[side as usize] {
            return;
        }
        self.said[side as usize] = true;
        match hello::parse(message, Some(initial.version)) {
            Some(Hello::Client(hello)) => say(Observation::TlsClient(Box::new(hello))),
            Some(Hello::Server(hello)) => say(Observation::TlsServer(Box::new(hello))),
            Some(Hello::Retry) | None => {}
        }
    }
}

impl Session for QuicSession {
    fn datagram(&mut self, side: Side, bytes: &[u8], _: u32, _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        self.datagrams += 1;
        for packet in Packets::new(bytes) {
            match packet {
                Packet::Initial(initial) => self.initial(side, &initial, say),
                Packet::Other => {}
            }
        }
        if self.said == [true, true] || self.datagrams >= MAX_DATAGRAMS { Next::Done } else { Next::More }
    }
}
