//! Flows in order of a time, to the second, with every operation on one flow O(log seconds).
//!
//! One doubly linked list a second, threaded through an array of links: a flow is in at most one list, moving it
//! allocates nothing, and memory follows the flows, not the timers that were set.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Link {
    owner: u32,
    before: u32,
    after: u32,
    tick: u64,
    listed: bool,
}

const UNLISTED: Link = Link { owner: 0, before: NONE, after: NONE, tick: 0, listed: false };

/// Slots ordered by `(owner, tick)`; an owner is a clock of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Agenda {
    links: Vec<Link>,
    heads: BTreeMap<(u32, u64), u32>,
}

impl Agenda {
    /// Puts `slot` under `tick` of `owner`, taking it away from where it was.
    pub(crate) fn put(&mut self, slot: u32, owner: u32, tick: u64) {
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, UNLISTED);
        }
        let link = self.links[at];
        if link.listed && link.owner == owner && link.tick == tick {
            return;
        }
        self.remove(slot);
        let head = self.heads.insert((owner, tick), slot).unwrap_or(NONE);
        if head != NONE {
            self.links[head as usize].before = slot;
        }
        self.links[at] = Link { owner, before: NONE, after: head, tick, listed: true };
    }

    /// Takes `slot` out; nothing happens when it is in no list.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get(slot as usize).copied().filter(|l| l.listed) else { return };
        self.links[slot as usize] = UNLISTED;
        if link.after != NONE {
            self.links[link.after as usize].before = link.before;
        }
        if link.before != NONE {
            self.links[link.before as usize].after = link.after;
        } else if link.after != NONE {
            self.heads.insert((link.owner, link.tick), link.after);
        } else {
            self.heads.remove(&(link.owner, link.tick));
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
            while slot != NONE {
                let after = self.links[slot as usize].after;
                self.links[slot as usize] = UNLISTED;
                due.push(slot);
                slot = after;
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
