use super::{Bytes, Fragment, MAX_OFFSET, Packet, ethertype, l2, proto};
use crate::abi::Family;

/// Tunnels whose inside is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tunnel {
    /// IPv4 in IP (RFC 2003), IPv4 in IPv6 (RFC 2473).
    Ipip = 1,
    /// IPv6 in IP (RFC 4213, 2473).
    SixInFour = 2,
    /// GRE (RFC 2784, 2890), plain, with Ethernet inside, or with PPP inside (RFC 2637).
    Gre = 3,
    /// ERSPAN types I to III.
    Erspan = 4,
    /// VXLAN (RFC 7348).
    Vxlan = 5,
    /// GENEVE (RFC 8926).
    Geneve = 6,
    /// GTP-U (3GPP TS 29.281).
    GtpU = 7,
    /// Teredo (RFC 4380).
    Teredo = 8,
    /// AYIYA (draft-massar-v6ops-ayiya).
    Ayiya = 9,
    /// LISP data (RFC 9300) and encapsulated control (RFC 9301).
    Lisp = 10,
    /// MPLS in UDP (RFC 7510).
    MplsInUdp = 11,
}

impl Tunnel {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Ipip,
        Self::SixInFour,
        Self::Gre,
        Self::Erspan,
        Self::Vxlan,
        Self::Geneve,
        Self::GtpU,
        Self::Teredo,
        Self::Ayiya,
        Self::Lisp,
        Self::MplsInUdp,
    ];

    /// The kind that a key's `tunnel` names.
    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u8 == raw)
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::SixInFour => "6in4",
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp-u",
            Self::Teredo => "teredo",
            Self::Ayiya => "ayiya",
            Self::Lisp => "lisp",
            Self::MplsInUdp => "mpls-in-udp",
        }
    }
}

/// Tunnels in tunnels that are followed.
pub const MAX_TUNNELS: u32 = 8;
/// Extension headers of a GTP message that are followed.
const MAX_GTP_EXTENSIONS: u32 = 8;

/// A header inside a tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its offset in the frame.
    at: u32,
    /// The tunnel's identifier.
    id: u32,
    /// Its EtherType.
    ether_type: u16,
    /// A [`Tunnel`].
    tunnel: u8,
}

impl Inside {
    #[inline(always)]
    fn new(at: u32, ether_type: u16, tunnel: Tunnel, id: u32) -> Self {
        Self { at, id, ether_type, tunnel: tunnel as u8 }
    }
}

/// Makes `packet` the innermost IP packet of its tunnels; leaves it as it is where there is none that can be read.
///
/// Tags are those of the outer frame. IP headers quoted inside ICMP errors are not tunnels. Cost: one parse a tunnel.
pub fn innermost<B: Bytes>(frame: &B, wire_len: u32, packet: &mut Packet) {
    for _ in 0..MAX_TUNNELS {
        match inside(frame, packet) {
            Some(inside) if enter(frame, wire_len, &inside, packet, &mut Packet::default()) => {}
            _ => return,
        }
    }
}

/// The second half of a step of [`innermost`]: makes `packet` the IP packet that is `inside`. Returns false, and `packet`
/// is as it was, where there is none that can be read. `spare` is room for a packet, which the kernel's stack has not.
#[inline(always)]
pub fn enter<B: Bytes>(frame: &B, wire_len: u32, inside: &Inside, packet: &mut Packet, spare: &mut Packet) -> bool {
    spare.copy_from(packet);
    packet.clear();
    let parsed = l2::parse(frame, B::rejoin(inside.at), inside.ether_type, wire_len, packet);
    if parsed.is_err() || packet.key.family == Family::NonIp as u8 {
        packet.copy_from(spare);
        return false;
    }
    packet.key.vlan = spare.key.vlan;
    packet.key.inner_vlan = spare.key.inner_vlan;
    packet.key.tunnel = inside.tunnel;
    packet.key.tunnel_id = inside.id;
    true
}

/// The first half of a step of [`innermost`]: where the next packet inside `packet` is.
#[inline(always)]
pub fn inside<B: Bytes>(frame: &B, packet: &Packet) -> Option<Inside> {
    let mut inside = descend(frame, packet)?;
    if inside.ether_type == ethertype::TEB {
        let at = B::rejoin(inside.at);
        inside.ether_type = frame.be16(at + 12)?;
        inside.at = at + 14;
    }
    Some(inside)
}

