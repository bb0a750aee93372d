//! Questions and answers: a typed plan, a filter language, and the folding of rows and sketches into mergeable partials.
//!
//! Every store, the live state and `analyze` run the same plan through the same folding, so that the same question has
//! the same answer everywhere. No text of a client ever reaches a store: stores get a [`Plan`].
//!
//! The way of a question: [`parse_filter`] -> [`Plan::validate`] -> [`Plan::source`] says which rows are needed ->
//! [`Partial::new`], `fold_*` over rows (more than needed is fine), [`Partial::merge`] over nodes, store and live state
//! -> [`answer`].

mod answer;
mod check;
mod display;
mod exec;
mod filter;
pub mod keys;
mod parse;
mod plan;
mod row;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use answer::{
    Answer, CardinalityAnswer, Completeness, GroupKey, LedgerAnswer, NicSum, QuantilesAnswer, RowsAnswer, SeriesAnswer,
    SeriesPoint, TopAnswer, TopRow, completeness,
};
pub use check::MAX_LIMIT;
pub use exec::{EXACT_DISTINCT, MAX_GROUPS, MAX_NICS, Partial, answer};
pub use filter::{CmpOp, Filter, Predicate, Row, Value};
pub use parse::{MAX_FILTER_DEPTH, MAX_FILTER_LEN, ParseError, parse_filter};
pub use plan::{Metric, Plan, PlanError, Quantity, Query, RowCursor};
pub use source::Source;
pub use wire::{WireError, decode_partial, decode_plan, encode_partial, encode_plan};
