use super::EnrichError;
use netspectra_common::model::Net;
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
pub(super) struct Networks(Vec<(Net, Arc<str>)>);

impl Networks {
    pub(super) fn new(networks: &[LocalNetwork]) -> Result<Self, EnrichError> {
        let mut blocks = Vec::new();
        for LocalNetwork { name, cidrs } in networks {
            if name.trim().is_empty() || name.chars().count() > LONGEST {
                return Err(EnrichError::Name { cidrs: cidrs.join(", ") });
            }
            let shared: Arc<str> = name.as_str().into();
            for cidr in cidrs {
                let refused = |_| EnrichError::Network { name: name.clone(), found: cidr.clone() };
                blocks.push((cidr.trim().parse::<Net>().map_err(refused)?, shared.clone()));
            }
        }
        // Of equal ones the first that was named.
        blocks.sort_by_key(|(net, _)| std::cmp::Reverse(net.bits()));
        Ok(Self(blocks))
    }

    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<str>> {
        let address = address.to_canonical();
        self.0.iter().find(|(net, _)| net.has(address)).map(|(_, name)| name.clone())
    }
}
