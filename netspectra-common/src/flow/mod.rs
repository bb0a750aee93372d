//! Folds packets.
