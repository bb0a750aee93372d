use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rules of a set: a bit each, the lowest is the first rule.
pub const MAX_RULES: usize = 64;
/// Prefixes of all rules of a set, in each of both sets.
pub const MAX_RULE_NETS: usize = 4096;
/// Sets of rules: the programs use one while the other one is written.
pub const RULE_SETS: u32 = 2;

/// Bits of a rule's sampling, see [`super::Sampling`].
pub const SAMPLING_BITS: usize = 5;

/// A set of rules, compiled: for each property of a packet the rules that it meets.
///
/// A rule without a condition on a property is in all of its masks. 512 KiB.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RuleSet {
    /// Rules that include, all or some of what meets them; the others exclude.
    pub include: u64,
    /// The rules' [`super::Sampling`], its lowest bit first.
    pub sampling: [u64; SAMPLING_BITS],
    /// Met by packets without ports.
    pub no_port: u64,
    /// Met by frames without addresses.
    pub no_address: u64,
    /// By IANA protocol number.
    pub protos: [u64; 256],
    /// Met by frames that are not IP, whatever their protocol.
    pub not_ip: u64,
    /// By interface slot.
    pub ifaces: [u64; 128],
    /// By port, of the source or of the destination.
    pub ports: [u64; 65536],
}

const _: () = assert!(size_of::<RuleSet>() == 8 * (4 + SAMPLING_BITS + 256 + 128 + 65536));

/// The data of the longest-prefix-match key, in words of memory order: the number of the set, the [`super::Family`] and six
/// bytes of zero; then the address. A prefix of n bits of address has a key of 64 + n bits.
pub type NetKey = [u64; 3];
/// Bits before the address.
pub const RULE_NET_HEAD: u32 = 64;

/// The rules that an address meets. Those of a prefix hold those of all prefixes around it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NetMasks {
    /// As the source.
    pub src: u64,
    /// As the destination.
    pub dst: u64,
    /// As either of both.
    pub net: u64,
}