#[inline(always)]
fn descend<B: Bytes>(frame: &B, packet: &Packet) -> Option<Inside> {
    // A later fragment holds no header: its identity stays the outer one.
    if matches!(packet.fragment, Fragment::Later(_)) || packet.l4_offset == 0 {
        return None;
    }
    let at = B::rejoin(packet.l4_offset);
    let plain = |tunnel, ether_type| Some(Inside::new(at, ether_type, tunnel, 0));
    match packet.key.proto {
        proto::IPIP => plain(Tunnel::Ipip, ethertype::IPV4),
        proto::IPV6 => plain(Tunnel::SixInFour, ethertype::IPV6),
        proto::GRE => gre(frame, at),
        proto::UDP => udp(frame, at + 8, packet.key.src_port, packet.key.dst_port),
        _ => None,
    }
}

#[inline(always)]
fn gre<B: Bytes>(frame: &B, at: u32) -> Option<Inside> {
    let [hi, lo, p0, p1] = frame.array(at)?;
    let flags = u16::from_be_bytes([hi, lo]);
    let protocol = u16::from_be_bytes([p0, p1]);
    let version = flags & 7;
    let (checksum, routing, key, sequence) =
        (flags & 0x8000 != 0, flags & 0x4000 != 0, flags & 0x2000 != 0, flags & 0x1000 != 0);
    if version > 1 || routing {
        return None;
    }
    let mut next = at + 4;
    if checksum {
        next += 4;
    }
    next = B::rejoin(next);
    let mut id = 0;
    if key {
        id = frame.be32(next)?;
        next += 4;
    }
    if sequence {
        next += 4;
    }
    if version == 1 && flags & 0x0080 != 0 {
        next += 4;
    }
    let next = B::rejoin(next);
    let inside = |tunnel, at, ether_type, id| Some(Inside::new(at, ether_type, tunnel, id));
    match protocol {
        ethertype::IPV4 | ethertype::IPV6 | ethertype::TEB | ethertype::MPLS => inside(Tunnel::Gre, next, protocol, id),
        // PPP, with or without address and control bytes.
        0x880b => {
            let start = B::rejoin(if frame.be16(next)? == 0xff03 { next + 2 } else { next });
            let first = frame.u8(start)?;
            let (number, len) = if first & 1 != 0 { (u16::from(first), 1) } else { (frame.be16(start)?, 2) };
            match l2::ppp_ether_type(number) {
                0 => None,
                ether_type => inside(Tunnel::Gre, start + len, ether_type, id & 0xffff),
            }
        }
        // ERSPAN I has no header of its own (and no sequence number), II has 8 bytes.
        0x88be if !sequence => inside(Tunnel::Erspan, next, ethertype::TEB, id),
        0x88be => inside(Tunnel::Erspan, next + 8, ethertype::TEB, u32::from(frame.be16(next + 2)? & 0x3ff)),
        // ERSPAN III: 12 bytes, and 8 more when the O bit is set. P=1 or frame type 0: an Ethernet frame follows.
        0x22eb => {
            let h: [u8; 12] = frame.array(next)?;
            let session = u32::from(u16::from_be_bytes([h[2], h[3]]) & 0x3ff);
            if h[10] & 0x7c != 0 {
                return None;
            }
            let header = if h[11] & 1 != 0 { 20 } else { 12 };
            inside(Tunnel::Erspan, next + header, ethertype::TEB, session)
        }
        _ => None,
    }
}

