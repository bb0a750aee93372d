//! Flows in order of a time, to the second, with every operation on one flow O(log seconds).
//!
//! One doubly linked list a second, threaded through an array of links: a flow is in at most one list, moving it
//! allocates nothing, and memory follows the flows, not the timers that were set.

use super::blocks::Blocks;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const NONE: u32 = u32::MAX;

/// The highest tick: 34,000 years.
const MAX_TICK: u64 = (1 << 40) - 1;

/// 20 bytes, because every flow has two.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Link {
    owner: u32,
    before: u32,
    after: u32,
    tick_low: u32,
    tick_high: u8,
    listed: bool,
}

const _: () = assert!(size_of::<Link>() == 20);

const UNLISTED: Link = Link { owner: 0, before: NONE, after: NONE, tick_low: 0, tick_high: 0, listed: false };

impl Link {
    /// The first one of the list of `tick`, at most [`MAX_TICK`].
    fn first(owner: u32, tick: u64, after: u32) -> Self {
        Self { owner, before: NONE, after, tick_low: tick as u32, tick_high: (tick >> 32) as u8, listed: true }
    }

    fn tick(&self) -> u64 {
        u64::from(self.tick_low) | u64::from(self.tick_high) << 32
    }
}

/// Slots ordered by `(owner, tick)`; an owner is a clock of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Agenda {
    links: Blocks<Link>,
    heads: BTreeMap<(u32, u64), u32>,
}

impl Agenda {
    /// Puts `slot` under `tick` of `owner`, taking it away from where it was.
    pub(crate) fn put(&mut self, slot: u32, owner: u32, tick: u64) {
        let tick = tick.min(MAX_TICK);
        while slot as usize >= self.links.len() {
            self.links.push(UNLISTED);
        }
        if self.links.get(slot as usize).is_some_and(|l| l.listed && l.owner == owner && l.tick() == tick) {
            return;
        }
        self.remove(slot);
        let head = self.heads.insert((owner, tick), slot).unwrap_or(NONE);
        if let Some(head) = self.links.get_mut(head as usize) {
            head.before = slot;
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = Link::first(owner, tick, head);
        }
    }

    /// Takes `slot` out; nothing happens when it is in no list.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(place) = self.links.get_mut(slot as usize).filter(|l| l.listed) else { return };
        let link = std::mem::replace(place, UNLISTED);
        // `NONE` is no place.
        if let Some(after) = self.links.get_mut(link.after as usize) {
            after.before = link.before;
        }
        if let Some(before) = self.links.get_mut(link.before as usize) {
            before.after = link.after;
        } else if link.after != NONE {
            self.heads.insert((link.owner, link.tick()), link.after);
        } else {
            self.heads.remove(&(link.owner, link.tick()));
        }
    }

    /// The slot whose tick is the earliest of `owner`, with that tick.
    pub(crate) fn first(&self, owner: u32) -> Option<(u64, u32)> {
        self.heads.range((owner, 0)..=(owner, u64::MAX)).next().map(|((_, tick), slot)| (*tick, *slot))
    }

    /// Moves all slots of `owner` whose tick is at most `tick` into `due`; they are in no list afterwards.
    pub(crate) fn take_due(&mut self, owner: u32, tick: u64, due: &mut Vec<u32>) {
        while let Some((&(o, t), &head)) = self.heads.range((owner, 0)..=(owner, tick)).next() {
            self.heads.remove(&(o, t));
            let mut slot = head;
            while let Some(link) = self.links.get_mut(slot as usize) {
                due.push(slot);
                slot = std::mem::replace(link, UNLISTED).after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_slots_come_out_once_and_in_order_of_their_ticks() {
        let mut agenda = Agenda::default();
        for (slot, tick) in [(0, 5), (1, 3), (2, 5), (3, 9), (4, 3)] {
            agenda.put(slot, 1, tick);
        }
        agenda.put(5, 2, 1);
        agenda.put(1, 1, 8);
        agenda.remove(2);
        agenda.remove(77);
        assert_eq!(agenda.first(1), Some((3, 4)));
        let mut due = Vec::new();
        agenda.take_due(1, 8, &mut due);
        assert_eq!(due, [4, 0, 1]);
        due.clear();
        agenda.take_due(1, 8, &mut due);
        assert!(due.is_empty(), "another owner's ticks are not due");
        assert_eq!(agenda.first(2), Some((1, 5)));
        assert_eq!(agenda.first(1), Some((9, 3)));
    }

    #[test]
    fn links_survive_removal_at_every_place_of_a_list() {
        for gone in 0..4 {
            let mut agenda = Agenda::default();
            (0..4).for_each(|slot| agenda.put(slot, 0, 7));
            agenda.remove(gone);
            let mut due = Vec::new();
            agenda.take_due(0, 7, &mut due);
            due.sort_unstable();
            assert_eq!(due, (0..4).filter(|s| *s != gone).collect::<Vec<_>>());
            assert!(agenda.heads.is_empty());
        }
    }
}
