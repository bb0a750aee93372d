//! Follows the interfaces: attaches to those that come, lets go of those that leave.
//!
//! Notices of the kernel only say that something changed; what there is is listed then, so that a lost notice changes
//! nothing. Everything happens between two generations, on the thread that reads them.

use super::attach::Attached;
use super::hand::Hand;
use super::links::{Link, has_vlan, list_links};
use super::loader::Maps;
use super::netlink::Netlink;
use super::observe::{Choice, choose, choose_present};
use super::roster::Roster;
use super::{XdpConfig, XdpError};
use aya::maps::{Array, HashMap, MapData};
use netspectra_common::abi::maps;
use netspectra_common::model::Interface;
use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};

/// `RTMGRP_LINK`.
const LINK_GROUP: u32 = 1;
/// Interface indexes below it are in the array, the others in the hash.
const ARRAY: u32 = 65_536;

/// The hooks on interfaces, and their slots.
pub(super) struct Watch {
    config: XdpConfig,
    hooks: Vec<Watched>,
    /// Those that have come: with a slot, without hooks.
    pending: Vec<Pending>,
    /// What slots mean has changed.
    changed: bool,
    roster: Roster,
    slots: Array<MapData, u32>,
    slots_high: HashMap<MapData, u32, u32>,
    notices: Netlink,
    /// The list could not be read: read it again.
    again: bool,
    /// Interfaces that globs match and that cannot be attached to, by index, until they go.
    refused: HashSet<u32>,
    /// What was left out when it was last said.
    left_out: Vec<(String, String)>,
}

/// An interface with hooks.
struct Watched {
    index: u32,
    has_slot: bool,
    attached: Attached,
}

/// An interface that is to be attached to.
struct Pending {
    link: Link,
    has_slot: bool,
    has_vlan: bool,
}

impl Watch {
    /// Gives slots to what the configuration names, where slots mean `left` already. [`Watch::begin`] attaches: what depends
    /// on slots comes in between.
    ///
    /// # Errors
    /// As for [`super::XdpSource::open`].
    pub(super) fn plan(maps: &mut Maps, config: &XdpConfig, left: Vec<Interface>) -> Result<Self, XdpError> {
        let netlink = |source| XdpError::Netlink { what: "list interfaces", source };
        // Before the list, so that nothing that changes afterwards goes unnoticed.
        let notices = Netlink::open(LINK_GROUP).map_err(netlink)?;
        let links = list_links().map_err(netlink)?;
        let choice = choose(&config.interfaces, &links)?;
        let mut watch = Self {
            config: config.clone(),
            hooks: Vec::new(),
            pending: Vec::new(),
            changed: false,
            roster: Roster::restore(left),
            slots: maps.take(maps::IFACES)?,
            slots_high: maps.take(maps::IFACES_HIGH)?,
            notices,
            again: false,
            refused: HashSet::new(),
            left_out: Vec::new(),
        };
        for link in &choice.watch {
            watch.admit(link, &links);
        }
        watch.say_left_out(choice);
        Ok(watch)
    }

