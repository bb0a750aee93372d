use super::{Bytes, Packet, ip};
use crate::abi::{Family, FlowKey, LossReason, VLAN_PRESENT};

/// EtherTypes that the parser knows.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// Service tag before 802.1ad.
    pub const QINQ_OLD: u16 = 0x9100;
    /// 802.1ah I-tag: a whole customer frame follows.
    pub const ITAG: u16 = 0x88e7;
    /// PPPoE session.
    pub const PPPOE: u16 = 0x8864;
    /// MPLS, unicast.
    pub const MPLS: u16 = 0x8847;
    /// MPLS, multicast.
    pub const MPLS_MC: u16 = 0x8848;
    /// Ethernet inside (GRE, GENEVE).
    pub const TEB: u16 = 0x6558;
    /// Lowest EtherType; below it the field is an 802.3 length.
    pub const MIN: u16 = 0x0600;
}

/// Tags, labels and sessions that are followed before the network header.
const MAX_ENCAPSULATIONS: u32 = 8;

/// Parses what follows an EtherType: tags, PPPoE, MPLS, then IP. `at` is the offset after the EtherType.
///
/// `packet` must be fresh; it is filled in place because the kernel's stack has no room for copies.
#[inline(always)]
pub(super) fn parse<B: Bytes>(
    frame: &B,
    at: u32,
    ether_type: u16,
    wire_len: u32,
    packet: &mut Packet,
) -> Result<(), LossReason> {
    let mut at = at;
    let mut ether_type = ether_type;
    let mut left = if is_ip(ether_type) { 0 } else { MAX_ENCAPSULATIONS };
    // The condition stands at the end: Linux 6.1 wants a loop to begin anew by a jump.
    while left > 0 {
        match step(frame, B::rejoin(at), ether_type, &mut packet.key)? {
            Some((next, inner)) => {
                at = next;
                ether_type = inner;
            }
            None => return Ok(()),
        }
        if is_ip(ether_type) {
            break;
        }
        left -= 1;
        if left == 0 {
            return Err(LossReason::TooDeep);
        }
    }
    at = B::rejoin(at);
    if ether_type == ethertype::IPV4 {
        ip::parse_v4(frame, at, wire_len, packet)
    } else {
        ip::parse_v6(frame, at, wire_len, packet)
    }
}

#[inline(always)]
const fn is_ip(ether_type: u16) -> bool {
    matches!(ether_type, ethertype::IPV4 | ethertype::IPV6)
}

/// Follows one encapsulation: the offset and EtherType of what is inside, or `None` when the frame is not IP (the key
/// says so then).
#[inline(always)]
fn step<B: Bytes>(frame: &B, at: u32, ether_type: u16, key: &mut FlowKey) -> Result<Option<(u32, u16)>, LossReason> {
    match ether_type {
        ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD => {
            let tci = frame.be16(at).ok_or(LossReason::TruncatedLink)?;
            let tag = VLAN_PRESENT | (tci & 0x0fff);
            if key.vlan == 0 {
                key.vlan = tag;
            } else if key.inner_vlan == 0 {
                key.inner_vlan = tag;
            }
            let inner = frame.be16(at + 2).ok_or(LossReason::TruncatedLink)?;
            Ok(Some((at + 4, inner)))
        }
        // I-TCI (4), customer destination (6) and source (6) addresses, then the customer's EtherType.
        ethertype::ITAG => {
            let inner = frame.be16(at + 16).ok_or(LossReason::TruncatedLink)?;
            Ok(Some((at + 18, inner)))
        }
        ethertype::PPPOE => {
            // Version, type, code, session, length; then the PPP protocol, one byte when compressed.
            let ppp = frame.be16(at + 6).ok_or(LossReason::TruncatedLink)?;
            let (ppp, len) = if ppp & 0x0100 != 0 { (ppp >> 8, 7) } else { (ppp, 8) };
            match ppp_ether_type(ppp) {
                0 => non_ip(key, ethertype::PPPOE),
                inner => Ok(Some((at + len, inner))),
            }
        }
        ethertype::MPLS | ethertype::MPLS_MC => {
            let label = frame.be32(at).ok_or(LossReason::TruncatedLink)?;
            if label & 0x100 == 0 {
                return Ok(Some((at + 4, ether_type)));
            }
            // Bottom of the stack. What follows is told by its first nibble (RFC 4928).
            match frame.u8(at + 4) {
                Some(b) if b >> 4 == 4 => Ok(Some((at + 4, ethertype::IPV4))),
                Some(b) if b >> 4 == 6 => Ok(Some((at + 4, ethertype::IPV6))),
                _ => non_ip(key, ether_type),
            }
        }
        0..ethertype::MIN => llc(frame, at, key),
        other => non_ip(key, other),
    }
}

/// An 802.3 frame: LLC follows. SNAP with a zero OUI carries an EtherType (RFC 1042); SAP 06 is IP.
#[inline(always)]
fn llc<B: Bytes>(frame: &B, at: u32, key: &mut FlowKey) -> Result<Option<(u32, u16)>, LossReason> {
    match frame.array::<3>(at) {
        Some([0xaa, 0xaa, 0x03]) => match frame.array::<5>(at + 3) {
            Some([0, 0, 0, hi, lo]) if u16::from_be_bytes([hi, lo]) >= ethertype::MIN => {
                Ok(Some((at + 8, u16::from_be_bytes([hi, lo]))))
            }
            _ => non_ip(key, 0),
        },
        Some([0x06, 0x06, 0x03]) => Ok(Some((at + 3, ethertype::IPV4))),
        _ => non_ip(key, 0),
    }
}

/// The EtherType of a PPP protocol number; 0 for control protocols and unknown ones.
#[inline(always)]
pub(super) fn ppp_ether_type(ppp: u16) -> u16 {
    match ppp {
        0x0021 => ethertype::IPV4,
        0x0057 => ethertype::IPV6,
        0x0281 => ethertype::MPLS,
        0x0283 => ethertype::MPLS_MC,
        _ => 0,
    }
}

/// Marks a frame that is counted by its EtherType.
#[inline(always)]
pub(super) fn non_ip(key: &mut FlowKey, ether_type: u16) -> Result<Option<(u32, u16)>, LossReason> {
    key.family = Family::NonIp as u8;
    key.src_port = ether_type;
    Ok(None)
}
