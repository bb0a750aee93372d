//! Stable bytes of [`PairSample`], version 1: `'P' 1`, then LEB128 numbers: capacity; level; number of pairs; each pair, hashes
//! ascending: a byte 4 (both ends are IPv4), then 8 bytes, or a byte 6, then 32.
use super::{LARGEST, PairSample};
use crate::sketch::codec::{Format, put_varint};
use crate::sketch::{SketchError, hash64};

const FORMAT: Format = Format { name: "PairSample", kind: b'P', version: 1 };
/// What an IPv4 address begins with in its 16 bytes.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// The pair of two IPv4 addresses.
fn mapped(v4: &[u8; 8]) -> [u8; 32] {
    let mut pair = [0; 32];
    for (address, v4) in pair.chunks_exact_mut(16).zip(v4.chunks_exact(4)) {
        address[..12].copy_from_slice(&MAPPED);
        address[12..].copy_from_slice(v4);
    }
    pair
}

fn is_v4(pair: &[u8; 32]) -> bool {
    pair[..12] == MAPPED && pair[16..28] == MAPPED
}

impl PairSample {
    /// The canonical bytes of this sample: the same set of pairs and the same capacity give the same bytes. 9 bytes for a pair of
    /// IPv4 addresses, 33 for one of IPv6.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut pairs: Vec<(u64, &[u8; 32])> = self.hashes.iter().copied().zip(&self.pairs).collect();
        pairs.sort_unstable();
        let mut out = FORMAT.begin(8 + pairs.len() * 9);
        put_varint(&mut out, self.capacity as u64);
        put_varint(&mut out, u64::from(self.level));
        put_varint(&mut out, pairs.len() as u64);
        for (_, pair) in pairs {
            if is_v4(pair) {
                out.push(4);
                out.extend_from_slice(&pair[12..16]);
                out.extend_from_slice(&pair[28..]);
            } else {
                out.push(6);
                out.extend_from_slice(pair);
            }
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; allocates no more than the bytes hold.
    ///
    /// # Errors
    /// [`SketchError`] for anything that is not the canonical bytes of a sample.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut reader = FORMAT.open(bytes)?;
        let capacity = reader.varint_to(LARGEST, "the capacity is larger than 2^20")?;
        reader.require(capacity > 0, "the capacity is 0")?;
        let level = reader.varint_to(64, "the level is larger than 64")? as u32;
        let len = reader.varint_to(capacity, "there are more pairs than fit")?;
        let mut sample = Self { level, ..Self::with_capacity(capacity) };
        let mut before: Option<u64> = None;
        for _ in 0..len {
            let pair = match reader.u8()? {
                4 => mapped(&reader.array()?),
                6 => {
                    let pair: [u8; 32] = reader.array()?;
                    reader.require(!is_v4(&pair), "a pair of IPv4 addresses is written as one of IPv6")?;
                    pair
                }
                _ => return Err(reader.inconsistent("a pair is neither 4 nor 6")),
            };
            let hash = hash64(&pair);
            reader.require(hash.leading_zeros() >= level, "a pair is not in a sample of this level")?;
            reader.require(before.is_none_or(|before| before < hash), "the hashes do not ascend")?;
            before = Some(hash);
            sample.append(hash, &pair);
        }
        reader.finish()?;
        sample.reindex();
        Ok(sample)
    }
}
