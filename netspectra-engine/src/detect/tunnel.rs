//! DNS tunnels: data in the names that a client asks for.

use super::config::TunnelConfig;
use super::incident::Finding;
use super::judge::Judge;
use super::window::{Span, Targets, Windowed};
use crate::lifecycle::address;
use netspectra_common::detect::Seen;
use netspectra_common::model::{DnsKind, Observation, Severity};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Clients with a domain that are watched at once.
const MOST: usize = 4096;
/// Longest domain that is kept.
const DOMAIN: usize = 80;
/// Record types with room for any data.
const ROOMY: [u16; 3] = [10, 16, 25];
/// Least mean entropy of names, bits a character: words have less, bytes in base 32 more.
const ENTROPY: f64 = 3.0;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DnsTunnel {
    domains: Windowed<(IpAddr, String), Queries>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Queries {
    count: u64,
    roomy: u64,
    /// Characters before the domain, and their entropy, of all queries together.
    characters: u64,
    entropy: f64,
    names: Targets,
    span: Span,
}

/// Shannon entropy of the characters of `text`, bits a character, without dots and case.
pub(super) fn entropy(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    let bytes = text.bytes().filter(|b| *b != b'.').map(|b| b.to_ascii_lowercase());
    let total = bytes.inspect(|b| counts[usize::from(*b)] += 1).count() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / total).map(|p| -p * p.log2()).sum()
}

/// The domain that somebody registered, and what is before it.
fn split(name: &str) -> Option<(&str, &str)> {
    let domain = psl::domain_str(name)?;
    let before = name.strip_suffix(domain)?.strip_suffix('.')?;
    (domain.len() <= DOMAIN && !before.is_empty()).then_some((domain, before))
}

impl Judge for DnsTunnel {
    const NAME: &'static str = "dns_tunnel";
    type Config = TunnelConfig;

    fn judge(&mut self, config: &TunnelConfig, seen: &Seen<'_>, found: &mut Vec<Finding>) {
        for observed in seen.observed {
            let Observation::Dns(message) = &observed.what else { continue };
            if message.response || message.kind != DnsKind::Dns {
                continue;
            }
            let (Some(question), Some(client)) = (&message.question, address(observed.key.family, &observed.key.src))
            else {
                continue;
            };
            let name = question.name.to_ascii_lowercase();
            let Some((domain, before)) = split(&name) else { continue };
            let key = (client, domain.to_owned());
            let Some(queries) = self.domains.at(key, seen.now, config.window_seconds, MOST) else { continue };
            let open = &mut queries.open;
            open.count += 1;
            open.roomy += u64::from(ROOMY.contains(&question.qtype));
            open.characters += before.len() as u64;
            open.entropy += entropy(before);
            open.names.insert(before.as_bytes());
            open.span.reach(observed.at, observed.at);
            let (open, earlier) = (&queries.open, &queries.before);
            let count = open.count + earlier.count;
            if count < config.names {
                continue;
            }
            let names = open.names.union(&earlier.names);
            let length = (open.characters + earlier.characters) as f64 / count as f64;
            let bits = (open.entropy + earlier.entropy) / count as f64;
            let roomy = (open.roomy + earlier.roomy) as f64 / count as f64;
            let least = if roomy >= 0.5 { config.length_of_txt } else { config.length };
            // Names that are asked for again are read by somebody, and no data.
            if names < config.names || names * 2 < count || length < least as f64 || bits < ENTROPY {
                continue;
            }
            let (first_seen, last_seen, flows) = Span::of_both(&open.span, &earlier.span);
            found.push(Finding {
                subject: format!("{client} by {domain}"),
                severity: Severity::High,
                why: format!(
                    "{client} asked for {names} different names below {domain}, {length:.0} characters long on average, {bits:.1} bits \
                     each"
                ),
                first_seen,
                last_seen,
                score: names as f64,
                threshold: config.names as f64,
                evidence: vec![
                    ("names", names as f64),
                    ("queries", count as f64),
                    ("mean_length_characters", length),
                    ("mean_entropy_bits", bits),
                    ("share_of_txt_null_key", roomy),
                ],
                flows,
            });
        }
    }

    fn quiet(config: &TunnelConfig) -> Duration {
        Duration::from_secs(config.window_seconds)
    }

    fn refused(&self) -> u64 {
        self.domains.refused()
    }
}
