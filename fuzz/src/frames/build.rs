//! A frame with everything that the parser knows, in any order and depth, mostly well-formed.

use super::tunnel;
use crate::Rng;
use netspectra_common::wire::{ethertype, proto};

/// Encapsulations at most: two more than the parser follows.
const DEPTH: usize = 10;

/// Builds a frame. Addresses, ports and identifications come from small pools, so that flows and fragments meet.
pub fn frame(rng: &mut Rng) -> Vec<u8> {
    let mut f = Vec::new();
    // Of the frames that are tunnels at all, most have one or two, some more than the parser follows.
    let tunnels = if rng.one_in(3) { 1 + rng.below(2) + if rng.one_in(8) { rng.below(DEPTH) } else { 0 } } else { 0 };
    ethernet(rng, tunnels, &mut f);
    if rng.one_in(4) {
        // Padding to the shortest Ethernet frame, or more.
        let more = rng.below(40);
        f.resize(f.len().max(60) + more, 0x55);
    }
    f
}

/// An Ethernet frame, `tunnels` deep.
pub(super) fn ethernet(rng: &mut Rng, tunnels: usize, f: &mut Vec<u8>) {
    f.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    let layers = if rng.one_in(8) { rng.below(DEPTH + 1) } else { rng.below(3) };
    let network = network_type(rng);
    link(rng, layers, network, f);
    match network {
        ethertype::IPV4 => ipv4(rng, tunnels, f),
        ethertype::IPV6 => ipv6(rng, tunnels, f),
        _ => rng_bytes(rng, 46, f),
    }
}

fn network_type(rng: &mut Rng) -> u16 {
    match rng.below(16) {
        0 => 0x0806,
        1 => rng.word(),
        2..=8 => ethertype::IPV6,
        _ => ethertype::IPV4,
    }
}

fn rng_bytes(rng: &mut Rng, at_most: usize, to: &mut Vec<u8>) {
    let n = rng.below(at_most + 1);
    rng.fill(to, n);
}

/// The EtherType and what it announces, `layers` deep, down to the network header's place.
fn link(rng: &mut Rng, layers: usize, network: u16, f: &mut Vec<u8>) {
    let put = |f: &mut Vec<u8>, n: u16| f.extend(n.to_be_bytes());
    for _ in 0..layers {
        match rng.below(8) {
            0..=3 => {
                put(f, rng.pick(&[ethertype::VLAN, ethertype::VLAN, ethertype::QINQ, ethertype::QINQ_OLD]));
                let vid = rng.pick(&[0, 1, 100, 4095]);
                put(f, vid | rng.word() & 0xe000);
            }
            4 => {
                put(f, ethertype::ITAG);
                rng.fill(f, 16);
            }
            5 => {
                put(f, rng.pick(&[ethertype::MPLS, ethertype::MPLS_MC]));
                for _ in 0..rng.below(4) {
                    f.extend([0, 1, 0, 64]);
                }
                f.extend([0, 2, 1, 64]);
                // The network header's first nibble says what follows: nothing more to announce.
                return;
            }
            6 => {
                put(f, ethertype::PPPOE);
                f.extend([0x11, 0, 0, 1, 0, 42]);
                match (network, rng.below(4)) {
                    (ethertype::IPV4, 0) => f.push(0x21),
                    (ethertype::IPV6, 0) => f.push(0x57),
                    (ethertype::IPV6, _) => put(f, 0x0057),
                    (_, 1) => {
                        put(f, 0x0281);
                        f.extend([0, 2, 1, 64]);
                    }
                    _ => put(f, 0x0021),
                }
                return;
            }
            _ => {
                put(f, rng.below(1500) as u16);
                if rng.one_in(3) {
                    f.extend([0x06, 0x06, 0x03]);
                    return;
                }
                f.extend([0xaa, 0xaa, 0x03, 0, 0, rng.pick(&[0, 0, 0, 1])]);
                // The EtherType of the next layer follows.
            }
        }
    }
    put(f, network);
}

/// An IPv4 packet, `tunnels` deep.
pub(super) fn ipv4(rng: &mut Rng, tunnels: usize, f: &mut Vec<u8>) {
    let options = if rng.one_in(4) { rng.below(11) } else { 0 };
    let protocol = if tunnels == 0 { transport_type(rng) } else { tunnel::protocol(rng) };
    let mut payload = Vec::new();
    if rng.one_in(12) {
        let units = rng.pick(&[4, 4, 1, 0, 255]);
        payload.extend([protocol, units]);
        payload.resize(if units < 8 { 4 * (usize::from(units) + 2) } else { 20 }, 0);
        transport(rng, protocol, tunnels, &mut payload);
        ipv4_header(rng, options, proto::AH, payload.len(), f);
    } else {
        transport(rng, protocol, tunnels, &mut payload);
        ipv4_header(rng, options, protocol, payload.len(), f);
    }
    f.extend(payload);
}

