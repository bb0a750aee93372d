//! A small open-addressed set of fingerprints: 26 bits of index, 6 bits of rank.
//!
//! The index begins with the 14 bits of the dense register, so that a fingerprint yields exactly what the dense form
//! would have kept. Memory: 4 bytes a slot, at most 4,096 slots.
use super::{PRECISION, REGISTERS};

/// Bits of the hash that a fingerprint keeps as its index.
const INDEX_BITS: u32 = 26;
/// More distinct indexes than this and the sketch becomes dense. A sparse sketch of this size takes about as much
/// memory as the registers.
pub(super) const LIMIT: usize = 2048;
/// All the bits after the index are zero.
const MAX_SPARSE_RANK: u32 = 64 - INDEX_BITS + 1;
const RANK_BITS: u32 = 6;
const FIRST_SLOTS: usize = 16;
/// No fingerprint is 0, because ranks begin at 1.
const EMPTY: u32 = 0;

/// Whether a fingerprint is now in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    Yes,
    /// It would be number [`LIMIT`] + 1; the set is unchanged.
    Full,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    /// Length 0 or a power of two; linear probing, at most three quarters in use.
    slots: Vec<u32>,
    len: usize,
}

impl Sparse {
    /// Distinct indexes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The fingerprints, in no particular order.
    pub(super) fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().copied().filter(|slot| *slot != EMPTY)
    }

    /// Adds a fingerprint; of two with one index the larger rank stays.
    pub(super) fn insert(&mut self, entry: u32) -> Inserted {
        if self.slots.is_empty() {
            self.slots = vec![EMPTY; FIRST_SLOTS];
        }
        let at = self.slot_of(entry);
        if self.slots[at] != EMPTY {
            self.slots[at] = self.slots[at].max(entry);
            return Inserted::Yes;
        }
        if self.len == LIMIT {
            return Inserted::Full;
        }
        self.slots[at] = entry;
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            self.grow();
        }
        Inserted::Yes
    }

    fn contains(&self, entry: u32) -> bool {
        !self.slots.is_empty() && self.slots[self.slot_of(entry)] == entry
    }

    /// The slot with the index of `entry`, or the empty one where it belongs. There always is an empty one.
    fn slot_of(&self, entry: u32) -> usize {
        let mask = self.slots.len() - 1;
        // The index is hash bits already: its low end is as good as another hash.
        let mut at = (entry >> RANK_BITS) as usize & mask;
        while self.slots[at] != EMPTY && index_of(self.slots[at]) != index_of(entry) {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let slots = vec![EMPTY; self.slots.len() * 2];
        for entry in std::mem::replace(&mut self.slots, slots) {
            if entry != EMPTY {
                let at = self.slot_of(entry);
                self.slots[at] = entry;
            }
        }
    }
}

/// Same fingerprints, wherever they lie.
impl PartialEq for Sparse {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.entries().all(|entry| other.contains(entry))
    }
}

/// The fingerprint of a hash.
pub(super) fn entry_of(hash: u64) -> u32 {
    let index = (hash >> (64 - INDEX_BITS)) as u32;
    let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() + 1;
    (index << RANK_BITS) | rank
}

/// Whether some hash has this fingerprint.
pub(super) fn is_entry(entry: u32) -> bool {
    (1..=MAX_SPARSE_RANK).contains(&(entry & ((1 << RANK_BITS) - 1)))
}

/// The 26-bit index of a fingerprint.
pub(super) fn index_of(entry: u32) -> u32 {
    entry >> RANK_BITS
}

/// The dense register of a fingerprint.
pub(super) fn register_of(entry: u32) -> usize {
    (entry >> (u32::BITS - PRECISION)) as usize & (REGISTERS - 1)
}

/// The rank that the dense register of a fingerprint gets.
pub(super) fn rank_of(entry: u32) -> u8 {
    const EXTRA: u32 = INDEX_BITS - PRECISION;
    let zeros = (entry << PRECISION).leading_zeros();
    // The rank counts from behind the 26-bit index, the register from behind the 14-bit one.
    let rank = if zeros < EXTRA { zeros + 1 } else { EXTRA + (entry & ((1 << RANK_BITS) - 1)) };
    rank as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{rank_of as dense_rank_of, register_of as dense_register_of};
    use super::*;

    proptest! {
        #[test]
        fn a_fingerprint_knows_its_dense_register_and_rank(hash: u64, shift in 0u32..64) {
            for hash in [hash, hash >> shift, hash << shift, (hash >> 50) << 50, (hash >> 38) << 38] {
                let entry = entry_of(hash);
                prop_assert!(is_entry(entry));
                prop_assert_eq!(register_of(entry), dense_register_of(hash));
                prop_assert_eq!(rank_of(entry), dense_rank_of(hash));
            }
        }
    }

    #[test]
    fn one_index_more_than_the_limit_is_refused_and_changes_nothing() {
        let entry = |index: u32| (index << RANK_BITS) | 1;
        let mut set = Sparse::default();
        for index in 0..LIMIT as u32 {
            assert_eq!(set.insert(entry(index)), Inserted::Yes);
        }
        let before = set.clone();
        assert_eq!(set.insert(entry(LIMIT as u32)), Inserted::Full);
        assert_eq!(set.insert(entry(5)), Inserted::Yes, "an index that is there needs no room");
        assert_eq!((set.len(), set == before), (LIMIT, true));
        assert_eq!(set.slots.len(), 4096);
    }

    #[test]
    fn the_larger_rank_of_one_index_stays() {
        let mut set = Sparse::default();
        for rank in [3, 9, 1] {
            set.insert((77 << RANK_BITS) | rank);
        }
        assert_eq!(set.entries().collect::<Vec<_>>(), [(77 << RANK_BITS) | 9]);
    }
}
