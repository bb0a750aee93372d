//! Where messages go.

#[cfg(feature = "kafka")]
pub mod kafka;
