//! Sketch keys of a row, as the query core reads them.

use super::RowKey;
use netspectra_common::model::Family;

/// 16 bytes, IPv4 mapped into IPv6.
pub(crate) fn address(family: u8, bytes: &[u8; 16]) -> [u8; 16] {
    if family != Family::V4 as u8 {
        return *bytes;
    }
    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    mapped[12..].copy_from_slice(&bytes[..4]);
    mapped
}

/// Protocol, then the port in network order.
pub(crate) fn port(proto: u8, port: u16) -> [u8; 3] {
    let [high, low] = port.to_be_bytes();
    [proto, high, low]
}

/// Sender, then receiver.
pub(crate) fn pair(src: &[u8; 16], dst: &[u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    out[..16].copy_from_slice(src);
    out[16..].copy_from_slice(dst);
    out
}

/// Sender, receiver, protocol, source port, destination port.
pub(crate) fn five_tuple(src: &[u8; 16], dst: &[u8; 16], key: &RowKey) -> [u8; 37] {
    let mut out = [0; 37];
    out[..32].copy_from_slice(&pair(src, dst));
    out[32] = key.proto;
    out[33..35].copy_from_slice(&key.src_port.to_be_bytes());
    out[35..].copy_from_slice(&key.dst_port.to_be_bytes());
    out
}
