//! The receiver, over HTTP.

use super::RemoteWriteError;
use super::config::RemoteWriteConfig;
use super::policy::retry_after;
use crate::tls;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use netspectra_common::report::chain;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Headers that are not the configuration's to set.
pub(super) const OWN_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-prometheus-remote-write-version",
];
/// Of what a receiver says about a refusal.
const MOST_TEXT: usize = 512;

/// What a receiver said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// The begin of what it said when it did not take the samples.
    pub(super) text: String,
}

/// Sends requests, each to its answer. Keeps one connection.
pub(super) struct Link {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

impl Link {
    /// Reads the files that `config` names. Connects when there is something to send.
    pub(super) fn new(config: &RemoteWriteConfig, url: &str) -> Result<Self, RemoteWriteError> {
        let uri = url.parse().map_err(|_| RemoteWriteError::Url)?;
        let refused = |why| RemoteWriteError::Authorities { path: config.ca_file.clone().unwrap_or_default(), why };
        let connector = tls::connector(config.ca_file.as_deref()).map_err(refused)?;
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        let timeout = Duration::from_secs(config.timeout_seconds);
        Ok(Self { client, uri, headers: headers(config)?, timeout })
    }

    /// One attempt.
    ///
    /// # Errors
    /// No answer in time, in words: whether the receiver has the samples is not known.
    pub(super) async fn post(&self, body: Bytes) -> Result<Answer, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            Ok(answer(response).await)
        };
        let late = |_| format!("no answer within {} s", self.timeout.as_secs());
        tokio::time::timeout(self.timeout, exchange).await.map_err(late)?
    }
}

/// Headers of every request.
fn headers(config: &RemoteWriteConfig) -> Result<HeaderMap, RemoteWriteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("user-agent", concat!("netspectra/", env!("CARGO_PKG_VERSION"))),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in &config.headers {
        let pair = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
        // Validated before.
        headers.extend(pair.map(|(name, value)| (Some(name), value)));
    }
    let credentials = match (&config.bearer_token_file, &config.user, &config.password_file) {
        (Some(file), _, _) => Some((file, format!("Bearer {}", secret(file)?))),
        (None, Some(user), Some(file)) => {
            Some((file, format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", secret(file)?)))))
        }
        (None, _, _) => None,
    };
    if let Some((file, credentials)) = credentials {
        let mut value =
            HeaderValue::try_from(credentials).map_err(|_| RemoteWriteError::Secret { path: file.clone() })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn secret(file: &Path) -> Result<String, RemoteWriteError> {
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|source| RemoteWriteError::File { path: file.to_owned(), source })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(RemoteWriteError::Secret { path: file.to_owned() }),
        secret => Ok(secret.to_owned()),
    }
}

async fn answer(response: Response<Incoming>) -> Answer {
    let status = response.status().as_u16();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|value| retry_after(value, SystemTime::now()));
    let mut text = Vec::new();
    let mut body = response.into_body();
    // A body that ends early changes nothing: the status says what happened. One without end is left.
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if text.len() > MOST_TEXT && !body.is_end_stream() {
            break;
        }
    }
    text.truncate(MOST_TEXT);
    Answer { status, retry_after, text: String::from_utf8_lossy(&text).trim().to_owned() }
}
