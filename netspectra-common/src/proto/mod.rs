//! Messages of the bus as bytes: Protocol Buffers, as `proto/netspectra/v1/bus.proto` defines them.
//!
//! `v1.rs` is made of the definitions by `cargo xtask proto`; [`encode`] and [`decode`] go between its messages and the
//! model's. Bytes that are no message give an error that names the field. Memory is bounded by the bytes that came in.

mod decode;
mod encode;
mod observations;
#[cfg(test)]
mod tests;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "made of the definitions")]
mod v1;

pub use decode::{ProtoError, decode};
pub use encode::{encode, encode_tick};
