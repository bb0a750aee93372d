//! Parses packets.
