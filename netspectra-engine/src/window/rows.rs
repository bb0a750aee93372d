//! Roll-up rows of one open window.

use crate::engine::{Ends, Points, direction_of};
use crate::lifecycle::{ICMP, ICMPV6, address, ether_type, vlan};
use hashbrown::{DefaultHashBuilder, HashTable};
use netspectra_common::model::{Family, FlowKey, FlowStats, Nanos, Resolution, Rollup, Sampling};
use netspectra_common::wire::Tunnel;
use serde::{Deserialize, Serialize, Serializer};
use std::hash::BuildHasher;
use zerocopy::{Immutable, IntoBytes};

/// What tells roll-up rows apart, of fixed size: see [`Rollup`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable, Serialize, Deserialize)]
pub(crate) struct RowKey {
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    vlan: u16,
    pub(crate) ether_type: u16,
    pub(crate) proto: u8,
    pub(crate) family: u8,
    /// 0 ingress, 1 egress, 2 neither (a file).
    direction: u8,
    /// A `Tunnel`, 0 for none.
    tunnel: u8,
    pub(crate) point: u32,
    tunnel_id: u32,
    /// As words, so that every byte has a name.
    sampling: u32,
}

impl RowKey {
    /// The row of `[sender, receiver]`, their ports (as a flow key has them), `(protocol, family, tag)`,
    /// `(tunnel, identifier)` and `(point, direction)`.
    #[inline]
    pub(crate) fn new(
        [src, dst]: [[u8; 16]; 2],
        [src_port, dst_port]: [u16; 2],
        (proto, family, vlan): (u8, u8, u16),
        (tunnel, tunnel_id): (u8, u32),
        (point, direction): (u32, u8),
    ) -> Self {
        let has_ports = family != Family::NonIp as u8 && !matches!(proto, ICMP | ICMPV6);
        Self {
            src,
            dst,
            src_port: if has_ports { src_port } else { 0 },
            dst_port: if has_ports { dst_port } else { 0 },
            vlan,
            ether_type: ether_type(family, src_port),
            proto,
            family,
            direction,
            tunnel,
            point,
            tunnel_id,
            sampling: 0,
        }
    }

    /// The row of flows that were counted one in so many.
    #[inline]
    pub(crate) const fn sampled(self, sampling: Sampling) -> Self {
        Self { sampling: sampling.0 as u32, ..self }
    }

    /// The row that packets of `key` go to.
    #[inline]
    pub(crate) fn of(key: &FlowKey, point: u32, direction: u8) -> Self {
        Self::new(
            [key.src, key.dst],
            [key.src_port, key.dst_port],
            (key.proto, key.family, key.vlan),
            (key.tunnel, key.tunnel_id),
            (point, direction),
        )
    }
}

/// A row's counters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) key: RowKey,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    l3_bytes: u64,
    new_flows: u64,
}

impl Row {
    const fn new(key: RowKey) -> Self {
        Self { key, packets: 0, bytes: 0, l3_bytes: 0, new_flows: 0 }
    }

    /// As it is stored.
    pub(crate) fn rollup(&self, window: Nanos, points: &Points) -> Rollup {
        let key = &self.key;
        let (node, iface) = points.names(key.point);
        let (src_ip, dst_ip) = (address(key.family, &key.src), address(key.family, &key.dst));
        let ends = Ends {
            proto: key.proto,
            src: (src_ip, key.src_port),
            dst: (dst_ip, key.dst_port),
            span: (window, window.plus(Resolution::S10.duration())),
            is_outer: key.tunnel == 0,
        };
        let known = points.known(key.point, &ends);
        Rollup {
            window,
            node,
            iface,
            direction: direction_of(key.direction),
            src_ip,
            dst_ip,
            src_port: key.src_port,
            dst_port: key.dst_port,
            proto: key.proto,
            ether_type: key.ether_type,
            vlan: vlan(key.vlan),
            tunnel: Tunnel::from_raw(key.tunnel),
            tunnel_id: (key.tunnel_id != 0).then_some(key.tunnel_id),
            src_place: known.src,
            dst_place: known.dst,
            service: known.service,
            sampling: Sampling(key.sampling as u8).one_in(),
            packets: self.packets,
            bytes: self.bytes,
            l3_bytes: self.l3_bytes,
            new_flows: self.new_flows,
        }
    }
}

/// The rows of one window, in the order in which they appeared.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<Row>")]
pub(crate) struct Rows {
    rows: Vec<Row>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(to)
    }
}

impl From<Vec<Row>> for Rows {
    fn from(list: Vec<Row>) -> Self {
        let mut rows = Self::default();
        list.into_iter().for_each(|row| *rows.row(row.key) = row);
        rows
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// Counts packets; counters wrap at 2^64. Cost: one look-up.
    #[inline]
    pub(crate) fn add(&mut self, key: RowKey, stats: &FlowStats) {
        let row = self.row(key);
        row.packets = row.packets.wrapping_add(stats.packets);
        row.bytes = row.bytes.wrapping_add(stats.bytes);
        row.l3_bytes = row.l3_bytes.wrapping_add(stats.l3_bytes);
    }

    /// Counts a flow that began with `key`'s sender as initiator; a row without packets when that one was not heard.
    pub(crate) fn begin_flow(&mut self, key: RowKey) {
        self.row(key).new_flows += 1;
    }

    fn row(&mut self, key: RowKey) -> &mut Row {
        let hash = self.hasher.hash_one(key.as_bytes());
        let rows = &self.rows;
        let found = self.index.find(hash, |at| rows[*at as usize].key == key).copied();
        let at = found.unwrap_or_else(|| {
            let at = self.rows.len() as u32;
            self.rows.push(Row::new(key));
            let (rows, hasher) = (&self.rows, &self.hasher);
            self.index.insert_unique(hash, at, |at| hasher.hash_one(rows[*at as usize].key.as_bytes()));
            at
        });
        &mut self.rows[at as usize]
    }
}
