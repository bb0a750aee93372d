//! The contracts that every part of NetSpectra shares.
//!
//! `abi`, `wire` and `flow` are `no_std` and compile for the kernel (`bpfel-unknown-none`) and for the host from one
//! source. Everything else needs the feature `std`. Inside the crate the dependencies go one way:
//! `abi <- wire <- flow <- model <- {sketch, schema} <- query <- {ports, dissect, detect}`. No module here does I/O or reads a clock.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod flow;
pub mod wire;

#[cfg(feature = "std")]
pub mod detect;
#[cfg(feature = "std")]
pub mod dissect;
#[cfg(feature = "std")]
pub mod kafka;
#[cfg(feature = "std")]
pub mod model;
#[cfg(feature = "std")]
pub mod ports;
#[cfg(feature = "std")]
pub mod proto;
#[cfg(feature = "std")]
pub mod query;
#[cfg(feature = "std")]
pub mod registry;
#[cfg(feature = "std")]
pub mod report;
#[cfg(feature = "std")]
pub mod schema;
#[cfg(feature = "std")]
pub mod sketch;
