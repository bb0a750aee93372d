//! The bytes under which values are counted: in the sketches of windows, and in groups and sets of roll-ups.
//!
//! Both ways use the encoders of [`crate::sketch::keys`], so that a sketch and an exact count mean the same values.

use super::{GroupKey, Row};
use crate::schema::{Dimension, protocol_name};
use std::net::{IpAddr, Ipv6Addr};

pub use crate::sketch::keys::{address, five_tuple, pair, port};

/// The address of an [`address`] key.
pub fn decode_address(key: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = key.try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

/// Protocol and port of a [`port`] key.
pub fn decode_port(key: &[u8]) -> Option<(u8, u16)> {
    let [proto, high, low] = *key else { return None };
    Some((proto, u16::from_be_bytes([high, low])))
}

/// An [`address`] key as text, `10.0.0.1`.
pub fn address_text(key: &[u8]) -> Option<String> {
    decode_address(key).map(|ip| ip.to_string())
}

/// A [`port`] key as text, `tcp/443`.
pub fn port_text(key: &[u8]) -> Option<String> {
    decode_port(key).map(|(proto, port)| format!("{}/{port}", proto_text(proto)))
}

/// The name of a protocol, or its number.
pub fn proto_text(proto: u8) -> String {
    protocol_name(proto).map_or_else(|| proto.to_string(), str::to_owned)
}

/// Appends the value of `d` to a group's key: a length (0 where the row has no value), then the value.
fn push(out: &mut Vec<u8>, row: &impl Row, d: Dimension) {
    match Kind::of(d) {
        Kind::Address => match row.address(d) {
            Some(ip) => {
                out.push(16);
                out.extend(address(ip));
            }
            None => out.push(0),
        },
        Kind::Number => match row.number(d) {
            Some(number) => match u16::try_from(number) {
                Ok(short) => {
                    out.push(2);
                    out.extend(short.to_be_bytes());
                }
                Err(_) => {
                    out.push(4);
                    out.extend(number.to_be_bytes());
                }
            },
            None => out.push(0),
        },
        Kind::Text => push_text(out, row.text(d).unwrap_or_default()),
    }
}

/// Text has a terminator instead of a length: no name holds a zero byte, and where one does it ends there.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().take_while(|b| *b != 0));
    out.push(0);
}

/// How the values of a dimension are encoded.
enum Kind {
    Address,
    Number,
    Text,
}

impl Kind {
    const fn of(d: Dimension) -> Self {
        match d {
            Dimension::SrcIp | Dimension::DstIp => Self::Address,
            Dimension::SrcPort
            | Dimension::DstPort
            | Dimension::Proto
            | Dimension::EtherType
            | Dimension::Vlan
            | Dimension::TunnelId
            | Dimension::SrcAs
            | Dimension::DstAs
            | Dimension::Sampling
            | Dimension::Code => Self::Number,
            Dimension::Tunnel
            | Dimension::Iface
            | Dimension::Node
            | Dimension::Direction
            | Dimension::SrcCountry
            | Dimension::DstCountry
            | Dimension::SrcNetwork
            | Dimension::DstNetwork
            | Dimension::SrcName
            | Dimension::DstName
            | Dimension::SrcPod
            | Dimension::DstPod
            | Dimension::SrcNamespace
            | Dimension::DstNamespace
            | Dimension::SrcWorkload
            | Dimension::DstWorkload
            | Dimension::SrcProcess
            | Dimension::DstProcess
            | Dimension::SrcCgroup
            | Dimension::DstCgroup
            | Dimension::Service
            | Dimension::State
            | Dimension::EndReason
            | Dimension::App
            | Dimension::Message
            | Dimension::Name
            | Dimension::Detector
            | Dimension::Severity
            | Dimension::Phase
            | Dimension::Subject => Self::Text,
        }
    }
}

/// Appends the key of the group that `row` is in.
pub(super) fn group(out: &mut Vec<u8>, row: &impl Row, by: &[Dimension]) {
    by.iter().for_each(|d| push(out, row, *d));
}