#[inline(always)]
fn udp<B: Bytes>(frame: &B, at: u32, src_port: u16, dst_port: u16) -> Option<Inside> {
    let port = |p| src_port == p || dst_port == p;
    let inside = |tunnel, at, ether_type, id| Some(Inside::new(at, ether_type, tunnel, id));
    if dst_port == 4789 || src_port == 4789 {
        // The I flag must be set for the VNI to be valid.
        let flags = frame.u8(at)?;
        return if flags & 0x08 != 0 {
            inside(Tunnel::Vxlan, at + 8, ethertype::TEB, frame.be32(at + 4)? >> 8)
        } else {
            None
        };
    }
    if port(6081) {
        let [first, _, p0, p1] = frame.array(at)?;
        let protocol = u16::from_be_bytes([p0, p1]);
        let options = u32::from(first & 0x3f) * 4;
        return match (first >> 6, protocol) {
            (0, ethertype::TEB | ethertype::IPV4 | ethertype::IPV6) => {
                inside(Tunnel::Geneve, at + 8 + options, protocol, frame.be32(at + 4)? >> 8)
            }
            _ => None,
        };
    }
    if port(2152) || port(3386) {
        return gtp(frame, at);
    }
    if port(3544) {
        return teredo(frame, at);
    }
    if port(5072) {
        return ayiya(frame, at);
    }
    if port(4341) {
        return match frame.u8(at + 8)? >> 4 {
            4 => inside(Tunnel::Lisp, at + 8, ethertype::IPV4, 0),
            6 => inside(Tunnel::Lisp, at + 8, ethertype::IPV6, 0),
            _ => None,
        };
    }
    if port(4342) {
        // An encapsulated control message (type 8) carries an IP packet after its four bytes (RFC 9301 section 5.8).
        return match (frame.u8(at)? >> 4, frame.u8(at + 4)? >> 4) {
            (8, 4) => inside(Tunnel::Lisp, at + 4, ethertype::IPV4, 0),
            (8, 6) => inside(Tunnel::Lisp, at + 4, ethertype::IPV6, 0),
            _ => None,
        };
    }
    if dst_port == 6635 {
        return inside(Tunnel::MplsInUdp, at, ethertype::MPLS, 0);
    }
    None
}

/// GTP version 1, and the version 0 header of TS 09.60; message 255 carries a user's packet.
#[inline(always)]
fn gtp<B: Bytes>(frame: &B, at: u32) -> Option<Inside> {
    let [flags, message] = frame.array(at)?;
    if message != 255 {
        return None;
    }
    let (mut next, id) = match flags >> 5 {
        1 => (at + 8, frame.be32(at + 4)?),
        0 => (at + 20, 0),
        _ => return None,
    };
    next = B::rejoin(next);
    if flags >> 5 == 1 && flags & 0x07 != 0 {
        let mut extension = if flags & 0x04 != 0 { frame.u8(next + 3)? } else { 0 };
        next += 4;
        let mut followed = 0;
        while extension != 0 && followed < MAX_GTP_EXTENSIONS {
            followed += 1;
            next = B::rejoin(next);
            let len = u32::from(frame.u8(next)?) * 4;
            if len == 0 {
                return None;
            }
            extension = frame.u8(B::rejoin(next + len - 1))?;
            next += len;
        }
    }
    next = B::rejoin(next);
    match frame.u8(next)? >> 4 {
        4 => Some(Inside::new(next, ethertype::IPV4, Tunnel::GtpU, id)),
        6 => Some(Inside::new(next, ethertype::IPV6, Tunnel::GtpU, id)),
        _ => None,
    }
}

/// Teredo: optional authentication and origin indications, then IPv6.
#[inline(always)]
fn teredo<B: Bytes>(frame: &B, at: u32) -> Option<Inside> {
    let mut next = at;
    if frame.be16(next)? == 1 {
        let [client, authentication] = frame.array(next + 2)?;
        next += 4 + u32::from(client) + u32::from(authentication) + 8 + 1;
    }
    next = B::rejoin(next);
    if frame.be16(next)? == 0 {
        next += 8;
    }
    next = B::rejoin(next);
    (frame.u8(next)? >> 4 == 6).then_some(Inside::new(next, ethertype::IPV6, Tunnel::Teredo, 0))
}

/// AYIYA: identity and signature of stated lengths around a fixed part.
#[inline(always)]
fn ayiya<B: Bytes>(frame: &B, at: u32) -> Option<Inside> {
    let [identity, signature, operation, next_header] = frame.array(at)?;
    let (identity, signature) = (1u32 << (identity >> 4), u32::from(signature >> 4) * 4);
    // Operation 1 forwards a packet. Behind a longer identity nothing is read, and no offset may be beyond what
    // `Bytes::rejoin` is good for.
    if operation & 0x0f != 1 || identity > MAX_OFFSET {
        return None;
    }
    let ether_type = match next_header {
        proto::IPIP => ethertype::IPV4,
        proto::IPV6 => ethertype::IPV6,
        _ => return None,
    };
    Some(Inside::new(at + 8 + identity + signature, ether_type, Tunnel::Ayiya, 0))
}
