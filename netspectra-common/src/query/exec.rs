use super::{Answer, FlowCursor, Plan, PlanError};
use crate::model::{FlowRecord, LedgerEntry, Rollup, WindowState};

/// What one part of the data says to a plan; partials merge into the answer.
#[derive(Clone, Debug)]
pub struct Partial {
    /// Rows for [`super::Query::Flows`].
    pub flows: FlowsPartial,
}
/// At most `limit + 1` records in order.
#[derive(Clone, Debug, Default)]
pub struct FlowsPartial {
    /// Records.
    pub items: Vec<FlowRecord>,
    /// After.
    pub after: Option<FlowCursor>,
}
impl Partial {
    /// Empty partial of `plan`. Fails when the plan is not legal.
    pub fn new(_plan: &Plan) -> Result<Self, PlanError> {
        Ok(Self { flows: FlowsPartial::default() })
    }
    /// Folds one flow record.
    pub fn fold_flow(&mut self, _plan: &Plan, _row: &FlowRecord) {}
    /// Folds one roll-up row.
    pub fn fold_rollup(&mut self, _plan: &Plan, _row: &Rollup) {}
    /// Folds one window.
    pub fn fold_window(&mut self, _plan: &Plan, _window: &WindowState) {}
    /// Folds one ledger entry.
    pub fn fold_ledger(&mut self, _plan: &Plan, _entry: &LedgerEntry) {}
    /// Merges another partial of the same plan.
    pub fn merge(&mut self, _other: Partial) {}
}
/// The answer.
pub fn answer(_plan: &Plan, _partial: Partial) -> Result<Answer, PlanError> {
    Err(PlanError::Unanswerable("not yet".into()))
}
