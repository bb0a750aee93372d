//! Distinct counting: HyperLogLog with 2^14 registers that starts as an almost exact sparse list.
mod bytes;
mod estimate;
mod sparse;
#[cfg(test)]
mod tests;

pub(in crate::sketch) use self::estimate::interval;
use self::sparse::{Inserted, Sparse};
use super::{Estimate, hash64};

/// Bits of the hash that choose a register.
const PRECISION: u32 = 14;
/// Registers when dense.
const REGISTERS: usize = 1 << PRECISION;
/// Largest rank: all the bits after the register index are zero.
const MAX_RANK: u8 = (64 - PRECISION + 1) as u8;

type Registers = Box<[u8; REGISTERS]>;

/// Counts distinct values, with bounds, in at most 16 KiB whatever the input.
///
/// Up to 2,048 distinct values are kept as 32-bit fingerprints (26-bit index, 6-bit rank): an empty sketch allocates
/// nothing and a small one is near exact. Beyond that it has 2^14 registers of one byte (standard error 0.81 %). Which of
/// the two it is depends on the set alone, so the same set has the same bytes in any order and any merge tree, and
/// merging is associative, commutative and idempotent.
///
/// The bounds suppose that values were not chosen against the public seed of [`hash64`]: who picks addresses by their
/// hash can make a set look larger or smaller.
///
/// Cost, measured in release on one core of an AMD EPYC: 2 ns per `insert` of 16 bytes when dense, 22 ns while sparse
/// (growth included); merging two dense ones 0.4 us, `estimate` 7 us. Bytes: 4 when empty, about 4 per value while
/// sparse, 12,291 when dense.
///
/// Source: Flajolet et al. 2007; sparse form after Heule, Nunkesser, Hall 2013; estimator Ertl 2017 (arXiv 1702.01284).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hll {
    /// All that is known until there are registers; empty afterwards.
    sparse: Sparse,
    registers: Option<Registers>,
}

impl Hll {
    /// An empty sketch; does not allocate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value; a second time changes nothing.
    #[inline]
    pub fn insert(&mut self, value: &[u8]) {
        self.insert_hash(hash64(value));
    }

    /// Adds a value by its [`hash64`]; with another hash it would count as another value.
    #[inline]
    pub fn insert_hash(&mut self, hash: u64) {
        match &mut self.registers {
            Some(registers) => raise(registers, register_of(hash), rank_of(hash)),
            None => self.insert_entry(sparse::entry_of(hash)),
        }
    }

    /// Makes this the sketch of the union of both sets. Cost: one pass over `other`.
    pub fn merge(&mut self, other: &Self) {
        match &other.registers {
            None => other.sparse.entries().for_each(|entry| self.insert_entry(entry)),
            Some(theirs) => {
                for (mine, theirs) in self.densify().iter_mut().zip(theirs.iter()) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
    }

    /// The number of distinct values.
    ///
    /// Empty: exact. Sparse: `low` is certain, and `high` allows for fingerprints that met by chance. Dense: 95 %.
    /// Cost: one pass over the registers, no allocation.
    pub fn estimate(&self) -> Estimate {
        match &self.registers {
            None => estimate::sparse(self.sparse.len()),
            Some(registers) => estimate::dense(registers),
        }
    }

    /// Whether nothing was ever inserted.
    pub fn is_empty(&self) -> bool {
        self.registers.is_none() && self.sparse.len() == 0
    }

    fn insert_entry(&mut self, entry: u32) {
        if self.registers.is_none() && self.sparse.insert(entry) == Inserted::Yes {
            return;
        }
        raise(self.densify(), sparse::register_of(entry), sparse::rank_of(entry));
    }

    /// The registers, made from the fingerprints if there are none yet.
    fn densify(&mut self) -> &mut Registers {
        let sparse = std::mem::take(&mut self.sparse);
        self.registers.get_or_insert_with(|| {
            let mut registers = Box::new([0; REGISTERS]);
            for entry in sparse.entries() {
                raise(&mut registers, sparse::register_of(entry), sparse::rank_of(entry));
            }
            registers
        })
    }
}

#[inline]
fn raise(registers: &mut Registers, register: usize, rank: u8) {
    registers[register] = registers[register].max(rank);
}

/// The first [`PRECISION`] bits.
#[inline]
fn register_of(hash: u64) -> usize {
    (hash >> (64 - PRECISION)) as usize
}

/// Position of the first one among the other bits, from 1; [`MAX_RANK`] when there is none.
#[inline]
fn rank_of(hash: u64) -> u8 {
    ((hash << PRECISION) | (1 << (PRECISION - 1))).leading_zeros() as u8 + 1
}
