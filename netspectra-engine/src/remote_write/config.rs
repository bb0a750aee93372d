use netspectra_common::schema::{PROTOCOLS, protocol_number};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Labels that series have from us.
const OWN_LABELS: [&str; 7] = ["bound", "direction", "node", "place", "port", "proto", "quantile"];

/// Where samples go, which there are, and what may wait.
///
/// Holds no secret: those are in files, which are read when the sender is started.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteWriteConfig {
    /// `http://` or `https://`, with its path, for example `http://vm:8428/api/v1/write`. Default: none, nothing is sent.
    pub url: Option<String>,
    /// File with the bearer token. Not together with `user`.
    pub bearer_token_file: Option<PathBuf>,
    /// User, for basic authentication; with `password_file`.
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// File with certificates (PEM) of authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// IP protocols that have series of their own, by name or number, at most 32; the others are `other` together. Default:
    /// tcp, udp, icmp, icmpv6, sctp, gre, esp.
    pub protocols: Vec<String>,
    /// Ports that have series of their own, at most 64: a row goes to the lowest one that its sender or receiver has, else to
    /// `other`. Default: none, and series have no label `port`.
    pub ports: Vec<u16>,
    /// Whether estimates are sent too: distinct values, and quantiles of times. Default true.
    pub sketches: bool,
    /// Quantiles, at most 8, each above 0 and below 1. Default 0.5, 0.9, 0.99.
    pub quantiles: Vec<f64>,
    /// Samples in one request, 100 to 100,000. What belongs to one node and moment stays together. Default 2,000.
    pub max_samples: usize,
    /// How long samples wait for others, milliseconds, 10 to 60,000. Default 1,000.
    pub max_delay_ms: u64,
    /// For one request and its answer, seconds, 1 to 300. Default 10.
    pub timeout_seconds: u64,
    /// Memory of what waits, MiB, 1 to 4,096; beyond it the oldest samples are dropped and counted. Default 32.
    pub queue_mib: usize,
    /// Time to send what waits when the process ends, seconds, 0 to 300. Default 5.
    pub flush_seconds: u64,
    /// Further headers, for example `X-Scope-OrgID`. Not for secrets.
    pub headers: BTreeMap<String, String>,
    /// Further labels of every series, for example `cluster`.
    pub labels: BTreeMap<String, String>,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            url: None,
            bearer_token_file: None,
            user: None,
            password_file: None,
            ca_file: None,
            protocols: ["tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "esp"].map(str::to_owned).to_vec(),
            ports: Vec::new(),
            sketches: true,
            quantiles: vec![0.5, 0.9, 0.99],
            max_samples: 2000,
            max_delay_ms: 1000,
            timeout_seconds: 10,
            queue_mib: 32,
            flush_seconds: 5,
            headers: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// A value that is not legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`remote_write.{key}` is `{found}`: expected {expected}")]
pub struct RemoteWriteConfigError {
    /// Name below `remote_write`.
    pub key: &'static str,
    /// What it is.
    pub found: String,
    /// What is legal.
    pub expected: String,
}

impl RemoteWriteConfig {
    /// Checks what can be checked without reading files or asking the receiver.
    ///
    /// # Errors
    /// The first value that is not legal, by name.
    pub fn validate(&self) -> Result<(), RemoteWriteConfigError> {
        self.check_target()?;
        self.check_series()?;
        for (key, found, low, high) in [
            ("max_samples", self.max_samples as u64, 100, 100_000),
            ("max_delay_ms", self.max_delay_ms, 10, 60_000),
            ("timeout_seconds", self.timeout_seconds, 1, 300),
            ("queue_mib", self.queue_mib as u64, 1, 4096),
            ("flush_seconds", self.flush_seconds, 0, 300),
        ] {
            if !(low..=high).contains(&found) {
                return refuse(key, found, format!("{low} to {high}"));
            }
        }
        Ok(())
    }

    fn check_target(&self) -> Result<(), RemoteWriteConfigError> {
        if let Some(url) = &self.url {
            let uri = url.parse::<hyper::Uri>().ok();
            let authority = uri.as_ref().and_then(|uri| uri.authority());
            // Not shown: it may hold a password.
            if authority.is_some_and(|authority| authority.as_str().contains('@')) {
                return refuse("url", "***", "no user in it: set `user` and `password_file`");
            }
            let scheme = uri.as_ref().and_then(|uri| uri.scheme_str());
            if authority.is_none() || !matches!(scheme, Some("http" | "https")) {
                return refuse("url", url, "`http://host:port/path` or `https://host:port/path`");
            }
        }
        if self.user.is_some() != self.password_file.is_some() {
            let user = self.user.as_deref().unwrap_or_default();
            return refuse("user", user, "`user` and `password_file`, or neither");
        }
        if let (Some(user), true) = (&self.user, self.bearer_token_file.is_some()) {
            return refuse("user", user, "either `user` or `bearer_token_file`");
        }
        if let Some(user) = self.user.as_ref().filter(|user| user.contains(':')) {
            return refuse("user", user, "a name without `:`");
        }
        for (name, value) in &self.headers {
            let is_name = hyper::header::HeaderName::try_from(name.as_str()).is_ok();
            if !is_name || hyper::header::HeaderValue::try_from(value.as_str()).is_err() {
                return refuse("headers", name, "the name and the value of a header of HTTP");
            }
            if super::link::OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return refuse("headers", name, "another header: this one is ours, and secrets belong into files");
            }
        }
        Ok(())
    }

    fn check_series(&self) -> Result<(), RemoteWriteConfigError> {
        self.protocol_numbers()?;
        if self.protocols.len() > 32 {
            return refuse("protocols", format!("a list of {}", self.protocols.len()), "at most 32");
        }
        if self.ports.len() > 64 {
            return refuse("ports", format!("a list of {}", self.ports.len()), "at most 64");
        }
        if self.ports.contains(&0) {
            return refuse("ports", 0, "1 to 65535");
        }
        if self.quantiles.len() > 8 {
            return refuse("quantiles", format!("a list of {}", self.quantiles.len()), "at most 8");
        }
        if let Some(q) = self.quantiles.iter().find(|q| !(**q > 0.0 && **q < 1.0)) {
            return refuse("quantiles", q, "numbers above 0 and below 1");
        }
        for name in self.labels.keys() {
            let mut letters = name.chars();
            let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            let is_name = begins && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name || name.starts_with("__") || OWN_LABELS.contains(&name.as_str()) {
                let own = OWN_LABELS.join("`, `");
                let expected = format!("letters, digits and `_`, not `__` first, and none of our own: `{own}`");
                return refuse("labels", name, expected);
            }
        }
        Ok(())
    }

    /// `protocols` as numbers.
    pub(super) fn protocol_numbers(&self) -> Result<BTreeSet<u8>, RemoteWriteConfigError> {
        let number = |name: &String| match protocol_number(name).or_else(|| name.parse().ok()) {
            Some(number) => Ok(number),
            None => {
                let names = PROTOCOLS.map(|(_, name)| name).join("`, `");
                refuse("protocols", name, format!("0 to 255, or one of `{names}`"))
            }
        };
        self.protocols.iter().map(number).collect()
    }
}

