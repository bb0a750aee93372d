use super::observations;
use super::v1;
use crate::abi::{FlowKey, FlowStats, Sampling};
use crate::model::{
    BusMessage, Chunk, ChunkId, Counter, FlowDelta, GenerationId, Interface, Ledger, LogEntry, Manifest, ManifestHash,
    Nanos, NicCounters, NicDelta, Owner, PayloadSeen, Reasons, SizeHistogram, SocketSeen,
};
use crate::sketch::{OverflowSummary, SketchError};
use prost::Message;
use std::iter::repeat;
use std::net::IpAddr;
use std::sync::Arc;
use v1::bus_message::Body;
use zerocopy::{FromBytes, IntoBytes};

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// Not Protocol Buffers, or of other types.
    #[error("the bytes are no message of the bus")]
    Wire(#[from] prost::DecodeError),
    /// A field that every message has is not there.
    #[error("field `{0}` is missing: a newer agent may have written the message")]
    Missing(&'static str),
    /// A field's value is not legal.
    #[error("field `{field}` is {found}: expected {expected}")]
    Value {
        /// Its name.
        field: &'static str,
        /// What is there.
        found: String,
        /// What is legal.
        expected: String,
    },
    /// The summary of frames without room in the flow table.
    #[error("field `overflow` is no summary")]
    Overflow(#[source] SketchError),
}

/// What [`super::encode`] or [`super::encode_tick`] wrote, or a later version of it. Cost: two copies of a chunk's rows.
///
/// # Errors
/// [`ProtoError`] for everything else.
pub fn decode(bytes: &[u8]) -> Result<LogEntry, ProtoError> {
    let v1::BusMessage { generation, body } = v1::BusMessage::decode(bytes)?;
    let message = match (body, named(generation)) {
        (Some(Body::Tick(_)), _) => return Ok(LogEntry::Tick),
        (_, Err(error)) => return Err(error),
        (None, Ok(_)) => return Err(ProtoError::Missing("body")),
        (Some(Body::Chunk(chunk)), Ok(of)) => BusMessage::Chunk(Arc::new(to_chunk(of, &chunk)?)),
        (Some(Body::Payloads(list)), Ok(of)) => {
            let seen = list.payloads.into_iter().map(to_payload).collect::<Result<_, _>>()?;
            BusMessage::Payload { of, seen: Arc::new(seen) }
        }
        (Some(Body::Observations(list)), Ok(of)) => {
            let said = list.observations.into_iter().map(observations::decode).collect::<Result<_, _>>()?;
            BusMessage::Observed { of, said: Arc::new(said) }
        }
        (Some(Body::Sockets(list)), Ok(of)) => {
            let seen = list.sockets.into_iter().map(to_socket).collect::<Result<_, _>>()?;
            BusMessage::Sockets { of, seen: Arc::new(seen) }
        }
        (Some(Body::Manifest(manifest)), Ok(of)) => BusMessage::Manifest(Arc::new(to_manifest(of, manifest)?)),
    };
    Ok(LogEntry::Message(message))
}

fn named(generation: Option<v1::GenerationId>) -> Result<GenerationId, ProtoError> {
    let v1::GenerationId { node, epoch, number } = generation.ok_or(ProtoError::Missing("generation"))?;
    if node.is_empty() {
        return Err(ProtoError::Missing("node"));
    }
    Ok(GenerationId { node: node.into(), epoch, generation: number })
}

fn value(field: &'static str, found: impl ToString, expected: impl ToString) -> ProtoError {
    ProtoError::Value { field, found: found.to_string(), expected: expected.to_string() }
}

/// A number that fits into a smaller type.
pub(super) fn small<T: TryFrom<u32>>(field: &'static str, found: u32, expected: &str) -> Result<T, ProtoError> {
    T::try_from(found).map_err(|_| value(field, found, expected))
}

/// A row, whose beginning is a `T`; what a shorter one lacks is zero, what a longer one has more is of a later version.
fn row<T: FromBytes + IntoBytes + Default>(bytes: &[u8]) -> T {
    let mut row = T::new_zeroed();
    let to = row.as_mut_bytes();
    let known = bytes.len().min(to.len());
    to[..known].copy_from_slice(&bytes[..known]);
    row
}

/// A key of its own.
pub(super) fn key(bytes: &[u8]) -> Result<FlowKey, ProtoError> {
    match bytes.len() {
        0 => Err(ProtoError::Missing("key")),
        _ => Ok(row(bytes)),
    }
}

/// The rows of a column.
fn rows<'a>(
    field: &'static str,
    column: &'a [u8],
    length: u32,
    rows: u32,
) -> Result<std::slice::ChunksExact<'a, u8>, ProtoError> {
    let expected = u64::from(length) * u64::from(rows);
    if length == 0 || column.len() as u64 != expected {
        return Err(value(
            field,
            format!("{} bytes", column.len()),
            format!("{rows} rows of {length} bytes, at least 1"),
        ));
    }
    Ok(column.chunks_exact(length as usize))
}

