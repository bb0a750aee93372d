//! Count-Min: five rows of 2,048 saturating counters.
use super::Counters;
use crate::sketch::hash64;

/// A key's sum is too high by more than e / [`WIDTH`] of the total with probability e^-`DEPTH` at most.
pub(super) const DEPTH: usize = 5;
/// Cells of a row.
pub(super) const WIDTH: usize = 2048;
/// Hash bits that choose a cell in one row; all rows together use 55 of the 64.
const ROW_BITS: usize = WIDTH.trailing_zeros() as usize;

/// 80 KiB of counters, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cells(Box<[u64]>);
impl Default for Cells {
    fn default() -> Self {
        Self(vec![0; DEPTH * WIDTH].into())
    }
}

impl Cells {
    /// Adds `weight` to the key with this [`hash64`].
    pub(super) fn add(&mut self, hash: u64, weight: u64) {
        for at in places(hash) {
            self.0[at] = self.0[at].saturating_add(weight);
        }
    }
    pub(super) fn add_all(&mut self, weights: &Counters) {
        for (key, weight) in weights {
            self.add(hash64(key), *weight);
        }
    }
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.saturating_add(*theirs);
        }
    }
    /// The smallest cell, which is never below the true sum, and the median over the rows of the cell less the mean of
    /// the row's other cells, which is about as often too high as too low.
    pub(super) fn estimate(&self, hash: u64, total: u64) -> (u64, f64) {
        let cells = places(hash).map(|at| self.0[at]);
        let upper = cells.into_iter().min().unwrap_or(0);
        let mut likely = cells.map(|cell| cell as f64 - total.saturating_sub(cell) as f64 / (WIDTH - 1) as f64);
        likely.sort_unstable_by(f64::total_cmp);
        (upper, likely[DEPTH / 2].round())
    }
    /// All counters, row by row.
    pub(super) fn as_slice(&self) -> &[u64] {
        &self.0
    }
    /// Counters that come from elsewhere. Each row must sum to the total of the sketch.
    pub(super) fn from_rows(cells: Box<[u64]>, total: u64) -> Option<Self> {
        let fits = |row: &[u64]| row.iter().fold(0u64, |sum, cell| sum.saturating_add(*cell)) == total;
        (cells.len() == DEPTH * WIDTH && cells.chunks_exact(WIDTH).all(fits)).then_some(Self(cells))
    }
}

/// One cell per row, each chosen by bits of its own.
fn places(hash: u64) -> [usize; DEPTH] {
    std::array::from_fn(|row| row * WIDTH + ((hash >> (row * ROW_BITS)) as usize & (WIDTH - 1)))
}
