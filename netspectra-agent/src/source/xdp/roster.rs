//! Interface slots: which of the 127 numbers in a flow key means which interface.
//!
//! A number is given again only when no generation can hold flows with its old meaning: an interface that leaves keeps
//! its slot until the generation that was being filled then has ended.

use netspectra_common::abi::Obs;
use netspectra_common::model::Interface;
use std::sync::Arc;

/// The interfaces that have a slot.
#[derive(Debug, Default)]
pub(super) struct Roster {
    seats: Vec<Seat>,
    /// Interfaces beyond the last slot were watched in the generation that is being filled.
    crowded: bool,
}

#[derive(Debug)]
struct Seat {
    interface: Interface,
    left: bool,
}

impl Roster {
    /// Gives the lowest free slot to an interface; `None` when all are taken, and its packets count for
    /// [`Obs::MAX_IFACE`] then.
    pub(super) fn enter(&mut self, ifindex: u32, name: &str) -> Option<u8> {
        let slot = (0..Obs::MAX_IFACE).find(|slot| self.seats.iter().all(|s| s.interface.slot != *slot));
        match slot {
            Some(slot) => {
                let interface = Interface { slot, ifindex, name: Arc::from(name) };
                self.seats.push(Seat { interface, left: false });
            }
            None => self.crowded = true,
        }
        slot
    }

    /// An interface is not watched any more.
    pub(super) fn leave(&mut self, ifindex: u32) {
        for seat in self.seats.iter_mut().filter(|s| s.interface.ifindex == ifindex) {
            seat.left = true;
        }
    }

    /// The interfaces that have a slot and are watched.
    pub(super) fn seated(&self) -> Vec<Interface> {
        self.seats.iter().filter(|s| !s.left).map(|s| s.interface.clone()).collect()
    }

    /// Ends a generation: what its slots meant. Interfaces without a slot have to ask again.
    pub(super) fn turn(&mut self) -> Vec<Interface> {
        let mut all: Vec<Interface> = self.seats.iter().map(|s| s.interface.clone()).collect();
        if std::mem::take(&mut self.crowded) {
            all.push(Interface { slot: Obs::MAX_IFACE, ifindex: 0, name: Arc::from("other") });
        }
        all.sort_unstable_by_key(|i| i.slot);
        self.seats.retain(|s| !s.left);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[Interface]) -> Vec<(u8, &str)> {
        list.iter().map(|i| (i.slot, &*i.name)).collect()
    }

    #[test]
    fn a_slot_is_not_given_again_in_the_generation_in_which_it_was_left() {
        let mut roster = Roster::default();
        assert_eq!(roster.enter(10, "a"), Some(0));
        assert_eq!(roster.enter(11, "b"), Some(1));
        roster.leave(10);
        assert_eq!(roster.enter(12, "a"), Some(2), "the same name, back at once");
        assert_eq!(names(&roster.turn()), [(0, "a"), (1, "b"), (2, "a")], "all that the generation may hold");
        assert_eq!(roster.enter(13, "c"), Some(0));
        assert_eq!(names(&roster.turn()), [(0, "c"), (1, "b"), (2, "a")]);
    }

    #[test]
    fn what_finds_no_slot_counts_for_the_last_one_as_long_as_it_is_there() {
        let mut roster = Roster::default();
        for n in 0..127 {
            assert_eq!(roster.enter(n + 1, "x"), Some(n as u8));
        }
        assert_eq!(roster.enter(200, "y"), None);
        roster.leave(1);
        assert_eq!(names(&roster.turn()).last(), Some(&(127, "other")));
        assert_eq!(roster.enter(200, "y"), Some(0), "it asks again");
        assert_eq!(names(&roster.turn()).last(), Some(&(126, "x")));
    }
}
