//! Rows in, answers out. Not proven here: the bounds of the sketches themselves (see `sketch`), and what stores deliver.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod flows;
mod laws;
