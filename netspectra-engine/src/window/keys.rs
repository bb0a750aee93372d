//! From a row's raw address to the sketch key that the query core reads.

use netspectra_common::model::Family;

/// As `query::keys::address`, from the bytes of a flow key: no address type is built on the way.
pub(crate) fn address(family: u8, bytes: &[u8; 16]) -> [u8; 16] {
    if family != Family::V4 as u8 {
        return *bytes;
    }
    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    mapped[12..].copy_from_slice(&bytes[..4]);
    mapped
}
