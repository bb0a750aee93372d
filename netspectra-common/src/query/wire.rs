//! Plans and partials as bytes, between processes that answer one question together.
//!
//! Both ends are of one build, or of builds whose [`VERSION`] agrees: others refuse each other, and nothing of an answer is
//! guessed. Sketches are in their stable bytes, records and sums in postcard's.

use super::parse::{MAX_FILTER_LEN, parse_up_to};
use super::{Filter, Partial, Plan, PlanError};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of the bytes; raised with every change of a structure in them.
const VERSION: u8 = 6;
/// A filter in its canonical text is longer than what somebody typed, by less than this factor.
const LONGER: usize = 16;

/// Why bytes are not a plan or a partial.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Another version wrote them.
    #[error("the {what} has version {found}, expected {VERSION}: run the same release everywhere")]
    Version {
        /// `plan`, `partial` or `report`.
        what: &'static str,
        /// What is there.
        found: u8,
    },
    /// They are not what was written.
    #[error("the bytes are no {what}")]
    Damaged {
        /// `plan`, `partial` or `report`.
        what: &'static str,
        /// What was met.
        #[source]
        source: postcard::Error,
    },
    /// A plan that is not legal.
    #[error("the plan is not legal")]
    Plan(#[from] PlanError),
}

/// `plan` as bytes. Cost: a filter is written as its text.
///
/// # Errors
/// [`WireError::Damaged`] when it cannot be written.
pub fn encode_plan(plan: &Plan) -> Result<Vec<u8>, WireError> {
    encode("plan", plan)
}

/// The plan that [`encode_plan`] wrote, validated: bytes of a stranger give an error or a legal plan.
///
/// # Errors
/// [`WireError`].
pub fn decode_plan(bytes: &[u8]) -> Result<Plan, WireError> {
    let plan: Plan = decode("plan", bytes)?;
    plan.validate()?;
    Ok(plan)
}

/// `partial` as bytes. Cost: a pass over its groups, records or sketch.
///
/// # Errors
/// [`WireError::Damaged`] when it cannot be written.
pub fn encode_partial(partial: &Partial) -> Result<Vec<u8>, WireError> {
    encode("partial", partial)
}

/// The partial that [`encode_partial`] wrote.
///
/// # Errors
/// [`WireError`].
pub fn decode_partial(bytes: &[u8]) -> Result<Partial, WireError> {
    decode("partial", bytes)
}

pub(crate) fn encode(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, WireError> {
    postcard::to_extend(value, vec![VERSION]).map_err(|source| WireError::Damaged { what, source })
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    let (found, rest) = bytes.split_first().unwrap_or((&0, &[]));
    if *found != VERSION {
        return Err(WireError::Version { what, found: *found });
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(WireError::Damaged { what, source: postcard::Error::DeserializeUnexpectedEnd }),
        Err(source) => Err(WireError::Damaged { what, source }),
    }
}

impl Serialize for Filter {
    /// As its text, which has bounded depth when it is read.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_up_to(&text, MAX_FILTER_LEN * LONGER).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::Query;
    use super::super::testing::{plan, range};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_version_and_bytes_behind_the_end_are_refused() {
        let mut bytes = encode_plan(&plan(range(0, 10), "ip = 10.0.0.1", Query::Ledger)).unwrap();
        bytes.push(0);
        assert!(matches!(decode_plan(&bytes), Err(WireError::Damaged { .. })));
        bytes[0] += 1;
        assert_eq!(
            decode_plan(&bytes).unwrap_err().to_string(),
            format!("the plan has version {}, expected {VERSION}: run the same release everywhere", VERSION + 1)
        );
        assert!(decode_partial(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_legal_plan(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(plan) = decode_plan(&bytes) {
                prop_assert!(plan.validate().is_ok());
            }
            let _ = decode_partial(&bytes);
        }
    }
}
