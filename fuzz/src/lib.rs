//! Checks with many inputs: fuzz targets for every boundary where bytes come in, and the kernel programs against user
//! space.
//!
//! `frames` makes Ethernet frames, `differential` sends them through both sides, `targets` has one function for each
//! boundary, `seeds` what they begin with. `cargo xtask fuzz` drives them; `cargo xtask test-vm` runs the differential inside other kernels.

pub mod differential;
pub mod frames;
mod rng;
#[cfg(feature = "targets")]
pub mod seeds;
#[cfg(feature = "targets")]
pub mod targets;

pub use rng::Rng;
