use super::Ask;
use crate::answers::{ask, mismatch, off_runtime};
use crate::cursor::{PageCursor, request_hash};
use crate::encode::List;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;
use netspectra_common::query::{Answer, Query};
use netspectra_common::schema::FLOW_FIELDS;

/// A page of flow records.
pub(crate) async fn flows(Ask { app, params, format }: Ask) -> Result<Response, Problem> {
    let limit = params.integer(&routes::FLOWS_LIMIT)?;
    let filter = params.filter()?;
    let request = request_hash([&routes::FROM, &routes::TO, &routes::FILTER].map(|p| params.text(p)));
    let page = params.text(&routes::CURSOR).map(|text| PageCursor::from_text(text, request)).transpose()?;
    let range = match page {
        Some(page) => page.range,
        None => params.range(app.clock.now())?,
    };
    let query = Query::Flows { limit, after: page.map(|p| p.after) };
    let (answer, completeness) = ask(&*app.answers, range, filter, query).await?;
    let Answer::Flows(answer) = answer else { return Err(mismatch()) };
    off_runtime(move || {
        let next = answer.next.map(|after| PageCursor { range, after, request }.to_text());
        let columns: Vec<String> = FLOW_FIELDS.iter().map(|f| f.name.to_owned()).collect();
        let list =
            List { columns: &columns, items: &answer.items, completeness: &completeness, next_cursor: next.as_deref() };
        let whole = view::Flows {
            items: &answer.items,
            next_cursor: next.as_deref(),
            range: range.into(),
            completeness: &completeness,
        };
        list.respond(format, &whole)
    })
    .await?
}
