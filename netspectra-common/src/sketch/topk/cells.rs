//! Count-Min: five rows of 2,048 saturating counters.

/// A key's sum is too high by more than e / [`WIDTH`] of the total with probability e^-`DEPTH` at most.
pub(super) const DEPTH: usize = 5;
/// Cells of a row.
pub(super) const WIDTH: usize = 2048;
/// Hash bits that choose a cell in one row; all rows together use 55 of the 64.
const ROW_BITS: usize = WIDTH.trailing_zeros() as usize;

/// [`DEPTH`] of them.
type Rows<T> = Vec<[T; WIDTH]>;

/// Counters, row by row: of four bytes while the total of all weights has room in that, then of eight.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cells {
    /// No cell can overflow, because none is larger than the total.
    Narrow(Rows<u32>),
    Wide(Rows<u64>),
}

impl Default for Cells {
    fn default() -> Self {
        Self::Narrow(vec![[0; WIDTH]; DEPTH])
    }
}

impl Cells {
    /// Makes room for sums up to `total`. Always before they grow.
    #[inline]
    pub(super) fn expect(&mut self, total: u64) {
        if total > u64::from(u32::MAX) && matches!(self, Self::Narrow(_)) {
            self.widen();
        }
    }

    #[cold]
    fn widen(&mut self) {
        if let Self::Narrow(narrow) = self {
            let mut wide = vec![[0; WIDTH]; DEPTH];
            each(&mut wide, narrow, |wide, narrow| *wide = u64::from(*narrow));
            *self = Self::Wide(wide);
        }
    }

    /// Adds `weight` to the key with this [`hash64`](crate::sketch::hash64). Returns the smallest of its cells, which is never below
    /// the key's sum.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, weight: u64) -> u64 {
        let places = places(hash).into_iter();
        match self {
            // The weight is not more than the total, and so is no sum.
            Self::Narrow(rows) => {
                let sums = rows.iter_mut().zip(places).map(|(row, at)| {
                    row[at] = row[at].wrapping_add(weight as u32);
                    row[at]
                });
                sums.min().unwrap_or(0).into()
            }
            Self::Wide(rows) => {
                let sums = rows.iter_mut().zip(places).map(|(row, at)| {
                    row[at] = row[at].saturating_add(weight);
                    row[at]
                });
                sums.min().unwrap_or(0)
            }
        }
    }

    /// Adds the sums of `other`; together they are `total`, which was expected.
    pub(super) fn merge(&mut self, other: &Self, total: u64) {
        match (self, other) {
            (Self::Narrow(mine), Self::Narrow(theirs)) => {
                each(mine, theirs, |mine, theirs| *mine = mine.wrapping_add(*theirs));
            }
            // What saturates cannot be added many at a time.
            (Self::Wide(mine), Self::Wide(theirs)) if total < u64::MAX => {
                each(mine, theirs, |mine, theirs| *mine = mine.wrapping_add(*theirs));
            }
            (Self::Wide(mine), Self::Wide(theirs)) => {
                each(mine, theirs, |mine, theirs| *mine = mine.saturating_add(*theirs));
            }
            (Self::Wide(mine), Self::Narrow(theirs)) => {
                each(mine, theirs, |mine, theirs| *mine = mine.saturating_add(u64::from(*theirs)));
            }
            (mine @ Self::Narrow(_), Self::Wide(_)) => {
                // Whose total is too large for narrow ones is expected; should it not have been, nothing is lost either.
                mine.widen();
                mine.merge(other, total);
            }
        }
    }

    /// The smallest cell, which is never below the true sum, and the median over the rows of the cell less the mean of
    /// the row's other cells, which is about as often too high as too low.
    pub(super) fn estimate(&self, hash: u64, total: u64) -> (u64, f64) {
        let places = places(hash);
        let cells: [u64; DEPTH] = match self {
            Self::Narrow(rows) => std::array::from_fn(|row| rows[row][places[row]].into()),
            Self::Wide(rows) => std::array::from_fn(|row| rows[row][places[row]]),
        };
        let upper = cells.into_iter().min().unwrap_or(0);
        let mut likely = cells.map(|cell| cell as f64 - total.saturating_sub(cell) as f64 / (WIDTH - 1) as f64);
        likely.sort_unstable_by(f64::total_cmp);
        (upper, likely[DEPTH / 2].round())
    }

    /// All counters, row by row.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            Self::Narrow(rows) => Box::new(rows.iter().flatten().map(|cell| u64::from(*cell))),
            Self::Wide(rows) => Box::new(rows.iter().flatten().copied()),
        }
    }

    /// Counters that come from elsewhere. Each row must sum to the total of the sketch.
    pub(super) fn from_rows(cells: &[u64], total: u64) -> Option<Self> {
        let fits = |row: &[u64]| row.iter().fold(0u64, |sum, cell| sum.saturating_add(*cell)) == total;
        if cells.len() != DEPTH * WIDTH || !cells.chunks_exact(WIDTH).all(fits) {
            return None;
        }
        let mut made = Self::default();
        made.expect(total);
        for (at, cell) in cells.iter().enumerate() {
            let (row, at) = (at / WIDTH, at % WIDTH);
            match &mut made {
                Self::Narrow(rows) => rows[row][at] = *cell as u32,
                Self::Wide(rows) => rows[row][at] = *cell,
            }
        }
        Some(made)
    }
}

fn each<T, U>(mine: &mut [[T; WIDTH]], theirs: &[[U; WIDTH]], add: impl Fn(&mut T, &U)) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| add(mine, theirs));
    }
}

/// One cell per row, each chosen by bits of its own.
#[inline]
fn places(hash: u64) -> [usize; DEPTH] {
    std::array::from_fn(|row| (hash >> (row * ROW_BITS)) as usize & (WIDTH - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_whichever_room_they_have() {
        let of = |weights: &[(u64, u64)], expected: u64| {
            let mut cells = Cells::default();
            cells.expect(expected);
            weights.iter().for_each(|(hash, weight)| _ = cells.add(*hash, *weight));
            cells
        };
        let (few, many) = ([(1, 7), (5, 9), (u64::MAX, 1)], [(1, 1 << 40), (9, 3)]);
        let sums = |cells: &Cells| cells.iter().collect::<Vec<u64>>();
        assert_eq!(sums(&of(&few, 17)), sums(&of(&few, u64::MAX)));
        assert!(matches!((of(&few, 17), of(&few, 1 << 32)), (Cells::Narrow(_), Cells::Wide(_))));
        let whole = sums(&of(&[&few[..], &many].concat(), u64::MAX));
        let total = 17 + (1 << 40) + 3;
        for total in [total, u64::MAX] {
            let mut merged = of(&many, total);
            merged.merge(&of(&few, 17), total);
            assert_eq!(sums(&merged), whole);
            let mut merged = of(&few, total);
            merged.merge(&of(&many, 1 << 41), total);
            assert_eq!(sums(&merged), whole);
        }
        let mut unexpected = of(&few, 17);
        unexpected.merge(&of(&many, 1 << 41), total);
        assert_eq!(sums(&unexpected), whole);
        assert_eq!(Cells::from_rows(&sums(&of(&few, 17)), 17), Some(of(&few, 17)));
    }
}
