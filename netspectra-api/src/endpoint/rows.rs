use super::Ask;
use crate::answers::{ask, mismatch, off_runtime};
use crate::cursor::{PageCursor, request_hash};
use crate::encode::List;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;
use netspectra_common::model::{Shown, TimeRange};
use netspectra_common::query::{Answer, Completeness, Query, RowCursor, RowsAnswer};
use netspectra_common::schema::{ALERT_FIELDS, FLOW_FIELDS, Field, MESSAGE_FIELDS};
use serde::Serialize;

/// A page of flow records.
pub(crate) async fn flows(request: Ask) -> Result<Response, Problem> {
    let (answer, page) = asked(&request, |limit, after| Query::Flows { limit, after }).await?;
    let Answer::Flows(RowsAnswer { items, next }) = answer else { return Err(mismatch()) };
    off_runtime(move || page.respond(&request, &FLOW_FIELDS, &items, next)).await?
}

/// A page of what detectors said.
pub(crate) async fn alerts(request: Ask) -> Result<Response, Problem> {
    let (answer, page) = asked(&request, |limit, after| Query::Alerts { limit, after }).await?;
    let Answer::Alerts(RowsAnswer { items, next }) = answer else { return Err(mismatch()) };
    off_runtime(move || {
        let items: Vec<_> = items.iter().map(Shown).collect();
        page.respond(&request, &ALERT_FIELDS, &items, next)
    })
    .await?
}

/// A page of messages.
pub(crate) async fn messages(request: Ask) -> Result<Response, Problem> {
    let (answer, page) = asked(&request, |limit, after| Query::Messages { limit, after }).await?;
    let Answer::Messages(RowsAnswer { items, next }) = answer else { return Err(mismatch()) };
    off_runtime(move || {
        let items: Vec<_> = items.iter().map(Shown).collect();
        page.respond(&request, &MESSAGE_FIELDS, &items, next)
    })
    .await?
}

/// What an answer is written with.
struct Page {
    range: TimeRange,
    /// Identity of the request, for the cursor.
    request: u64,
    completeness: Completeness,
}

/// Asks for the page that the parameters name.
async fn asked(
    Ask { app, params, .. }: &Ask,
    query: impl FnOnce(usize, Option<RowCursor>) -> Query,
) -> Result<(Answer, Page), Problem> {
    let limit = params.integer(&routes::PAGE_LIMIT)?;
    let filter = params.filter()?;
    let request = request_hash([&routes::FROM, &routes::TO, &routes::FILTER].map(|p| params.text(p)));
    let page = params.text(&routes::CURSOR).map(|text| PageCursor::from_text(text, request)).transpose()?;
    let range = match page {
        Some(page) => page.range,
        None => params.range(app.clock.now())?,
    };
    let query = query(limit, page.map(|p| p.after));
    let (answer, completeness) = ask(&*app.answers, range, filter, query).await?;
    Ok((answer, Page { range, request, completeness }))
}

impl Page {
    fn respond(
        &self,
        ask: &Ask,
        fields: &[Field],
        items: &[impl Serialize],
        next: Option<RowCursor>,
    ) -> Result<Response, Problem> {
        let &Self { range, request, ref completeness } = self;
        let next = next.map(|after| PageCursor { range, after, request }.to_text());
        let columns: Vec<String> = fields.iter().map(|f| f.name.to_owned()).collect();
        let list = List { columns: &columns, items, completeness, next_cursor: next.as_deref() };
        let whole = view::Rows { items, next_cursor: next.as_deref(), range: range.into(), completeness };
        list.respond(ask.format, &whole)
    }
}
