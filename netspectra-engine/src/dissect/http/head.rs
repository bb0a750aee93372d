//! The head of a message. Field syntax is read by the crate `httparse`; this decides what is kept and what follows.

use super::body::Body;
use httparse::{Error, Header, ParserConfig, Request, Response};
use netspectra_common::dissect::Claim;

/// Header fields that are read; of a head with more, those.
const MAX_FIELDS: usize = 256;
/// Bytes kept of a text.
const MAX_TEXT: usize = 1024;
/// Bytes of a method.
const MAX_METHOD: usize = 24;

/// Methods that make a stream HTTP as soon as a space follows: IANA's registry, and those in wide use outside it.
const METHODS: [&[u8]; 45] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"COPY",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"ORDERPATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"NOTIFY",
    b"BPROPFIND",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
];

/// What the start line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request { method: String, target: String },
    Response { status: u16 },
}

/// What is kept of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) minor_version: u8,
    host: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) content_type: Option<String>,
    /// `Err` when there are several that contradict each other, or it is no number.
    pub(super) content_length: Result<Option<u64>, ()>,
    /// The last transfer coding, in lower case.
    last_coding: Option<String>,
}

/// Whether a stream that begins with `first` is HTTP/1.x.
pub(super) fn looks_like(first: &[u8]) -> Claim {
    const VERSION: &[u8] = b"HTTP/1.";
    if let Some(rest) = first.strip_prefix(VERSION) {
        return match rest {
            [] | [b'0' | b'1'] => Claim::NeedMore,
            [b'0' | b'1', b' ', ..] => Claim::Yes,
            _ => Claim::No,
        };
    }
    if VERSION.starts_with(first) {
        return Claim::NeedMore;
    }
    let is_letter = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let Some(space) = first.iter().position(|b| !is_letter(b)) else {
        return if first.len() <= MAX_METHOD { Claim::NeedMore } else { Claim::No };
    };
    let (method, rest) = first.split_at(space);
    if rest.first() != Some(&b' ') || method.is_empty() || method.len() > MAX_METHOD {
        return Claim::No;
    }
    if METHODS.contains(&method) {
        return Claim::Yes;
    }
    // A method that nobody registered: the whole request line must be one.
    match rest.iter().position(|b| *b == b'\n') {
        None => Claim::NeedMore,
        Some(end) => {
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") { Claim::Yes } else { Claim::No }
        }
    }
}

/// Where in `bytes` the head ends whose first bytes are `kept`: after an empty line. It does not begin with one.
///
/// Lines end with LF, with or without CR before it (RFC 9112 section 2.2).
pub(super) fn end(kept: &[u8], bytes: &[u8]) -> Option<usize> {
    let mut empty = kept.iter().rev().find(|b| **b != b'\r') == Some(&b'\n');
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if empty => return Some(at + 1),
            b'\n' => empty = true,
            b'\r' => {}
            _ => empty = false,
        }
    }
    None
}

/// Reads a head, or as much of one as is there, if that is a whole start line at least.
pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
    let bytes = unfold(bytes);
    let bytes = &bytes[..];
    let mut config = ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .ignore_invalid_headers_in_requests(true);
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let is_complete_enough = |result| match result {
        Ok(_) | Err(Error::TooManyHeaders | Error::HeaderName | Error::HeaderValue | Error::NewLine) => true,
        Err(Error::Status | Error::Token | Error::Version) => false,
    };
    if bytes.starts_with(b"HTTP/") {
        let mut response = Response::new(&mut fields);
        let result = config.parse_response(&mut response, bytes).map(drop);
        let (status, version) = (response.code?, response.version?);
        is_complete_enough(result).then(|| Head::new(Kind::Response { status }, version, &fields))
    } else {
        let mut request = Request::new(&mut fields);
        let result = config.parse_request(&mut request, bytes).map(drop);
        let (method, target, version) = (request.method?, request.path?, request.version?);
        let kind = Kind::Request { method: short(method), target: short(target) };
        is_complete_enough(result).then(|| Head::new(kind, version, &fields))
    }
}

/// Without line folding: a line that begins with white space goes on the one before (RFC 9112 section 5.2).
fn unfold(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in 1..out.len() {
        if matches!(out[at], b' ' | b'\t') && out[at - 1] == b'\n' {
            out[at - 1] = b' ';
            if at >= 2 && out[at - 2] == b'\r' {
                out[at - 2] = b' ';
            }
        }
    }
    out
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn text(value: &[u8]) -> String {
    short(String::from_utf8_lossy(&value[..value.len().min(MAX_TEXT)]).trim())
}

impl Head {
    fn new(kind: Kind, minor_version: u8, fields: &[Header<'_>]) -> Self {
        let mut head = Self {
            kind,
            minor_version,
            host: None,
            user_agent: None,
            content_type: None,
            content_length: Ok(None),
            last_coding: None,
        };
        for field in fields.iter().filter(|f| !f.name.is_empty()) {
            head.field(field);
        }
        head
    }

    fn field(&mut self, field: &Header<'_>) {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            self.host.get_or_insert_with(|| text(field.value));
        } else if is("user-agent") {
            self.user_agent.get_or_insert_with(|| text(field.value));
        } else if is("content-type") {
            self.content_type.get_or_insert_with(|| text(field.value));
        } else if is("content-length") {
            for item in field.value.split(|b| *b == b',') {
                let length = std::str::from_utf8(item.trim_ascii()).ok().and_then(|t| t.parse().ok()).ok_or(());
                self.content_length = match (self.content_length, length) {
                    (Ok(None), Ok(n)) => Ok(Some(n)),
                    (Ok(Some(before)), Ok(n)) if before == n => Ok(Some(n)),
                    _ => Err(()),
                };
            }
        } else if is("transfer-encoding") {
            let codings = text(field.value);
            self.last_coding = codings.rsplit(',').next().map(|c| c.trim().to_ascii_lowercase());
        }
    }

    /// Who was asked: the field `Host`, else what the target names (RFC 9112 section 3.2).
    pub(super) fn host(&self, method: &str, target: &str) -> Option<String> {
        if let Some(host) = self.host.clone().filter(|h| !h.is_empty()) {
            return Some(host);
        }
        if method == "CONNECT" {
            return Some(target.to_owned());
        }
        let (_, rest) = target.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(authority.rsplit('@').next().unwrap_or(authority).to_owned())
    }

    fn is_chunked(&self) -> bool {
        self.last_coding.as_deref() == Some("chunked")
    }

    pub(super) fn body_of_request(&self) -> Body {
        match (self.is_chunked(), &self.last_coding, self.content_length) {
            (true, _, _) => Body::CHUNKED,
            (false, Some(_), _) | (false, None, Err(())) => Body::Broken,
            (false, None, Ok(length)) => Body::Length(length.unwrap_or(0)),
        }
    }

    /// `method` is that of the request, when it was seen.
    pub(super) fn body_of_response(&self, status: u16, method: Option<&str>) -> Body {
        match (status, method) {
            (101, _) | (200..=299, Some("CONNECT")) => return Body::Tunnel,
            (100..=199 | 204 | 304, _) | (_, Some("HEAD")) => return Body::Length(0),
            _ => {}
        }
        match (self.is_chunked(), &self.last_coding, self.content_length) {
            (true, _, _) => Body::CHUNKED,
            (false, None, Ok(Some(length))) => Body::Length(length),
            (false, None, Err(())) => Body::Broken,
            (false, Some(_), _) | (false, None, Ok(None)) => Body::UntilClose,
        }
    }
}
