//! Answers from what is not written yet.

use crate::engine::Engine;
use netspectra_common::model::{EndReason, FlowRecord, Nanos, Resolution, Rollup, TimeRange, WindowState};
use netspectra_common::query::{Partial, Plan, PlanError, Query};

impl Engine {
    /// Runs `plan` over unwritten parts of flows, roll-ups of open windows, and open windows.
    ///
    /// Disjoint from every batch returned so far, and together with them complete. There is no live ledger: a
    /// generation's entry is in the batch of its manifest; so are alerts and messages. Cost: a pass over the flows (for flows) or over the open
    /// rows, about 1 µs each where sketches must be made of them.
    ///
    /// # Errors
    /// When the plan is not legal.
    pub fn live(&self, plan: &Plan) -> Result<Partial, PlanError> {
        let mut partial = Partial::new(plan)?;
        match &plan.query {
            Query::Flows { .. } => self.live_flows(plan.range, |row| partial.fold_flow(plan, &row)),
            // What was said is in the batch of its manifest, as a generation's ledger is.
            Query::Ledger | Query::Alerts { .. } | Query::Messages { .. } => {}
            Query::Top { .. } | Query::Cardinality { .. } | Query::Quantiles { .. } | Query::Series { .. } => {
                let with_sketches = !matches!(plan.query, Query::Series { .. } | Query::Top { exact: true, .. });
                self.live_rollups(plan.range, |row| partial.fold_rollup(plan, &row));
                self.live_windows(plan.range, with_sketches, |window| partial.fold_window(plan, &window));
            }
        }
        Ok(partial)
    }

    /// Unwritten parts of flows that overlap `range`, as records with [`EndReason::None`].
    pub(crate) fn live_flows(&self, range: TimeRange, mut each: impl FnMut(FlowRecord)) {
        for flow in self.flows.iter() {
            let (first, last) = flow.part();
            if range.overlaps(first, last) {
                each(flow.record(EndReason::None, &self.points));
            }
        }
    }

    /// Rows of open windows that overlap `range`.
    pub(crate) fn live_rollups(&self, range: TimeRange, mut each: impl FnMut(Rollup)) {
        for (start, row) in self.nodes.iter().flat_map(|n| n.windows.rows()) {
            if overlaps(range, Resolution::S10, start) {
                each(row.rollup(start, &self.points));
            }
        }
    }

    /// Open windows that overlap `range`; their sketches are empty unless `with_sketches`.
    pub(crate) fn live_windows(&self, range: TimeRange, with_sketches: bool, mut each: impl FnMut(WindowState)) {
        for node in &self.nodes {
            node.windows
                .states(&node.name, with_sketches, |r, s| overlaps(range, r, s))
                .into_iter()
                .for_each(&mut each);
        }
    }
}

fn overlaps(range: TimeRange, resolution: Resolution, start: Nanos) -> bool {
    start < range.to && start.plus(resolution.duration()) > range.from
}
