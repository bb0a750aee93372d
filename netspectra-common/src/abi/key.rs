use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Set in a VLAN field when the frame carried the tag; the low 12 bits are the VLAN identifier.
pub const VLAN_PRESENT: u16 = 0x8000;

/// Which addresses a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// No addresses: `src_port` holds the EtherType (or, below 1536, 0 for an LLC frame).
    NonIp = 0,
    /// IPv4: the address is in the first four bytes, the rest is zero.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// Which way a packet crossed the observation point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Received by the host.
    Ingress = 0,
    /// Sent by the host.
    Egress = 1,
}

/// Observation point: interface slot (0..=127) and direction in one byte.
///
/// The slot is an index into the agent's interface list, which travels in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Obs(pub u8);

impl Obs {
    /// Highest interface slot.
    pub const MAX_IFACE: u8 = 127;

    /// Packs `iface` (its low 7 bits) and `direction`.
    pub const fn new(iface: u8, direction: Direction) -> Self {
        Self((iface << 1) | direction as u8)
    }

    /// The interface slot.
    pub const fn iface(self) -> u8 {
        self.0 >> 1
    }

    /// The direction.
    pub const fn direction(self) -> Direction {
        if self.0 & 1 == 0 { Direction::Ingress } else { Direction::Egress }
    }
}

/// `src_port` of an ICMP or ICMPv6 key whose type and code are not known: not captured, or in a fragment that was not seen.
pub const ICMP_UNKNOWN: u16 = 0xffff;

/// One direction of a flow: the packet's five-tuple, where it was seen, and its tags.
///
/// Ports are in host order. For ICMP and ICMPv6 `src_port` is 0 and `dst_port` is `type << 8 | code`, or `src_port` is
/// [`ICMP_UNKNOWN`] and `dst_port` 0. For protocols without ports both are 0.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey {
    /// Source address; IPv4 in the first four bytes.
    pub src: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub dst: [u8; 16],
    /// Source port, 0, or the EtherType of a non-IP frame.
    pub src_port: u16,
    /// Destination port, 0, or the ICMP type and code.
    pub dst_port: u16,
    /// Outer VLAN tag, see [`VLAN_PRESENT`].
    pub vlan: u16,
    /// Second VLAN tag, see [`VLAN_PRESENT`].
    pub inner_vlan: u16,
    /// IANA protocol number after extension headers; 0 for non-IP.
    pub proto: u8,
    /// A [`Family`].
    pub family: u8,
    /// An [`Obs`].
    pub obs: u8,
    /// Kind of the tunnel that the five-tuple was taken from inside of (a `wire::Tunnel`); 0 for none.
    pub tunnel: u8,
    /// The tunnel's identifier (VNI, GRE key, TEID), 0 where it has none.
    pub tunnel_id: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 48);

impl FlowKey {
    /// Places in [`Self::halves`]: the first four bytes of an address, and both ports.
    pub const SRC: usize = 0;
    /// As [`Self::SRC`].
    pub const DST: usize = 4;
    /// As [`Self::SRC`].
    pub const PORTS: usize = 8;

    /// The halves of the words that the key is.
    #[inline(always)]
    pub const fn halves(&self) -> &[u32; 12] {
        zerocopy::transmute_ref!(self)
    }

    /// The words that the key is.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 6] {
        zerocopy::transmute!(*self)
    }

    /// Sets both ports, given as a header has them, by one store; see [`FlowKey4::from_words`].
    #[inline(always)]
    pub fn set_ports(&mut self, ports: [u8; 4]) {
        let ports = u32::from_be_bytes(ports);
        let halves: &mut [u32; 12] = zerocopy::transmute_mut!(self);
        // Each in host order, the source first.
        halves[Self::PORTS] = ports.rotate_left(16);
    }
}

impl core::hash::Hash for FlowKey {
    /// Six words: field by field a hasher would be called ten times, and of 48 bytes it has to find out how many they are.
    #[inline]
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.words().into_iter().for_each(|word| state.write_u64(word));
    }
}

/// The short key for an IPv4 packet with at most one VLAN tag and no tunnel: two words to hash instead of six.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey4 {
    /// Source address, network order.
    pub src: [u8; 4],
    /// Destination address, network order.
    pub dst: [u8; 4],
    /// As in [`FlowKey`].
    pub src_port: u16,
    /// As in [`FlowKey`].
    pub dst_port: u16,
    /// As in [`FlowKey`].
    pub vlan: u16,
    /// As in [`FlowKey`].
    pub proto: u8,
    /// As in [`FlowKey`].
    pub obs: u8,
}

const _: () = assert!(size_of::<FlowKey4>() == 16);

// Objects for other machines are not built.
const _: () = assert!(cfg!(target_endian = "little"), "keys are made of words in little-endian order");

impl FlowKey4 {
    /// The key whose memory these words are.
    ///
    /// In the kernel a key is looked up as soon as it is made: the processor hands a store on to a load of a part of it, but
    /// where several stores make up what is loaded it waits until they are in the cache.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        zerocopy::transmute!(words)
    }

    /// The words that the key is.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        zerocopy::transmute!(*self)
    }
}

impl From<FlowKey4> for FlowKey {
    fn from(k: FlowKey4) -> Self {
        let mut key = Self {
            src_port: k.src_port,
            dst_port: k.dst_port,
            vlan: k.vlan,
            proto: k.proto,
            family: Family::V4 as u8,
            obs: k.obs,
            ..Self::default()
        };
        key.src[..4].copy_from_slice(&k.src);
        key.dst[..4].copy_from_slice(&k.dst);
        key
    }
}
