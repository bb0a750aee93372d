//! Beacons: connections of one host to one service at regular intervals.

use super::config::BeaconConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{is_host, is_private};
use netspectra_common::detect::Seen;
use netspectra_common::model::{Nanos, Severity};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Services that are watched at once.
const MOST: usize = 8192;
/// Begins of connections that are remembered of each.
const BEGINS: usize = 33;
/// A service that was not used for this long makes room.
const STALE: Duration = Duration::from_secs(3 * 3600);
/// Services that are asked at regular intervals by design: DNS, DHCP, NTP, NetBIOS, SNMP, SSDP, mDNS, LLMNR.
const REGULAR: [u16; 12] = [53, 67, 68, 123, 137, 138, 161, 546, 547, 1900, 5353, 5355];

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Beacon {
    services: BTreeMap<(IpAddr, IpAddr, u8, u16), Begins>,
    refused: u64,
    /// When it was last tried to make room.
    swept: Nanos,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Begins {
    /// Sorted.
    times: VecDeque<(Nanos, u64)>,
}

/// The middle of `values`, which it sorts.
fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

impl Beacon {
    fn service(&mut self, key: (IpAddr, IpAddr, u8, u16), now: Nanos) -> Option<&mut Begins> {
        if self.services.len() >= MOST && !self.services.contains_key(&key) {
            // One pass over all in a minute at most.
            if now.since(self.swept) >= Duration::from_secs(60) {
                self.swept = now;
                self.services.retain(|_, begins| begins.times.back().is_some_and(|(at, _)| now.since(*at) < STALE));
            }
            if self.services.len() >= MOST {
                self.refused += 1;
                return None;
            }
        }
        Some(self.services.entry(key).or_default())
    }
}

impl Judge for Beacon {
    const NAME: &'static str = "beacon";
    type Config = BeaconConfig;

    fn judge(&mut self, config: &BeaconConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for record in seen.flows {
            let (Some(src), Some(dst)) = (record.src_ip, record.dst_ip) else { continue };
            if record.first_seen != record.flow_start
                || record.dst_port == 0
                || !is_host(dst)
                || (config.external_only && is_private(dst))
                || REGULAR.contains(&record.dst_port)
            {
                continue;
            }
            let key = (src, dst, record.proto, record.dst_port);
            let Some(begins) = self.service(key, seen.now) else { continue };
            // Records come in the order of their ends.
            let at = begins.times.partition_point(|(at, _)| *at <= record.flow_start);
            begins.times.insert(at, (record.flow_start, record.flow_id));
            if begins.times.len() > BEGINS {
                begins.times.pop_front();
            }
            let connections = begins.times.len();
            if connections < config.connections as usize {
                continue;
            }
            let times = begins.times.iter();
            let mut intervals: Vec<u64> =
                times.clone().zip(times.skip(1)).map(|((a, _), (b, _))| b.since(*a).as_nanos() as u64).collect();
            let typical = median(&mut intervals);
            let mut deviations: Vec<u64> = intervals.iter().map(|i| i.abs_diff(typical)).collect();
            let jitter = median(&mut deviations);
            let is_regular = typical >= config.interval_seconds * Nanos::PER_SECOND
                && u128::from(jitter) * 100 <= u128::from(typical) * u128::from(config.jitter_percent)
                // A median leaves half of them free to be anything: most must be near it.
                && deviations.iter().filter(|d| **d * 4 <= typical).count() * 5 >= deviations.len() * 4;
            if !is_regular {
                continue;
            }
            let seconds = |nanos: u64| nanos as f64 / Nanos::PER_SECOND as f64;
            let first = begins.times.front().map_or(record.flow_start, |(at, _)| *at);
            found.push(Finding {
                subject: format!("{src} to {}", std::net::SocketAddr::new(dst, record.dst_port)),
                severity: Severity::Low,
                why: format!(
                    "{src} connects to {} every {:.1} s, give or take {:.1} s",
                    std::net::SocketAddr::new(dst, record.dst_port),
                    seconds(typical),
                    seconds(jitter)
                ),
                first_seen: first,
                last_seen: record.last_seen,
                score: connections as f64,
                threshold: config.connections as f64,
                evidence: vec![
                    ("connections", connections as f64),
                    ("interval_seconds", seconds(typical)),
                    ("jitter_seconds", seconds(jitter)),
                ],
                flows: begins.times.iter().rev().take(5).rev().map(|(_, flow)| *flow).collect(),
            });
        }
    }

    /// Longest interval that is told from the end.
    fn quiet(_: &BeaconConfig) -> Duration {
        STALE
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
