//! Questions and answers: a typed plan, a filter language, and the folding of rows and sketches into mergeable partials.
//!
//! Every store, the live state and `analyze` run the same plan through the same folding, so that the same question has
//! the same answer everywhere. No text of a client ever reaches a store: stores get a [`Plan`].

mod answer;
mod filter;
pub mod keys;
mod parse;
mod partial;
mod plan;
mod rows;

pub use answer::{
    Answer, CardinalityAnswer, Completeness, FlowsAnswer, GroupKey, LedgerAnswer, QuantilesAnswer, SeriesAnswer,
    SeriesPoint, TopAnswer, TopRow, completeness,
};
pub use filter::{CmpOp, Filter, Predicate, Row, Value};
pub use parse::{ParseError, parse_filter};
pub use partial::{Partial, answer};
pub use plan::{FlowCursor, MAX_GROUPS, MAX_LIMIT, MAX_POINTS, Metric, Plan, PlanError, Quantity, Query, Source};
