//! Drives the router with answers that are given, and the ports with fakes.
//!
//! What these tests do not prove: that the query core folds and merges rightly (its own tests do), and that a real
//! store honours plans (the store's contract suite does).
#![allow(clippy::unwrap_used, reason = "tests")]

mod admission;
mod contract;
mod encodings;
mod fake;
mod listening;
mod owner;
mod plans;
mod ports;
mod service;
