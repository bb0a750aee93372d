//! Two network namespaces joined by a veth pair, traffic between them, and a `netspectra run` on one end.
//!
//! What these helpers do not prove: anything about drivers other than veth.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test program uses a part, and shows what processes say"
)]

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod instance;
pub mod kill;
pub mod net;
pub mod packet_socket;
pub mod proxy;
pub mod traffic;
