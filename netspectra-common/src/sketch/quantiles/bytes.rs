//! Stable bytes of [`Quantiles`], version 1: `'Q' 1`, then LEB128 numbers unless said otherwise: refused values; values in
//! the lowest bucket, in the highest, number of other buckets in use; each of those, ascending, as its key less the
//! one before (the first: less -1037) and its count; and, when there are values, smallest and largest (`f64`
//! little-endian) and the sum (whole part 16 bytes little-endian, 2^-64ths 8).
use super::store::{MAX_KEY, MIN_KEY, Store};
use super::sum::Sum;
use super::{MAPPING, OVERFLOW, Quantiles};
use crate::sketch::SketchError;
use crate::sketch::codec::{Format, Reader, put_varint};

const FORMAT: Format = Format { name: "Quantiles", kind: b'Q', version: 1 };

impl Quantiles {
    /// The canonical bytes: equal values give equal bytes. At most 37 KiB, some 3 bytes per bucket in use and 46 more.
    pub fn to_bytes(&self) -> Vec<u8> {
        let buckets: Vec<(i32, u64)> = self.store.buckets().collect();
        let mut out = FORMAT.begin(64 + buckets.len() * 4);
        for number in [self.rejected, self.lowest, self.highest, buckets.len() as u64] {
            put_varint(&mut out, number);
        }
        let mut before = MIN_KEY;
        for (key, count) in buckets {
            put_varint(&mut out, u64::from(key.abs_diff(before)));
            put_varint(&mut out, count);
            before = key;
        }
        if self.count_wide() > 0 {
            out.extend(self.min.to_le_bytes());
            out.extend(self.max.to_le_bytes());
            out.extend(self.sum.whole.to_le_bytes());
            out.extend(self.sum.fraction.to_le_bytes());
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; allocates at most 50 KiB.
    ///
    /// # Errors
    /// [`SketchError`] for anything that is not the canonical bytes of a sketch, and for a smallest or largest value that
    /// is not in the bucket it has to be in.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut reader = FORMAT.open(bytes)?;
        let mut read = Self { rejected: reader.varint()?, lowest: reader.varint()?, ..Self::default() };
        read.highest = reader.varint()?;
        read.store = read_store(&mut reader)?;
        if read.count_wide() > 0 {
            read.min = f64::from_le_bytes(reader.array()?);
            read.max = f64::from_le_bytes(reader.array()?);
            read.sum =
                Sum { whole: u128::from_le_bytes(reader.array()?), fraction: u64::from_le_bytes(reader.array()?) };
            let legal = |value: f64| value.is_finite() && value.is_sign_positive();
            let ordered = legal(read.min) && legal(read.max) && read.min <= read.max;
            reader.require(ordered, "the smallest and the largest value are not finite, positive and ordered")?;
            reader.require(read.ends_fit(), "the smallest or the largest value is not in its bucket")?;
        }
        reader.finish()?;
        Ok(read)
    }

    /// Whether the smallest and the largest value are where the buckets say. One bucket of tolerance: the writer's `ln`
    /// may have put a value at an edge into the neighbour.
    fn ends_fit(&self) -> bool {
        let near = |value: f64, key: i32| {
            let inside = value > MAPPING.min_possible() && value < OVERFLOW;
            inside && MAPPING.key(value).clamp(MIN_KEY, MAX_KEY).abs_diff(key) <= 1
        };
        let low_fits = match (self.lowest, self.store.ends()) {
            (0, Some((first, _))) => near(self.min, first),
            (0, None) => self.min >= OVERFLOW,
            _ => self.min <= MAPPING.min_possible(),
        };
        let high_fits = match (self.highest, self.store.ends()) {
            (0, Some((_, last))) => near(self.max, last),
            (0, None) => self.max <= MAPPING.min_possible(),
            _ => self.max >= OVERFLOW,
        };
        low_fits && high_fits
    }
}

fn read_store(reader: &mut Reader<'_>) -> Result<Store, SketchError> {
    const SPAN: usize = (MAX_KEY - MIN_KEY) as usize;
    let len = reader.varint_to(SPAN + 1, "more buckets than there are")?;
    let mut store = Store::default();
    let mut key = MIN_KEY;
    for at in 0..len {
        let step = reader.varint_to(SPAN, "a bucket is above 10^18")?;
        reader.require(at == 0 || step > 0, "the buckets do not ascend")?;
        key += step as i32;
        reader.require(key <= MAX_KEY, "a bucket is above 10^18")?;
        let count = reader.varint()?;
        reader.require(count > 0, "a bucket in use has no values")?;
        store.add(key, count);
    }
    Ok(store)
}
