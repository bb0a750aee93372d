//! Volumetric floods: packets of many senders to one host that it hardly answers.

use super::config::FloodConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Span, Targets, Windowed, is_host};
use netspectra_common::detect::Seen;
use netspectra_common::model::{FlowRecord, Severity};
use netspectra_common::query::keys::address;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

const TCP: u8 = 6;
/// Hosts that are watched at once.
const MOST: usize = 4096;
/// A flow with fewer answers than one to so many packets is not answered.
const ANSWERS: u64 = 20;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Flood {
    hosts: Windowed<IpAddr, Unanswered>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Unanswered {
    packets: u64,
    bytes: u64,
    senders: Targets,
    span: Span,
}

/// Address of the one who sends, of the one who gets it, packets and bytes of a flow that is not answered.
fn one_way(record: &FlowRecord) -> Option<(IpAddr, IpAddr, u64, u64)> {
    let (src, dst) = (record.src_ip?, record.dst_ip?);
    let (there, back) = (record.packets, record.reverse_packets);
    // Data over TCP is acknowledged; where that is not seen, half of all connections would be here.
    let is_data = |flags: u16| record.proto == TCP && flags & 0x10 != 0;
    if there > back.saturating_mul(ANSWERS) && !is_data(record.tcp_flags) {
        return Some((src, dst, there, record.bytes));
    }
    if back > there.saturating_mul(ANSWERS) && !is_data(record.reverse_tcp_flags) {
        return Some((dst, src, back, record.reverse_bytes));
    }
    None
}

impl Judge for Flood {
    const NAME: &'static str = "flood";
    type Config = FloodConfig;

    fn judge(&mut self, config: &FloodConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for record in seen.flows {
            let Some((sender, host, packets, bytes)) = one_way(record) else { continue };
            if !is_host(host) {
                continue;
            }
            let Some(victim) = self.hosts.at(host, seen.now, config.window_seconds, MOST) else { continue };
            victim.open.packets += packets;
            victim.open.bytes += bytes;
            victim.open.senders.insert(&address(sender));
            victim.open.span.add(record);
            let (open, before) = (&victim.open, &victim.before);
            let packets = open.packets + before.packets;
            if packets < config.packets {
                continue;
            }
            let senders = open.senders.union(&before.senders);
            if senders < config.senders {
                continue;
            }
            let bytes = open.bytes + before.bytes;
            let (first_seen, last_seen, flows) = Span::of_both(&open.span, &before.span);
            found.push(Finding {
                subject: host.to_string(),
                severity: Severity::High,
                why: format!("{packets} packets of {senders} senders came to {host}, which hardly answers them"),
                first_seen,
                last_seen,
                score: packets as f64,
                threshold: config.packets as f64,
                evidence: vec![("packets", packets as f64), ("bytes", bytes as f64), ("senders", senders as f64)],
                flows,
            });
        }
    }

    fn quiet(config: &FloodConfig) -> Duration {
        Duration::from_secs(config.window_seconds)
    }

    fn refused(&self) -> u64 {
        self.hosts.refused()
    }
}