fn ipv4_header(rng: &mut Rng, options: usize, protocol: u8, payload: usize, f: &mut Vec<u8>) {
    let len = 20 + 4 * options + payload;
    let stated = match rng.below(16) {
        0 => 0,
        1 => rng.below(len + 40),
        _ => len,
    };
    f.extend([0x40 | (5 + options as u8), rng.byte() & 0xfc]);
    f.extend((stated as u16).to_be_bytes());
    f.extend(rng.pick(&[1u16, 2, 3, 0xffff]).to_be_bytes());
    f.extend(rng.pick(&[0u16, 0, 0, 0, 0x4000, 0x4000, 0x2000, 0x2001, 0x0002, 0x1fff, 0x8000]).to_be_bytes());
    f.extend([64, protocol, 0, 0, 10, 0, 0, rng.below(8) as u8, 10, 0, 1, rng.below(8) as u8]);
    f.resize(f.len() + 4 * options, 1);
}

/// An IPv6 packet, `tunnels` deep.
pub(super) fn ipv6(rng: &mut Rng, tunnels: usize, f: &mut Vec<u8>) {
    let kinds = [proto::HOP_BY_HOP, proto::ROUTING, proto::DESTINATION, proto::AH, proto::FRAGMENT];
    let count = if rng.one_in(3) { rng.below(10) } else { 0 };
    let chain: Vec<u8> = (0..count).map(|_| rng.pick(&kinds)).collect();
    let protocol = if tunnels == 0 { transport_type(rng) } else { tunnel::protocol(rng) };
    let mut payload = Vec::new();
    for (n, kind) in chain.iter().enumerate() {
        payload.push(chain.get(n + 1).copied().unwrap_or(protocol));
        match *kind {
            proto::FRAGMENT => {
                payload.push(0);
                payload.extend(rng.pick(&[0u16, 1, 1, 8, 0x10, 0xfff9]).to_be_bytes());
                payload.extend(rng.pick(&[1u32, 2, 3, u32::MAX]).to_be_bytes());
            }
            proto::AH => {
                let units = rng.pick(&[1, 4, 4, 5]);
                payload.push(units);
                payload.resize(payload.len() + 4 * (usize::from(units) + 2) - 2, 0);
            }
            _ => {
                let units = if rng.one_in(24) { rng.byte() } else { rng.below(3) as u8 };
                payload.push(units);
                payload.resize(payload.len() + 6 + 8 * usize::from(units), 0);
            }
        }
    }
    transport(rng, protocol, tunnels, &mut payload);
    let stated = match rng.below(16) {
        0 => 0,
        1 => rng.below(payload.len() + 40),
        _ => payload.len(),
    };
    f.extend([0x60, 0, 0, 0]);
    f.extend((stated as u16).to_be_bytes());
    f.extend([chain.first().copied().unwrap_or(protocol), 64]);
    for end in [1, 2] {
        f.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end, rng.below(8) as u8]);
    }
    f.extend(payload);
}

fn transport_type(rng: &mut Rng) -> u8 {
    let known = [
        proto::TCP,
        proto::TCP,
        proto::UDP,
        proto::UDP,
        proto::ICMP,
        proto::ICMPV6,
        proto::SCTP,
        proto::UDP_LITE,
        proto::GRE,
        proto::IPIP,
        proto::IPV6,
        proto::AH,
        proto::DCCP,
    ];
    if rng.one_in(16) { rng.byte() } else { rng.pick(&known) }
}

/// A transport header with a little payload; now and then the header is cut.
fn transport(rng: &mut Rng, protocol: u8, tunnels: usize, p: &mut Vec<u8>) {
    let start = p.len();
    match protocol {
        _ if tunnels != 0 => tunnel::inside(rng, protocol, tunnels - 1, p),
        proto::ICMP | proto::ICMPV6 => {
            p.extend([rng.pick(&[0, 3, 8, 128, 129, 135]), rng.below(4) as u8, 0, 0, 0, 0, 0, 1])
        }
        _ => {
            p.extend(rng.pick(&[53u16, 443, 1000, 4789, 40_000]).to_be_bytes());
            p.extend(rng.pick(&[53u16, 80, 443, 2152, 40_001]).to_be_bytes());
            if protocol == proto::TCP {
                p.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50 | rng.byte() & 1, rng.byte(), 1, 0, 0, 0, 0, 0]);
            } else {
                p.extend([0, 20, 0, 0]);
            }
        }
    }
    rng_bytes(rng, 24, p);
    if rng.one_in(12) {
        p.truncate(start + rng.below(p.len() - start + 1));
    }
}
