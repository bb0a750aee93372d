//! Reflection: answers of public services that the one who gets them did not ask for.

use super::config::ReflectionConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Span, Targets, Windowed, is_host};
use netspectra_common::detect::Seen;
use netspectra_common::model::{FlowRecord, Severity};
use netspectra_common::query::keys::address;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

const UDP: u8 = 17;
/// Hosts and services that are watched at once.
const MOST: usize = 4096;
/// Services over UDP whose answers are larger than the questions (US-CERT TA14-017A).
const SERVICES: [(u16, &str); 14] = [
    (17, "qotd"),
    (19, "chargen"),
    (53, "dns"),
    (69, "tftp"),
    (111, "portmap"),
    (123, "ntp"),
    (137, "netbios"),
    (161, "snmp"),
    (389, "cldap"),
    (520, "rip"),
    (1900, "ssdp"),
    (3702, "ws-discovery"),
    (5683, "coap"),
    (11211, "memcached"),
];

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Reflection {
    victims: Windowed<(IpAddr, u16), Unasked>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Unasked {
    packets: u64,
    bytes: u64,
    servers: Targets,
    span: Span,
}

fn service(port: u16) -> Option<&'static str> {
    SERVICES.iter().find(|(number, _)| *number == port).map(|(_, name)| *name)
}

/// Server, its port, the one who gets its answers, packets and bytes, where no question was seen.
fn unasked(record: &FlowRecord) -> Option<(IpAddr, u16, IpAddr, u64, u64)> {
    let (src, dst) = (record.src_ip?, record.dst_ip?);
    if record.proto != UDP {
        return None;
    }
    // Two servers that talk to each other, as of NTP, are none of this.
    let is_server = |port, other| service(port).is_some() && port != other;
    if is_server(record.src_port, record.dst_port) && record.reverse_packets == 0 {
        return Some((src, record.src_port, dst, record.packets, record.bytes));
    }
    if is_server(record.dst_port, record.src_port) && record.packets == 0 {
        return Some((dst, record.dst_port, src, record.reverse_packets, record.reverse_bytes));
    }
    None
}

impl Judge for Reflection {
    const NAME: &'static str = "reflection";
    type Config = ReflectionConfig;

    fn judge(&mut self, config: &ReflectionConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for record in seen.flows {
            let Some((server, port, host, packets, bytes)) = unasked(record) else { continue };
            if !is_host(host) {
                continue;
            }
            let Some(victim) = self.victims.at((host, port), seen.now, config.window_seconds, MOST) else { continue };
            victim.open.packets += packets;
            victim.open.bytes += bytes;
            victim.open.servers.insert(&address(server));
            victim.open.span.add(record);
            let (open, before) = (&victim.open, &victim.before);
            let bytes = open.bytes + before.bytes;
            if bytes < config.bytes {
                continue;
            }
            let servers = open.servers.union(&before.servers);
            if servers < config.servers {
                continue;
            }
            let name = service(port).unwrap_or_default();
            let (first_seen, last_seen, flows) = Span::of_both(&open.span, &before.span);
            found.push(Finding {
                subject: format!("{host} by {name}"),
                severity: Severity::High,
                why: format!("{servers} servers sent {bytes} bytes of {name} answers to {host}, which did not ask"),
                first_seen,
                last_seen,
                score: bytes as f64,
                threshold: config.bytes as f64,
                evidence: vec![
                    ("servers", servers as f64),
                    ("packets", (open.packets + before.packets) as f64),
                    ("bytes", bytes as f64),
                ],
                flows,
            });
        }
    }

    fn quiet(config: &ReflectionConfig) -> Duration {
        Duration::from_secs(config.window_seconds)
    }

    fn refused(&self) -> u64 {
        self.victims.refused()
    }
}
