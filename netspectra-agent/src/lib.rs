//! The light part on every host: sources count packets in generations, the drain cuts them into messages.
//!
//! `source` knows where packets come from, `rules` which of them get a flow record, `on_wire` is what a frame amounts to,
//! `table` and `generation` hold what was counted, `payload` puts payloads in order for dissectors, `hint` keeps the first bytes of some, `drain` is the sans-IO
//! step from a generation to bus messages, `run` drives a source at a bus,
//! `sockets` says whose the sockets of the host are,
//! `privilege` gives up what is not needed any more, `loader` is a process for what goes on needing it.

pub mod bus;
pub mod drain;
pub mod generation;
pub mod hint;
mod index;
pub mod loader;
pub mod on_wire;
pub mod payload;
pub mod privilege;
pub mod rules;
pub mod run;
pub mod sockets;
pub mod source;
pub mod table;
