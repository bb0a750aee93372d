//! The text of a page cursor.
//!
//! A cursor carries the place to go on from, the range of the first page (so that `now` does not move while a client
//! reads on), and a hash of the request that it belongs to. It grants nothing: the checksum only finds accidents.

use crate::problem::Problem;
use netspectra_common::model::{Nanos, TimeRange};
use netspectra_common::query::RowCursor;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
/// Version, five times eight bytes, request hash, checksum.
const LEN: usize = 1 + 5 * 8 + 8 + 4;

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageCursor {
    /// Range of the first page.
    pub(crate) range: TimeRange,
    /// The last row delivered.
    pub(crate) after: RowCursor,
    /// [`request_hash`] of the request.
    pub(crate) request: u64,
}

/// Identity of the question that a cursor continues: its texts as sent.
pub(crate) fn request_hash(parts: [Option<&str>; 3]) -> u64 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.push(u8::from(part.is_some()));
        let text = part.unwrap_or_default();
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    xxh3_64(&bytes)
}

impl PageCursor {
    pub(crate) fn to_text(self) -> String {
        let mut bytes = vec![VERSION];
        let Self { range, after, request } = self;
        for word in [range.from.0, range.to.0, after.at.0, after.id, after.since.0, request] {
            bytes.extend(word.to_be_bytes());
        }
        let sum = checksum(&bytes);
        bytes.extend(sum);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads `text` for the request with hash `request`.
    ///
    /// # Errors
    /// 400 when it is not a cursor, of another version, or of another request.
    pub(crate) fn from_text(text: &str, request: u64) -> Result<Self, Problem> {
        let bytes = unhex(text).ok_or_else(malformed)?;
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or_else(malformed)?;
        if checksum(content) != *sum {
            return Err(malformed());
        }
        if content[0] != VERSION {
            return Err(Problem::param("cursor", format!("`cursor` is of version {}: expected {VERSION}", content[0]))
                .hint("begin again without `cursor`"));
        }
        let (words, _) = content[1..].as_chunks::<8>();
        let &[from, to, at, id, since, made_for] = words else { return Err(malformed()) };
        let nanos = |w| Nanos(u64::from_be_bytes(w));
        if u64::from_be_bytes(made_for) != request {
            return Err(Problem::param("cursor", "`cursor` belongs to another request")
                .hint("repeat `from`, `to` and `filter` exactly as in the request that gave the cursor"));
        }
        Ok(Self {
            range: TimeRange { from: nanos(from), to: nanos(to) },
            after: RowCursor { at: nanos(at), id: u64::from_be_bytes(id), since: nanos(since) },
            request,
        })
    }
}

fn malformed() -> Problem {
    Problem::param("cursor", "`cursor` is malformed: expected the `next_cursor` of an earlier answer, unchanged")
        .hint("begin again without `cursor`")
}

fn checksum(content: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = xxh3_64(content).to_be_bytes();
    [a, b, c, d]
}

fn unhex(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase());
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn cursor(words: [u64; 6]) -> PageCursor {
        let [from, to, at, id, since, request] = words;
        let after = RowCursor { at: Nanos(at), id, since: Nanos(since) };
        PageCursor { range: TimeRange { from: Nanos(from), to: Nanos(to) }, after, request }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(words: [u64; 6]) {
            let c = cursor(words);
            prop_assert_eq!(PageCursor::from_text(&c.to_text(), c.request).unwrap(), c);
        }

        #[test]
        fn any_changed_digit_is_found(words: [u64; 6], at in 0..2 * LEN, with in 1u32..16) {
            let mut text: Vec<char> = cursor(words).to_text().chars().collect();
            text[at] = char::from_digit(text[at].to_digit(16).unwrap() ^ with, 16).unwrap();
            let text: String = text.into_iter().collect();
            prop_assert_eq!(PageCursor::from_text(&text, words[5]).unwrap_err(), malformed());
        }

        #[test]
        fn other_text_is_refused(text: String) {
            prop_assert_eq!(PageCursor::from_text(&text, 0).unwrap_err(), malformed());
        }
    }

    #[test]
    fn a_cursor_of_another_request_is_refused() {
        let mine = request_hash([Some("-1h"), None, Some("proto = tcp")]);
        assert_ne!(mine, request_hash([Some("-1h"), Some("proto = tcp"), None]));
        assert_ne!(mine, request_hash([Some("-1hp"), None, Some("roto = tcp")]));
        let c = cursor([1, 2, 3, 4, 5, mine]);
        let err = PageCursor::from_text(&c.to_text(), mine + 1).unwrap_err();
        assert_eq!(err.detail, "`cursor` belongs to another request");
    }
}
