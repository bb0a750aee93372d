//! DNS over UDP and TCP, multicast DNS and LLMNR. Sources: RFC 1035, 7766, 6891, 6762, 4795.

mod framing;
mod message;
mod pending;
#[cfg(test)]
mod tests;

use framing::Framing;
use netspectra_common::dissect::{Claim, Dissector, Next, Session, Side};
use netspectra_common::model::{DnsKind, FlowKey, Nanos, Observation};
use netspectra_common::wire::proto;
use pending::Pending;

/// DNS at port 53, multicast DNS at 5353, LLMNR at 5355.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Dissector for Dns {
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim {
        if kind(key).is_none() {
            return Claim::No;
        }
        // Over TCP two bytes of length come first (RFC 1035 section 4.2.2).
        let skipped = if key.proto == proto::TCP { 2 } else { 0 };
        let Some(header) = first.get(skipped..).and_then(|b| b.first_chunk()) else { return Claim::NeedMore };
        if message::is_plausible(header) { Claim::Yes } else { Claim::No }
    }

    fn open(&self, key: &FlowKey) -> Box<dyn Session> {
        Box::new(DnsSession {
            kind: kind(key).unwrap_or(DnsKind::Dns),
            framing: Default::default(),
            pending: Pending::default(),
        })
    }
}

/// The protocol by the well-known port of either end.
fn kind(key: &FlowKey) -> Option<DnsKind> {
    let at = |port| key.src_port == port || key.dst_port == port;
    if at(53) {
        Some(DnsKind::Dns)
    } else if at(5353) && key.proto == proto::UDP {
        Some(DnsKind::Mdns)
    } else if at(5355) {
        Some(DnsKind::Llmnr)
    } else {
        None
    }
}

struct DnsSession {
    kind: DnsKind,
    framing: [Framing; 2],
    pending: Pending,
}

/// Reads one message; what is none says nothing.
fn read(
    kind: DnsKind,
    pending: &mut Pending,
    (side, bytes, whole, at): (Side, &[u8], bool, Nanos),
    say: &mut dyn FnMut(Observation),
) {
    let Some(mut message) = message::parse(bytes, kind) else { return };
    message.complete &= whole || message.records.len() == usize::from(message.answers);
    // Answers of multicast DNS are for everybody and have no identifier (RFC 6762 section 18.1).
    if kind != DnsKind::Mdns {
        pending.relate(side, at, &mut message);
    }
    say(Observation::Dns(Box::new(message)));
}

impl Session for DnsSession {
    fn stream(&mut self, side: Side, bytes: &[u8], at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let Self { kind, framing, pending } = self;
        framing[side as usize].feed(bytes, &mut |message, whole| read(*kind, pending, (side, message, whole, at), say));
        Next::More
    }

    fn gap(&mut self, side: Side, missing: u64) -> Next {
        if self.framing[side as usize].skip(missing) { Next::More } else { Next::Done }
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], len: u32, at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let whole = bytes.len() as u64 >= u64::from(len);
        read(self.kind, &mut self.pending, (side, bytes, whole, at), say);
        Next::More
    }
}
