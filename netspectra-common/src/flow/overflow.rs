//! What is still counted of packets whose flow found no room: totals by protocol, distinct sources, heavy prefixes.
//!
//! One source for the kernel and for user space. Bounded work: no loop is longer than [`PREFIX_ROWS`].

use crate::abi::{
    Counter, Family, FlowKey, HEAVY_PREFIXES, HeavyPrefix, NON_IP_CELL, Obs, Overflow, PREFIX_CELLS, PREFIX_ROWS,
    SOURCE_REGISTERS,
};

/// Seed of the hash of addresses: "nsovflw1".
const ADDRESS_SEED: u64 = 0x6e73_6f76_666c_7731;
/// Seed of the hash of prefixes: "nsprefx1".
const PREFIX_SEED: u64 = 0x6e73_7072_6566_7831;
/// Bits that choose a register.
const REGISTER_BITS: u32 = SOURCE_REGISTERS.trailing_zeros();
/// Bits that choose a cell of a row.
const CELL_BITS: u32 = PREFIX_CELLS.trailing_zeros();
/// Places in each half of the heavy prefixes.
const HALF: usize = HEAVY_PREFIXES / 2;

/// Mixes 64 bits: a bijection in which every input bit changes each output bit with probability near one half.
///
/// Variant 13 of David Stafford, "Better Bit Mixing", as in SplitMix64. It is part of the format of [`Overflow`]: another
/// one is another ABI version. Public, so who picks addresses can look for collisions.
#[inline(always)]
pub const fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hash of the source address in [`Overflow::sources`].
#[inline(always)]
pub fn source_hash(key: &FlowKey) -> u64 {
    let (high, low) = words(&key.src);
    mix64(mix64(mix64(ADDRESS_SEED ^ key.family as u64) ^ high) ^ low)
}

/// The source prefix of an IP packet as a number: the family in the highest byte, then the /24 (IPv4) or /48 (IPv6) in
/// the lowest bits.
#[inline(always)]
pub fn prefix_of(key: &FlowKey) -> u64 {
    let (high, _) = words(&key.src);
    let bits = if key.family == Family::V4 as u8 { 24 } else { 48 };
    ((key.family as u64) << 56) | (high >> (64 - bits))
}

/// The hash of a prefix: [`cell`] takes the low 40 bits, the places among the heavy ones 12 above.
#[inline(always)]
pub const fn prefix_hash(prefix: u64) -> u64 {
    mix64(prefix ^ PREFIX_SEED)
}

/// The cell of a prefix in row `row`, from its [`prefix_hash`].
#[inline(always)]
pub const fn cell(hash: u64, row: usize) -> usize {
    (hash >> (row as u32 * CELL_BITS)) as usize & (PREFIX_CELLS - 1)
}

/// The register and the rank of a [`source_hash`]: the position of the first one behind the register's bits, from 1.
#[inline(always)]
pub const fn register(hash: u64) -> (usize, u8) {
    let rest = (hash << REGISTER_BITS) | (1 << (REGISTER_BITS - 1));
    ((hash >> (64 - REGISTER_BITS)) as usize, leading_zeros(rest) as u8 + 1)
}

/// Counts a packet with `key` and weight `counter`, whose flow found no room. Cost: constant, no allocation.
#[inline(always)]
pub fn spill(overflow: &mut Overflow, key: &FlowKey, counter: Counter) {
    let ip = key.family != Family::NonIp as u8;
    let row = &mut overflow.protocols[Obs(key.obs).direction() as usize & 1];
    // In two steps: the verifier knows the bounds of a byte.
    if ip { &mut row[key.proto as usize] } else { &mut row[NON_IP_CELL] }.add(counter);
    if !ip {
        return;
    }
    let (register, rank) = register(source_hash(key));
    if let Some(highest) = overflow.sources.get_mut(register)
        && *highest < rank
    {
        *highest = rank;
    }
    let prefix = prefix_of(key);
    let hash = prefix_hash(prefix);
    let mut at_most = u64::MAX;
    let mut row = 0;
    while row < PREFIX_ROWS {
        let cell = &mut overflow.prefixes[row][cell(hash, row)];
        cell.add(counter);
        if cell.packets < at_most {
            at_most = cell.packets;
        }
        row += 1;
    }
    keep_heavy(&mut overflow.heavy, prefix, hash, at_most, counter);
}

/// A prefix has two places; it takes that of the lighter one there when it may be heavier.
#[inline(always)]
fn keep_heavy(heavy: &mut [HeavyPrefix; HEAVY_PREFIXES], prefix: u64, hash: u64, at_most: u64, counter: Counter) {
    let first = (hash >> 40) as usize & (HALF - 1);
    let second = HALF + ((hash >> 46) as usize & (HALF - 1));
    let at = if heavy[first].prefix == prefix {
        first
    } else if heavy[second].prefix == prefix || heavy[second].at_most < heavy[first].at_most {
        second
    } else {
        first
    };
    let place = &mut heavy[at];
    if place.prefix != prefix {
        if place.at_most >= at_most {
            return;
        }
        *place = HeavyPrefix { prefix, at_most, since: counter };
        return;
    }
    place.at_most = at_most;
    place.since.add(counter);
}

/// The address as two numbers in network order.
#[inline(always)]
pub(super) fn words(a: &[u8; 16]) -> (u64, u64) {
    (
        u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_be_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    )
}

/// Leading zeros of a number that is not 0, by halves: the kernel's machine has no instruction for it, and what the
/// compiler would make of one needs a table.
#[inline(always)]
const fn leading_zeros(x: u64) -> u32 {
    let mut x = x;
    let mut n = 0;
    let mut half = 32;
    while half > 0 {
        if x >> (64 - half) == 0 {
            n += half;
            x <<= half;
        }
        half /= 2;
    }
    n
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hash_values_are_fixed_for_ever() {
        // SplitMix64 seeded with 0 mixes multiples of its increment: the published first value.
        assert_eq!(mix64(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
        let mut key = FlowKey { family: 4, ..FlowKey::default() };
        key.src[..4].copy_from_slice(&[10, 1, 2, 3]);
        assert_eq!(prefix_of(&key), 0x0400_0000_000a_0102);
        key.family = 6;
        key.src[..6].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 1, 2]);
        assert_eq!(prefix_of(&key), 0x0600_2001_0db8_0102);
    }

    proptest! {
        #[test]
        fn leading_zeros_are_those_of_the_machine(x in 1u64..) {
            prop_assert_eq!(leading_zeros(x), x.leading_zeros());
            prop_assert_eq!(leading_zeros(x >> x.leading_zeros()), (x >> x.leading_zeros()).leading_zeros());
        }

        #[test]
        fn a_rank_is_at_least_one_and_fits_the_hash(hash: u64) {
            let (register, rank) = register(hash);
            prop_assert!(register < SOURCE_REGISTERS && (1..=53).contains(&rank));
        }
    }
}
