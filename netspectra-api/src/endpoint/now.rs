use super::Ask;
use crate::encode::json;
use crate::problem::Problem;
use crate::{routes, view};
use axum::response::Response;

/// The present of a cluster, from memory.
pub(crate) async fn now(Ask { app, params, .. }: Ask) -> Result<Response, Problem> {
    let top = params.integer(&routes::TOP_LIMIT)?;
    let Some(board) = &app.board else {
        return Err(Problem::not_found("this process has no live board: it is that of a cluster with `cluster.redis`")
            .hint("ask `/api/v1/top?from=-30s`, which is as fresh"));
    };
    json(&view::Now::from(board.present(top).await?))
}
