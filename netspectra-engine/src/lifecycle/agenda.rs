//! Flows in order of a time, to the second.
//!
//! A list of slots for each second. Which of its entries counts is said by the flow itself, which keeps the tick under which
//! it is [`Listed`]: moving a flow writes another entry, ending it writes none, and what does not count any more is dropped
//! when its second comes, or when there is more of it than of what does.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The highest tick: 34,000 years.
const MAX_TICK: u64 = (1 << 40) - 2;

/// The tick under which a slot is in an agenda, if it is. Five bytes, because every flow has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed([u8; 5]);

impl Listed {
    pub(super) const NOT: Self = Self([u8::MAX; 5]);

    /// Under `tick`, at most [`MAX_TICK`].
    const fn under(tick: u64) -> Self {
        let [a, b, c, d, e, ..] = tick.to_le_bytes();
        Self([a, b, c, d, e])
    }
}

/// Slots ordered by `(owner, tick)`; an owner is a clock of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Agenda {
    lists: BTreeMap<(u32, u64), Vec<u32>>,
    /// Entries in all lists, also those that do not count any more.
    entries: usize,
}

impl Agenda {
    /// Entries in all lists, also those that do not count any more.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Puts `slot`, which is `listed`, under `tick` of `owner` instead.
    pub(super) fn put(&mut self, listed: &mut Listed, slot: u32, owner: u32, tick: u64) {
        let tick = tick.min(MAX_TICK);
        let under = Listed::under(tick);
        if *listed != under {
            *listed = under;
            self.lists.entry((owner, tick)).or_default().push(slot);
            self.entries += 1;
        }
    }

    /// Takes what `owner` has under ticks up to `tick`, in their order: slots, and what each is listed under if it counts.
    pub(super) fn take_due(&mut self, owner: u32, tick: u64) -> impl Iterator<Item = (Listed, u32)> + use<> {
        let mut due = Vec::new();
        while let Some((&key, _)) = self.lists.range((owner, 0)..=(owner, tick)).next() {
            let list = self.lists.remove(&key).unwrap_or_default();
            self.entries -= list.len();
            due.push((Listed::under(key.1), list));
        }
        due.into_iter().flat_map(|(under, list)| list.into_iter().map(move |slot| (under, slot)))
    }

    /// Drops the entries of which `counts` says no: it is asked with owner, what the list is under, and slot.
    pub(super) fn retain(&mut self, counts: impl Fn(u32, Listed, u32) -> bool) {
        self.lists.retain(|(owner, tick), list| {
            list.retain(|slot| counts(*owner, Listed::under(*tick), *slot));
            list.shrink_to_fit();
            !list.is_empty()
        });
        self.entries = self.lists.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agenda beside what its slots say.
    #[derive(Default)]
    struct Bench(Agenda, BTreeMap<u32, Listed>);

    impl Bench {
        fn put(&mut self, slot: u32, owner: u32, tick: u64) {
            self.0.put(self.1.entry(slot).or_insert(Listed::NOT), slot, owner, tick);
        }

        /// The slots that are due and count.
        fn due(&mut self, owner: u32, tick: u64) -> Vec<u32> {
            let due = self.0.take_due(owner, tick);
            due.filter(|(under, slot)| self.1.get(slot) == Some(under)).map(|(_, slot)| slot).collect()
        }
    }

    #[test]
    fn due_slots_come_out_in_order_of_their_ticks_and_only_where_they_are_listed() {
        let mut bench = Bench::default();
        for (slot, tick) in [(0, 5), (1, 3), (2, 5), (3, 9), (4, 3)] {
            bench.put(slot, 1, tick);
        }
        bench.put(0, 1, 5);
        bench.put(5, 2, 1);
        bench.put(1, 1, 8);
        bench.1.remove(&2);
        assert_eq!(bench.0.entries(), 7, "what is listed there already is not listed again");
        assert_eq!(bench.due(1, 8), [4, 0, 1]);
        assert!(bench.due(1, 8).is_empty(), "another owner's ticks are not due");
        assert_eq!((bench.due(2, 8), bench.due(1, u64::MAX)), (vec![5], vec![3]));
        assert_eq!((bench.0.entries(), bench.0.lists.len()), (0, 0));
    }

    #[test]
    fn what_does_not_count_is_dropped_when_it_is_looked_for() {
        let mut bench = Bench::default();
        for tick in 0..100 {
            (0..10).for_each(|slot| bench.put(slot, 0, tick));
        }
        assert_eq!(bench.0.entries(), 1000);
        let Bench(agenda, listed) = &mut bench;
        agenda.retain(|_, under, slot| listed.get(&slot) == Some(&under));
        assert_eq!((agenda.entries(), agenda.lists.len()), (10, 1));
        assert_eq!(bench.due(0, 99), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_time_that_never_comes_is_the_last_one() {
        let mut bench = Bench::default();
        bench.put(0, 0, u64::MAX);
        bench.put(1, 0, MAX_TICK);
        assert!(bench.due(0, MAX_TICK - 1).is_empty());
        assert_eq!(bench.due(0, u64::MAX), [0, 1]);
        assert_ne!(Listed::under(MAX_TICK), Listed::NOT);
    }
}
