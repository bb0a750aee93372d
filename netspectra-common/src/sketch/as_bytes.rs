//! Sketches as the bytes that they have everywhere.

use super::{Hll, PairSample, Quantiles, SketchError, TopK};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Reads a sketch from its bytes.
struct Bytes<T>(PhantomData<T>, fn(&[u8]) -> Result<T, SketchError>);

impl<T> Visitor<'_> for Bytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a sketch")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        self.1(bytes).map_err(E::custom)
    }
}

macro_rules! as_bytes {
    ($($sketch:ty),*) => {$(
        impl Serialize for $sketch {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_bytes(&self.to_bytes())
            }
        }

        impl<'de> Deserialize<'de> for $sketch {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_bytes(Bytes(PhantomData, Self::from_bytes))
            }
        }
    )*};
}

as_bytes!(Hll, TopK, Quantiles, PairSample);
