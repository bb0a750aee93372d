use super::EnrichError;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Longest name of a network, in characters.
const LONGEST: usize = 64;

/// A local network: a name for address blocks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LocalNetwork {
    /// Its name in rows, 1 to 64 characters.
    pub name: String,
    /// Its address blocks, `10.0.0.0/8`, `2001:db8::/32`; an address alone is a block of one.
    pub cidrs: Vec<String>,
}

/// Address blocks with their names, longest prefix first.
#[derive(Debug)]
pub(super) struct Networks(Vec<Block>);

#[derive(Debug)]
struct Block {
    v4: bool,
    bits: u128,
    /// Of 128.
    prefix: u32,
    name: Arc<str>,
}

/// An address as 128 bits; IPv4 in the upper ones.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

impl Networks {
    pub(super) fn new(networks: &[LocalNetwork]) -> Result<Self, EnrichError> {
        let mut blocks = Vec::new();
        for LocalNetwork { name, cidrs } in networks {
            if name.trim().is_empty() || name.chars().count() > LONGEST {
                return Err(EnrichError::Name { cidrs: cidrs.join(", ") });
            }
            let shared: Arc<str> = name.as_str().into();
            for cidr in cidrs {
                let block = parse(cidr, shared.clone());
                blocks.push(block.ok_or_else(|| EnrichError::Network { name: name.clone(), found: cidr.clone() })?);
            }
        }
        // Of equal ones the first that was named.
        blocks.sort_by_key(|block| std::cmp::Reverse(block.prefix));
        Ok(Self(blocks))
    }

    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<str>> {
        let (v4, bits) = bits(address.to_canonical());
        let block = self.0.iter().find(|b| b.v4 == v4 && bits & mask(b.prefix) == b.bits)?;
        Some(block.name.clone())
    }
}

fn parse(cidr: &str, name: Arc<str>) -> Option<Block> {
    let (address, prefix) = cidr.split_once('/').map_or((cidr, None), |(a, p)| (a, Some(p)));
    let (v4, bits) = bits(address.trim().parse().ok()?);
    let longest = if v4 { 32 } else { 128 };
    let prefix = prefix.map_or(Some(longest), |p| p.trim().parse().ok())?;
    (prefix <= longest).then(|| Block { v4, bits: bits & mask(prefix), prefix, name })
}
