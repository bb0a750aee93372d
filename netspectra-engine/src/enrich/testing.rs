//! Small files in MaxMind's format, by its public specification (version 2.0, records of 32 bits).
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// A value of the data section.
pub(crate) enum Data {
    Map(Vec<(&'static str, Data)>),
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
}

fn control(out: &mut Vec<u8>, kind: u8, length: usize) {
    assert!(length < 29);
    if kind > 7 {
        out.extend([length as u8, kind - 7]);
    } else {
        out.push((kind << 5) | length as u8);
    }
}

fn put(out: &mut Vec<u8>, data: &Data) {
    match data {
        Data::Map(entries) => {
            control(out, 7, entries.len());
            for (key, value) in entries {
                put(out, &Data::Text(key));
                put(out, value);
            }
        }
        Data::Text(text) => {
            control(out, 2, text.len());
            out.extend(text.as_bytes());
        }
        Data::Short(number) => {
            control(out, 5, 2);
            out.extend(number.to_be_bytes());
        }
        Data::Number(number) => {
            control(out, 6, 4);
            out.extend(number.to_be_bytes());
        }
        Data::Long(number) => {
            control(out, 9, 8);
            out.extend(number.to_be_bytes());
        }
    }
}

/// Writes a file that calls itself `kind`, with these address blocks, IPv4 below `::/96`.
pub(crate) fn mmdb(dir: &Path, kind: &'static str, blocks: &[(&str, u32, Data)]) -> PathBuf {
    // Each node is two records: `None` nothing, a node, or an offset of the data.
    #[derive(Clone, Copy)]
    enum Record {
        None,
        Node(u32),
        Data(u32),
    }
    let (mut nodes, mut data) = (vec![[Record::None; 2]], Vec::new());
    for (address, prefix, value) in blocks {
        let (bits, prefix) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), prefix + 96),
            IpAddr::V6(v6) => (Ipv6Addr::to_bits(v6), *prefix),
        };
        let offset = data.len() as u32;
        put(&mut data, value);
        let mut at = 0usize;
        for depth in 0..prefix {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == prefix {
                nodes[at][side] = Record::Data(offset);
            } else if let Record::Node(next) = nodes[at][side] {
                at = next as usize;
            } else {
                let next = nodes.len();
                nodes[at][side] = Record::Node(next as u32);
                nodes.push([Record::None; 2]);
                at = next;
            }
        }
    }
    let count = nodes.len() as u32;
    let mut file = Vec::new();
    for record in nodes.into_iter().flatten() {
        let value = match record {
            Record::None => count,
            Record::Node(node) => node,
            Record::Data(offset) => count + 16 + offset,
        };
        file.extend(value.to_be_bytes());
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let mut metadata = Vec::new();
    control(&mut metadata, 7, 9);
    let numbers = [
        ("node_count", Data::Number(count)),
        ("record_size", Data::Short(32)),
        ("ip_version", Data::Short(6)),
        ("binary_format_major_version", Data::Short(2)),
        ("binary_format_minor_version", Data::Short(0)),
        ("build_epoch", Data::Long(1_700_000_000)),
    ];
    for (key, number) in numbers {
        put(&mut metadata, &Data::Text(key));
        put(&mut metadata, &number);
    }
    put(&mut metadata, &Data::Text("database_type"));
    put(&mut metadata, &Data::Text(kind));
    put(&mut metadata, &Data::Text("languages"));
    control(&mut metadata, 11, 0);
    put(&mut metadata, &Data::Text("description"));
    put(&mut metadata, &Data::Map(Vec::new()));
    file.extend(metadata);
    let path = dir.join(format!("{kind}.mmdb"));
    std::fs::write(&path, file).unwrap();
    path
}

/// A country's record.
pub(crate) fn country(code: &'static str) -> Data {
    Data::Map(vec![("country", Data::Map(vec![("iso_code", Data::Text(code))]))])
}

/// An autonomous system's record.
pub(crate) fn system(number: u32) -> Data {
    Data::Map(vec![("autonomous_system_number", Data::Number(number))])
}
