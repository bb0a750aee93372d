use super::{FlowKey, FlowKey4, FlowStats};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A place in front of a CPU's flow tables: a flow, and what is counted of it, side by side.
///
/// A flow has a row of [`Front::LANES`] places, by its key. Whoever comes first in a generation takes one and has it until the
/// generation ends; who finds them taken is in the tables behind. Nothing is evicted, so what is counted of a flow is in one of the two.
///
/// Which places of a row are taken is in its [`Marks`], eight bytes that are in the processor's caches where places are not: a flow that has
/// no place costs no look at one.
///
/// Long keys lie in an array of their own beside the places, so that these are on few pages: where places are many, what their pages
/// cost a processor to find weighs more than their lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Front {
    /// The flow, if it has a short key; else what [`Front::digest`] gives.
    pub short: FlowKey4,
    /// As in the tables, but without a tag.
    pub stats: FlowStats,
}

const _: () = assert!(size_of::<Front>() == 72);

/// Odd numbers without a pattern in their bits: the golden ratio's, then those that other hashes by multiplication take.
const BY: [u64; 6] = [
    0x9e37_79b9_7f4a_7c15,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
    0x5899_65cc_7537_4cc3,
];

/// What no short key has as its tag: a tag has 12 bits and [`super::VLAN_PRESENT`].
const IS_DIGEST: u16 = 0xffff;

impl Front {
    /// The hash of a short key. By multiplication, whose highest bits depend on every bit: who chooses addresses and ports
    /// can make flows share a place, and then has them counted in the tables behind.
    #[inline(always)]
    pub const fn hash_short(key: &FlowKey4) -> u64 {
        let [addresses, rest] = key.words();
        // Hosts differ in an address's last bytes, which are to be the lowest ones.
        (u64::from_be(addresses).wrapping_mul(BY[0]) ^ rest).wrapping_mul(BY[1])
    }

    /// The hash of a long key.
    #[inline(always)]
    pub const fn hash_long(key: &FlowKey) -> u64 {
        let [s0, s1, d0, d1, ports, rest] = key.words();
        // One after the other would wait for each product.
        let source = u64::from_be(s0).wrapping_mul(BY[0]).wrapping_add(u64::from_be(s1).wrapping_mul(BY[1]));
        let destination = u64::from_be(d0).wrapping_mul(BY[2]).wrapping_add(u64::from_be(d1).wrapping_mul(BY[3]));
        let others = ports.wrapping_mul(BY[4]).wrapping_add(rest.wrapping_mul(BY[5]));
        let sum = source.wrapping_add(destination).wrapping_add(others);
        (sum ^ (sum >> 32)).wrapping_mul(BY[1])
    }

    /// Places in a row.
    pub const LANES: u32 = 4;

    /// The row of a flow among `rows` by its hash.
    #[inline(always)]
    pub const fn row(hash: u64, rows: u32) -> u32 {
        (((hash >> 32) * rows as u64) >> 32) as u32
    }

    /// What stands for a long key where short ones are compared: other than every short key, and than most other long ones.
    #[inline(always)]
    pub const fn digest(hash: u64) -> FlowKey4 {
        FlowKey4::from_words([hash, (IS_DIGEST as u64) << 32])
    }

    /// The flow that has the place: if it has a short key, else `long` gives the one beside it.
    pub fn flow(&self, long: impl FnOnce() -> FlowKey) -> FlowKey {
        if self.short.vlan == IS_DIGEST { long() } else { self.short.into() }
    }
}

/// Of each place in a row a number of 16 bits: 0 where it is free, else one of its flow's hash. Places are taken in their order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Marks(pub u64);

/// Where a flow is in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// There, or another flow with the same mark is.
    At(u32),
    /// Nowhere, and this place is free.
    Free(u32),
    /// Nowhere, and all are taken.
    Full,
}

impl Marks {
    /// The lowest and the highest bit of each mark.
    const LOWEST: u64 = 0x0001_0001_0001_0001;
    const HIGHEST: u64 = Self::LOWEST << 15;

    /// The mark of a flow, by bits of its hash that do not choose the row.
    #[inline(always)]
    pub const fn of(hash: u64) -> u16 {
        (hash >> 24) as u16 | 1
    }

    /// Where a flow with `mark` is. The answer stays the same in a generation, once it was taken.
    #[inline(always)]
    pub const fn find(self, mark: u16) -> Lane {
        let differing = self.0 ^ (mark as u64).wrapping_mul(Self::LOWEST);
        let equal = Self::zeros(differing);
        if equal != 0 {
            return Lane::At(Self::first(equal));
        }
        let free = Self::zeros(self.0);
        if free != 0 { Lane::Free(Self::first(free)) } else { Lane::Full }
    }

    /// Marks the place `lane`, which was free.
    #[inline(always)]
    pub const fn take(self, lane: u32, mark: u16) -> Self {
        Self(self.0 | (mark as u64) << (16 * lane))
    }