    /// Attaches to what was planned.
    ///
    /// # Errors
    /// As for [`super::XdpSource::open`]. An interface that a glob matches and that cannot be attached to is an error only when
    /// there is no other.
    pub(super) fn begin(&mut self, hand: &mut Hand) -> Result<(), XdpError> {
        // Hooks that were left where nothing is asked for any more go.
        hand.retain(self.pending.iter().map(|p| p.link.index).collect())?;
        let mut first = None;
        for pending in std::mem::take(&mut self.pending) {
            let name = pending.link.name.clone();
            match self.attach(hand, pending) {
                Ok(()) => {}
                Err(e) if self.config.interfaces.contains(&name) || e.ends_the_start() => {
                    return Err(e);
                }
                Err(e) => first = first.or(Some(e)),
            }
        }
        match first {
            Some(e) if self.hooks.is_empty() => return Err(e),
            _ if self.hooks.is_empty() => {
                tracing::warn!(patterns = %self.config.interfaces.join(","), "no interface matches yet: waiting for one");
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends a generation: follows what has changed. What has come is attached to by
    /// [`Watch::attach_pending`].
    pub(super) fn turn(&mut self, hand: &mut Hand) {
        self.roster.turn();
        self.seat_waiting();
        if self.notices.had_notices() || self.again {
            match list_links() {
                Ok(links) => self.follow(hand, &links),
                Err(error) => {
                    tracing::warn!(%error, "the interfaces could not be listed");
                    self.again = true;
                }
            }
        }
    }

    /// Whether slots have another meaning than when this was asked last.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What slots mean in the generation that is being filled.
    pub(super) fn slots(&self) -> Vec<Interface> {
        self.roster.all()
    }

    /// The interfaces that have a slot.
    pub(super) fn seated(&self) -> Vec<Interface> {
        self.roster.seated()
    }

    /// Attaches to those that have come.
    pub(super) fn attach_pending(&mut self, hand: &mut Hand) {
        for pending in std::mem::take(&mut self.pending) {
            if self.attach(hand, pending).is_ok()
                && let Some(new) = self.hooks.last()
            {
                let a = &new.attached;
                let (ingress, egress) = (a.ingress.name(), a.egress.name());
                tracing::info!(iface = %a.iface, ingress, egress, note = a.note, "watching");
            }
        }
    }

    /// Where and how the programs are attached.
    pub(super) fn attached(&self) -> Vec<Attached> {
        self.hooks.iter().map(|w| w.attached.clone()).collect()
    }

    /// Readable when interfaces have changed.
    pub(super) fn notices(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }

    fn follow(&mut self, hand: &mut Hand, links: &[Link]) {
        self.again = false;
        let choice = choose_present(&self.config.interfaces, links);
        self.let_go(hand, &choice, links);
        self.refused.retain(|index| links.iter().any(|l| l.index == *index));
        for link in &choice.watch {
            match self.hooks.iter().position(|w| w.index == link.index) {
                Some(at) if self.hooks[at].attached.iface != link.name => self.rename(at, link),
                Some(_) => {}
                None if self.refused.contains(&link.index) => {}
                None => self.admit(link, links),
            }
        }
        self.say_left_out(choice);
    }

    /// Lets go of what is not chosen any more.
    fn let_go(&mut self, hand: &mut Hand, choice: &Choice, links: &[Link]) {
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.hooks).into_iter().partition(|w| choice.watch.iter().any(|l| l.index == w.index));
        self.hooks = kept;
        for Watched { index, attached, .. } in gone {
            tracing::info!(iface = %attached.iface, "not watched any more");
            hand.let_go(index, links.iter().any(|l| l.index == index));
            self.roster.leave(index);
            self.point(index, None);
            self.changed = true;
        }
    }

    fn rename(&mut self, at: usize, link: &Link) {
        let old = std::mem::replace(&mut self.hooks[at].attached.iface, link.name.clone());
        tracing::info!(iface = old, now = %link.name, "renamed");
        self.roster.leave(link.index);
        self.hooks[at].has_slot = self.seat(link.index, &link.name);
    }

    /// Gives slots that became free to interfaces that found none.
    fn seat_waiting(&mut self) {
        for at in 0..self.hooks.len() {
            if !self.hooks[at].has_slot {
                let (index, name) = (self.hooks[at].index, self.hooks[at].attached.iface.clone());
                self.hooks[at].has_slot = self.seat(index, &name);
            }
        }
    }

    /// Gives `link` a slot.
    fn admit(&mut self, link: &Link, links: &[Link]) {
        let has_slot = self.seat(link.index, &link.name);
        if !has_slot {
            tracing::warn!(iface = %link.name, "no interface slot is free: its packets count for the interface `other`");
        }
        let has_vlan = has_vlan(link, links);
        self.pending.push(Pending { link: link.clone(), has_slot, has_vlan });
    }

    fn attach(&mut self, hand: &mut Hand, pending: Pending) -> Result<(), XdpError> {
        let Pending { link, has_slot, has_vlan } = pending;
        match hand.attach(&link, has_vlan) {
            Ok(attached) => {
                self.hooks.push(Watched { index: link.index, has_slot, attached });
                Ok(())
            }
            Err(error) => {
                if !self.config.interfaces.contains(&link.name) {
                    tracing::warn!(%error, "an interface is not watched");
                }
                self.roster.leave(link.index);
                self.point(link.index, None);
                self.refused.insert(link.index);
                Err(error)
            }
        }
    }

    /// Whether a slot was free.
    fn seat(&mut self, index: u32, name: &str) -> bool {
        let slot = self.roster.enter(index, name);
        self.changed |= slot.is_some();
        self.point(index, slot);
        slot.is_some()
    }

    /// Tells the programs the slot of an interface.
    fn point(&mut self, ifindex: u32, slot: Option<u8>) {
        let value = slot.map_or(0, |s| u32::from(s) + 1);
        let set = if ifindex < ARRAY {
            self.slots.set(ifindex, value, 0)
        } else if slot.is_some() {
            self.slots_high.insert(ifindex, value, 0)
        } else {
            // It is not there when the interface had no slot.
            self.slots_high.remove(&ifindex).or(Ok(()))
        };
        if let Err(error) = set {
            tracing::warn!(ifindex, %error, "an interface has no slot: its packets count for the interface `other`");
        }
    }

    fn say_left_out(&mut self, choice: Choice) {
        for (iface, why) in choice.left_out.iter().filter(|one| !self.left_out.contains(one)) {
            tracing::info!(iface, why, "not watched");
        }
        self.left_out = choice.left_out;
    }
}