/// Appends the key of the group by protocol alone of `proto`, `None` for non-IP.
pub(super) fn group_of_proto(out: &mut Vec<u8>, proto: Option<u8>) {
    match proto {
        Some(proto) => out.extend([2, 0, proto]),
        None => out.push(0),
    }
}

/// Appends the key of the group by node alone of `node`.
pub(super) fn group_of_node(out: &mut Vec<u8>, node: &str) {
    push_text(out, node);
}

/// The values of a key of [`group`], as text.
pub(super) fn group_text(mut key: &[u8], by: &[Dimension]) -> GroupKey {
    let mut one = |d: &Dimension| {
        let length = match Kind::of(*d) {
            Kind::Address | Kind::Number => {
                let (length, rest) = key.split_first().unwrap_or((&0, &[]));
                key = rest;
                usize::from(*length)
            }
            Kind::Text => key.iter().position(|b| *b == 0).unwrap_or(key.len()),
        };
        let (value, rest) = key.split_at(length.min(key.len()));
        key = match Kind::of(*d) {
            Kind::Address | Kind::Number => rest,
            Kind::Text => rest.get(1..).unwrap_or_default(),
        };
        value_text(*d, value)
    };
    by.iter().map(&mut one).collect()
}

/// The text of a value; "" for the empty one.
fn value_text(d: Dimension, value: &[u8]) -> String {
    match (Kind::of(d), value) {
        (Kind::Address, bytes) => address_text(bytes).unwrap_or_default(),
        (Kind::Number, [high, low]) => {
            let number = u16::from_be_bytes([*high, *low]);
            match (d, u8::try_from(number)) {
                (Dimension::Proto, Ok(proto)) => proto_text(proto),
                (Dimension::EtherType, _) => format!("0x{number:04x}"),
                _ => number.to_string(),
            }
        }
        (Kind::Number, [a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        (Kind::Number, _) => String::new(),
        (Kind::Text, bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Writes to `out` (emptied first) under which key `row` counts among distinct values of `of`; false when it does not,
/// because it has no value in one of them.
///
/// The sets that windows have sketches of get the keys of these sketches. A port is always the port of its protocol.
pub(super) fn distinct(out: &mut Vec<u8>, row: &impl Row, of: &[Dimension]) -> bool {
    use super::source::SketchSet;
    out.clear();
    let side = |d| row.address(d).map(address);
    let number = |d| row.number(d);
    let short = |d| number(d).and_then(|n| u16::try_from(n).ok());
    let proto = || number(Dimension::Proto).and_then(|p| u8::try_from(p).ok());
    let Some(set) = SketchSet::of(of) else {
        let has = |d: &Dimension| row.address(*d).is_some() || row.number(*d).is_some() || row.text(*d).is_some();
        if !of.iter().all(has) {
            return false;
        }
        group(out, row, of);
        if of.iter().any(|d| matches!(d, Dimension::SrcPort | Dimension::DstPort)) {
            push(out, row, Dimension::Proto);
        }
        return true;
    };
    let mut write = || {
        match set {
            SketchSet::SrcIps => out.extend(side(Dimension::SrcIp)?),
            SketchSet::DstIps => out.extend(side(Dimension::DstIp)?),
            SketchSet::DstPorts => out.extend(port(proto()?, short(Dimension::DstPort)?)),
            SketchSet::Pairs => out.extend(pair(&side(Dimension::SrcIp)?, &side(Dimension::DstIp)?)),
            SketchSet::Flows => {
                let (src, dst) = (side(Dimension::SrcIp)?, side(Dimension::DstIp)?);
                let ports = (short(Dimension::SrcPort)?, short(Dimension::DstPort)?);
                out.extend(five_tuple(&src, &dst, proto()?, ports.0, ports.1));
            }
        }
        Some(())
    };
    write().is_some()
}
