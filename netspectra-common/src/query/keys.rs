//! Keys of sketches and groups: one encoding for the engine that feeds sketches and for the folding of roll-ups, so that
//! both say the same.

use super::filter::Row;
use crate::schema::{Dimension, ValueKind, protocol_name};
use std::net::{IpAddr, Ipv6Addr};

/// An address as 16 bytes, IPv4 mapped into IPv6.
pub fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// A port of a protocol: `[proto, high, low]`.
pub fn port(proto: u8, port: u16) -> [u8; 3] {
    let [high, low] = port.to_be_bytes();
    [proto, high, low]
}

/// A sender and a receiver.
pub fn pair(src: IpAddr, dst: IpAddr) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&address(src));
    key[16..].copy_from_slice(&address(dst));
    key
}

/// A five-tuple.
pub fn five_tuple(src: IpAddr, dst: IpAddr, src_port: u16, dst_port: u16, proto: u8) -> [u8; 37] {
    let mut key = [0; 37];
    key[..32].copy_from_slice(&pair(src, dst));
    key[32..34].copy_from_slice(&src_port.to_be_bytes());
    key[34..36].copy_from_slice(&dst_port.to_be_bytes());
    key[36] = proto;
    key
}

/// The address that [`address`] encoded.
pub fn decode_address(key: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = key.try_into().ok()?;
    let ip = Ipv6Addr::from(bytes);
    Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
}

/// The text of `row`'s value of `d`, as groups show it; empty where the row has none.
pub fn group_text<R: Row + ?Sized>(row: &R, d: Dimension) -> String {
    match d.kind() {
        ValueKind::Address => row.address(d).map(|a| a.to_string()),
        ValueKind::U16 if d == Dimension::EtherType => row.number(d).map(|n| format!("0x{n:04x}")),
        ValueKind::U16 => row.number(d).map(|n| n.to_string()),
        ValueKind::Proto => row.number(d).map(|n| proto_text(n as u8)),
        ValueKind::Word(_) | ValueKind::Text => row.text(d).map(str::to_owned),
    }
    .unwrap_or_default()
}

/// A protocol's name, or its number.
pub fn proto_text(proto: u8) -> String {
    protocol_name(proto).map_or_else(|| proto.to_string(), str::to_owned)
}
