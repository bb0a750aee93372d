//! Messages as bytes. Integers are little-endian; keys and counters are those of the ABI, in host byte order: a journal
//! does not leave its host.
//!
//! A generation is a list of sections: kind (1 byte), length (4), body. A chunk's body is the length of its identifier (2),
//! the identifier, and 105 bytes a delta.

use netspectra_common::abi::ABI_VERSION;
use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, FlowDelta, FlowKey, FlowStats, GenerationId, Manifest, Nanos, PayloadSeen, Sampling,
    SocketSeen,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Version of this module's bytes, with that of keys and counters; raised with every change of a message (a test says
/// when).
pub(super) const VERSION: u32 = (3 << 16) | ABI_VERSION;

const CHUNK: u8 = 1;
const PAYLOAD: u8 = 2;
const MANIFEST: u8 = 3;
const SOCKETS: u8 = 4;
const DELTA: usize = size_of::<FlowKey>() + size_of::<FlowStats>() + size_of::<Sampling>();

/// Why bytes are not a generation.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("a section ends early")]
    Truncated,
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error(transparent)]
    Field(#[from] postcard::Error),
}

/// First bytes of a datagram, as they are written.
#[derive(Serialize, Deserialize)]
struct Seen {
    at: u64,
    key: Vec<u8>,
    prefix: Vec<u8>,
    len: u32,
}

/// Appends the messages of a generation to `out`.
///
/// # Errors
/// None that a message can cause: memory alone.
pub(super) fn encode(messages: &[BusMessage], out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    for message in messages {
        match message {
            BusMessage::Chunk(chunk) => {
                let id = postcard::to_stdvec(&chunk.id)?;
                let body = 2 + id.len() + chunk.deltas.len() * DELTA;
                out.reserve(5 + body);
                head(out, CHUNK, body);
                out.extend_from_slice(&(id.len() as u16).to_le_bytes());
                out.extend_from_slice(&id);
                for FlowDelta { key, stats, sampling } in &chunk.deltas {
                    out.extend_from_slice(key.as_bytes());
                    out.extend_from_slice(stats.as_bytes());
                    out.extend_from_slice(sampling.as_bytes());
                }
            }
            BusMessage::Payload { of, seen } => {
                let seen = seen.iter().map(|s| Seen {
                    at: s.at.0,
                    key: s.key.as_bytes().to_vec(),
                    prefix: s.prefix.clone(),
                    len: s.len,
                });
                let body = postcard::to_stdvec(&(of, seen.collect::<Vec<_>>()))?;
                head(out, PAYLOAD, body.len());
                out.extend_from_slice(&body);
            }
            // A hint, see the module's text.
            BusMessage::Observed { .. } => {}
            BusMessage::Sockets { of, seen } => {
                let body = postcard::to_stdvec(&(of, &**seen))?;
                head(out, SOCKETS, body.len());
                out.extend_from_slice(&body);
            }
            BusMessage::Manifest(manifest) => {
                let body = postcard::to_stdvec(&**manifest)?;
                head(out, MANIFEST, body.len());
                out.extend_from_slice(&body);
            }
        }
    }
    Ok(())
}

fn head(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<BusMessage>, DecodeError> {
    let mut messages = Vec::new();
    while let Some(([kind, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() {
        let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let (body, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        bytes = rest;
        messages.push(match *kind {
            CHUNK => BusMessage::Chunk(Arc::new(chunk(body)?)),
            PAYLOAD => {
                let (of, seen): (GenerationId, Vec<Seen>) = postcard::from_bytes(body)?;
                let seen = seen.into_iter().map(|s| {
                    let key = FlowKey::read_from_bytes(&s.key).map_err(|_| DecodeError::Truncated)?;
                    Ok(PayloadSeen { at: Nanos(s.at), key, prefix: s.prefix, len: s.len })
                });
                BusMessage::Payload { of, seen: Arc::new(seen.collect::<Result<_, DecodeError>>()?) }
            }
            SOCKETS => {
                let (of, seen): (GenerationId, Vec<SocketSeen>) = postcard::from_bytes(body)?;
                BusMessage::Sockets { of, seen: Arc::new(seen) }
            }
            MANIFEST => BusMessage::Manifest(Arc::new(postcard::from_bytes::<Manifest>(body)?)),
            other => return Err(DecodeError::Kind(other)),
        });
    }
    if bytes.is_empty() { Ok(messages) } else { Err(DecodeError::Truncated) }
}

fn chunk(body: &[u8]) -> Result<Chunk, DecodeError> {
    let (len, rest) = body.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
    let (id, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(DecodeError::Truncated)?;
    let id: ChunkId = postcard::from_bytes(id)?;
    let deltas = rest.chunks(DELTA).map(|delta| {
        let (key, stats) = FlowKey::read_from_prefix(delta).map_err(|_| DecodeError::Truncated)?;
        let (stats, sampling) = FlowStats::read_from_prefix(stats).map_err(|_| DecodeError::Truncated)?;
        let sampling = Sampling::read_from_bytes(sampling).map_err(|_| DecodeError::Truncated)?;
        Ok(FlowDelta { key, stats, sampling })
    });
    Ok(Chunk { id, deltas: deltas.collect::<Result<_, DecodeError>>()? })
}
