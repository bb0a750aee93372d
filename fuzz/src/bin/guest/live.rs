//! Programs attached to both ends of a virtual link, and traffic through it.

use super::counts::Counts;
use super::traffic::{Burst, bursts};
use anyhow::{Context as _, Result, bail};
use netspectra_agent::source::Source as _;
use netspectra_agent::source::xdp::{AttachMode, XdpConfig, XdpSource};
use netspectra_common::abi::{Counter, Direction};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Packets reach the peer soon after they were sent; on an emulated machine "soon" is long.
const LIMIT: Duration = Duration::from_secs(20);

/// Attaches as `config` says to its two interfaces, sends on the first, and holds every count against what was sent.
///
/// # Errors
/// The programs cannot be loaded or attached, or a count is wrong.
pub(super) fn check(object: &[u8], config: &XdpConfig) -> Result<Value> {
    let [from, to] = config.interfaces.as_slice() else { bail!("expected two interfaces") };
    let mut source = XdpSource::open(object, config)?;
    let attached: Vec<Value> = source
        .attached()
        .iter()
        .map(|a| json!({ "iface": a.iface, "ingress": a.ingress.name(), "egress": a.egress.name() }))
        .collect();
    let mut counts = Counts::default();
    let first = source.generation()?.context("the source has ended")?;
    counts.add(&first)?;
    let slot = |name: &str| {
        let found = first.interfaces.iter().find(|i| *i.name == *name);
        found.map(|i| (i.slot, i.ifindex)).with_context(|| format!("interface `{name}` is not observed"))
    };
    let ((from, ifindex), (to, _)) = (slot(from)?, slot(to)?);

    let bursts = bursts(config.mode == AttachMode::Native);
    for burst in &bursts {
        burst.send(ifindex)?;
        // A generation ends in the middle of the traffic.
        counts.add(&source.generation()?.context("the source has ended")?)?;
    }
    let began = Instant::now();
    while bursts.iter().any(|b| counts.of(to, Direction::Ingress, b.port).packets < b.expected().0) {
        if began.elapsed() > LIMIT {
            break;
        }
        counts.add(&source.generation()?.context("the source has ended")?)?;
    }
    source.detach();
    counts.add(&source.generation()?.context("the source has ended")?)?;
    compare(&counts, &bursts, from, to)?;
    Ok(json!({
        "attached": attached,
        "generations": counts.generations,
        "packets": counts.seen.packets,
        "bytes": counts.seen.bytes,
        "payloads": counts.payloads,
    }))
}

fn compare(counts: &Counts, bursts: &[Burst], from: u8, to: u8) -> Result<()> {
    let mut wrong = Vec::new();
    for burst in bursts {
        let (packets, bytes) = burst.expected();
        for (slot, direction) in [(from, Direction::Egress), (to, Direction::Ingress)] {
            let counted = counts.of(slot, direction, burst.port);
            if counted != Counter::new(packets, bytes) {
                wrong.push(format!(
                    "port {}, {direction:?}: counted {counted:?}, sent {packets} packets and {bytes} bytes",
                    burst.port
                ));
            }
        }
    }
    if counts.orphan_fragments != 0 || counts.events_lost != 0 {
        wrong.push(format!("{} orphan fragments, {} events lost", counts.orphan_fragments, counts.events_lost));
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}
