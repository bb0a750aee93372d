//! Inputs to begin with: well-formed ones, because few random bytes get past the first check.

use crate::frames::{self, Frames};
use crate::targets::new_store;
use anyhow::{Context as _, Result};
use netspectra_agent::source::capture_file::{LinkType, PcapWriter};
use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, GenerationId, Interface, Ledger, Manifest, Nanos, PayloadSeen, SizeHistogram, TimeRange,
};
use netspectra_common::ports::{LiveReport, Through};
use netspectra_common::proto;
use netspectra_common::query::{Metric, Partial, Plan, Query, encode_partial, encode_plan, parse_filter};
use netspectra_common::schema::Dimension;
use netspectra_common::sketch::{Hll, Quantiles, TopK};
use netspectra_common::wire::link;
use std::path::Path;
use std::sync::Arc;

/// Frames made for the targets.
const FRAMES: usize = 200;
/// Largest capture file that is taken as an input: longer ones slow the search down.
const LARGEST: u64 = 16 * 1024;

/// Inputs for the target called `name`; none for a name that there is not.
///
/// # Errors
/// No temporary folder can be written to.
pub fn generated(name: &str) -> Result<Vec<Vec<u8>>> {
    let mut frames = Frames::new(1, &[]);
    let mut frames = std::iter::repeat_with(|| frames.next_frame());
    Ok(match name {
        "frame" => frames.take(FRAMES).map(|f| [&[0, 0, 0][..], &f].concat()).collect(),
        "capture" => vec![pcap(frames.by_ref().take(5))?, pcap(frames.take(1))?, PCAPNG.concat(), SNOOP.to_vec()],
        "event" => vec![vec![1; 320], vec![0; 400]],
        "payload" => PAYLOADS.iter().map(|(head, rest)| [head.as_slice(), rest].concat()).collect(),
        "filter" => FILTERS.iter().map(|f| f.as_bytes().to_vec()).collect(),
        "sketch" => sketches(),
        "log" => vec![log()?],
        "message" => messages(frames)?,
        _ => Vec::new(),
    })
}

/// Inputs for the target called `name` out of the capture files in `folder`.
///
/// # Errors
/// The folder cannot be read.
pub fn captured(name: &str, folder: &Path) -> Result<Vec<Vec<u8>>> {
    Ok(match name {
        "frame" => {
            let frames = frames::from_captures(folder, 5_000)?;
            frames.iter().map(|f| [&[0, 0, 0][..], f].concat()).collect()
        }
        "capture" => {
            let small = |p: &std::path::PathBuf| std::fs::metadata(p).is_ok_and(|m| m.len() <= LARGEST);
            let files = frames::files(folder)?;
            files.iter().filter(|p| small(p)).map(std::fs::read).collect::<Result<_, _>>()?
        }
        _ => Vec::new(),
    })
}

fn pcap(frames: impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType(1))?;
    for (n, frame) in frames.enumerate() {
        writer.write_frame(Nanos(n as u64), frame.len() as u32, &frame)?;
    }
    Ok(writer.finish()?)
}

/// A section, an Ethernet interface, a packet of 4 bytes, a packet with options.
const PCAPNG: [&[u8]; 4] = [
    &[10, 13, 13, 10, 28, 0, 0, 0, 77, 60, 43, 26, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 28, 0, 0, 0],
    &[1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0],
    &[3, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 20, 0, 0, 0],
    &[
        6, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 2, 0, 4, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
    ],
];

/// RFC 1761: version 2, Ethernet, one packet of 4 bytes.
const SNOOP: &[u8] = &[
    b's', b'n', b'o', b'o', b'p', 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 0, 0,
    0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4,
];

/// A question for `a.example`, and the beginning of an answer with a compressed name.
const DNS: &[u8] = &[
    0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, b'a', 7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 0, 0, 1, 0,
    1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1,
];

