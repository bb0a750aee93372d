//! What holds for a time, for each node, within bounds: a function of the log, so part of an engine's state.

use hashbrown::HashMap;
use netspectra_common::model::Nanos;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

/// Entries of all nodes together. Beyond it a node that learns more gives up its own.
const MOST: usize = 1 << 20;

/// A value, and from when to when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span<V> {
    what: V,
    from: Nanos,
    until: Nanos,
}

/// The entries of one node.
#[derive(Debug)]
struct Entries<K, V> {
    spans: HashMap<K, Span<V>>,
    /// Which ends first.
    ends: BTreeSet<(Nanos, K)>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { spans: HashMap::new(), ends: BTreeSet::new() }
    }
}

/// Values by node and key, each for a time. A node's entries depend on its own log alone, up to [`MOST`] in all.
#[derive(Debug)]
pub(crate) struct Held<K, V> {
    nodes: HashMap<Arc<str>, Entries<K, V>>,
    count: usize,
}

impl<K, V> Default for Held<K, V> {
    fn default() -> Self {
        Self { nodes: HashMap::new(), count: 0 }
    }
}

impl<K: Copy + Ord + Hash, V: PartialEq> Held<K, V> {
    /// Entries of all nodes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Keeps that `key` of `node` is `what` between two times, beside at most `most - 1` others of the node; the one that
    /// ends first goes. The same value again holds on; another one takes its place.
    pub(crate) fn hold(&mut self, node: &Arc<str>, key: K, what: V, (from, until): (Nanos, Nanos), most: usize) {
        if most == 0 {
            return;
        }
        let entries = self.nodes.entry_ref(node).or_default();
        let mut span = Span { what, from, until };
        if let Some(before) = entries.spans.remove(&key) {
            entries.ends.remove(&(before.until, key));
            self.count -= 1;
            if before.what == span.what && before.until >= from {
                span.from = span.from.min(before.from);
                span.until = span.until.max(before.until);
            }
        }
        while entries.spans.len() >= most || (self.count >= MOST && !entries.spans.is_empty()) {
            let Some((_, first)) = entries.ends.pop_first() else { break };
            entries.spans.remove(&first);
            self.count -= 1;
        }
        if self.count >= MOST {
            return;
        }
        entries.ends.insert((span.until, key));
        entries.spans.insert(key, span);
        self.count += 1;
    }

    /// What `key` of `node` is at a time between `from` and `to`. Cost: two look-ups; none where nothing is held.
    pub(crate) fn at(&self, node: &str, key: &K, (from, to): (Nanos, Nanos)) -> Option<&V> {
        if self.count == 0 {
            return None;
        }
        let span = self.nodes.get(node)?.spans.get(key)?;
        (span.from <= to && from <= span.until).then_some(&span.what)
    }

    /// Forgets everything of `node`.
    pub(crate) fn forget(&mut self, node: &str) {
        if let Some(entries) = self.nodes.remove(node) {
            self.count -= entries.spans.len();
        }
    }
}

impl<K: Copy + Ord + Hash + Serialize, V: Serialize> Serialize for Held<K, V> {
    /// Nodes by name, their entries in the order in which they end.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fn list<K: Copy + Ord + Hash, V>(entries: &Entries<K, V>) -> Vec<(K, &Span<V>)> {
            entries.ends.iter().filter_map(|(_, key)| Some((*key, entries.spans.get(key)?))).collect()
        }
        let mut all: Vec<_> = self.nodes.iter().map(|(node, entries)| (node, list(entries))).collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.serialize(to)
    }
}

impl<'de, K: Copy + Ord + Hash + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Held<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let all = Vec::<(Arc<str>, Vec<(K, Span<V>)>)>::deserialize(from)?;
        let mut held = Self::default();
        for (node, list) in all {
            let entries = held.nodes.entry(node).or_default();
            for (key, span) in list {
                entries.ends.insert((span.until, key));
                entries.spans.insert(key, span);
            }
            held.count += entries.spans.len();
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const fn t(seconds: u64) -> Nanos {
        Nanos::from_secs(seconds)
    }

    #[test]
    fn what_ends_first_goes_first_and_the_same_again_holds_on() {
        let (mut held, node) = (Held::<u32, u32>::default(), Arc::<str>::from("n"));
        held.hold(&node, 1, 10, (t(0), t(10)), 2);
        held.hold(&node, 2, 20, (t(1), t(5)), 2);
        held.hold(&node, 1, 10, (t(8), t(9)), 2);
        assert_eq!(held.at("n", &1, (t(0), t(0))), Some(&10), "from its first time");
        assert_eq!(held.at("n", &1, (t(10), t(11))), Some(&10), "to its last");
        held.hold(&node, 3, 30, (t(2), t(3)), 2);
        assert_eq!((held.at("n", &2, (t(2), t(2))), held.at("n", &3, (t(2), t(2)))), (None, Some(&30)));
        // Another value begins when it was said, and the old one is gone.
        held.hold(&node, 1, 11, (t(9), t(20)), 2);
        assert_eq!((held.at("n", &1, (t(0), t(8))), held.at("n", &1, (t(0), t(9)))), (None, Some(&11)));
        assert_eq!((held.at("n", &1, (t(21), t(30))), held.at("m", &1, (t(9), t(9))), held.len()), (None, None, 2));
        held.forget("n");
        assert_eq!((held.at("n", &1, (t(9), t(9))), held.len()), (None, 0));
        held.hold(&node, 1, 1, (t(0), t(1)), 0);
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn bytes_are_those_of_the_content_and_hold_the_bound() {
        let nodes: [Arc<str>; 2] = ["a".into(), "b".into()];
        let fill = |order: &mut dyn Iterator<Item = u32>| {
            let mut held = Held::<u32, u32>::default();
            order.for_each(|n| held.hold(&nodes[n as usize % 2], n, n, (t(1), t(u64::from(n % 64))), 8));
            held
        };
        // Twice, because maps are seeded anew each time.
        let bytes = [fill(&mut (0..100)), fill(&mut (0..100))].map(|held| postcard::to_stdvec(&held).unwrap());
        assert_eq!(bytes[0], bytes[1]);
        let mut back: Held<u32, u32> = postcard::from_bytes(&bytes[0]).unwrap();
        assert_eq!((back.len(), &postcard::to_stdvec(&back).unwrap()), (16, &bytes[0]));
        // What was read back goes on like what was written.
        let mut on = fill(&mut (0..100));
        for held in [&mut back, &mut on] {
            (100..150).for_each(|n| held.hold(&nodes[0], n, n, (t(1), t(u64::from(n % 7))), 8));
        }
        assert_eq!(postcard::to_stdvec(&back).unwrap(), postcard::to_stdvec(&on).unwrap());
    }
}
