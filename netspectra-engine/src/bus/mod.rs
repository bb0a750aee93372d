//! Where messages come from.

#[cfg(feature = "kafka")]
pub mod kafka;
