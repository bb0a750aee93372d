//! Why bytes are not a sketch.

/// Bytes that [`from_bytes`](super::Hll::from_bytes) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// The bytes end before the sketch does.
    #[error("`{sketch}` bytes end early: the sketch is cut off, read it again from its source")]
    Truncated {
        /// Kind of sketch that was asked for.
        sketch: &'static str,
    },
    /// The first byte names another kind of sketch.
    #[error("`{sketch}` bytes begin with kind {found:#04x}, expected {expected:#04x}: this is another kind of sketch")]
    Kind {
        /// Kind of sketch that was asked for.
        sketch: &'static str,
        /// Byte found.
        found: u8,
        /// Byte expected.
        expected: u8,
    },
    /// Written in a format (or with a hash seed) that this build does not know.
    #[error(
        "`{sketch}` bytes have format version {found}, expected {expected}: upgrade the reader to at least the writer's release"
    )]
    Version {
        /// Kind of sketch that was asked for.
        sketch: &'static str,
        /// Version found.
        found: u8,
        /// Version expected.
        expected: u8,
    },
    /// No sketch has this state: the bytes are damaged, or not in canonical form.
    #[error("`{sketch}` bytes are inconsistent: {reason}")]
    Inconsistent {
        /// Kind of sketch that was asked for.
        sketch: &'static str,
        /// What does not fit, with what was expected.
        reason: &'static str,
    },
}
