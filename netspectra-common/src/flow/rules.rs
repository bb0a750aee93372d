//! Which packets the configuration leaves out: the first rule that a packet meets decides.
//!
//! One source for the kernel and for user space. At most two look-ups of addresses and five array elements a packet.

use crate::abi::{Family, FlowKey, NetMasks, Obs, RULE_NET_KEY, RuleSet};
use crate::wire::proto;

/// Where the prefixes of rules are: a longest-prefix-match map in the kernel, the same in user space.
pub trait RuleNets {
    /// What the longest prefix of `key` has; nothing where there is none.
    fn find(&self, key: &[u8; RULE_NET_KEY]) -> NetMasks;
}

/// Whether the packet with `key` is to be counted in a flow. A packet that meets no rule is.
#[inline(always)]
pub fn admits<N: RuleNets>(rules: &RuleSet, set: u8, nets: &N, key: &FlowKey) -> bool {
    let iface = Obs(key.obs).iface() as usize & 127;
    let ports = match key.proto {
        proto::TCP | proto::UDP | proto::UDP_LITE | proto::SCTP if key.family != Family::NonIp as u8 => {
            rules.ports[key.src_port as usize] | rules.ports[key.dst_port as usize]
        }
        _ => rules.no_port,
    };
    let rest = if key.family == Family::NonIp as u8 {
        rules.not_ip & rules.no_address
    } else {
        let src = nets.find(&net_key(set, key.family, &key.src));
        let dst = nets.find(&net_key(set, key.family, &key.dst));
        rules.protos[key.proto as usize] & src.src & dst.dst & (src.net | dst.net)
    };
    let met = rest & ports & rules.ifaces[iface];
    // The lowest bit is the first rule.
    met == 0 || met & met.wrapping_neg() & rules.include != 0
}

/// The longest-prefix-match key of an address in rule set `set`.
#[inline(always)]
pub fn net_key(set: u8, family: u8, address: &[u8; 16]) -> [u8; RULE_NET_KEY] {
    let mut key = [0; RULE_NET_KEY];
    key[0] = set;
    key[1] = family;
    let mut n = 0;
    while n < 16 {
        key[8 + n] = address[n];
        n += 1;
    }
    key
}
