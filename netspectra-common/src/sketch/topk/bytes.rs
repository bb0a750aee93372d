//! Stable bytes of [`TopK`], version 1: `'T' 1`, then LEB128 numbers unless said otherwise: total; error; number of
//! counters; each counter, keys ascending, as length of key, key, weight; a byte 0 (exact) or 1 (sketched); when sketched,
//! the 5 x 2,048 cells, row by row.
use super::cells::{Cells, DEPTH, WIDTH};
use super::{CAPACITY, Counters, MAX_COUNTERS, MAX_KEY, TopK};
use crate::sketch::codec::{Format, Reader, put_varint};
use crate::sketch::{SketchError, hash64};

const FORMAT: Format = Format { name: "TopK", kind: b'T', version: 1 };

impl TopK {
    /// The canonical bytes of this state: equal states give equal bytes; the type's documentation says which inputs
    /// give equal states. At most 240 KiB, typically 40 to 90 KiB when sketched.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut counters: Vec<(&[u8], u64)> = self.counters.iter().map(|(key, _, weight)| (key, weight)).collect();
        counters.sort_unstable();
        let room = self.cells.as_ref().map_or(0, |_| DEPTH * WIDTH * 4);
        let mut out = FORMAT.begin(24 + counters.len() * 24 + room);
        put_varint(&mut out, self.total);
        put_varint(&mut out, self.error);
        put_varint(&mut out, counters.len() as u64);
        for (key, weight) in counters {
            put_varint(&mut out, key.len() as u64);
            out.extend_from_slice(key);
            put_varint(&mut out, weight);
        }
        out.push(self.cells.is_some().into());
        self.cells.iter().flat_map(Cells::iter).for_each(|cell| put_varint(&mut out, cell));
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; allocates no more than the largest legal summary.
    ///
    /// # Errors
    /// [`SketchError`] for anything that is not the canonical bytes of a summary, and for counters, cells, error and
    /// total that contradict each other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut reader = FORMAT.open(bytes)?;
        let (total, error) = (reader.varint()?, reader.varint()?);
        let (counters, counted) = read_counters(&mut reader)?;
        let cells = match reader.u8()? {
            0 => {
                let fits = error == 0 && u64::try_from(counted).unwrap_or(u64::MAX) == total;
                reader.require(fits, "the weights of the exact form do not sum to the total")?;
                None
            }
            1 => {
                // A saturated total bounds nothing, as in `add`.
                let lost = u128::from(total).checked_sub(counted).map(|lost| lost / (CAPACITY as u128 + 1));
                let fits = total == u64::MAX || lost.is_some_and(|lost| u128::from(error) <= lost);
                reader.require(fits, "the error is larger than the total allows")?;
                let cells = (0..DEPTH * WIDTH).map(|_| reader.varint()).collect::<Result<Vec<u64>, _>>()?;
                let cells = Cells::from_rows(&cells, total);
                Some(cells.ok_or_else(|| reader.inconsistent("a row of cells does not sum to the total"))?)
            }
            _ => return Err(reader.inconsistent("the form is neither 0 (exact) nor 1 (sketched)")),
        };
        reader.finish()?;
        Ok(Self { counters, total, error, cells })
    }
}

fn read_counters(reader: &mut Reader<'_>) -> Result<(Counters, u128), SketchError> {
    let len = reader.varint_to(MAX_COUNTERS, "more than 1792 counters")?;
    let mut counters = Counters::default();
    let mut counted = 0u128;
    let mut before: Option<&[u8]> = None;
    for _ in 0..len {
        let key_len = reader.varint_to(MAX_KEY, "a key is longer than 64 bytes")?;
        let key = reader.take(key_len)?;
        reader.require(before.is_none_or(|before| before < key), "the keys do not ascend")?;
        let weight = reader.varint()?;
        reader.require(weight > 0, "a key has no weight")?;
        counted += u128::from(weight);
        counters.insert(hash64(key), key, weight);
        before = Some(key);
    }
    Ok((counters, counted))
}
