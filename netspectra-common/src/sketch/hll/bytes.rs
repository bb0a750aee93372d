//! Stable bytes of [`Hll`], version 1: `'H' 1`, then
//! - sparse: `0`, number of fingerprints, and the fingerprints ascending, each as the difference to the one before
//!   (all LEB128);
//! - dense: `1` and 2^14 ranks of 6 bits, four in three bytes, the first in the lowest bits.
use super::sparse::{self, Inserted, LIMIT, Sparse};
use super::{Hll, MAX_RANK, REGISTERS};
use crate::sketch::SketchError;
use crate::sketch::codec::{Format, Reader, put_varint};

const FORMAT: Format = Format { name: "Hll", kind: b'H', version: 1 };
const SPARSE: u8 = 0;
const DENSE: u8 = 1;
const PACKED: usize = REGISTERS / 4 * 3;

impl Hll {
    /// The canonical bytes: equal sets give equal bytes. At most 12,291 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.registers {
            None => {
                let mut entries: Vec<u32> = self.sparse.entries().collect();
                entries.sort_unstable();
                let mut out = FORMAT.begin(3 + entries.len() * 4);
                out.push(SPARSE);
                put_varint(&mut out, entries.len() as u64);
                let mut before = 0;
                for entry in entries {
                    put_varint(&mut out, u64::from(entry - before));
                    before = entry;
                }
                out
            }
            Some(registers) => {
                let mut out = FORMAT.begin(1 + PACKED);
                out.push(DENSE);
                for four in registers.as_chunks::<4>().0 {
                    let [a, b, c, d] = four.map(u32::from);
                    let packed = a | (b << 6) | (c << 12) | (d << 18);
                    out.extend_from_slice(&packed.to_le_bytes()[..3]);
                }
                out
            }
        }
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; allocates at most 16 KiB.
    ///
    /// # Errors
    /// [`SketchError`] for anything that is not the canonical bytes of a sketch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut reader = FORMAT.open(bytes)?;
        let hll = match reader.u8()? {
            SPARSE => Self { sparse: read_sparse(&mut reader)?, registers: None },
            DENSE => Self { sparse: Sparse::default(), registers: Some(read_dense(&mut reader)?) },
            _ => return Err(reader.inconsistent("the form is neither 0 (sparse) nor 1 (dense)")),
        };
        reader.finish()?;
        Ok(hll)
    }
}

fn read_sparse(reader: &mut Reader<'_>) -> Result<Sparse, SketchError> {
    let len = reader.varint_to(LIMIT, "more than 2048 fingerprints in the sparse form")?;
    let mut sparse = Sparse::default();
    let mut before = None;
    for _ in 0..len {
        let step = reader.varint()?;
        let entry = u64::from(before.unwrap_or(0)).checked_add(step).and_then(|entry| u32::try_from(entry).ok());
        let entry = entry.ok_or_else(|| reader.inconsistent("a fingerprint has more than 32 bits"))?;
        reader.require(sparse::is_entry(entry), "a fingerprint's rank is not in 1..=39")?;
        let ascends = before.is_none_or(|before| sparse::index_of(before) < sparse::index_of(entry));
        reader.require(ascends, "the fingerprints' indexes do not ascend")?;
        reader.require(sparse.insert(entry) == Inserted::Yes, "more than 2048 fingerprints in the sparse form")?;
        before = Some(entry);
    }
    Ok(sparse)
}

fn read_dense(reader: &mut Reader<'_>) -> Result<Box<[u8; REGISTERS]>, SketchError> {
    let packed = reader.take(PACKED)?;
    let mut registers = Box::new([0; REGISTERS]);
    for (four, [a, b, c]) in registers.as_chunks_mut::<4>().0.iter_mut().zip(packed.as_chunks::<3>().0) {
        let packed = u32::from_le_bytes([*a, *b, *c, 0]);
        *four = [0, 6, 12, 18].map(|shift| (packed >> shift) as u8 & 0x3f);
    }
    reader.require(registers.iter().all(|rank| *rank <= MAX_RANK), "a rank is above 51")?;
    reader.require(registers.iter().any(|rank| *rank > 0), "the dense form holds nothing")?;
    Ok(registers)
}
