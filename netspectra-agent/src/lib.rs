//! The light part on every host: sources count packets in generations, the drain cuts them into messages.
//!
//! `source` knows where packets come from, `rules` which of them get a flow record, `table` and `generation` hold what was counted, `payload` puts payloads in
//! order for dissectors, `drain` is the sans-IO step from a generation to bus messages, `run` drives a source at a bus.

pub mod drain;
pub mod generation;
pub mod payload;
pub mod rules;
pub mod run;
pub mod source;
pub mod table;
