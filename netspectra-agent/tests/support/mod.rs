//! Namespaces, frames and counters of the kernel tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests, each of which uses a part")]

pub mod count;
pub mod lab;
#[path = "../../../netspectra/tests/support/packet_socket.rs"]
pub mod packet_socket;
pub mod send;
