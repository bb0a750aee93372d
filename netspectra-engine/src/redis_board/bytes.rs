//! A partition's state as bytes: a version, then postcard.

use super::board::PartitionState;

/// Raised with every change of [`PartitionState`] and what is in it: engines of two versions share a board while a cluster
/// is updated.
const VERSION: u32 = 2;

/// Why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum BoardBytesError {
    /// Another version wrote them.
    #[error("the state has version {found}, expected {VERSION}: an engine of another version published it")]
    Version {
        /// What is there.
        found: u32,
    },
    /// They are not what was written.
    #[error("the state is damaged")]
    Damaged(#[source] postcard::Error),
    /// They cannot be written.
    #[error("the state cannot be written")]
    Write(#[source] postcard::Error),
}

pub(super) fn encode(state: &PartitionState) -> Result<Vec<u8>, BoardBytesError> {
    postcard::to_extend(state, VERSION.to_le_bytes().to_vec()).map_err(BoardBytesError::Write)
}

pub(super) fn decode(bytes: &[u8]) -> Result<PartitionState, BoardBytesError> {
    let damaged = || BoardBytesError::Damaged(postcard::Error::DeserializeUnexpectedEnd);
    let (version, body) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    match u32::from_le_bytes(*version) {
        VERSION => postcard::from_bytes(body).map_err(BoardBytesError::Damaged),
        found => Err(BoardBytesError::Version { found }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::board::{Board, tests::batches};
    use super::*;
    use proptest::prelude::*;

    fn written() -> Vec<u8> {
        let mut board = Board::default();
        let states = batches("n1", 2, 9).into_iter().map(|(batch, stats)| board.apply(&batch, &stats));
        encode(&states.last().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written();
        let state = decode(&bytes).unwrap();
        assert_eq!((state.active_flows, state.nodes, state.windows.len()), (9, 1, 2));
        assert_eq!(encode(&state).unwrap(), bytes);
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = written();
        assert!(matches!(decode(&bytes[..bytes.len() - 1]), Err(BoardBytesError::Damaged(_))));
        assert!(matches!(decode(&[1]), Err(BoardBytesError::Damaged(_))));
        bytes[0] = 9;
        assert!(matches!(decode(&bytes), Err(BoardBytesError::Version { found: 9 })));
    }

    proptest! {
        #[test]
        fn untrusted_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..4096, by in any::<u8>()) {
            let _ = decode(&[&VERSION.to_le_bytes()[..], &bytes].concat());
            let mut damaged = written();
            let at = at % damaged.len();
            damaged[at] ^= by;
            let _ = decode(&damaged);
        }
    }
}
