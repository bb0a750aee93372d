//! What the interfaces of this host are, and what the ladder would do with them. Attaches nothing.

use super::XdpError;
use super::clsact::filters;
use super::links::{Link, has_vlan, list_links};
use super::observe::choose;
use super::offload::{Offloads, offloads};
use aya::programs::{SchedClassifier, TcAttachType};

/// An interface, as `doctor` reports it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The interface.
    pub link: Link,
    /// What its device does to received packets.
    pub offloads: Offloads,
    /// Interfaces made on it, or that it is a port of.
    pub upper: Vec<String>,
    /// Interfaces that it is made on, or that are its ports.
    pub lower: Vec<String>,
    /// TC programs and filters that are there, ours included.
    pub tc: Vec<String>,
    /// A VLAN device is made on it, or on a bond or bridge that it is a port of.
    pub has_vlan: bool,
    /// Why `--iface '*'` leaves it out.
    pub left_out: Option<String>,
}

impl Survey {
    /// What mode `auto` tries first, and why it is not native XDP.
    pub fn plan(&self) -> (&'static str, Option<&'static str>) {
        if !self.link.is_ethernet() {
            ("nothing", Some("its frames are not Ethernet"))
        } else if self.link.is_loopback() {
            ("TC", Some("a loopback interface has no native XDP"))
        } else if self.link.xdp.is_some() {
            ("TC", Some("an XDP program is there already, and stays"))
        } else if self.has_vlan && self.offloads.rx_vlan {
            ("TC", Some("XDP would not see the VLAN tags, which the device takes off"))
        } else {
            ("native XDP, else TC", None)
        }
    }
}

/// Looks at every interface of the network namespace of this thread.
///
/// # Errors
/// When the kernel does not list them.
pub fn survey() -> Result<Vec<Survey>, XdpError> {
    let links = list_links().map_err(|source| XdpError::Netlink { what: "list interfaces", source })?;
    let choice = choose(&["*".to_owned()], &links)?;
    let names = |of: &dyn Fn(&Link) -> bool| links.iter().filter(|l| of(l)).map(|l| l.name.clone()).collect::<Vec<_>>();
    let on =
        |high: &Link, low: &Link| low.master == Some(high.index) || (high.link == Some(low.index) && !high.is_pair());
    let one = |link: &Link| Survey {
        offloads: offloads(&link.name),
        upper: names(&|l| on(l, link)),
        lower: names(&|l| on(link, l)),
        tc: tc_programs(link),
        has_vlan: has_vlan(link, &links),
        left_out: choice.left_out.iter().find(|(n, _)| *n == link.name).map(|(_, why)| why.clone()),
        link: link.clone(),
    };
    Ok(links.iter().map(one).collect())
}

/// What cannot be asked for (an old kernel, no privilege) is not listed.
fn tc_programs(link: &Link) -> Vec<String> {
    let mut all = filters(link.index).unwrap_or_default();
    for way in [TcAttachType::Ingress, TcAttachType::Egress] {
        if let Ok((_, programs)) = SchedClassifier::query_tcx(&link.name, way) {
            all.extend(programs.iter().map(|p| p.name_as_str().unwrap_or("?").to_owned()));
        }
    }
    all
}
