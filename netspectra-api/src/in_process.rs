//! A question without a socket.

use crate::app::router;
use crate::deps::Deps;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt as _;

/// Largest answer.
const MAX_ANSWER: usize = 1 << 30;

/// What the API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Body: the answer, or the problem document.
    pub body: String,
}

impl Answered {
    /// Whether it is an answer and not a problem.
    pub fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// Whether the question was wrong, not the API.
    pub fn is_misuse(&self) -> bool {
        (400..500).contains(&self.status)
    }
}

/// Why a question came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is no path with parameters.
    #[error("`{0}` is no path with parameters")]
    Target(String),
    /// The answer is larger than 1 GiB, or cannot be read.
    #[error("the answer cannot be read")]
    Body(#[source] axum::Error),
    /// The answer is not text.
    #[error("the answer is not UTF-8")]
    Text(#[from] std::string::FromUtf8Error),
}

/// What the API over `deps` answers to `GET target`, such as `/api/v1/top?by=src_ip`; `deps` must not ask for a token.
///
/// Cost: the answer, in memory.
///
/// # Errors
/// [`AskError`]; a question that is refused is none, but a status of 400 and more.
pub async fn ask(deps: Deps, target: &str) -> Result<Answered, AskError> {
    let request = Request::get(target).body(Body::empty()).map_err(|_| AskError::Target(target.to_owned()))?;
    let Ok(response) = router(deps).oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), MAX_ANSWER).await.map_err(AskError::Body)?;
    Ok(Answered { status, body: String::from_utf8(body.into())? })
}
