//! Refusals: problem documents of RFC 9457 that name the parameter and say what to do.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netspectra_common::ports::PortError;
use netspectra_common::query::{ParseError, PlanError};
use serde::Serialize;
use std::ops::{Deref, DerefMut};

/// A request that was not answered. Boxed, so that results stay small where all goes well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<Document>);

impl Deref for Problem {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Document {
        &mut self.0
    }
}

/// What a problem says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Document {
    /// Stable name of the kind of problem.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// The kind in words.
    pub(crate) title: &'static str,
    #[serde(serialize_with = "code")]
    pub(crate) status: StatusCode,
    /// What happened this time.
    pub(crate) detail: String,
    /// The parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) param: Option<String>,
    /// Where in the parameter's value, 1-based, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<usize>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The paths that exist, on 404.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<&'static str>,
    /// Seconds for `Retry-After`.
    #[serde(skip)]
    pub(crate) retry_after: Option<u64>,
    /// `WWW-Authenticate`.
    #[serde(skip)]
    pub(crate) challenge: Option<&'static str>,
}

fn code<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $status:ident, $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub(crate) fn $name(detail: impl Into<String>) -> Self {
                Self::new(concat!("urn:netspectra:problem:", $kind), StatusCode::$status, $title, detail.into())
            })*
        }
        /// `(type, status, title)` of every kind, for the OpenAPI document.
        pub(crate) const KINDS: &[(&str, StatusCode, &str)] =
            &[$((concat!("urn:netspectra:problem:", $kind), StatusCode::$status, $title)),*];
    };
}

kinds! {
    bad_parameter = "bad-parameter", BAD_REQUEST, "a parameter is not legal";
    unanswerable = "unanswerable", BAD_REQUEST, "the question cannot be answered from what is recorded";
    unauthorized = "unauthorized", UNAUTHORIZED, "a valid bearer token is needed";
    not_found = "not-found", NOT_FOUND, "there is no such path";
    method = "method-not-allowed", METHOD_NOT_ALLOWED, "the path does not take this method";
    too_large = "body-too-large", PAYLOAD_TOO_LARGE, "the request body is too large";
    rate_limited = "rate-limited", TOO_MANY_REQUESTS, "too many requests with this token";
    /// A fault of ours: the log has the cause.
    internal = "internal", INTERNAL_SERVER_ERROR, "the request failed";
    overloaded = "overloaded", SERVICE_UNAVAILABLE, "too many requests at the same time";
    unavailable = "unavailable", SERVICE_UNAVAILABLE, "the data cannot be reached at the moment";
    timeout = "timeout", GATEWAY_TIMEOUT, "the answer took too long";
}

impl Problem {
    fn new(kind: &'static str, status: StatusCode, title: &'static str, detail: String) -> Self {
        Self(Box::new(Document {
            kind,
            title,
            status,
            detail,
            param: None,
            column: None,
            hint: None,
            routes: Vec::new(),
            retry_after: None,
            challenge: None,
        }))
    }

    /// Parameter `param` is at fault.
    pub(crate) fn param(param: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::bad_parameter(detail);
        problem.param = Some(param.to_owned());
        problem
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The filter `text` cannot be read: shows the place under it with a caret.
    pub(crate) fn filter(text: &str, error: &ParseError) -> Self {
        let column = error.column.max(1);
        // Control characters would break the caret's line; each stands for one column.
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let caret = " ".repeat((column - 1).min(shown.chars().count()));
        let mut problem = Self::param("filter", format!("{error}\n{shown}\n{caret}^"));
        problem.column = Some(column);
        problem.hint("GET /api/v1/schema lists the dimensions; an example: `src_ip in 10.0.0.0/8 and dst_port = 443`")
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let detail = error.to_string();
        match error {
            PlanError::Argument { argument, .. } => Self::param(argument, detail),
            PlanError::Unanswerable(_) => Self::unanswerable(detail),
        }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        let mut causes = String::new();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            next = cause.source();
        }
        // The chain may name hosts and files: it goes to the log, the client gets the first line.
        tracing::warn!(error = %error, causes, transient = error.transient, "query failed");
        if error.transient {
            Self::unavailable(error.to_string()).retry_after(5).hint("repeat the request")
        } else {
            Self::internal(error.to_string())
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings and numbers always serializes; the fallback is an empty document with the right status.
        let body = serde_json::to_vec(&self).unwrap_or_else(|_| b"{}".to_vec());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column_also_behind_wide_and_control_characters() {
        let error = ParseError { message: "expected a value, found `)`".into(), column: 9 };
        let p = Problem::filter("iface =\t)", &error);
        assert_eq!(p.detail, "expected a value, found `)` (column 9)\niface = )\n        ^");
        assert_eq!((p.param.as_deref(), p.column), (Some("filter"), Some(9)));
    }

    #[test]
    fn a_column_beyond_the_text_does_not_grow_the_answer() {
        let error = ParseError { message: "unexpected end".into(), column: usize::MAX };
        assert_eq!(Problem::filter("ip", &error).detail.lines().last(), Some("  ^"));
    }

    #[test]
    fn a_port_error_is_retried_only_when_it_is_transient() {
        let p = Problem::from(PortError::transient("`flows` is away"));
        assert_eq!((p.status, p.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
        let p = Problem::from(PortError::permanent("segment `7` is corrupt"));
        assert_eq!((p.status, p.retry_after), (StatusCode::INTERNAL_SERVER_ERROR, None));
        assert_eq!(p.detail, "segment `7` is corrupt");
    }
}
