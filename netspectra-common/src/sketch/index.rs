//! Where the elements of a list are, by a hash of theirs.

use foldhash::fast::RandomState;
use std::sync::LazyLock;

/// Hashes for an [`Index`], seeded by the process: who chooses keys cannot choose where they are. Nothing that is written depends on
/// it, and it is the same for all sketches of a process, which hand hashes to each other.
pub(super) static SPOTS: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// Bits of a slot that say where; the others are of the hash.
const PLACE_BITS: u32 = 21;
const FIRST_SLOTS: usize = 16;
/// No element is at the place before the first.
const EMPTY: u32 = 0;

/// Finds elements of a list by a hash that the list has beside them: open addressing with linear probing, at most half full, four
/// bytes a slot. The list has no more than 2^21 - 2 elements. Senders choose what is hashed: the hash must be one that they do
/// not know ([`SPOTS`]), or they could make every search long.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// None, or a power of two.
    slots: Vec<u32>,
}

impl Index {
    /// The place that `is` says yes to, of those whose element has (with high probability) this `hash`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let tag = tag(hash);
        let mut at = hash as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            if slot == EMPTY {
                return None;
            }
            let place = place(slot);
            if slot >> PLACE_BITS == tag && is(place) {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds the last element of the list, which has this `hash`; all others are in it. `hashes` are those of all, in case that it
    /// grows.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, hashes: impl ExactSizeIterator<Item = u64>) {
        if hashes.len() * 2 > self.slots.len() {
            self.rebuild(hashes);
        } else if let Some(place) = hashes.len().checked_sub(1) {
            self.put(hash, place);
        }
    }

    /// Makes this the index of the list whose hashes are `hashes`.
    pub(super) fn rebuild(&mut self, hashes: impl ExactSizeIterator<Item = u64>) {
        if hashes.len() * 2 > self.slots.len() {
            self.slots = vec![EMPTY; (hashes.len() * 2).next_power_of_two().max(FIRST_SLOTS)];
        } else {
            self.slots.fill(EMPTY);
        }
        hashes.enumerate().for_each(|(place, hash)| self.put(hash, place));
    }

    #[inline]
    fn put(&mut self, hash: u64, place: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = tag(hash) << PLACE_BITS | (place as u32 + 1);
    }
}

/// The part of a hash that a slot has.
fn tag(hash: u64) -> u32 {
    (hash >> (u64::BITS - (u32::BITS - PLACE_BITS))) as u32
}

fn place(slot: u32) -> usize {
    (slot & ((1 << PLACE_BITS) - 1)) as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_found_where_it_is_and_nothing_else() {
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut index, mut hashes) = (Index::default(), Vec::new());
        assert_eq!(index.find(1, |_| true), None);
        for n in 0..5_000 {
            hashes.push(hash(n));
            index.push(hash(n), hashes.iter().copied());
            assert_eq!(index.find(hash(n), |place| hashes[place] == hash(n)), Some(n as usize));
        }
        assert!((0..5_000).all(|n| index.find(hash(n), |place| hashes[place] == hash(n)) == Some(n as usize)));
        assert!((5_000..9_000).all(|n| index.find(hash(n), |place| hashes[place] == hash(n)).is_none()));
        hashes.drain(..4_900);
        index.rebuild(hashes.iter().copied());
        assert_eq!(index.find(hash(4_900), |place| hashes[place] == hash(4_900)), Some(0));
        assert_eq!(index.find(hash(7), |place| hashes[place] == hash(7)), None);
    }

    #[test]
    fn elements_with_one_hash_are_told_apart_by_the_caller() {
        let mut index = Index::default();
        (1..=100).for_each(|len| index.push(u64::MAX, std::iter::repeat_n(u64::MAX, len)));
        assert!((0..100).all(|n| index.find(u64::MAX, |place| place == n) == Some(n)));
        assert_eq!(index.find(u64::MAX, |_| false), None);
        assert_eq!(index.find(u64::MAX - (1 << 60), |_| true), None, "its tag is another one");
    }
}
