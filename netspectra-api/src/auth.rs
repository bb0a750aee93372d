//! Bearer tokens. Only their SHA-256 is kept; a presented token is compared with all of them in constant time.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Characters of the shortest token that is accepted in a configuration.
const MIN_TOKEN_LEN: usize = 16;

/// Who may ask.
///
/// Tokens are long and random, so one unsalted hash protects them at rest as well as a slow one would.
pub struct Auth {
    /// `None`: everyone may ask.
    hashes: Option<Vec<[u8; 32]>>,
}

/// A token that cannot be used. The text does not contain the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nobody could ask.
    #[error("no API token: expected at least one, or authentication switched off explicitly")]
    None,
    /// Too easy to guess.
    #[error("API token {index} has {found} characters: expected at least {MIN_TOKEN_LEN}")]
    Short {
        /// Position in the list, from 1.
        index: usize,
        /// Its length.
        found: usize,
    },
    /// It could not be sent in a header.
    #[error("API token {index} has a character that RFC 6750 does not allow: expected letters, digits and `-._~+/=`")]
    Characters {
        /// Position in the list, from 1.
        index: usize,
    },
}

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No usable `Authorization` header.
    Missing,
    /// A bearer token that nobody has.
    Invalid,
}

impl Auth {
    /// Everyone may ask. For listeners that only trusted users reach.
    pub fn open() -> Self {
        Self { hashes: None }
    }

    /// Holders of one of `tokens` may ask.
    ///
    /// # Errors
    /// [`TokenError`] when there is no token, or one is too short or has characters that a header cannot carry.
    pub fn bearer<T: AsRef<str>>(tokens: impl IntoIterator<Item = T>) -> Result<Self, TokenError> {
        let mut hashes = Vec::new();
        for (i, token) in tokens.into_iter().enumerate() {
            let token = token.as_ref();
            let index = i + 1;
            if token.len() < MIN_TOKEN_LEN {
                return Err(TokenError::Short { index, found: token.len() });
            }
            if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
                return Err(TokenError::Characters { index });
            }
            hashes.push(hash(token.as_bytes()));
        }
        if hashes.is_empty() { Err(TokenError::None) } else { Ok(Self { hashes: Some(hashes) }) }
    }

    /// Number of callers that are told apart: tokens, or one for everyone.
    pub(crate) fn callers(&self) -> usize {
        self.hashes.as_ref().map_or(1, Vec::len)
    }

    /// Which caller sent `headers`, below [`Self::callers`]. Time does not depend on where tokens differ.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<usize, Denied> {
        let Some(hashes) = &self.hashes else { return Ok(0) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Denied::Missing) };
        let Some(token) = bearer(value.as_bytes()) else { return Err(Denied::Missing) };
        let presented = hash(token);
        let mut found = u64::MAX;
        for (index, known) in hashes.iter().enumerate() {
            found.conditional_assign(&(index as u64), known.ct_eq(&presented));
        }
        usize::try_from(found).ok().filter(|i| *i < hashes.len()).ok_or(Denied::Invalid)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hashes {
            None => f.write_str("Auth(open)"),
            Some(h) => write!(f, "Auth({} tokens)", h.len()),
        }
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let token = rest.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axum::http::HeaderValue;

    fn with(values: &[&str]) -> HeaderMap {
        let mut h = HeaderMap::new();
        for v in values {
            h.append(header::AUTHORIZATION, HeaderValue::from_str(v).unwrap());
        }
        h
    }

    #[test]
    fn each_token_is_told_from_the_others() {
        let auth = Auth::bearer(["first-token-0123", "other-token-4567"]).unwrap();
        assert_eq!(auth.callers(), 2);
        assert_eq!(auth.caller(&with(&["Bearer first-token-0123"])), Ok(0));
        assert_eq!(auth.caller(&with(&["bEARER other-token-4567"])), Ok(1));
        assert_eq!(auth.caller(&with(&["Bearer other-token-4568"])), Err(Denied::Invalid));
        assert_eq!(auth.caller(&with(&["Bearer other-token"])), Err(Denied::Invalid));
    }

    #[test]
    fn what_is_not_one_bearer_header_is_missing() {
        let auth = Auth::bearer(["first-token-0123"]).unwrap();
        let good = "Bearer first-token-0123";
        for bad in
            [&[][..], &["Basic Zm9v"], &["Bearer"], &["Bearer "], &["Bearerfirst-token-0123"], &["B"], &[good, good]]
        {
            assert_eq!(auth.caller(&with(bad)), Err(Denied::Missing), "{bad:?}");
        }
    }

    #[test]
    fn unusable_tokens_are_refused_without_being_shown() {
        assert_eq!(Auth::bearer::<&str>([]).unwrap_err(), TokenError::None);
        assert_eq!(
            Auth::bearer(["0123456789abcdef", "short"]).unwrap_err().to_string(),
            "API token 2 has 5 characters: expected at least 16"
        );
        let err = Auth::bearer(["with a space in the middle"]).unwrap_err();
        assert_eq!(err, TokenError::Characters { index: 1 });
        assert!(!err.to_string().contains("middle"));
        let debug = format!("{:?}", Auth::bearer(["0123456789abcdef"]).unwrap());
        assert_eq!(debug, "Auth(1 tokens)");
    }
}
