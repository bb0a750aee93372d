//! Namespaces, frames and counters of the kernel tests.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod count;
pub mod lab;
pub mod send;
