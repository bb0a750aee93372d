//! Encodings of lists: JSON, NDJSON and CSV, and how one is chosen.

use crate::params::Params;
use crate::problem::Problem;
use crate::routes;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use netspectra_common::query::Completeness;
use serde::Serialize;
use serde_json::Value;

/// The next page's cursor where the body has no place for it (NDJSON, CSV).
pub(crate) const NEXT_CURSOR: HeaderName = HeaderName::from_static("netspectra-next-cursor");
/// `true` or `false`: [`Completeness::complete`] where the body has no place for it.
pub(crate) const COMPLETE: HeaderName = HeaderName::from_static("netspectra-complete");

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv,
}

impl Format {
    /// Media types, best first.
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// By the parameter `format`, else by `Accept`, else JSON.
    pub(crate) fn choose(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(match params.word(&routes::FORMAT)? {
            Some("ndjson") => Self::Ndjson,
            Some("csv") => Self::Csv,
            Some(_) => Self::Json,
            None => Self::accepted(headers),
        })
    }

    /// The best of ours that `Accept` names (RFC 9110 section 12.5.1); JSON when it names none, instead of a 406.
    fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (0.0, Self::Json);
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        for range in values.flat_map(|v| v.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let Some(format) = Self::ALL.into_iter().find(|f| f.media_type().eq_ignore_ascii_case(name)) else {
                continue;
            };
            let weight = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse::<f64>().ok()).unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }
}

/// A list on its way out.
pub(crate) struct List<'a, T> {
    /// Column names of CSV. A name `a.b` is the field `b` of the object `a`.
    pub(crate) columns: &'a [String],
    /// Rows of NDJSON and CSV.
    pub(crate) items: &'a [T],
    /// What NDJSON and CSV say in headers.
    pub(crate) completeness: &'a Completeness,
    pub(crate) next_cursor: Option<&'a str>,
}

impl<T: Serialize> List<'_, T> {
    /// The answer in `format`; `whole` is the JSON document.
    pub(crate) fn respond(&self, format: Format, whole: &impl Serialize) -> Result<Response, Problem> {
        let body = match format {
            Format::Json => return json(whole),
            Format::Ndjson => self.ndjson(),
            Format::Csv => self.csv(),
        };
        let mut response = with_type(body.map_err(unserializable)?, format.media_type());
        let headers = response.headers_mut();
        headers.insert(COMPLETE, HeaderValue::from_static(if self.completeness.complete { "true" } else { "false" }));
        if let Some(cursor) = self.next_cursor.and_then(|c| HeaderValue::from_str(c).ok()) {
            headers.insert(NEXT_CURSOR, cursor);
        }
        Ok(response)
    }

    fn ndjson(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::new();
        for item in self.items {
            serde_json::to_writer(&mut out, item)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    /// RFC 4180, with a header line.
    fn csv(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::new();
        let titles = self.columns.iter().map(|c| c.rsplit('.').next().unwrap_or(c));
        csv_line(&mut out, titles);
        for item in self.items {
            let item = serde_json::to_value(item)?;
            let cells = self.columns.iter().map(|column| {
                match column.split('.').try_fold(&item, |value, name| value.get(name)) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                }
            });
            csv_line(&mut out, cells);
        }
        Ok(out)
    }
}

fn csv_line(out: &mut Vec<u8>, cells: impl Iterator<Item = impl AsRef<str>>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let cell = cell.as_ref();
        if cell.contains([',', '"', '\r', '\n']) {
            out.push(b'"');
            out.extend(cell.replace('"', "\"\"").bytes());
            out.push(b'"');
        } else {
            out.extend(cell.bytes());
        }
    }
    out.extend(b"\r\n");
}

/// A JSON document.
pub(crate) fn json(document: &impl Serialize) -> Result<Response, Problem> {
    Ok(with_type(serde_json::to_vec(document).map_err(unserializable)?, "application/json"))
}

/// `body` of type `media_type`.
pub(crate) fn with_type(body: impl Into<Body>, media_type: &'static str) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn unserializable(error: serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written");
    Problem::internal("the answer could not be written")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn accepted(value: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        Format::accepted(&headers)
    }

    #[test]
    fn accept_chooses_the_heaviest_known_type() {
        assert_eq!(accepted("text/csv"), Format::Csv);
        assert_eq!(accepted("text/html, application/x-ndjson;q=0.5, text/csv; q=0.9"), Format::Csv);
        assert_eq!(accepted("application/json, text/csv"), Format::Json);
        assert_eq!(accepted("text/csv;q=0"), Format::Json);
        assert_eq!(accepted("*/*"), Format::Json);
        assert_eq!(accepted("text/html;q=nan;;,"), Format::Json);
    }

    #[test]
    fn csv_quotes_what_would_break_a_line() {
        let mut out = Vec::new();
        csv_line(&mut out, ["plain", "a,b", "say \"hi\"", "two\nlines", ""].into_iter());
        assert_eq!(String::from_utf8(out).unwrap(), "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\r\n");
    }
}
