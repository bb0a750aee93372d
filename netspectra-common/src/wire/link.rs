//! Link layers other than Ethernet, as capture files have them.
//!
//! Numbers are LINKTYPE values (<https://www.tcpdump.org/linktypes.html>).

use super::{Bytes, Packet, ethertype, l2, parse_ethernet};
use crate::abi::LossReason;

/// BSD loopback: the address family in the capturing host's byte order.
pub const NULL: u16 = 0;
/// Ethernet.
pub const ETHERNET: u16 = 1;
/// PPP, with or without address and control bytes.
pub const PPP: u16 = 9;
/// PPP in HDLC-like framing.
pub const PPP_HDLC: u16 = 50;
/// PPPoE: the session header first.
pub const PPP_ETHER: u16 = 51;
/// Raw IP.
pub const RAW: u16 = 101;
/// Cisco HDLC.
pub const C_HDLC: u16 = 104;
/// 802.11.
pub const IEEE802_11: u16 = 105;
/// OpenBSD loopback: the address family in network order.
pub const LOOP: u16 = 108;
/// Linux cooked capture.
pub const LINUX_SLL: u16 = 113;
/// 802.11 with a radiotap header.
pub const IEEE802_11_RADIOTAP: u16 = 127;
/// Raw IPv4.
pub const IPV4: u16 = 228;
/// Raw IPv6.
pub const IPV6: u16 = 229;
/// Netfilter log.
pub const NFLOG: u16 = 239;
/// Linux cooked capture, version 2.
pub const LINUX_SLL2: u16 = 276;

/// Parses a frame of link type `link` into `packet`, which must be fresh.
///
/// # Errors
/// The reason under which the frame is counted when it has no flow.
#[inline]
pub fn parse<B: Bytes>(link: u16, frame: &B, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    if link == ETHERNET {
        return parse_ethernet(frame, wire_len, packet);
    }
    parse_other(link, frame, wire_len, packet)
}

#[inline(never)]
fn parse_other<B: Bytes>(link: u16, frame: &B, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    const CUT: LossReason = LossReason::TruncatedLink;
    let (at, ether_type) = match link {
        NULL => {
            let family: [u8; 4] = frame.array(0).ok_or(CUT)?;
            // The writer's byte order is not recorded: families are small numbers, so the non-zero half tells.
            let native = u32::from_le_bytes(family);
            (4, af_ether_type(if native > 0xffff { native.swap_bytes() } else { native }))
        }
        LOOP => (4, af_ether_type(frame.be32(0).ok_or(CUT)?)),
        RAW => (0, ip_version(frame, 0)?),
        IPV4 => (0, ethertype::IPV4),
        IPV6 => (0, ethertype::IPV6),
        LINUX_SLL => (16, frame.be16(14).ok_or(CUT)?),
        LINUX_SLL2 => (20, frame.be16(0).ok_or(CUT)?),
        PPP | PPP_HDLC => {
            let start = if frame.be16(0).ok_or(CUT)? == 0xff03 { 2 } else { 0 };
            ppp(frame, start)?
        }
        C_HDLC => (4, frame.be16(2).ok_or(CUT)?),
        PPP_ETHER => (0, ethertype::PPPOE),
        IEEE802_11 => return ieee802_11(frame, 0, wire_len, packet),
        IEEE802_11_RADIOTAP => {
            let [lo, hi] = frame.array(2).ok_or(CUT)?;
            return ieee802_11(frame, u32::from(u16::from_le_bytes([lo, hi])), wire_len, packet);
        }
        NFLOG => nflog(frame)?,
        _ => return Err(LossReason::UnsupportedLink),
    };
    if ether_type < ethertype::MIN && matches!(link, LINUX_SLL | LINUX_SLL2) {
        // 0x0004 is 802.2 LLC; the others are Linux's own numbers (CAN, PPP ...).
        return if ether_type == 0x0004 {
            l2::parse(frame, at, 0, wire_len, packet)
        } else {
            l2::non_ip(&mut packet.key, ether_type).map(drop)
        };
    }
    if ether_type == 0 {
        return l2::non_ip(&mut packet.key, 0).map(drop);
    }
    l2::parse(frame, at, ether_type, wire_len, packet)
}

fn af_ether_type(family: u32) -> u16 {
    match family {
        2 => ethertype::IPV4,
        // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 24 | 28 | 30 => ethertype::IPV6,
        _ => 0,
    }
}

fn ip_version<B: Bytes>(frame: &B, at: u32) -> Result<u16, LossReason> {
    match frame.u8(at).ok_or(LossReason::TruncatedIp)? >> 4 {
        4 => Ok(ethertype::IPV4),
        6 => Ok(ethertype::IPV6),
        _ => Err(LossReason::MalformedIp),
    }
}

fn ppp<B: Bytes>(frame: &B, at: u32) -> Result<(u32, u16), LossReason> {
    let first = frame.u8(at).ok_or(LossReason::TruncatedLink)?;
    // An odd first byte is a compressed protocol field (RFC 1661 section 6.5).
    if first & 1 != 0 {
        return Ok((at + 1, l2::ppp_ether_type(u16::from(first))));
    }
    let number = frame.be16(at).ok_or(LossReason::TruncatedLink)?;
    Ok((at + 2, l2::ppp_ether_type(number)))
}

/// 802.11 data frames that are not encrypted carry LLC; all others are counted as non-IP.
fn ieee802_11<B: Bytes>(frame: &B, at: u32, wire_len: u32, packet: &mut Packet) -> Result<(), LossReason> {
    let [fc0, fc1] = frame.array(at).ok_or(LossReason::TruncatedLink)?;
    let data = fc0 & 0x0c == 0x08;
    let subtype = fc0 >> 4;
    let (protected, no_payload) = (fc1 & 0x40 != 0, subtype & 0x4 != 0);
    if !data || protected || no_payload {
        return l2::non_ip(&mut packet.key, 0).map(drop);
    }
    let mut header = 24;
    if fc1 & 0x03 == 0x03 {
        header += 6;
    }
    if subtype & 0x8 != 0 {
        header += 2;
        if fc1 & 0x80 != 0 {
            header += 4;
        }
    }
    l2::parse(frame, at + header, 0, wire_len, packet)
}

/// NFLOG: a header with the address family, then attributes; the packet is attribute 9.
fn nflog<B: Bytes>(frame: &B) -> Result<(u32, u16), LossReason> {
    const ATTRIBUTES: u32 = 64;
    let family = frame.u8(0).ok_or(LossReason::TruncatedLink)?;
    let ether_type = match family {
        2 => ethertype::IPV4,
        10 => ethertype::IPV6,
        _ => 0,
    };
    let mut at = 4;
    for _ in 0..ATTRIBUTES {
        let [a, b, c, d] = frame.array(at).ok_or(LossReason::TruncatedLink)?;
        let (len, kind) = (u32::from(u16::from_le_bytes([a, b])), u16::from_le_bytes([c, d]));
        if kind == 9 {
            return Ok((at + 4, ether_type));
        }
        if len < 4 {
            return Err(LossReason::TruncatedLink);
        }
        at += (len + 3) & !3;
    }
    Err(LossReason::TooDeep)
}