fn to_chunk(generation: GenerationId, chunk: &v1::Chunk) -> Result<Chunk, ProtoError> {
    let id = ChunkId { generation, chunk: chunk.number };
    let keys = rows("keys", &chunk.keys, chunk.key_bytes, chunk.rows)?;
    let stats = rows("stats", &chunk.stats, chunk.stats_bytes, chunk.rows)?;
    // None where every flow is counted.
    let sampling = match chunk.sampling.as_slice() {
        [] => None,
        column => Some(rows("sampling", column, 1, chunk.rows)?),
    };
    let sampling = sampling.into_iter().flatten().flatten().map(|n| Sampling(*n)).chain(repeat(Sampling::ALL));
    let delta = |((key, stats), sampling)| FlowDelta { key: row(key), stats: row::<FlowStats>(stats), sampling };
    Ok(Chunk { id, deltas: keys.zip(stats).zip(sampling).map(delta).collect() })
}

fn to_payload(payload: v1::Payload) -> Result<PayloadSeen, ProtoError> {
    let v1::Payload { at, key: bytes, prefix, length } = payload;
    Ok(PayloadSeen { at: Nanos(at), key: key(&bytes)?, prefix, len: length })
}

fn to_socket(socket: v1::Socket) -> Result<SocketSeen, ProtoError> {
    let v1::Socket { protocol, local_address, local_port, remote_address, remote_port, process, cgroup } = socket;
    let address = |field, bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
            .map_err(|_| value(field, format!("{} bytes", bytes.len()), "4 or 16"))
    };
    let port = |field, port| small(field, port, "0 to 65535");
    let remote = match remote_address.as_slice() {
        [] => None,
        bytes => Some((address("remote_address", bytes)?, port("remote_port", remote_port)?)),
    };
    let text = |text: String| (!text.is_empty()).then(|| Arc::<str>::from(text));
    Ok(SocketSeen {
        proto: small("protocol", protocol, "0 to 255")?,
        local: (address("local_address", &local_address)?, port("local_port", local_port)?),
        remote,
        owner: Owner { process: text(process), cgroup: text(cgroup) }.into(),
    })
}

fn to_counter(field: &'static str, counter: Option<v1::Counter>) -> Result<Counter, ProtoError> {
    counter.map(|c| Counter::new(c.packets, c.bytes)).ok_or(ProtoError::Missing(field))
}

fn to_manifest(id: GenerationId, manifest: v1::Manifest) -> Result<Manifest, ProtoError> {
    let v1::Manifest { chunks, start, end, ledger, size_bins, size_frames, interfaces, last, nics, previous } =
        manifest;
    if size_bins.len() != size_frames.len() {
        return Err(value("size_frames", size_frames.len(), format!("as many as `size_bins`, {}", size_bins.len())));
    }
    let previous = match previous.len() {
        0 => None,
        _ => {
            let hash = previous.as_slice().try_into();
            Some(ManifestHash(hash.map_err(|_| value("previous", format!("{} bytes", previous.len()), "32"))?))
        }
    };
    Ok(Manifest {
        id,
        chunks,
        start: Nanos(start),
        end: Nanos(end),
        ledger: to_ledger(ledger.ok_or(ProtoError::Missing("ledger"))?)?,
        sizes: SizeHistogram(size_bins.into_iter().zip(size_frames).collect()),
        interfaces: interfaces.into_iter().map(to_interface).collect::<Result<_, _>>()?,
        nics: nics.into_iter().map(to_nic).collect::<Result<_, _>>()?,
        previous,
        last,
    })
}

fn to_interface(interface: v1::Interface) -> Result<Interface, ProtoError> {
    let v1::Interface { slot, ifindex, name } = interface;
    Ok(Interface { slot: small("slot", slot, "0 to 255")?, ifindex, name: name.into() })
}

fn to_nic(nic: v1::Nic) -> Result<NicDelta, ProtoError> {
    let v1::Nic { ifindex, iface, gained, reset } = nic;
    // A later version may have more counters.
    let all = gained.first_chunk::<{ NicCounters::LEN }>();
    let all = all.ok_or_else(|| value("gained", format!("{} counters", gained.len()), NicCounters::LEN))?;
    Ok(NicDelta { ifindex, iface: iface.into(), gained: NicCounters::from_array(*all), reset })
}

fn to_ledger(ledger: v1::Ledger) -> Result<Ledger, ProtoError> {
    let v1::Ledger { seen, flows, non_ip, reasons: list, orphan_fragments, events_lost, overflow } = ledger;
    let list: Vec<Counter> = list.iter().map(|counter| Counter::new(counter.packets, counter.bytes)).collect();
    let reasons =
        Reasons::of_list(&list).ok_or_else(|| value("reasons", list.len(), "a list of one for each reason"))?;
    let overflow = match overflow.as_slice() {
        [] => None,
        bytes => match OverflowSummary::from_bytes(bytes) {
            Ok(summary) => Some(Box::new(summary)),
            // Of a later release. What it says is an estimate beside the counts, and these are here; that the manifest is not
            // known whole shows in the chain.
            Err(SketchError::Version { .. }) => None,
            Err(error) => return Err(ProtoError::Overflow(error)),
        },
    };
    Ok(Ledger {
        seen: to_counter("seen", seen)?,
        flows: to_counter("flows", flows)?,
        non_ip: to_counter("non_ip", non_ip)?,
        reasons,
        orphan_fragments,
        events_lost,
        overflow,
    })
}