    /// Places that are taken.
    pub const fn taken(self) -> u32 {
        Front::LANES - self.0.leading_zeros() / 16
    }

    /// The highest bits of marks that are 0. Above the first such one others may be among them.
    #[inline(always)]
    const fn zeros(marks: u64) -> u64 {
        marks.wrapping_sub(Self::LOWEST) & !marks & Self::HIGHEST
    }

    /// The number of the first one. Without branches, as any is as likely.
    #[inline(always)]
    const fn first(highest_bits: u64) -> u32 {
        let bit = highest_bits & highest_bits.wrapping_neg();
        (((bit >> 31) & 1) + ((bit >> 47) & 1) * 2 + (bit >> 63) * 3) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u32 = 4096;

    /// Of 4,096 rows that 4,096 flows choose at random 2,589 are chosen, give or take 20.
    fn assert_spread(name: &str, row: impl Fn(u32) -> u32) {
        let mut chosen = [false; ROWS as usize];
        (0..ROWS).for_each(|n| chosen[row(n) as usize] = true);
        let chosen = chosen.iter().filter(|chosen| **chosen).count();
        assert!(chosen > 2350, "{name}: {chosen} rows of {ROWS}");
    }

    #[test]
    fn flows_of_every_usual_kind_spread_over_the_rows() {
        type Kind = fn(u32) -> (u32, u32, u16, u8);
        const ME: u32 = 0x0a00_0001;
        const IT: u32 = 0xc633_6401;
        let kinds: [(&str, Kind); 8] = [
            ("ports", |n| (ME, IT, n as u16, 0)),
            ("clients", |n| (ME + n, IT, 40_000, 0)),
            ("servers", |n| (ME, IT + n, 40_000, 0)),
            ("last bytes of both", |n| (ME + (n & 63), IT + (n >> 6), 40_000, 0)),
            ("hosts and ports", |n| (ME, IT + (n & 255), 1024 + (n >> 8) as u16, 0)),
            ("source networks", |n| (n << 12, IT, 40_000, 0)),
            ("destination networks", |n| (ME, n << 8, 40_000, 0)),
            ("observation points", |n| (ME, IT, (n >> 4) as u16, n as u8 & 15)),
        ];
        for (name, kind) in kinds {
            assert_spread(name, |n| {
                let (src, dst, src_port, obs) = kind(n);
                let (src, dst) = (src.to_be_bytes(), dst.to_be_bytes());
                let key = FlowKey4 { src, dst, src_port, dst_port: 443, proto: 6, obs, ..FlowKey4::default() };
                Front::row(Front::hash_short(&key), ROWS)
            });
            assert_spread(name, |n| {
                let (src, dst, src_port, obs) = kind(n);
                let wide = |host: u32| (0x2001_0db8_u128 << 96 | u128::from(host)).to_be_bytes();
                let (src, dst) = (wide(src), wide(dst));
                let key = FlowKey { src, dst, src_port, dst_port: 443, proto: 6, family: 6, obs, ..FlowKey::default() };
                Front::row(Front::hash_long(&key), ROWS)
            });
        }
    }

    #[test]
    fn every_row_is_among_them() {
        for rows in [1, 2, 1000, 1 << 16] {
            for n in 0..1000_u64 {
                assert!(Front::row(n.wrapping_mul(BY[2]), rows) < rows);
            }
            assert_eq!(Front::row(u64::MAX, rows), rows - 1);
        }
    }

    #[test]
    fn a_row_is_taken_in_order_and_every_mark_is_found_again() {
        // Those next to each other differ by what a subtraction borrows.
        for marks in [[1, 3, 5, 7], [0x8001, 1, 0xffff, 3], [3, 1, 3 ^ 0x8000, 1 ^ 0x8000], [0xffff, 0xfffd, 1, 0x8001]]
        {
            let mut row = Marks::default();
            for (lane, mark) in (0..).zip(marks) {
                assert_eq!(row.taken(), lane);
                assert_eq!(row.find(mark), Lane::Free(lane), "{row:?} {mark}");
                row = row.take(lane, mark);
                for (lane, mark) in (0..=lane).zip(marks) {
                    assert_eq!(row.find(mark), Lane::At(lane), "{row:?} {mark}");
                }
            }
            assert_eq!((row.taken(), row.find(9)), (4, Lane::Full));
        }
        assert!((0..1 << 16).all(|n| Marks::of(n << 24) != 0), "0 is a free place");
    }

    #[test]
    fn a_place_says_whose_it_is() {
        let short =
            FlowKey4 { src: [10, 0, 0, 1], vlan: super::super::VLAN_PRESENT | 0xfff, proto: 17, ..FlowKey4::default() };
        let long = FlowKey { family: 6, proto: 6, ..FlowKey::default() };
        assert_eq!(Front { short, ..Front::default() }.flow(|| long), short.into());
        let digest = Front::digest(Front::hash_long(&long));
        assert_eq!(Front { short: digest, ..Front::default() }.flow(|| long), long);
    }
}
