//! Stable bytes of [`OverflowSummary`], version 1: `'O' 1`, then numbers as LEB128:
//! - the cells: their number, and for each direction, protocol, packets, bytes, ascending;
//! - 2^12 ranks of 6 bits, four in three bytes, the first in the lowest bits;
//! - the prefixes: their number, and for each the prefix, then estimate, low, high (packets, bytes), ascending;
//! - the most of an unnamed one.
use super::{MAX_RANK, NAMED_MERGED, OverflowSummary, PrefixCount};
use crate::abi::{Counter, NON_IP_CELL, PROTOCOL_CELLS, SOURCE_REGISTERS};
use crate::sketch::SketchError;
use crate::sketch::codec::{Format, Reader, put_varint};

const FORMAT: Format = Format { name: "Overflow", kind: b'O', version: 1 };
const PACKED: usize = SOURCE_REGISTERS / 4 * 3;

impl OverflowSummary {
    /// The canonical bytes: equal summaries give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = FORMAT.begin(PACKED + 64 + self.protocols.len() * 8 + self.prefixes.len() * 40);
        put_varint(&mut out, self.protocols.len() as u64);
        for ((direction, protocol), counter) in &self.protocols {
            put_varint(&mut out, u64::from(*direction));
            put_varint(&mut out, u64::from(*protocol));
            put_counter(&mut out, *counter);
        }
        for four in self.registers.as_chunks::<4>().0 {
            let [a, b, c, d] = four.map(u32::from);
            let packed = a | (b << 6) | (c << 12) | (d << 18);
            out.extend_from_slice(&packed.to_le_bytes()[..3]);
        }
        put_varint(&mut out, self.prefixes.len() as u64);
        for (prefix, count) in &self.prefixes {
            put_varint(&mut out, *prefix);
            for counter in [count.estimate, count.low, count.high] {
                put_counter(&mut out, counter);
            }
        }
        put_counter(&mut out, self.unnamed);
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`SketchError`] for anything that is not the canonical bytes of a summary.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut reader = FORMAT.open(bytes)?;
        let mut summary = Self::default();
        for _ in 0..reader.varint_to(2 * PROTOCOL_CELLS, "there are more cells than protocols")? {
            let direction = reader.varint_to(1, "a direction is neither 0 nor 1")? as u8;
            let protocol = reader.varint_to(NON_IP_CELL, "a protocol is above 256")? as u16;
            let (cell, counter) = ((direction, protocol), take_counter(&mut reader)?);
            reader.require(!counter.is_zero(), "a cell is empty")?;
            let ascends = summary.protocols.last_key_value().is_none_or(|(last, _)| *last < cell);
            reader.require(ascends, "the cells do not ascend")?;
            summary.protocols.insert(cell, counter);
        }
        let packed = reader.take(PACKED)?;
        for (four, three) in summary.registers.as_chunks_mut::<4>().0.iter_mut().zip(packed.as_chunks::<3>().0) {
            let word = u32::from_le_bytes([three[0], three[1], three[2], 0]);
            *four = [0, 6, 12, 18].map(|shift| (word >> shift) as u8 & 0x3f);
            reader.require(four.iter().all(|rank| *rank <= MAX_RANK), "a rank is above 53")?;
        }
        for _ in 0..reader.varint_to(NAMED_MERGED, "more than 16,384 prefixes are named")? {
            let prefix = reader.varint()?;
            let (estimate, low, high) =
                (take_counter(&mut reader)?, take_counter(&mut reader)?, take_counter(&mut reader)?);
            let ascends = summary.prefixes.last_key_value().is_none_or(|(last, _)| *last < prefix);
            reader.require(ascends, "the prefixes do not ascend")?;
            summary.prefixes.insert(prefix, PrefixCount { estimate, low, high });
        }
        summary.unnamed = take_counter(&mut reader)?;
        reader.finish()?;
        Ok(summary)
    }
}

impl From<OverflowSummary> for Vec<u8> {
    fn from(summary: OverflowSummary) -> Self {
        summary.to_bytes()
    }
}

impl TryFrom<Vec<u8>> for OverflowSummary {
    type Error = SketchError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, SketchError> {
        Self::from_bytes(&bytes)
    }
}

fn put_counter(out: &mut Vec<u8>, counter: Counter) {
    put_varint(out, counter.packets);
    put_varint(out, counter.bytes);
}

fn take_counter(reader: &mut Reader<'_>) -> Result<Counter, SketchError> {
    Ok(Counter::new(reader.varint()?, reader.varint()?))
}
