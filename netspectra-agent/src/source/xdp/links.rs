//! The interfaces of this network namespace, and how they lie above each other, as the kernel tells by netlink.
//!
//! `/sys/class/net` would say the same, but follows the mount instead of the namespace.

use super::netlink::{Netlink, attributes, number, text};
use serde::{Deserialize, Serialize};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind of a virtual device (`bridge`, `vlan`, `veth` …), empty for others.
    pub kind: String,
    /// `ARPHRD_*` number of the link layer.
    pub hw_type: u16,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// Index of the bridge, bond, team or VRF that it is a port of.
    pub master: Option<u32>,
    /// Index of the device it is made on (VLAN, macvlan …), or of the other end of a pair (veth), in this namespace.
    pub link: Option<u32>,
    /// The XDP program there is.
    pub xdp: Option<XdpPresent>,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpPresent {
    /// Its identifier; 0 where several are attached.
    pub program: u32,
    /// Attached in generic mode.
    pub generic: bool,
}

impl Link {
    /// Whether its frames begin with an Ethernet header.
    pub fn is_ethernet(&self) -> bool {
        matches!(self.hw_type, ARPHRD_ETHER | ARPHRD_LOOPBACK)
    }

    /// The same interface for a source that reads frames of every kind.
    pub(super) fn of_any_kind(mut self) -> Self {
        if !self.is_ethernet() {
            self.hw_type = ARPHRD_ETHER;
        }
        self
    }

    /// Whether it receives all that it sends.
    pub fn is_loopback(&self) -> bool {
        self.hw_type == ARPHRD_LOOPBACK
    }

    /// Whether [`Link::link`] is the other end of a pair.
    pub(super) fn is_pair(&self) -> bool {
        matches!(self.kind.as_str(), "veth" | "netkit")
    }
}

/// Whether a VLAN device is made on `link`, or on a bond, team or bridge that it is a port of: tags are expected there, and a
/// device that takes them off hides them from XDP.
pub(super) fn has_vlan(link: &Link, links: &[Link]) -> bool {
    let is_below_vlan = |index: u32| links.iter().any(|l| l.kind == "vlan" && l.link == Some(index));
    let master_of = |index: &u32| links.iter().find(|l| l.index == *index).and_then(|l| l.master);
    // Ports of ports of ports: the kernel allows eight levels.
    std::iter::successors(Some(link.index), master_of).take(9).any(is_below_vlan)
}

/// The interfaces of the network namespace of this thread, by index.
///
/// # Errors
/// The kernel's.
pub fn list_links() -> io::Result<Vec<Link>> {
    let mut request = vec![0u8; LINK_HEADER];
    request.extend(8u16.to_ne_bytes());
    request.extend(IFLA_EXT_MASK.to_ne_bytes());
    request.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut links = Netlink::open(0)?
        .dump(RTM_GETLINK, &request, |kind, body| (kind == RTM_NEWLINK).then(|| parse(body)).flatten())?;
    links.sort_unstable_by_key(|l| l.index);
    Ok(links)
}

/// Reads `struct ifinfomsg` and its attributes.
fn parse(body: &[u8]) -> Option<Link> {
    let [_, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *body.first_chunk::<LINK_HEADER>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let running = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    let mut link = Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        hw_type: u16::from_ne_bytes([t0, t1]),
        running: flags & running == running,
        ..Link::default()
    };
    let mut elsewhere = false;
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_LINK => link.link = number(value),
            IFLA_MASTER => link.master = number(value),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_LINKINFO => {
                link.kind =
                    attributes(value).find(|(k, _)| *k == IFLA_INFO_KIND).map(|(_, v)| text(v)).unwrap_or_default();
            }
            IFLA_XDP => link.xdp = xdp(value),
            _ => {}
        }
    }
    // An index in another namespace means nothing here; a device that is made on itself is made on nothing.
    link.link = link.link.filter(|on| !elsewhere && *on != 0 && *on != link.index);
    (!link.name.is_empty()).then_some(link)
}

fn xdp(value: &[u8]) -> Option<XdpPresent> {
    const GENERIC: u8 = 2;
    let mode = attributes(value).find(|(k, _)| *k == IFLA_XDP_ATTACHED).and_then(|(_, v)| v.first().copied())?;
    let program = attributes(value).find(|(k, _)| *k == IFLA_XDP_PROG_ID).and_then(|(_, v)| number(v));
    (mode != 0).then_some(XdpPresent { program: program.unwrap_or(0), generic: mode == GENERIC })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tags_are_expected_below_a_vlan_device_however_far() {
        let link =
            |index, kind: &str, master, on| Link { index, kind: kind.into(), master, link: on, ..Link::default() };
        // Two ports of a bond, a VLAN device on it; a port of a bridge without one; a loop that no kernel makes.
        let links = [
            link(1, "", Some(3), None),
            link(2, "", Some(3), None),
            link(3, "bond", None, None),
            link(4, "vlan", None, Some(3)),
            link(5, "", Some(6), None),
            link(6, "bridge", None, None),
            link(7, "", Some(8), None),
            link(8, "", Some(7), None),
        ];
        let expected = [true, true, true, false, false, false, false, false];
        assert_eq!(links.each_ref().map(|l| has_vlan(l, &links)), expected);
    }

    #[test]
    fn this_machine_has_a_loopback_of_ethernet_frames() {
        let links = list_links().unwrap();
        let lo = links.iter().find(|l| l.name == "lo").unwrap();
        assert!(lo.is_loopback() && lo.is_ethernet());
        assert_eq!((lo.master, lo.link), (None, None));
    }
}
