use super::Ask;
use crate::answers::{ask, mismatch};
use crate::encode::json;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;
use netspectra_common::query::{Answer, Filter, Plan, Query};
use netspectra_common::schema::Dimension;

/// A number of distinct values.
pub(crate) async fn cardinality(Ask { app, params, .. }: Ask) -> Result<Response, Problem> {
    let of = params.dimensions(&routes::CARDINALITY_OF)?;
    let filter = params.filter()?;
    let range = params.range(app.clock.now())?;
    let query = Query::Cardinality { of: of.clone() };
    let (answer, completeness) = ask(&*app.answers, range, filter, query).await?;
    let Answer::Cardinality(answer) = answer else { return Err(mismatch()) };
    json(&view::Cardinality {
        of: of.into_iter().map(Dimension::name).collect(),
        value: answer.value,
        range: answer.range.into(),
        completeness,
    })
}

/// Quantiles.
pub(crate) async fn quantiles(Ask { app, params, .. }: Ask) -> Result<Response, Problem> {
    let of = params.quantity()?;
    let q = params.fractions(&routes::Q)?;
    let filter = params.filter()?;
    let range = params.range(app.clock.now())?;
    let (answer, completeness) = ask(&*app.answers, range, filter, Query::Quantiles { of, q }).await?;
    let Answer::Quantiles(answer) = answer else { return Err(mismatch()) };
    json(&view::Quantiles {
        of: of.name(),
        count: answer.count,
        items: answer.items.into_iter().map(|(q, value)| view::QuantileItem { q, value }).collect(),
        range: answer.range.into(),
        completeness,
    })
}

/// Where every frame went.
pub(crate) async fn ledger(Ask { app, params, .. }: Ask) -> Result<Response, Problem> {
    let range = params.range(app.clock.now())?;
    let plan = Plan { range, filter: Filter::ALL, query: Query::Ledger };
    let Answer::Ledger(answer) = app.answers.ask(&plan).await? else { return Err(mismatch()) };
    json(&view::Ledger::from(*answer))
}
