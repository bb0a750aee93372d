use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::num::NonZeroU64;

/// A map of bounded size: when it is full, an entry that was not used for long goes.
///
/// "Long" is by second chance: entries are looked at in the order in which they came in, and one that was used since it
/// was last looked at stays. Cost: one hash look-up, none by [`Place`]; an insertion into a full map looks at two entries
/// on average.
#[derive(Debug)]
pub struct Recent<K, V> {
    /// Where the entry of a key is in `slots`.
    slot_of: HashMap<K, u32, foldhash::fast::RandomState>,
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
    order: VecDeque<Place>,
    capacity: usize,
    inserted: u64,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    used: bool,
    number: NonZeroU64,
}

/// Where an entry is as long as it is there. An entry that comes after it, also with the same key, has another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: u32,
    /// The entry's.
    number: NonZeroU64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// An empty map for `capacity` entries, at least one and fewer than 2^32.
    pub fn new(capacity: usize) -> Self {
        Self {
            slot_of: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            capacity: capacity.clamp(1, u32::MAX as usize - 1),
            inserted: 0,
        }
    }

    /// Where the entry of `key` is.
    pub fn find(&self, key: &K) -> Option<Place> {
        let slot = *self.slot_of.get(key)?;
        let entry = self.slots.get(slot as usize)?.as_ref()?;
        Some(Place { slot, number: entry.number })
    }

    /// The entry at `place`, if it is there still.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        let entry = self.slots.get_mut(place.slot as usize)?.as_mut().filter(|entry| entry.number == place.number)?;
        entry.used = true;
        Some(&mut entry.value)
    }

    /// The entry of `key`.
    pub fn use_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.find(key)?;
        self.at_mut(place)
    }

    /// Puts `value` in; returns where it is, and what had to go: the entry that was there before, or one that made room.
    pub fn insert(&mut self, key: K, value: V) -> (Place, Option<(K, V)>) {
        let before = self.take(&key);
        self.inserted += 1;
        let number = NonZeroU64::MIN.saturating_add(self.inserted);
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if slot as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot as usize] = Some(Entry { key, value, used: true, number });
        self.slot_of.insert(key, slot);
        let place = Place { slot, number };
        self.order.push_back(place);
        let gone = match before {
            Some(value) => {
                self.forget_stale();
                Some((key, value))
            }
            None if self.len() > self.capacity => self.evict(),
            None => None,
        };
        (place, gone)
    }

    /// Takes out the entry of `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.take(key);
        self.forget_stale();
        value
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slot_of.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slot_of.is_empty()
    }

    /// Takes out an entry that was not used for long; `None` when there are none.
    pub fn evict(&mut self) -> Option<(K, V)> {
        while let Some(place) = self.order.pop_front() {
            let Some(entry) = self.slots[place.slot as usize].as_mut().filter(|e| e.number == place.number) else {
                continue;
            };
            if std::mem::take(&mut entry.used) {
                self.order.push_back(place);
                continue;
            }
            let key = entry.key;
            return self.take(&key).map(|value| (key, value));
        }
        None
    }

    fn take(&mut self, key: &K) -> Option<V> {
        let slot = self.slot_of.remove(key)?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|entry| entry.value)
    }

    /// Drops places of entries that are gone once they are the larger part, so that `order` stays bounded.
    fn forget_stale(&mut self) {
        if self.order.len() > 2 * self.len() + 64 {
            let slots = &self.slots;
            let is_there =
                |place: &Place| slots[place.slot as usize].as_ref().is_some_and(|entry| entry.number == place.number);
            self.order.retain(is_there);
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
            assert_eq!(map.insert(k, k * 10).1, None);
        }
        assert_eq!(map.insert(3, 30).1, Some((0, 0)), "all were used once: the oldest goes, never the new one");
        assert_eq!(map.use_mut(&1), Some(&mut 10));
        assert_eq!(map.insert(4, 40).1, Some((2, 20)), "1 was used again");
        assert_eq!(map.insert(3, 31).1, Some((3, 30)));
        assert_eq!((map.remove(&4), map.len(), map.use_mut(&4)), (Some(40), 2, None));
    }

    #[test]
    fn a_place_is_that_of_one_entry_only() {
        let mut map = Recent::new(2);
        let (first, _) = map.insert("a", 1);
        assert_eq!(map.find(&"a"), Some(first));
        assert_eq!(map.at_mut(first), Some(&mut 1));
        let (second, before) = map.insert("a", 2);
        assert_eq!(before, Some(("a", 1)));
        assert_eq!(map.at_mut(first), None);
        assert_eq!(map.at_mut(second), Some(&mut 2));
        map.remove(&"a");
        let (other, _) = map.insert("b", 3);
        assert_eq!(other.slot, second.slot, "slots are taken again");
        assert_eq!(map.at_mut(second), None);
        assert_eq!(map.at_mut(other), Some(&mut 3));
        assert_eq!(map.find(&"a"), None);
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
