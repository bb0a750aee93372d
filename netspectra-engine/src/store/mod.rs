//! Implementations of [`netspectra_common::ports::Store`].

pub mod embedded;

pub(crate) use embedded::framing;
