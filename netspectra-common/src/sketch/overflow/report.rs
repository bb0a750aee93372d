//! A summary as answers show it.
use super::OverflowSummary;
use crate::abi::{Counter, Direction};
use crate::sketch::Estimate;
use serde::Serialize;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is known of packets without room in a flow table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverflowReport {
    /// Packets.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
    /// By direction and protocol.
    pub protocols: Vec<ProtocolReport>,
    /// Distinct source addresses.
    pub sources: Estimate,
    /// Source prefixes, those with the most packets first.
    pub prefixes: Vec<PrefixReport>,
    /// The most that a prefix which is not listed can have.
    pub unlisted_at_most: Counter,
}

/// Packets without room of one direction and protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProtocolReport {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// IANA number; none for frames that are not IP.
    pub proto: Option<u8>,
    /// Packets.
    pub packets: u64,
    /// L2 bytes.
    pub bytes: u64,
}

/// Packets without room from one source prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixReport {
    /// `a.b.c.0/24` or `x:y:z::/48`.
    pub prefix: String,
    /// Packets; the bounds are certain.
    pub packets: Estimate,
    /// L2 bytes; the bounds are certain.
    pub bytes: Estimate,
}

impl OverflowSummary {
    /// The summary with its `most` heaviest prefixes.
    pub fn report(&self, most: usize) -> OverflowReport {
        let total = self.total();
        let protocols = self.protocols().map(|(direction, proto, c)| ProtocolReport {
            direction: match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
            proto,
            packets: c.packets,
            bytes: c.bytes,
        });
        let all = self.prefixes();
        let certain = |estimate: u64, low: u64, high: u64| Estimate {
            estimate: estimate as f64,
            low: low as f64,
            high: high as f64,
            confidence: 1.0,
        };
        let prefixes = all.iter().take(most).map(|(prefix, c)| PrefixReport {
            prefix: text(*prefix),
            packets: certain(c.estimate.packets, c.low.packets, c.high.packets),
            bytes: certain(c.estimate.bytes, c.low.bytes, c.high.bytes),
        });
        let mut unlisted = self.unnamed_at_most();
        for (_, c) in all.iter().skip(most) {
            unlisted = Counter::new(unlisted.packets.max(c.high.packets), unlisted.bytes.max(c.high.bytes));
        }
        OverflowReport {
            packets: total.packets,
            bytes: total.bytes,
            protocols: protocols.collect(),
            sources: self.sources(),
            prefixes: prefixes.collect(),
            unlisted_at_most: unlisted,
        }
    }
}

/// The prefix that `flow::prefix_of` made the number of.
fn text(prefix: u64) -> String {
    if prefix >> 56 == 4 {
        format!("{}/24", Ipv4Addr::from_bits((prefix as u32) << 8))
    } else {
        format!("{}/48", Ipv6Addr::from_bits(u128::from(prefix & 0xffff_ffff_ffff) << 80))
    }
}
