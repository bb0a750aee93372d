//! The bytes under which stored sketches know addresses, ports and flows. They never change without a new format version of the
//! sketches.

use std::net::IpAddr;

/// 16 bytes, IPv4 mapped into IPv6.
pub fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Protocol, then the port in network order.
pub fn port(proto: u8, port: u16) -> [u8; 3] {
    let [high, low] = port.to_be_bytes();
    [proto, high, low]
}

/// Two [`address`] keys: sender, then receiver.
pub fn pair(src: &[u8; 16], dst: &[u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    out[..16].copy_from_slice(src);
    out[16..].copy_from_slice(dst);
    out
}

/// Sender, receiver, protocol, source port, destination port.
pub fn five_tuple(src: &[u8; 16], dst: &[u8; 16], proto: u8, src_port: u16, dst_port: u16) -> [u8; 37] {
    let mut out = [0; 37];
    out[..32].copy_from_slice(&pair(src, dst));
    out[32] = proto;
    out[33..35].copy_from_slice(&src_port.to_be_bytes());
    out[35..].copy_from_slice(&dst_port.to_be_bytes());
    out
}
