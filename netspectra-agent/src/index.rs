//! Places by hash: 8 bytes a slot, so that the index of a usual generation stays in the first-level cache.
//!
//! The keys are where the places point: whoever looks up says whether a place is the one. Open addressing with linear
//! probing, at most half full.

/// Slots at least.
const FEWEST: usize = 64;
/// A table that has this many times the slots that it needs is made anew.
const TOO_LARGE: usize = 8;

/// A slot: free when `place` is 0.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Of the hash; its low bits are the slot where the search begins.
    tag: u32,
    /// The place and one.
    place: u32,
}

/// Places by hash.
#[derive(Debug)]
pub(crate) struct Index {
    /// A power of two.
    slots: Vec<Slot>,
    used: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); FEWEST], used: 0 }
    }
}

impl Index {
    /// The place with this hash for which `is` holds.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let tag = hash as u32;
        let mask = self.slots.len() - 1;
        let mut at = tag as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.place == 0 {
                return None;
            }
            let place = slot.place as usize - 1;
            if slot.tag == tag && is(place) {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a place that is not there, below `u32::MAX`.
    pub(crate) fn insert(&mut self, hash: u64, place: usize) {
        if (self.used + 1) * 2 > self.slots.len() {
            let larger = vec![Slot::default(); self.slots.len() * 2];
            let before = std::mem::replace(&mut self.slots, larger);
            before.into_iter().filter(|slot| slot.place != 0).for_each(|slot| self.put(slot));
        }
        self.put(Slot { tag: hash as u32, place: place as u32 + 1 });
        self.used += 1;
    }

    /// Takes everything out. As much again is expected: what is far more than that goes back.
    pub(crate) fn clear(&mut self) {
        let enough = (self.used * 2).next_power_of_two().max(FEWEST);
        if self.slots.len() > enough * TOO_LARGE {
            self.slots = vec![Slot::default(); enough];
        } else {
            self.slots.fill(Slot::default());
        }
        self.used = 0;
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.tag as usize & mask;
        while self.slots[at].place != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn what_was_put_in_is_found_also_when_hashes_collide_and_the_table_grows() {
        let mut index = Index::default();
        let mut known = HashMap::new();
        for place in 0..10_000usize {
            // Few hashes, so that many places share one.
            let hash = (place as u64 * 0x9e37_79b9) & 0x3_0000_0fff;
            index.insert(hash, place);
            known.insert(place, hash);
        }
        for (place, hash) in &known {
            assert_eq!(index.find(*hash, |at| at == *place), Some(*place));
            assert_eq!(index.find(hash ^ 0x8000_0000, |_| true), None);
        }
        assert!(index.slots.len() <= 4 * known.len());
        index.clear();
        assert_eq!(index.find(known[&7], |_| true), None);
        index.insert(1, 0);
        index.clear();
        assert_eq!(index.slots.len(), FEWEST, "what is not needed any more goes back");
    }
}
