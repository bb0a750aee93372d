//! Port scans: many ports of one host (vertical), or one port of many hosts (horizontal), that do not answer or refuse.

use super::config::ScanConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Halves, Span, Targets, Windowed, is_host};
use netspectra_common::detect::Seen;
use netspectra_common::model::{FlowRecord, Severity};
use netspectra_common::query::keys::address;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;
/// Pairs of hosts, and hosts with a port, that are watched at once.
const MOST: usize = 4096;
/// A probe has few packets: a SYN that is sent again, or a datagram with repetitions.
const PROBE: u64 = 6;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PortScan {
    vertical: Windowed<(IpAddr, IpAddr), Probes>,
    horizontal: Windowed<(IpAddr, u8, u16), Probes>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Probes {
    targets: Targets,
    span: Span,
    refused: u64,
    silent: u64,
}

/// Whether the responder refused, or said nothing; `None` for a flow that was answered, or was no attempt.
fn refused(record: &FlowRecord) -> Option<bool> {
    if record.packets == 0 || record.packets > PROBE || record.first_seen != record.flow_start {
        return None;
    }
    let (sent, answered) = (record.tcp_flags, record.reverse_tcp_flags);
    match record.proto {
        TCP if record.reverse_packets == 0 => {
            // An ACK without a SYN may be the half of a connection that is seen here.
            (sent & ACK == 0 && sent & RST == 0).then_some(false)
        }
        TCP => (answered & RST != 0 && answered & SYN == 0 && record.reverse_packets <= PROBE).then_some(true),
        UDP => (record.reverse_packets == 0).then_some(false),
        _ => None,
    }
}

impl Judge for PortScan {
    const NAME: &'static str = "port_scan";
    type Config = ScanConfig;

    fn judge(&mut self, config: &ScanConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for record in seen.flows {
            let (Some(src), Some(dst), Some(refused)) = (record.src_ip, record.dst_ip, refused(record)) else {
                continue;
            };
            if !is_host(dst) {
                continue;
            }
            let port = record.dst_port.to_be_bytes();
            let window = config.window_seconds;
            if let Some(pair) = self.vertical.at((src, dst), seen.now, window, MOST) {
                pair.open.add(&[record.proto, port[0], port[1]], record, refused);
                let subject = || format!("{src} to {dst}");
                found.extend(pair.finding(
                    config.ports,
                    subject,
                    |n| format!("{src} tried {n} ports of {dst}"),
                    "ports",
                ));
            }
            let at_port = (src, record.proto, record.dst_port);
            if let Some(hosts) = self.horizontal.at(at_port, seen.now, window, MOST) {
                hosts.open.add(&address(dst), record, refused);
                let name = if record.proto == TCP { "tcp" } else { "udp" };
                let subject = || format!("{src} at {name}/{}", record.dst_port);
                let why = |n| format!("{src} tried {name} port {} of {n} hosts", record.dst_port);
                found.extend(hosts.finding(config.hosts, subject, why, "hosts"));
            }
        }
    }

    fn quiet(config: &ScanConfig) -> Duration {
        Duration::from_secs(config.window_seconds)
    }

    fn refused(&self) -> u64 {
        self.vertical.refused() + self.horizontal.refused()
    }
}

impl Probes {
    fn add(&mut self, target: &[u8], record: &FlowRecord, refused: bool) {
        self.targets.insert(target);
        self.span.add(record);
        *(if refused { &mut self.refused } else { &mut self.silent }) += 1;
    }
}

impl Halves<Probes> {
    fn finding(
        &self,
        threshold: u64,
        subject: impl Fn() -> String,
        why: impl Fn(u64) -> String,
        unit: &'static str,
    ) -> Option<Finding> {
        let (open, before) = (&self.open, &self.before);
        let attempts = open.refused + open.silent + before.refused + before.silent;
        // Counting distinct ones costs more.
        if attempts < threshold {
            return None;
        }
        let targets = open.targets.union(&before.targets);
        if targets < threshold {
            return None;
        }
        let (first_seen, last_seen, flows) = Span::of_both(&open.span, &before.span);
        let (refused, silent) = (open.refused + before.refused, open.silent + before.silent);
        Some(Finding {
            subject: subject(),
            severity: Severity::Medium,
            why: format!("{}: {refused} attempts were refused, {silent} not answered", why(targets)),
            first_seen,
            last_seen,
            score: targets as f64,
            threshold: threshold as f64,
            evidence: vec![(unit, targets as f64), ("refused", refused as f64), ("unanswered", silent as f64)],
            flows,
        })
    }
}
