//! Which interfaces are watched, so that a packet counts once: the rule of observation points.
//!
//! A packet of a bond, team, bridge, VRF, VLAN or macvlan device passes the devices below as well, and a packet into one
//! end of a veth pair comes out of the other. Among what globs match, the lowest devices are watched and those above are
//! left out; of a pair the end with the lower index. A device that was named is watched, and what globs match above,
//! below or across it is left out. Two devices that were both named must not be above each other; both ends of a pair may
//! be named, and a packet between them then counts at each.

use super::XdpError;
use super::interfaces::glob;
use super::links::Link;
use std::collections::HashSet;

/// What is watched and what is not.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// By index.
    pub(super) watch: Vec<Link>,
    /// Names of interfaces that globs match, with the reasons why they are not watched.
    pub(super) left_out: Vec<(String, String)>,
}

/// Whether `pattern` is a name.
pub(super) fn is_name(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// Chooses among `links` what `patterns` name. A glob may match nothing.
///
/// # Errors
/// A name that does not exist, one whose frames are not Ethernet, two of which one is above the other.
pub(super) fn choose(patterns: &[String], links: &[Link]) -> Result<Choice, XdpError> {
    let mut named: Vec<&Link> = Vec::new();
    for pattern in patterns.iter().filter(|p| is_name(p)) {
        let Some(link) = links.iter().find(|l| l.name == *pattern) else {
            let present = links.iter().map(|l| format!("`{}`", l.name)).collect::<Vec<_>>().join(", ");
            return Err(XdpError::NoInterface { pattern: pattern.clone(), present });
        };
        if !link.is_ethernet() {
            return Err(XdpError::NotEthernet { iface: link.name.clone() });
        }
        if let Some((other, why)) = named.iter().find_map(|n| Some((n, stacked(link, n, links)?))) {
            return Err(XdpError::Overlap { iface: link.name.clone(), other: other.name.clone(), why });
        }
        if !named.iter().any(|n| n.index == link.index) {
            named.push(link);
        }
    }
    Ok(add_matches(named, patterns, links))
}

/// As [`choose`] while interfaces come and go: names that are not there are waited for, and where two have come to see
/// the same packets the one that was named later is left out.
pub(super) fn choose_present(patterns: &[String], links: &[Link]) -> Choice {
    let mut named: Vec<&Link> = Vec::new();
    let mut left_out = Vec::new();
    for link in patterns.iter().filter_map(|p| links.iter().find(|l| l.name == *p)) {
        if !link.is_ethernet() {
            left_out.push((link.name.clone(), NOT_ETHERNET.to_owned()));
        } else if let Some(why) = named.iter().find_map(|n| stacked(link, n, links)) {
            left_out.push((link.name.clone(), why));
        } else if !named.iter().any(|n| n.index == link.index) {
            named.push(link);
        }
    }
    let mut choice = add_matches(named, patterns, links);
    choice.left_out.extend(left_out);
    choice
}

const NOT_ETHERNET: &str = "its frames do not begin with an Ethernet header";

/// Adds what the globs match to `named`.
fn add_matches(named: Vec<&Link>, patterns: &[String], links: &[Link]) -> Choice {
    let globs: Vec<&String> = patterns.iter().filter(|p| !is_name(p)).collect();
    let matches = |l: &Link| globs.iter().any(|g| glob(g.as_bytes(), l.name.as_bytes()));
    let is_named = |l: &Link| named.iter().any(|n| n.index == l.index);
    let mut left_out = Vec::new();
    let mut candidates = Vec::new();
    for link in links.iter().filter(|l| matches(l) && !is_named(l)) {
        if !link.is_ethernet() {
            left_out.push((link.name.clone(), NOT_ETHERNET.to_owned()));
        } else if let Some(why) = named.iter().find_map(|n| overlap(link, n, links)) {
            left_out.push((link.name.clone(), why));
        } else {
            candidates.push(link);
        }
    }
    let mut watch: Vec<Link> = named.into_iter().cloned().collect();
    for link in &candidates {
        let lower: Vec<&str> = candidates.iter().filter(|c| feeds(c, link, links)).map(|c| c.name.as_str()).collect();
        let pair = candidates.iter().find(|c| c.index < link.index && are_pair(c, link));
        if !lower.is_empty() {
            left_out.push((link.name.clone(), format!("its packets are seen at `{}` below it", lower.join("`, `"))));
        } else if let Some(pair) = pair {
            left_out.push((
                link.name.clone(),
                format!("its packets are seen at `{}`, the other end of the pair", pair.name),
            ));
        } else {
            watch.push((*link).clone());
        }
    }
    watch.sort_unstable_by_key(|l| l.index);
    Choice { watch, left_out }
}

/// Why a packet may pass both, when it may.
fn overlap(link: &Link, other: &Link, links: &[Link]) -> Option<String> {
    let pair = || format!("its packets are seen at `{}`, across a pair", other.name);
    let across = feeds(link, other, links) || feeds(other, link, links) || are_pair(link, other);
    stacked(link, other, links).or_else(|| across.then(pair))
}

/// Whether `low`, or the other end of its pair, is below `high`.
fn feeds(low: &Link, high: &Link, links: &[Link]) -> bool {
    is_below(low, high, links) || links.iter().any(|l| are_pair(l, low) && is_below(l, high, links))
}

/// Why a packet passes both when one is above the other.
fn stacked(link: &Link, other: &Link, links: &[Link]) -> Option<String> {
    if is_below(other, link, links) {
        Some(format!("its packets are seen at `{}` below it", other.name))
    } else if is_below(link, other, links) {
        Some(format!("its packets are seen at `{}` above it", other.name))
    } else {
        None
    }
}

fn are_pair(a: &Link, b: &Link) -> bool {
    a.is_pair() && b.is_pair() && (a.link == Some(b.index) || b.link == Some(a.index))
}

/// Whether `low` is below `high`, directly or through others. Cost: linear in the links for each that is below.
fn is_below(low: &Link, high: &Link, links: &[Link]) -> bool {
    let mut seen = HashSet::from([high.index]);
    let mut open = vec![high.index];
    while let Some(at) = open.pop() {
        let on = links.iter().find(|l| l.index == at && !l.is_pair()).and_then(|l| l.link);
        let ports = links.iter().filter(|l| l.master == Some(at)).map(|l| l.index);
        for next in ports.chain(on) {
            if next == low.index && next != high.index {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ETHERNET: u16 = 1;

    /// `name`, kind, port of, made on; the index is the place in the list plus one.
    fn host(links: &[(&str, &str, &str, &str)]) -> Vec<Link> {
        let index = |name: &str| links.iter().position(|l| l.0 == name).map(|n| n as u32 + 1);
        let link = |(n, (name, kind, master, on)): (usize, &(&str, &str, &str, &str))| Link {
            index: n as u32 + 1,
            name: (*name).into(),
            kind: (*kind).into(),
            hw_type: if *kind == "tun" { 65534 } else { ETHERNET },
            master: index(master),
            link: index(on),
            ..Link::default()
        };
        links.iter().enumerate().map(link).collect()
    }

    fn patterns(list: &[&str]) -> Vec<String> {
        list.iter().map(|p| (*p).to_owned()).collect()
    }

    fn watched(list: &[&str], links: &[Link]) -> Vec<String> {
        choose(&patterns(list), links).unwrap().watch.into_iter().map(|l| l.name).collect()
    }

    /// Two NICs in a bond, VLANs on it, one of them a bridge's port beside a container's veth, whose other end is here.
    fn stacked() -> Vec<Link> {
        host(&[
            ("eth0", "", "bond0", ""),
            ("eth1", "", "bond0", ""),
            ("bond0", "bond", "", ""),
            ("bond0.5", "vlan", "br0", "bond0"),
            ("bond0.6", "vlan", "", "bond0"),
            ("br0", "bridge", "", ""),
            ("veth0", "veth", "br0", "veth1"),
            ("veth1", "veth", "", "veth0"),
            ("mac0", "macvlan", "", "bond0.6"),
            ("tun0", "tun", "", ""),
        ])
    }

    #[test]
    fn globs_choose_the_lowest_devices_and_one_end_of_a_pair() {
        let links = stacked();
        assert_eq!(watched(&["*"], &links), ["eth0", "eth1", "veth0"]);
        assert_eq!(watched(&["b*", "mac?"], &links), ["bond0"]);
        assert_eq!(watched(&["br*", "mac*"], &links), ["br0", "mac0"]);
        assert_eq!(watched(&["nothing*"], &links), [""; 0]);
    }

    #[test]
    fn what_is_left_out_says_why() {
        let choice = choose(&patterns(&["*"]), &stacked()).unwrap();
        let why = |name: &str| choice.left_out.iter().find(|(n, _)| n == name).unwrap().1.as_str();
        assert_eq!(why("bond0"), "its packets are seen at `eth0`, `eth1` below it");
        assert_eq!(why("br0"), "its packets are seen at `eth0`, `eth1`, `bond0`, `bond0.5`, `veth0`, `veth1` below it");
        assert_eq!(why("veth1"), "its packets are seen at `veth0`, the other end of the pair");
        assert_eq!(why("tun0"), NOT_ETHERNET);
        assert_eq!(choice.left_out.len() + choice.watch.len(), 10, "each is in one of the lists");
    }

    #[test]
    fn a_name_wins_over_globs_on_all_sides_of_it() {
        let links = stacked();
        assert_eq!(watched(&["bond0", "*"], &links), ["bond0", "veth0"]);
        // Another VLAN of the same bond has other packets.
        assert_eq!(watched(&["*", "br0"], &links), ["bond0.6", "br0"]);
        assert_eq!(watched(&["br*", "veth1*"], &links), ["veth1"], "it feeds the bridge across its other end");
        assert_eq!(watched(&["veth1", "veth*"], &links), ["veth1"]);
        assert_eq!(watched(&["eth0", "eth0", "eth?"], &links), ["eth0", "eth1"]);
    }

    #[test]
    fn two_names_of_the_same_packets_are_refused() {
        let links = stacked();
        for (a, b) in [("eth0", "bond0"), ("mac0", "eth1"), ("br0", "veth0"), ("br0", "bond0.5")] {
            let error = choose(&patterns(&[a, b]), &links).unwrap_err().to_string();
            assert!(error.contains(&format!("`{a}`")) && error.contains(&format!("`{b}`")), "{error}");
            let kept = choose_present(&patterns(&[a, b]), &links);
            assert_eq!(kept.watch.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), [a]);
            assert_eq!(kept.left_out.len(), 1);
        }
        assert_eq!(watched(&["bond0.5", "mac0", "veth1"], &links), ["bond0.5", "veth1", "mac0"]);
        assert_eq!(watched(&["veth0", "veth1"], &links), ["veth0", "veth1"], "both ends of a pair, by name");
    }

    #[test]
    fn names_must_exist_and_be_ethernet_at_the_start_and_are_waited_for_later() {
        let links = stacked();
        assert!(matches!(choose(&patterns(&["eth9"]), &links), Err(XdpError::NoInterface { .. })));
        assert!(matches!(choose(&patterns(&["tun0"]), &links), Err(XdpError::NotEthernet { .. })));
        let later = choose_present(&patterns(&["eth9", "tun0", "eth1"]), &links);
        assert_eq!(later.watch.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["eth1"]);
    }

    #[test]
    fn a_ring_of_devices_ends() {
        let links = host(&[("a", "vlan", "b", "b"), ("b", "vlan", "a", "a")]);
        assert_eq!(watched(&["*"], &links), [""; 0]);
    }
}
