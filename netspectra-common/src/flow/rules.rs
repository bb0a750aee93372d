//! Which packets the configuration leaves out: the first rule that a packet meets decides.
//!
//! One source for the kernel and for user space. At most two look-ups of addresses and five array elements a packet.

use crate::abi::{Family, FlowKey, NetKey, NetMasks, Obs, RuleSet};
use crate::wire::proto;

/// Where the prefixes of rules are: a longest-prefix-match map in the kernel, the same in user space.
pub trait RuleNets {
    /// What the longest prefix of `key` has; nothing where there is none.
    fn find(&self, key: &NetKey) -> NetMasks;
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
pub fn net_key(set: u8, family: u8, a: &[u8; 16]) -> NetKey {
    [
        u64::from_ne_bytes([set, family, 0, 0, 0, 0, 0, 0]),
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}
