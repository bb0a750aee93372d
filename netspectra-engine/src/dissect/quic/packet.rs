//! Packets with long headers (RFC 9000 section 17.2), several of which may share a datagram (section 12.2).

use super::super::reader::Reader;
use super::crypto::{V2, is_known};

/// Longest connection identifier (RFC 9000 section 17.2).
const MAX_ID: usize = 20;

/// An Initial packet, still protected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initial<'a> {
    pub(super) version: u32,
    /// Destination connection identifier.
    pub(super) destination: &'a [u8],
    /// The whole packet.
    pub(super) bytes: &'a [u8],
    /// Where the packet number begins.
    pub(super) number_at: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Packet<'a> {
    Initial(Initial<'a>),
    /// Of another type, passed over.
    Other,
}

/// Whether a datagram begins with an Initial packet of a version whose keys are known.
pub(super) fn is_initial(datagram: &[u8]) -> bool {
    matches!(Packets::new(datagram).next(), Some(Packet::Initial(_)))
}

/// The packets of a datagram, up to the first that does not say where it ends.
pub(super) struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    pub(super) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn read(&mut self) -> Option<Packet<'a>> {
        let bytes = std::mem::take(&mut self.0);
        let mut r = Reader(bytes);
        let first = r.u8()?;
        let version = r.u32()?;
        if first & 0xc0 != 0xc0 || !is_known(version) {
            return None;
        }
        let destination = r.vector8()?.0;
        let source = r.vector8()?.0;
        if destination.len() > MAX_ID || source.len() > MAX_ID {
            return None;
        }
        // Version 2 numbers the types anew (RFC 9369 section 3.2).
        let kind = (first >> 4) & 3;
        let kind = if version == V2 { kind.wrapping_sub(1) & 3 } else { kind };
        let is_initial = match kind {
            0 => {
                let token = varint(&mut r)?;
                r.take(usize::try_from(token).ok()?)?;
                true
            }
            1 | 2 => false,
            // A Retry has no length: it is alone.
            _ => return Some(Packet::Other),
        };
        let len = usize::try_from(varint(&mut r)?).ok()?;
        let number_at = bytes.len() - r.0.len();
        r.take(len)?;
        let (packet, rest) = bytes.split_at(bytes.len() - r.0.len());
        self.0 = rest;
        Some(match is_initial {
            true => Packet::Initial(Initial { version, destination, bytes: packet, number_at }),
            false => Packet::Other,
        })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() { None } else { self.read() }
    }
}

/// A variable-length integer (RFC 9000 section 16).
pub(super) fn varint(r: &mut Reader<'_>) -> Option<u64> {
    let first = r.u8()?;
    let mut value = u64::from(first & 0x3f);
    for byte in r.take((1 << (first >> 6)) - 1)? {
        value = value << 8 | u64::from(*byte);
    }
    Some(value)
}
