//! Observation points (node and interface) as small numbers.

use crate::enrich::Enrichment;
use hashbrown::HashMap;
use netspectra_common::model::{Direction, Place};
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

/// Interned observation points. Numbers are given in the order of the log and reused once nothing refers to them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Points {
    points: Vec<Option<(Point, u64)>>,
    free: Vec<u32>,
    #[serde(skip)]
    numbers: HashMap<Point, u32>,
    /// Points in use after the last collection.
    kept: usize,
    /// What is known of addresses. Not part of the state: rows have what was known when they were made.
    #[serde(skip)]
    pub(crate) enrichment: Enrichment,
}

impl Points {
    /// None yet.
    pub(crate) fn new(enrichment: Enrichment) -> Self {
        Self { enrichment, ..Self::default() }
    }

    /// Where an address is.
    pub(crate) fn place(&self, address: Option<IpAddr>) -> Place {
        address.map_or_else(Place::default, |address| self.enrichment.place(address))
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
