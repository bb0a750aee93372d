//! Implementations of [`netspectra_common::ports::Store`].

#[cfg(feature = "clickhouse")]
pub mod clickhouse;
pub mod embedded;

pub(crate) use embedded::framing;
