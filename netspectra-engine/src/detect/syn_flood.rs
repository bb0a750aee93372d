//! SYN floods: connections to one port that are begun, and never made.

use super::config::SynFloodConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Span, Targets, Windowed, is_host};
use netspectra_common::detect::Seen;
use netspectra_common::model::Severity;
use netspectra_common::query::keys::address;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

const TCP: u8 = 6;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;
/// Ports of hosts that are watched at once.
const MOST: usize = 4096;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SynFlood {
    ports: Windowed<(IpAddr, u16), Attempts>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Attempts {
    half_open: u64,
    all: u64,
    senders: Targets,
    span: Span,
}

impl Judge for SynFlood {
    const NAME: &'static str = "syn_flood";
    type Config = SynFloodConfig;

    fn judge(&mut self, config: &SynFloodConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for record in seen.flows {
            let (Some(src), Some(dst)) = (record.src_ip, record.dst_ip) else { continue };
            if record.proto != TCP
                || record.tcp_flags & SYN == 0
                || record.first_seen != record.flow_start
                || !is_host(dst)
            {
                continue;
            }
            let Some(port) = self.ports.at((dst, record.dst_port), seen.now, config.window_seconds, MOST) else {
                continue;
            };
            port.open.all += 1;
            // A port that refuses is not kept waiting.
            if record.tcp_flags & ACK != 0 || record.reverse_tcp_flags & RST != 0 {
                continue;
            }
            port.open.half_open += 1;
            port.open.senders.insert(&address(src));
            port.open.span.add(record);
            let (open, before) = (&port.open, &port.before);
            let (half_open, all) = (open.half_open + before.half_open, open.all + before.all);
            if half_open < config.half_open || half_open * 100 < all * config.percent {
                continue;
            }
            let senders = open.senders.union(&before.senders);
            let (first_seen, last_seen, flows) = Span::of_both(&open.span, &before.span);
            found.push(Finding {
                subject: std::net::SocketAddr::new(dst, record.dst_port).to_string(),
                severity: Severity::High,
                why: format!(
                    "{half_open} of {all} connections to {} were begun and never made, by {senders} senders",
                    std::net::SocketAddr::new(dst, record.dst_port)
                ),
                first_seen,
                last_seen,
                score: half_open as f64,
                threshold: config.half_open as f64,
                evidence: vec![
                    ("half_open_connections", half_open as f64),
                    ("connections", all as f64),
                    ("senders", senders as f64),
                ],
                flows,
            });
        }
    }

    fn quiet(config: &SynFloodConfig) -> Duration {
        Duration::from_secs(config.window_seconds)
    }

    fn refused(&self) -> u64 {
        self.ports.refused()
    }
}
