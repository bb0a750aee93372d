//! Which packets the configuration leaves out: the first rule that a packet meets decides, for all of them or for one flow in
//! so many (hash-based selection, RFC 5475 section 6.2).
//!
//! One source for the kernel and for user space. At most two look-ups of addresses and five array elements a packet.

use super::overflow::{mix64, words};
use crate::abi::{Family, FlowKey, NetKey, NetMasks, Obs, RuleSet, SAMPLING_BITS};
use crate::wire::proto;

/// Where the prefixes of rules are: a longest-prefix-match map in the kernel, the same in user space.
pub trait RuleNets {
    /// What the longest prefix of `key` has; nothing where there is none.
    fn find(&self, key: &NetKey) -> NetMasks;
}

/// Seed of [`sample_hash`]: "nssample". What is compared between hosts and days depends on it, so it never changes.
const SAMPLE_SEED: u64 = u64::from_be_bytes(*b"nssample");
/// What [`decide`] says of a packet that a rule leaves out.
pub const EXCLUDED: u32 = 0;
/// What [`decide`] says of a packet whose flow is none of those that a rule takes.
pub const SAMPLED_OUT: u32 = 1;
/// What [`decide`] says of a packet that is counted: this, plus the number of its [`crate::abi::Sampling`].
pub const ADMITTED: u32 = 2;

/// Whether the packet with `key` is to be counted in a flow. A packet that meets no rule is.
#[inline(always)]
pub fn decide<N: RuleNets>(rules: &RuleSet, set: u8, nets: &N, key: &FlowKey) -> u32 {
    let iface = Obs(key.obs).iface() as usize & 127;
    let ports = if has_ports(key) {
        rules.ports[key.src_port as usize] | rules.ports[key.dst_port as usize]
    } else {
        rules.no_port
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
    let first = met & met.wrapping_neg();
    if first == 0 {
        return ADMITTED;
    }
    if first & rules.include == 0 {
        return EXCLUDED;
    }
    let mut sampling = 0;
    let mut bit = 0;
    while bit < SAMPLING_BITS {
        sampling |= u32::from(first & rules.sampling[bit] != 0) << bit;
        bit += 1;
    }
    // Without an address there is one flow of an EtherType.
    if sampling == 0 || key.family == Family::NonIp as u8 {
        return ADMITTED;
    }
    let others = (1u64 << (sampling & 31)) - 1;
    if sample_hash(key) & others == 0 { ADMITTED + sampling } else { SAMPLED_OUT }
}

#[inline(always)]
fn has_ports(key: &FlowKey) -> bool {
    matches!(key.proto, proto::TCP | proto::UDP | proto::UDP_LITE | proto::SCTP) && key.family != Family::NonIp as u8
}

/// A hash of addresses, ports and protocol, the same for both directions and on every host: one in 2^n flows has n lowest bits
/// of 0. Without ports it is of the addresses (an ICMP answer has another type than what it answers).
#[inline(always)]
pub fn sample_hash(key: &FlowKey) -> u64 {
    let (src_port, dst_port) = if has_ports(key) { (key.src_port, key.dst_port) } else { (0, 0) };
    let ends = end_hash(&key.src, src_port).wrapping_add(end_hash(&key.dst, dst_port));
    mix64(ends ^ key.proto as u64)
}

#[inline(always)]
fn end_hash(address: &[u8; 16], port: u16) -> u64 {
    let (high, low) = words(address);
    mix64(mix64(SAMPLE_SEED ^ high ^ port as u64).wrapping_add(low))
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
