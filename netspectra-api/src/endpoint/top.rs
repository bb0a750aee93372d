use super::Ask;
use crate::answers::{ask, mismatch, off_runtime};
use crate::encode::List;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;
use netspectra_common::query::{Answer, Query};

/// The largest groups.
pub(crate) async fn top(Ask { app, params, format }: Ask) -> Result<Response, Problem> {
    let by = params.dimensions(&routes::BY)?;
    let metric = params.metric()?;
    let limit = params.integer(&routes::TOP_LIMIT)?;
    let exact = params.flag(&routes::EXACT)?;
    let filter = params.filter()?;
    let range = params.range(app.clock.now())?;
    let query = Query::Top { by: by.clone(), metric, limit, exact };
    let (answer, completeness) = ask(&*app.answers, range, filter, query).await?;
    let Answer::Top(answer) = answer else { return Err(mismatch()) };
    off_runtime(move || {
        let items: Vec<_> = answer
            .items
            .iter()
            .map(|row| view::TopItem { key: view::Key { dimensions: &by, values: &row.key }, value: row.value })
            .collect();
        let keys = by.iter().map(|d| format!("key.{}", d.name()));
        let values = ["estimate", "low", "high", "confidence"].map(|v| format!("value.{v}"));
        let columns: Vec<String> = keys.chain(values).collect();
        let list = List { columns: &columns, items: &items, completeness: &completeness, next_cursor: None };
        let whole = view::Top {
            items: &items,
            total: answer.total,
            metric: metric.name(),
            range: answer.range.into(),
            completeness: &completeness,
        };
        list.respond(format, &whole)
    })
    .await?
}
