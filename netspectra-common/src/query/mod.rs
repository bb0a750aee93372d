//! Questions and answers: a typed plan, a filter language, and the folding of rows and sketches into mergeable partials.
//!
//! Every store, the live state and `analyze` run the same plan through the same folding, so that the same question has
//! the same answer everywhere. No text of a client ever reaches a store: stores get a [`Plan`].

mod exec;
mod filter;
mod parse;
mod plan;

pub use exec::{FlowsPartial, Partial, answer};
pub use filter::{CmpOp, Filter, Predicate, Row, Value};
pub use parse::{ParseError, parse_filter};
pub use plan::{
    Answer, CardinalityAnswer, Completeness, FlowCursor, FlowsAnswer, GroupKey, LedgerAnswer, Metric, Plan, PlanError,
    Quantity, QuantilesAnswer, Query, SeriesAnswer, SeriesPoint, TopAnswer, TopRow,
};
