//! Tunnels: the headers between an outer and an inner packet.

use super::build::{ethernet, ipv4, ipv6};
use crate::Rng;
use netspectra_common::wire::proto;

/// A protocol that carries tunnels.
pub(super) fn protocol(rng: &mut Rng) -> u8 {
    rng.pick(&[proto::IPIP, proto::IPV6, proto::GRE, proto::GRE, proto::UDP, proto::UDP, proto::UDP])
}

/// What follows an IP header of `protocol`, one of [`protocol`]'s: a tunnel header, and a packet `tunnels` deep.
pub(super) fn inside(rng: &mut Rng, protocol: u8, tunnels: usize, p: &mut Vec<u8>) {
    match protocol {
        proto::IPIP => ipv4(rng, tunnels, p),
        proto::IPV6 => ipv6(rng, tunnels, p),
        proto::GRE => gre(rng, tunnels, p),
        _ => udp(rng, tunnels, p),
    }
}

fn ip(rng: &mut Rng, tunnels: usize, p: &mut Vec<u8>) {
    if rng.one_in(2) { ipv4(rng, tunnels, p) } else { ipv6(rng, tunnels, p) }
}

fn gre(rng: &mut Rng, tunnels: usize, p: &mut Vec<u8>) {
    match rng.below(6) {
        // Any of checksum, key and sequence number, then IP or Ethernet.
        0..=2 => {
            let flags = rng.pick(&[0x00u8, 0x80, 0x20, 0x10, 0xb0]);
            let options = 4 * (flags & 0xb0).count_ones() as usize;
            let kind = rng.below(3);
            p.extend([flags, 0]);
            p.extend([0x0800u16, 0x86dd, 0x6558].get(kind).copied().unwrap_or_default().to_be_bytes());
            p.resize(p.len() + options, 7);
            match kind {
                0 => ipv4(rng, tunnels, p),
                1 => ipv6(rng, tunnels, p),
                _ => ethernet(rng, tunnels, p),
            }
        }
        // PPTP (RFC 2637): key, sequence and acknowledgement numbers, PPP.
        3 => {
            p.extend([0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21]);
            ipv4(rng, tunnels, p);
        }
        // ERSPAN type I, II, III.
        4 => {
            match rng.below(2) {
                0 => p.extend([0, 0, 0x88, 0xbe]),
                _ => p.extend([0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 3, 0, 0, 0, 0]),
            }
            ethernet(rng, tunnels, p);
        }
        _ => {
            let more = rng.byte() & 1;
            p.extend([0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, more]);
            p.resize(p.len() + 8 * usize::from(more), 0);
            ethernet(rng, tunnels, p);
        }
    }
}

fn udp(rng: &mut Rng, tunnels: usize, p: &mut Vec<u8>) {
    let start = p.len();
    let port: u16 = rng.pick(&[4789, 8472, 6081, 2152, 3386, 3544, 5072, 4341, 4342, 6635]);
    p.extend([0xc0, rng.byte() & 3]);
    p.extend(port.to_be_bytes());
    p.extend([0, 0, 0, 0]);
    match port {
        4789 | 8472 => {
            p.extend([8, 0, 0, 0, 0, 1, rng.byte() & 3, 0]);
            ethernet(rng, tunnels, p);
        }
        6081 => {
            let words = rng.below(4) as u8;
            p.extend([words, 0, 0x65, 0x58, 0, 0, 9, 0]);
            p.resize(p.len() + 4 * usize::from(words), 1);
            ethernet(rng, tunnels, p);
        }
        2152 => {
            // Plain, or with a sequence number and one extension header.
            match rng.below(2) {
                0 => p.extend([0x30, 255, 0, 40, 0, 0, 0, 3]),
                _ => p.extend([0x34, 255, 0, 40, 0, 0, 0, 3, 0, 0, 0, 0x85, 1, 0, 0, 0x40, 1, 0, 0, 0]),
            }
            ip(rng, tunnels, p);
        }
        3386 => {
            p.extend([0x1e, 255, 0, 40, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            ip(rng, tunnels, p);
        }
        3544 => {
            // Teredo: nothing, authentication, origin indication, both.
            if rng.one_in(2) {
                p.extend([0, 1, 1, 1, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
            if rng.one_in(2) {
                p.extend([0, 0, 1, 2, 3, 4, 5, 6]);
            }
            ipv6(rng, tunnels, p);
        }
        5072 => {
            p.extend([0x44, 0x52, 0x11, 41]);
            p.resize(p.len() + 40, 0);
            ipv6(rng, tunnels, p);
        }
        4341 => {
            p.extend([0; 8]);
            ip(rng, tunnels, p);
        }
        4342 => {
            p.extend([0x80, 0, 0, 0]);
            ip(rng, tunnels, p);
        }
        _ => {
            p.extend([0, 1, 1, 64]);
            ip(rng, tunnels, p);
        }
    }
    let len = (p.len() - start) as u16;
    if let Some(field) = p.get_mut(start + 4..start + 6) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}
