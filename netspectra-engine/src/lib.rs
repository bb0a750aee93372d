//! NetSpectra engine.
