use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where ClickHouse is, and how its tables are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouseConfig {
    /// `http://host:8123`, or `https://host:8443` for TLS.
    pub url: String,
    /// Database; made by the migration. Default `netspectra`.
    pub database: String,
    /// File with certificates (PEM) of authorities that are trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// User. Default: ClickHouse's `default`.
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// What is in that file. Who reads the configuration reads the file.
    #[serde(skip)]
    pub credentials: Credentials,
    /// Name of the cluster whose every shard and replica gets the tables (`ON CLUSTER`), replicated. Default: none, tables on
    /// one server.
    pub cluster: Option<String>,
    /// Days that flow records and roll-ups are kept, at least 1. Default 30.
    pub retention_days: u32,
    /// Days that windows and ledgers are kept, at least 1. Default 400.
    pub window_retention_days: u32,
}

/// A password, which no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(pub String);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            database: "netspectra".into(),
            ca_file: None,
            user: None,
            password_file: None,
            credentials: Credentials::default(),
            cluster: None,
            retention_days: 30,
            window_retention_days: 400,
        }
    }
}

/// A value that is not legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`clickhouse.{key}` is `{found}`: expected {expected}")]
pub struct ClickHouseConfigError {
    /// Name below `clickhouse`.
    pub key: &'static str,
    /// What it is.
    pub found: String,
    /// What is legal.
    pub expected: &'static str,
}

impl ClickHouseConfig {
    /// Checks what can be checked without asking the server.
    ///
    /// # Errors
    /// The first value that is not legal, by name.
    pub fn validate(&self) -> Result<(), ClickHouseConfigError> {
        let refuse = |key, found: &str, expected| Err(ClickHouseConfigError { key, found: found.to_owned(), expected });
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return refuse("url", &self.url, "`http://host:8123` or `https://host:8443`");
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let expected = "1 to 64 letters, digits and `_`";
        if !is_name(&self.database) {
            return refuse("database", &self.database, expected);
        }
        if let Some(cluster) = self.cluster.as_deref().filter(|name| !is_name(name)) {
            return refuse("cluster", cluster, expected);
        }
        for (key, days) in
            [("retention_days", self.retention_days), ("window_retention_days", self.window_retention_days)]
        {
            if !(1..=10_000).contains(&days) {
                return refuse(key, &days.to_string(), "1 to 10,000");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_not_legal_is_named_with_what_is() {
        let good = ClickHouseConfig { url: "http://localhost:8123".into(), ..ClickHouseConfig::default() };
        assert_eq!(good.validate(), Ok(()));
        let refusal = |config: ClickHouseConfig| config.validate().unwrap_err().to_string();
        let error = refusal(ClickHouseConfig::default());
        assert_eq!(error, "`clickhouse.url` is ``: expected `http://host:8123` or `https://host:8443`");
        let error = refusal(ClickHouseConfig { database: "a; DROP".into(), ..good.clone() });
        assert_eq!(error, "`clickhouse.database` is `a; DROP`: expected 1 to 64 letters, digits and `_`");
        assert!(refusal(ClickHouseConfig { cluster: Some("a'".into()), ..good.clone() }).contains("cluster"));
        assert!(refusal(ClickHouseConfig { retention_days: 0, ..good }).contains("retention_days"));
    }
}