fn refuse<T>(
    key: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> Result<T, RemoteWriteConfigError> {
    Err(RemoteWriteConfigError { key, found: found.to_string(), expected: expected.into() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn refusal(change: impl FnOnce(&mut RemoteWriteConfig)) -> String {
        let mut config = RemoteWriteConfig { url: Some("http://vm:8428/api/v1/write".into()), ..Default::default() };
        assert_eq!(config.validate(), Ok(()));
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_legal_is_named_with_what_is() {
        assert_eq!(RemoteWriteConfig::default().validate(), Ok(()));
        let expected = "expected `http://host:port/path` or `https://host:port/path`";
        assert_eq!(refusal(|c| c.url = Some("vm:8428".into())), format!("`remote_write.url` is `vm:8428`: {expected}"));
        assert_eq!(refusal(|c| c.max_samples = 1), "`remote_write.max_samples` is `1`: expected 100 to 100000");
        let unknown = refusal(|c| c.protocols = vec!["quic".into()]);
        assert!(unknown.starts_with("`remote_write.protocols` is `quic`: expected 0 to 255, or one of `icmp`"));
        assert!(refusal(|c| c.quantiles = vec![1.0]).contains("above 0 and below 1"));
        assert!(refusal(|c| c.ports = vec![0]).contains("expected 1 to 65535"));
        for label in ["node", "__name__", "a-b", "", "1a"] {
            let error = refusal(|c| drop(c.labels.insert(label.into(), "x".into())));
            assert!(error.starts_with(&format!("`remote_write.labels` is `{label}`: expected letters")), "{error}");
        }
    }

    #[test]
    fn secrets_are_in_files_alone() {
        let error = refusal(|c| c.url = Some("http://user:secret@vm/write".into()));
        assert_eq!(error, "`remote_write.url` is `***`: expected no user in it: set `user` and `password_file`");
        let header = refusal(|c| drop(c.headers.insert("authorization".into(), "Bearer x".into())));
        assert!(header.contains("secrets belong into files"), "{header}");
        assert!(refusal(|c| c.user = Some("u".into())).contains("`user` and `password_file`, or neither"));
        let both = refusal(|c| {
            (c.user, c.password_file, c.bearer_token_file) = (Some("u".into()), Some("p".into()), Some("t".into()));
        });
        assert!(both.contains("either `user` or `bearer_token_file`"));
    }
}
