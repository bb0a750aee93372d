//! Checks of the interfaces: what each is, and what would be done with it.

use super::{Check, Status};
use netspectra_agent::source::xdp::{Survey, XdpSource, default_route_interface, survey};
use serde_json::json;

/// One check for each interface, and one for the default route; `probe` tries native XDP.
pub(super) fn checks(mut probe: Option<&mut XdpSource>) -> Vec<Check> {
    let mut all: Vec<Check> = match survey() {
        Ok(list) => list.iter().map(|s| interface(s, probe.as_deref_mut())).collect(),
        Err(e) => {
            vec![Check::with(Status::Bad, "interfaces", e.to_string(), "run outside of a sandbox without netlink")]
        }
    };
    all.push(default_route());
    all
}

fn interface(s: &Survey, probe: Option<&mut XdpSource>) -> Check {
    let (plan, why) = s.plan();
    let native = probe.filter(|_| plan.starts_with("native")).map(|source| source.probe_native(&s.link));
    let native = native.map(|r| r.map_err(|e| e.to_string()));
    let mut found = vec![
        if s.offloads.driver.is_empty() {
            "no driver name".to_owned()
        } else {
            format!("driver {}", s.offloads.driver)
        },
        if s.link.running { "running".into() } else { "down".into() },
        format!("MTU {}", s.link.mtu),
    ];
    for (is, what) in [
        (s.offloads.rx_vlan, "rx-vlan-offload"),
        (s.offloads.lro, "LRO"),
        (s.offloads.gro, "GRO"),
        (s.has_vlan, "VLAN devices"),
    ] {
        if is {
            found.push(what.into());
        }
    }
    for (what, names) in [("below", &s.upper), ("above", &s.lower), ("TC programs", &s.tc)] {
        if !names.is_empty() {
            found.push(format!("{what} {}", names.join(", ")));
        }
    }
    if let Some(xdp) = s.link.xdp {
        found.push(format!("{}XDP program {}", if xdp.generic { "generic " } else { "" }, xdp.program));
    }
    found.push(match (&native, why) {
        (Some(Ok(())), _) => "native XDP tried: works".into(),
        (Some(Err(e)), _) => format!("native XDP tried: {e}; ingress at TC"),
        (None, Some(why)) => format!("ingress at {plan}: {why}"),
        (None, None) => format!("ingress at {plan}"),
    });
    let name = format!("interface {}", s.link.name);
    let mut check = match remedy(s) {
        Some(remedy) => Check::with(Status::Note, name, found.join("; "), remedy),
        None => Check::good(name, found.join("; ")),
    };
    check.details = json!({
        "interface": s.link.name, "index": s.link.index, "kind": s.link.kind, "driver": s.offloads.driver,
        "running": s.link.running, "mtu": s.link.mtu, "ethernet": s.link.is_ethernet(),
        "rx_vlan_offload": s.offloads.rx_vlan, "lro": s.offloads.lro, "gro": s.offloads.gro,
        "xdp_program": s.link.xdp.map(|x| x.program), "tc_programs": s.tc, "upper": s.upper, "lower": s.lower,
        "ingress": plan, "ingress_why": why, "left_out_of_globs": s.left_out,
        "native_xdp": native.as_ref().map(|r| r.is_ok()),
    });
    check
}

/// The most pressing limit, with what to do about it.
fn remedy(s: &Survey) -> Option<String> {
    // A page less headroom and the end's bookkeeping is what most drivers accept without fragments.
    const XDP_MTU: u32 = 3498;
    let iface = &s.link.name;
    if !s.link.is_ethernet() {
        Some("cannot be watched: watch the interface that carries its packets".into())
    } else if s.offloads.lro {
        Some(format!("merged packets count as one: `ethtool -K {iface} lro off`"))
    } else if s.link.xdp.is_some() {
        Some(format!("to have native XDP remove the other program: `ip link set dev {iface} xdp off`"))
    } else if s.has_vlan && s.offloads.rx_vlan {
        Some(format!("to have native XDP leave the tags in the packets: `ethtool -K {iface} rxvlan off`"))
    } else if s.link.mtu > XDP_MTU && !s.link.is_loopback() {
        Some("most drivers refuse native XDP at this MTU: ingress is seen at TC then, with the same counts".into())
    } else {
        s.left_out.as_ref().map(|why| format!("globs leave it out, names do not: {why}"))
    }
}

fn default_route() -> Check {
    match default_route_interface() {
        Some(iface) => Check::good("default route", format!("`{iface}`: what `netspectra run` watches unless told")),
        None => Check::with(Status::Note, "default route", "none", "name the interfaces with --iface"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use netspectra_agent::source::xdp::{Link, Offloads, XdpPresent};

    fn plain() -> Survey {
        Survey {
            link: Link { name: "eth0".into(), index: 2, hw_type: 1, mtu: 1500, running: true, ..Link::default() },
            offloads: Offloads { driver: "ixgbe".into(), ..Offloads::default() },
            upper: Vec::new(),
            lower: Vec::new(),
            tc: Vec::new(),
            has_vlan: false,
            left_out: None,
        }
    }

    #[test]
    fn an_ordinary_nic_gets_native_xdp_and_needs_nothing() {
        let check = interface(&plain(), None);
        assert_eq!(check.status, Status::Good);
        assert_eq!(check.found, "driver ixgbe; running; MTU 1500; ingress at native XDP, else TC");
        assert_eq!(check.details["native_xdp"], serde_json::Value::Null);
    }

    #[test]
    fn each_limit_is_told_with_its_remedy() {
        let changed = |change: &dyn Fn(&mut Survey)| {
            let mut s = plain();
            change(&mut s);
            let check = interface(&s, None);
            assert_eq!(check.status, Status::Note, "{}", check.found);
            (check.found, check.remedy.unwrap())
        };
        let (found, remedy) = changed(&|s| (s.offloads.rx_vlan, s.has_vlan) = (true, true));
        assert!(found.contains("ingress at TC: XDP would not see the VLAN tags"), "{found}");
        assert!(remedy.contains("ethtool -K eth0 rxvlan off"));
        assert!(changed(&|s| s.offloads.lro = true).1.contains("ethtool -K eth0 lro off"));
        assert!(changed(&|s| s.link.mtu = 9000).1.contains("MTU"));
        let (found, remedy) = changed(&|s| s.link.xdp = Some(XdpPresent { program: 77, generic: false }));
        assert!(found.contains("XDP program 77") && remedy.contains("xdp off"), "{found}");
        assert!(changed(&|s| s.link.hw_type = 65534).0.contains("ingress at nothing: its frames are not Ethernet"));
        assert!(changed(&|s| s.left_out = Some("why".into())).1.ends_with("why"));
    }
}
