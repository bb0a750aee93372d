//! Engines that share a log: each owns some of its partitions, for as long as the log's group of consumers says so.
//!
//! **What is written is a function of the log.** A partition's messages become blocks whose ends are in the messages
//! ([`blocks`]); a block carries its place in the log, and a store that has it already takes it as written. So two engines
//! that hold the same partition for a moment (one was stopped and does not know that it lost it) write the same blocks, and
//! no rows come twice.
//!
//! **What is not written can be made again.** From time to time the engine's state at the end of a block goes to the store
//! ([`state`]); who takes the partition over reads it, and the log from there. Nothing else is kept, nothing is handed over.
//!
//! **What a query sees.** Each owner says what it knows that is not stored, and up to where it is stored ([`live`]); who asks
//! takes from the store the blocks up to there, and of partitions that nobody spoke of all blocks ([`federation`]). So every
//! row is seen exactly once, whenever the question comes.

mod blocks;
mod delays;
mod federation;
mod live;
mod runtime;
mod silence;
mod state;
mod task;
#[cfg(test)]
mod tests;

pub use delays::Delays;
pub use federation::{Federation, Owners};
pub use live::PartitionSet;
pub use runtime::{GroupEvent, GroupLog, run_group};
pub use state::StateError;
pub use task::{AfterBlock, Delivered, Notes, PartitionError, PartitionLog, PartitionStats, Poison};
