//! The seam between what was observed and who judges it: plug-ins, one state for each node.
//!
//! A [`Detector`] is a function of the log: it reads no clock, and the same events in the same order give the same alerts. Its
//! state goes into bytes and back, with the state of the engine that runs it.

use crate::model::{Alert, FlowRecord, Nanos, Observed, WindowState};
use std::fmt::Debug;
use std::sync::Arc;

/// What one generation of a node let the engine close.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The node.
    pub node: &'a Arc<str>,
    /// Its log time; does not go back, but for a clock that was set.
    pub now: Nanos,
    /// Flow records, in their order.
    pub flows: &'a [FlowRecord],
    /// Windows.
    pub windows: &'a [WindowState],
    /// Messages of application protocols.
    pub observed: &'a [Observed],
}

/// A kind of detector: a plug-in.
pub trait DetectorKind: Send + Sync + Debug {
    /// Stable name: the one in alerts, configuration and metrics.
    fn name(&self) -> &'static str;

    /// One that has seen nothing.
    fn fresh(&self) -> Box<dyn Detector>;

    /// One that goes on from what [`Detector::save`] of the same kind gave; `None` when `bytes` are something else.
    fn restore(&self, bytes: &[u8]) -> Option<Box<dyn Detector>>;
}

/// Judges what one node saw. Memory is bounded whatever comes.
pub trait Detector: Send + Sync + Debug {
    /// What `seen` says that was not said before: an alert for each incident that opened, grew or ended, in an order that
    /// depends on nothing else.
    fn observe(&mut self, seen: &Seen<'_>) -> Vec<Alert>;

    /// Ends what is open: the node's input ended.
    fn end(&mut self, now: Nanos) -> Vec<Alert>;

    /// Candidates for which there was no room since the start: what became of them is not known.
    fn refused(&self) -> u64;

    /// The state as bytes.
    fn save(&self) -> Vec<u8>;
}
