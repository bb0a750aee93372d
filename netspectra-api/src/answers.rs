//! Runs plans: one seam between the handlers and the data.

use crate::problem::Problem;
use netspectra_common::model::TimeRange;
use netspectra_common::ports::{BoxFuture, LiveState, PortError, Store};
use netspectra_common::query::{self, Answer, Completeness, Filter, Plan, Query};
use std::sync::Arc;

/// Answers plans.
pub(crate) trait Answers: Send + Sync {
    /// The answer to `plan`, which [`Plan::validate`] found legal.
    fn ask<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Answer, Problem>>;

    /// The time that stored data covers.
    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>>;
}

/// The store and the live state, whose rows are disjoint, merged.
pub(crate) struct Merged {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) live: Option<Arc<dyn LiveState>>,
}

impl Answers for Merged {
    fn ask<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Answer, Problem>> {
        Box::pin(async move {
            // Live first, and not both at once: what moves to the store between the two calls is then seen in both,
            // and never in neither. Too much can be noticed, silence cannot.
            let live = match &self.live {
                Some(live) => Some(live.query(plan).await?),
                None => None,
            };
            let mut partial = self.store.query(plan).await?;
            let plan = plan.clone();
            off_runtime(move || {
                if let Some(live) = live {
                    partial.merge(live);
                }
                query::answer(&plan, partial).map_err(Problem::from)
            })
            .await?
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        self.store.extent()
    }
}

/// Validates and asks `query`, and the ledger of the same range beside it.
pub(crate) async fn ask(
    answers: &dyn Answers,
    range: TimeRange,
    filter: Filter,
    query: Query,
) -> Result<(Answer, Completeness), Problem> {
    let plan = Plan { range, filter, query };
    plan.validate()?;
    let ledger = Plan { range, filter: Filter::ALL, query: Query::Ledger };
    let (answer, ledger) = tokio::try_join!(answers.ask(&plan), answers.ask(&ledger))?;
    let Answer::Ledger(ledger) = ledger else { return Err(mismatch()) };
    Ok((answer, query::completeness(&ledger)))
}

/// An answer of another kind than the question.
pub(crate) fn mismatch() -> Problem {
    tracing::error!("the query core answered another question");
    Problem::internal("the answer is not one to this question")
}

/// Runs CPU work of more than a few microseconds where it does not hold up other requests.
pub(crate) async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    // The caller's span goes along, so that what the work logs belongs to its request.
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(|error| {
        tracing::error!(%error, "an answer could not be computed");
        Problem::internal("the answer could not be computed")
    })
}
