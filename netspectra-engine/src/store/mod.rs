//! Implementations of [`netspectra_common::ports::Store`].

pub mod embedded;
