use netspectra_common::dissect::{Next, Opener as _, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::wire::proto;
use netspectra_engine::dissect::{Dissectors, builtin};

/// Ports that dissectors look at, and one that none does.
const PORTS: [u16; 5] = [53, 80, 443, 853, 9999];

/// Payloads of a flow for the dissectors that come with NetSpectra: the first byte picks the port, the second the transport
/// and the length of the pieces.
///
/// What is said of a stream does not depend on how it is cut.
pub fn payload(data: &[u8]) {
    let Some((&[port, cut], bytes)) = data.split_first_chunk::<2>() else { return };
    let port = PORTS.get(usize::from(port) % PORTS.len()).copied().unwrap_or_default();
    let stream = cut & 0x80 == 0;
    let protocol = if stream { proto::TCP } else { proto::UDP };
    let key = FlowKey { family: 4, proto: protocol, src_port: 40_000, dst_port: port, ..FlowKey::default() };
    let piece = usize::from(cut & 0x7f) + 1;
    if stream {
        assert_eq!(said(&key, bytes, bytes.len().max(1)), said(&key, bytes, piece), "cut into pieces of {piece}");
    } else {
        datagrams(&key, bytes, piece);
    }
}

fn said(key: &FlowKey, bytes: &[u8], piece: usize) -> Vec<Observation> {
    let mut all = Vec::new();
    let Some(mut session) = Dissectors::new(builtin()).open(key) else { return all };
    for part in bytes.chunks(piece) {
        if session.stream(Side::Forward, part, Nanos(1), &mut |o| all.push(o)) == Next::Done {
            return all;
        }
    }
    session.end(Side::Forward, &mut |o| all.push(o));
    all
}

fn datagrams(key: &FlowKey, bytes: &[u8], piece: usize) {
    let Some(mut session) = Dissectors::new(builtin()).open(key) else { return };
    // Long ones first: most protocols need some bytes.
    for (n, part) in std::iter::once(bytes).chain(bytes.chunks(8 * piece)).enumerate() {
        let side = if n % 2 == 0 { Side::Forward } else { Side::Reverse };
        if session.datagram(side, part, part.len() as u32, Nanos(n as u64), &mut |_| ()) == Next::Done {
            return;
        }
    }
}
