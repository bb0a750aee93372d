//! A list that grows without being moved.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Elements of a block. A power of two.
const BLOCK: usize = 1 << 12;

/// A list in blocks: what is in it stays where it is while it grows, so growing copies nothing and at most a block is
/// empty. As bytes it is a list like any other.
#[derive(Clone, Debug)]
pub(super) struct Blocks<T> {
    /// All but the last one are full.
    blocks: Vec<Vec<T>>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T> Blocks<T> {
    pub(super) fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    pub(super) fn push(&mut self, element: T) {
        match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => last.push(element),
            // Small lists stay small: the first block grows as any list does.
            _ => {
                let room = if self.blocks.is_empty() { 1 } else { BLOCK };
                let mut block = Vec::with_capacity(room);
                block.push(element);
                self.blocks.push(block);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

impl<T: Serialize> Serialize for Blocks<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut seq = s.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|element| seq.serialize_element(element))?;
        seq.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Blocks<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Blocks<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blocks<T>, A::Error> {
                let mut list = Blocks::default();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(list)
            }
        }
        d.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn it_is_a_list_also_as_bytes() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let mut blocks = Blocks::default();
            (0..len as u32).for_each(|n| blocks.push(n));
            let list: Vec<u32> = (0..len as u32).collect();
            assert_eq!((blocks.len(), blocks.iter().copied().collect::<Vec<_>>()), (len, list.clone()));
            assert!((0..=len).all(|at| blocks.get(at).copied() == list.get(at).copied()));
            *blocks.get_mut(len / 2).unwrap_or(&mut 0) += 1;
            let changed: Vec<u32> = blocks.iter().copied().collect();
            let bytes = postcard::to_stdvec(&blocks).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&changed).unwrap());
            let back: Blocks<u32> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(back.iter().copied().collect::<Vec<_>>(), changed);
        }
    }
}
