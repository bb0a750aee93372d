//! NetSpectra api.
