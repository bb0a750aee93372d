//! Observation points (node and interface) as small numbers.

use crate::enrich::Enrichment;
use crate::enrich::names::Names;
use crate::enrich::sockets::{self, Sockets};
use hashbrown::HashMap;
use netspectra_common::model::{Direction, Nanos, Place};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Seed of name hashes, part of flow identities: "nspoints".
const SEED: u64 = u64::from_be_bytes(*b"nspoints");
/// [`crate::window::RowKey`]'s direction of a file.
const NO_DIRECTION: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Point {
    node: Arc<str>,
    iface: Arc<str>,
    is_file: bool,
}

/// Both ends of a row, for what is known of them.
pub(crate) struct Ends {
    pub(crate) proto: u8,
    pub(crate) src: (Option<IpAddr>, u16),
    pub(crate) dst: (Option<IpAddr>, u16),
    /// When its packets were there.
    pub(crate) span: (Nanos, Nanos),
    /// The addresses are those of the packets, not of what a tunnel carries.
    pub(crate) is_outer: bool,
}

/// What is known of them.
pub(crate) struct Known {
    pub(crate) src: Place,
    pub(crate) dst: Place,
    pub(crate) service: Option<Arc<str>>,
}

/// Interned observation points. Numbers are given in the order of the log and reused once nothing refers to them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Points {
    points: Vec<Option<(Point, u64)>>,
    free: Vec<u32>,
    #[serde(skip)]
    numbers: HashMap<Point, u32>,
    /// Points in use after the last collection.
    kept: usize,
    /// Names of addresses that nodes saw in DNS answers.
    pub(crate) names: Names,
    /// Whose the sockets of the nodes' hosts are.
    pub(crate) sockets: Sockets,
    /// What is known of addresses. Not part of the state: rows have what was known when they were made.
    #[serde(skip)]
    pub(crate) enrichment: Enrichment,
}

impl Points {
    /// None yet.
    pub(crate) fn new(enrichment: Enrichment) -> Self {
        Self { enrichment, ..Self::default() }
    }

    /// What is known of both ends of what point `number` saw.
    pub(crate) fn known(&self, number: u32, ends: &Ends) -> Known {
        let service = self.enrichment.service(ends.proto, [ends.src.1, ends.dst.1]);
        let node = self.entry(number).map_or("", |(point, _)| &point.node);
        let place = |(address, port): (Option<IpAddr>, u16), peer: (Option<IpAddr>, u16)| {
            let Some(address) = address else { return Place::default() };
            let mut place = self.enrichment.place(address);
            place.name = self.names.at(node, &address, ends.span).cloned();
            if let Some(peer_address) = peer.0
                && ends.is_outer
            {
                let key = (ends.proto, address, port);
                place.owner = sockets::owner(&self.sockets, node, key, (peer_address, peer.1), ends.span);
            }
            place
        };
        Known { src: place(ends.src, ends.dst), dst: place(ends.dst, ends.src), service }
    }

    /// Forgets what the node called `name` said of addresses and sockets.
    pub(crate) fn forget(&mut self, name: &str) {
        self.names.forget(name);
        self.sockets.forget(name);
    }

    /// The number of an interface of a node; `is_file` where there is no direction.
    pub(crate) fn intern(&mut self, node: &Arc<str>, iface: &Arc<str>, is_file: bool) -> u32 {
        let point = Point { node: node.clone(), iface: iface.clone(), is_file };
        if let Some(number) = self.numbers.get(&point) {
            return *number;
        }
        let mut hash = Xxh3::with_seed(SEED);
        hash.update(node.as_bytes());
        hash.update(&[0xff]);
        hash.update(iface.as_bytes());
        let number = self.free.pop().unwrap_or(self.points.len() as u32);
        if number as usize == self.points.len() {
            self.points.push(None);
        }
        self.points[number as usize] = Some((point.clone(), hash.digest()));
        self.numbers.insert(point, number);
        number
    }

    /// Makes points that were read back whole: the index is not part of what is written.
    pub(crate) fn reindex(&mut self) {
        let named = self.points.iter().enumerate();
        self.numbers = named.filter_map(|(n, entry)| Some((entry.as_ref()?.0.clone(), n as u32))).collect();
    }

    /// Node and interface.
    pub(crate) fn names(&self, number: u32) -> (Arc<str>, Arc<str>) {
        match self.entry(number) {
            Some((p, _)) => (p.node.clone(), p.iface.clone()),
            None => Default::default(),
        }
    }

    /// A hash of both names, the same in every process.
    pub(crate) fn name_hash(&self, number: u32) -> u64 {
        self.entry(number).map_or(0, |(_, hash)| *hash)
    }

    /// `direction` as rows keep it: 0 ingress, 1 egress, [`NO_DIRECTION`] at a file.
    pub(crate) fn direction(&self, number: u32, direction: u8) -> u8 {
        if self.entry(number).is_some_and(|(p, _)| p.is_file) { NO_DIRECTION } else { direction & 1 }
    }

    /// Whether enough were added since the last collection to make another one worth its cost.
    pub(crate) fn want_collection(&self) -> bool {
        self.numbers.len() > 2 * self.kept + 1024
    }

    /// Forgets every point that is not in `used`.
    pub(crate) fn collect(&mut self, used: impl Iterator<Item = u32>) {
        let mut keep = vec![false; self.points.len()];
        for number in used {
            if let Some(k) = keep.get_mut(number as usize) {
                *k = true;
            }
        }
        for (number, entry) in self.points.iter_mut().enumerate() {
            if !keep[number]
                && let Some((point, _)) = entry.take()
            {
                self.numbers.remove(&point);
                self.free.push(number as u32);
            }
        }
        self.kept = self.numbers.len();
    }

    fn entry(&self, number: u32) -> Option<&(Point, u64)> {
        self.points.get(number as usize).and_then(Option::as_ref)
    }
}

/// The direction of a row.
pub(crate) fn direction_of(raw: u8) -> Option<Direction> {
    match raw {
        0 => Some(Direction::Ingress),
        1 => Some(Direction::Egress),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_use_survive_a_collection_and_others_are_reused() {
        let mut points = Points::default();
        let node: Arc<str> = "n".into();
        let numbers: Vec<u32> = (0..3).map(|i| points.intern(&node, &format!("veth{i}").into(), false)).collect();
        points.collect([numbers[1]].into_iter());
        assert_eq!(&*points.names(numbers[1]).1, "veth1");
        assert_eq!(points.intern(&node, &"veth1".into(), false), numbers[1]);
        let again = points.intern(&node, &"new".into(), true);
        assert!(numbers.contains(&again) && again != numbers[1]);
        assert_eq!(points.direction(again, 1), NO_DIRECTION);
        assert_eq!(points.direction(numbers[1], 1), 1);
        assert_ne!(points.name_hash(again), points.name_hash(numbers[1]));
    }

    #[test]
    fn churning_names_do_not_grow_the_table() {
        let mut points = Points::default();
        for i in 0..10_000 {
            points.intern(&"n".into(), &format!("veth{i}").into(), false);
            if points.want_collection() {
                points.collect(std::iter::empty());
            }
        }
        assert!(points.points.len() <= 1026, "{}", points.points.len());
    }
}
