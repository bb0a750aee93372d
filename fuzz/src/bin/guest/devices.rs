//! Devices above devices: a packet counts once, at the lowest of them that is watched, with the tag that it has there.

use super::counts::Counts;
use super::traffic::Burst;
use anyhow::{Context as _, Result, bail};
use netspectra_agent::source::Source as _;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};
use netspectra_common::abi::{Counter, VLAN_PRESENT};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// As in [`super::live`].
const LIMIT: Duration = Duration::from_secs(20);
const DATAGRAMS: u64 = 300;
const TAG: u64 = 4;

/// A network of the machine, as its first process makes them: on which device, and the tags below it.
struct Network {
    number: u8,
    device: &'static str,
    /// The tag that packets have on the wire.
    tag: u16,
}

/// `ns0` and `ns1`, `b0` and `p0`, `b1` and `p1` are pairs; `bond0` is above `b0` and `b1`; VLAN devices have their tag as name.
const NETWORKS: [Network; 7] = [
    Network { number: 0, device: "ns0", tag: 0 },
    Network { number: 7, device: "ns0.7", tag: 7 },
    Network { number: 17, device: "ns1.7", tag: 7 },
    Network { number: 8, device: "bond0", tag: 0 },
    Network { number: 9, device: "bond0.9", tag: 9 },
    Network { number: 10, device: "p0", tag: 0 },
    Network { number: 11, device: "p1.9", tag: 9 },
];

/// What is asked for, what of it is watched, and the networks whose packets are seen there; `tags` where the devices show them.
struct Case {
    asked: &'static [&'static str],
    watched: &'static [&'static str],
    networks: &'static [u8],
    tags: bool,
}

const CASES: [Case; 5] = [
    // Of the ends of a pair the one with the lower index: the kernel makes the peer first.
    Case { asked: &["*"], watched: &["lo", "ns1", "p0", "p1"], networks: &[0, 7, 17, 8, 9, 10, 11], tags: true },
    Case { asked: &["b*"], watched: &["b0", "b1"], networks: &[8, 9, 10, 11], tags: true },
    Case { asked: &["bond0"], watched: &["bond0"], networks: &[8, 9, 10, 11], tags: true },
    Case { asked: &["ns0.7"], watched: &["ns0.7"], networks: &[7, 17], tags: false },
    Case { asked: &["bond0.9", "ns*"], watched: &["ns1", "bond0.9"], networks: &[9, 11], tags: false },
];

/// Sends on every device, and holds what is counted of it against what was sent.
///
/// # Errors
/// The programs cannot be loaded or attached, other devices are watched, or a count is wrong.
pub(super) fn check(object: &[u8]) -> Result<Vec<Value>> {
    CASES.iter().map(|case| check_one(object, case).with_context(|| format!("asked for {:?}", case.asked))).collect()
}

fn check_one(object: &[u8], case: &Case) -> Result<Value> {
    let interfaces = case.asked.iter().map(|name| (*name).to_owned()).collect();
    let mut source = XdpSource::open(object, &XdpConfig { interfaces, max_flows: 4096, ..XdpConfig::default() })?;
    let attached = source.attached();
    let mut watched: Vec<&str> = attached.iter().map(|a| &*a.iface).collect();
    let mut expected = case.watched.to_vec();
    watched.sort_unstable();
    expected.sort_unstable();
    if watched != expected {
        bail!("{watched:?} are watched, expected {expected:?}");
    }
    let mut counts = Counts::default();
    let bursts = NETWORKS.map(|network| (Burst::datagrams(port(&network), broadcast(&network), DATAGRAMS), network));
    for (burst, network) in &bursts {
        burst.send(0).with_context(|| format!("on `{}`", network.device))?;
    }
    let began = Instant::now();
    let mut wrong = Vec::new();
    while began.elapsed() < LIMIT {
        counts.add(&source.generation()?.context("the source has ended")?)?;
        wrong = bursts
            .iter()
            .filter(|(_, network)| case.networks.contains(&network.number))
            .filter_map(|(burst, network)| compare(case, burst, network, &counts))
            .collect();
        if wrong.is_empty() {
            break;
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    let attached: Vec<Value> = attached
        .iter()
        .map(|a| json!({ "iface": a.iface, "ingress": a.ingress.name(), "egress": a.egress.name() }))
        .collect();
    Ok(json!({ "asked": case.asked, "watching": attached, "packets_each": DATAGRAMS, "devices": case.networks.len() }))
}

/// Tells the networks apart.
fn port(network: &Network) -> u16 {
    5000 + u16::from(network.number)
}

fn broadcast(network: &Network) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, network.number, 255)
}

/// What is wrong with what was counted of `burst`: it must be there once, with its tag.
fn compare(case: &Case, burst: &Burst, network: &Network, counts: &Counts) -> Option<String> {
    let (packets, bytes) = burst.expected();
    let has_tag = case.tags && network.tag != 0;
    let tag = if has_tag { VLAN_PRESENT | network.tag } else { 0 };
    let bytes = bytes + if has_tag { TAG * packets } else { 0 };
    let found = counts.by_tag(burst.port);
    let expected = [(tag, Counter::new(packets, bytes))];
    (found != expected).then(|| format!("sent on `{}`: counted {found:?}, expected {expected:?}", network.device))
}
