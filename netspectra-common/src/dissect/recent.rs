use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map of bounded size: when it is full, an entry that was not used for long goes.
///
/// "Long" is by second chance: entries are looked at in the order in which they came in, and one that was used since it
/// was last looked at stays. Cost: one hash look-up; an insertion into a full map looks at two entries on average.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    order: VecDeque<(K, u64)>,
    capacity: usize,
    inserted: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: bool,
    /// Tells this entry's place in `order` from those of earlier ones with the same key.
    number: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// An empty map for `capacity` entries (at least one).
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), capacity: capacity.max(1), inserted: 0 }
    }

    /// The entry of `key`.
    pub fn use_mut(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.used = true;
        Some(&mut entry.value)
    }

    /// Puts `value` in; returns what had to go: the entry that was there before, or one that made room.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.inserted += 1;
        let number = self.inserted;
        if let Some(before) = self.entries.insert(key, Entry { value, used: true, number }) {
            self.order.push_back((key, number));
            self.forget_stale();
            return Some((key, before.value));
        }
        self.order.push_back((key, number));
        if self.entries.len() > self.capacity { self.evict() } else { None }
    }

    /// Takes out the entry of `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.entries.remove(key).map(|e| e.value);
        self.forget_stale();
        value
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out an entry that was not used for long; `None` when there are none.
    pub fn evict(&mut self) -> Option<(K, V)> {
        while let Some((key, number)) = self.order.pop_front() {
            let Some(entry) = self.entries.get_mut(&key).filter(|e| e.number == number) else { continue };
            if std::mem::take(&mut entry.used) {
                self.order.push_back((key, number));
                continue;
            }
            return self.entries.remove(&key).map(|e| (key, e.value));
        }
        None
    }

    /// Drops places of entries that are gone once they are the larger part, so that `order` stays bounded.
    fn forget_stale(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(key, number)| entries.get(key).is_some_and(|e| e.number == *number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_stays_and_the_oldest_of_the_rest_goes() {
        let mut map = Recent::new(3);
        for k in 0..3 {
            assert_eq!(map.insert(k, k * 10), None);
        }
        assert_eq!(map.insert(3, 30), Some((0, 0)), "all were used once: the oldest goes, never the new one");
        assert_eq!(map.use_mut(&1), Some(&mut 10));
        assert_eq!(map.insert(4, 40), Some((2, 20)), "1 was used again");
        assert_eq!(map.insert(3, 31), Some((3, 30)));
        assert_eq!((map.remove(&4), map.len(), map.use_mut(&4)), (Some(40), 2, None));
    }

    #[test]
    fn the_order_stays_bounded_when_entries_come_and_go() {
        let mut map = Recent::new(10);
        for k in 0..10_000 {
            map.insert(k % 7, k);
            map.remove(&(k % 5));
        }
        assert!(map.order.len() <= 2 * map.len() + 65, "{}", map.order.len());
        while map.evict().is_some() {}
        assert!(map.is_empty());
    }
}