/// Port, then transport and pieces, as the target takes them; and what is sent.
const PAYLOADS: [([u8; 2], &[u8]); 5] = [
    ([0, 0x83], DNS),
    ([0, 0x02], &[0, 12, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    (
        [1, 0x03],
        b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\nContent-Length: 2\r\n\r\nabHEAD / HTTP/1.0\r\n\r\n",
    ),
    ([1, 0x05], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ([2, 0x07], CLIENT_HELLO),
];

/// RFC 8446: a ClientHello with server name `a.b` and ALPN `h2`.
const CLIENT_HELLO: &[u8] = &[
    22, 3, 1, 0, 70, 1, 0, 0, 66, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 0, 0, 2, 0x13, 1, 1, 0, 0, 23, 0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'.', b'b',
    0, 16, 0, 5, 0, 3, 2, b'h', b'2', 0, 0,
];

const FILTERS: [&str; 6] = [
    "src_ip in 10.0.0.0/8 and dst_port = 443",
    "proto = tcp or not (dst_port >= 1024)",
    "src_ip = 2001:db8::1",
    "dst_port in (53, 80..90, 443)",
    "((((proto != udp))))",
    "vlan = 100 and direction = ingress",
];

fn sketches() -> Vec<Vec<u8>> {
    let (mut hll, mut top, mut quantiles) = (Hll::new(), TopK::new(), Quantiles::new());
    let mut all = Vec::new();
    for n in 0..3000u32 {
        let key = n.to_be_bytes();
        hll.insert(&key);
        top.add(&key, u64::from(n % 50));
        quantiles.add(f64::from(n), 1);
        if n == 5 || n == 2999 {
            all.push([vec![0], hll.to_bytes()].concat());
            all.push([vec![1], top.to_bytes()].concat());
            all.push([vec![2], quantiles.to_bytes()].concat());
        }
    }
    all
}

/// A chunk, prefixes and a manifest of an agent; plans, and what nothing says to them.
fn messages(frames: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let mut table = FlowTable::new(64, Identity::Outer);
    for (n, frame) in frames.take(20).enumerate() {
        table.count(link::ETHERNET, &frame, frame.len() as u32, 0, n as u64);
    }
    let of = GenerationId { node: "n".into(), epoch: 1, generation: 2 };
    let deltas = table.drain().0;
    let key = deltas.first().map(|d| d.key).unwrap_or_default();
    let chunk = Chunk { id: ChunkId { generation: of.clone(), chunk: 0 }, deltas };
    let seen = vec![PayloadSeen { at: Nanos(1), key, prefix: DNS.to_vec(), len: 60 }];
    let manifest = Manifest {
        id: of.clone(),
        chunks: 1,
        start: Nanos(1),
        end: Nanos(2),
        ledger: Ledger::default(),
        sizes: SizeHistogram(vec![(60, 1)]),
        interfaces: vec![Interface { slot: 0, ifindex: 1, name: "eth0".into() }],
        nics: Vec::new(),
        previous: None,
        last: false,
    };
    let of_log = [
        BusMessage::Chunk(Arc::new(chunk)),
        BusMessage::Payload { of, seen: Arc::new(seen) },
        BusMessage::Manifest(Arc::new(manifest)),
    ];
    let mut all: Vec<Vec<u8>> = of_log.iter().map(|message| [vec![0], proto::encode(message)].concat()).collect();
    let top = Query::Top { by: vec![Dimension::SrcIp], metric: Metric::Bytes, limit: 10, exact: true };
    let lists = [Query::Flows { limit: 9, after: None }, Query::Messages { limit: 1, after: None }, Query::Ledger];
    for query in lists.into_iter().chain([top, Query::Cardinality { of: vec![Dimension::DstIp] }]) {
        let filter = if query == Query::Ledger { "" } else { "src_ip in 10.0.0.0/8" };
        let plan = Plan { range: TimeRange::ALL, filter: parse_filter(filter)?, query };
        let partial = Partial::new(&plan)?;
        all.push([vec![1], encode_plan(&plan)?].concat());
        all.push([vec![2], encode_partial(&partial)?].concat());
        let through = Through::from([(0, None), (7, Some(9))]);
        all.push([vec![3], LiveReport { topic: "flows".into(), through, partial }.encode()?].concat());
    }
    Ok(all)
}

/// The log of a store that was only just made: its schemas.
fn log() -> Result<Vec<u8>> {
    let (_folder, path) = new_store().context("a store cannot be made")?;
    std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
}
