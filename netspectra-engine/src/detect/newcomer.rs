//! New talkers: hosts of the private networks, and services on them, that were not there while the node learnt.

use super::config::NewTalkerConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::is_private;
use netspectra_common::detect::Seen;
use netspectra_common::model::{FlowRecord, Nanos, Severity};
use netspectra_common::query::keys::address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Hosts and services that are remembered.
const MOST: usize = 131_072;
/// A longer time between two generations is one in which nobody watched.
const GAP: Duration = Duration::from_secs(60);
const TCP: u8 = 6;
const SYN_ACK: u16 = 0x12;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct NewTalker {
    /// Log time of the last generation.
    last: Nanos,
    /// Time that was watched: gaps count as [`GAP`].
    watched: Duration,
    known: BTreeSet<u64>,
    refused: u64,
}

impl NewTalker {
    /// Whether `what` was not known until now.
    fn is_new(&mut self, what: &[u8]) -> bool {
        let hash = xxh3_64(what);
        if self.known.contains(&hash) {
            return false;
        }
        if self.known.len() >= MOST {
            self.refused += 1;
            return false;
        }
        self.known.insert(hash)
    }
}

fn finding(subject: String, why: String, record: &FlowRecord) -> Finding {
    Finding {
        subject,
        severity: Severity::Low,
        why,
        first_seen: record.first_seen,
        last_seen: record.last_seen,
        score: 1.0,
        threshold: 1.0,
        evidence: vec![
            ("packets", (record.packets + record.reverse_packets) as f64),
            ("bytes", (record.bytes + record.reverse_bytes) as f64),
        ],
        flows: vec![record.flow_id],
    }
}

impl Judge for NewTalker {
    const NAME: &'static str = "new_talker";
    type Config = NewTalkerConfig;

    fn judge(&mut self, config: &NewTalkerConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        if self.last != Nanos(0) {
            self.watched += seen.now.since(self.last).min(GAP);
        }
        self.last = seen.now;
        let is_learning = self.watched < Duration::from_secs(config.learning_seconds);
        for record in seen.flows {
            let (Some(src), Some(dst)) = (record.src_ip, record.dst_ip) else { continue };
            let sent = |ip: IpAddr, packets: u64| packets > 0 && is_private(ip);
            for host in [(src, record.packets), (dst, record.reverse_packets)]
                .into_iter()
                .filter(|(ip, packets)| sent(*ip, *packets))
                .map(|(ip, _)| ip)
            {
                if self.is_new(&address(host)) && !is_learning {
                    let why = format!("{host} was not heard of before");
                    found.push(finding(host.to_string(), why, record));
                }
            }
            if record.proto == TCP && record.reverse_tcp_flags & SYN_ACK == SYN_ACK && is_private(dst) {
                let service = SocketAddr::new(dst, record.dst_port);
                let key = [&address(dst)[..], &record.dst_port.to_be_bytes()].concat();
                if self.is_new(&key) && !is_learning {
                    let why = format!("{service} accepts connections, which it was not seen to do before");
                    found.push(finding(format!("service {service}"), why, record));
                }
            }
        }
    }

    fn quiet(_: &NewTalkerConfig) -> Duration {
        Duration::from_secs(60)
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
