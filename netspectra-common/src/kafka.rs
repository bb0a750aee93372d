//! How the log in Kafka is reached: settings that agents and engines share.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The topic that agents write to and engines read.
pub const TOPIC: &str = "netspectra.flows";
/// The topic of messages that cannot be read.
pub const DEAD_LETTERS: &str = "netspectra.dead-letter";
/// Bytes of the largest message that is sent; topics are made to take a little more.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Where Kafka is, and how to speak with it. Every field but `brokers` has a default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port` of some brokers, separated by commas; the others are learned from them.
    pub brokers: String,
    /// The topic of flows. Default `netspectra.flows`.
    pub topic: String,
    /// The topic of messages that cannot be read. Default `netspectra.dead-letter`.
    pub dead_letters: String,
    /// The group that engines form. Default `netspectra-engine`.
    pub group: String,
    /// How batches of messages are compressed. Default `zstd`.
    pub compression: Compression,
    /// TLS; off by default.
    pub tls: Option<Tls>,
    /// Who we are; nobody by default.
    pub sasl: Option<Sasl>,
    /// Silence after which an engine counts as dead and its partitions go to others, milliseconds, 1,000 to 300,000. The
    /// brokers must allow it (`group.min.session.timeout.ms`, which is 6,000 by default). Default 6,000.
    pub session_timeout_ms: u32,
    /// Name of this engine in the group, that it has again when it is started again: it has its partitions back at once then,
    /// and an older process of that name ends. None by default: an engine that was killed counts as dead only after
    /// `session_timeout_ms`, but one that ends gives its partitions away at once.
    pub instance: Option<String>,
    /// Further properties of librdkafka, by name. They win.
    pub properties: BTreeMap<String, String>,
}

/// How batches of messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not.
    None,
    /// LZ4: a third of the CPU time of zstd.
    Lz4,
    /// Zstandard: the least bytes.
    Zstd,
}

/// TLS to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates to trust, PEM. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, where brokers ask for one. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// Mechanism.
    pub mechanism: Mechanism,
    /// Name of the user.
    pub username: String,
    /// File with the password.
    pub password_file: PathBuf,
    /// What is in that file, without the end of the line. Who reads the configuration reads the file.
    #[serde(skip)]
    pub password: Password,
}

/// A password, which no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Mechanisms of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Mechanism {
    /// The password as it is: over TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic: TOPIC.into(),
            dead_letters: DEAD_LETTERS.into(),
            group: "netspectra-engine".into(),
            compression: Compression::Zstd,
            tls: None,
            sasl: None,
            session_timeout_ms: 6_000,
            instance: None,
            properties: BTreeMap::new(),
        }
    }
}

/// A value that is not legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`kafka.{key}` is `{found}`: expected {expected}")]
pub struct KafkaConfigError {
    /// Name below `kafka`.
    pub key: &'static str,
    /// What it is.
    pub found: String,
    /// What is legal.
    pub expected: &'static str,
}

impl KafkaConfig {
    /// Checks what can be checked without asking anybody.
    ///
    /// # Errors
    /// The first value that is not legal, by name.
    pub fn validate(&self) -> Result<(), KafkaConfigError> {
        let refuse = |key, found: &str, expected| Err(KafkaConfigError { key, found: found.to_owned(), expected });
        let is_broker = |b: &str| {
            b.trim()
                .rsplit_once(':')
                .is_some_and(|(h, p)| !h.is_empty() && p.parse() != Ok(0u16) && p.parse::<u16>().is_ok())
        };
        if !self.brokers.split(',').all(is_broker) {
            return refuse("brokers", &self.brokers, "`host:port`, or several separated by commas");
        }
        for (key, name) in [("topic", &self.topic), ("dead_letters", &self.dead_letters)] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.len() > 249 || !name.chars().all(legal) {
                return refuse(key, name, "1 to 249 letters, digits, `.`, `_` and `-`");
            }
        }
        if self.topic == self.dead_letters {
            return refuse("dead_letters", &self.dead_letters, "another topic than `kafka.topic`");
        }
        if self.group.is_empty() {
            return refuse("group", "", "a name");
        }
        if self.instance.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return refuse("instance", "", "a name, or nothing at all");
        }
        if !(1_000..=300_000).contains(&self.session_timeout_ms) {
            return refuse("session_timeout_ms", &self.session_timeout_ms.to_string(), "1,000 to 300,000");
        }
        if let Some(tls) = &self.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            return refuse("tls", "a certificate or a key alone", "both `cert_file` and `key_file`, or none");
        }
        if let Some(sasl) = &self.sasl
            && sasl.mechanism == Mechanism::Plain
            && self.tls.is_none()
        {
            return refuse("sasl.mechanism", "PLAIN", "SCRAM-SHA-256 or SCRAM-SHA-512 where there is no `kafka.tls`");
        }
        Ok(())
    }

    /// The properties of librdkafka that every client needs; those of the configuration come last.
    ///
    /// # Errors
    /// As [`KafkaConfig::validate`].
    pub fn client_properties(&self) -> Result<Vec<(String, String)>, KafkaConfigError> {
        self.validate()?;
        let mut all: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| all.push((name.to_owned(), value));
        set("bootstrap.servers", self.brokers.clone());
        set("client.id", "netspectra".into());
        // A broker that comes back is found within a second.
        set("reconnect.backoff.ms", "100".into());
        set("reconnect.backoff.max.ms", "1000".into());
        set("topic.metadata.refresh.interval.ms", "30000".into());
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        };
        set("security.protocol", protocol.into());
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    set(name, file.display().to_string());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            let mechanism = match sasl.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            set("sasl.mechanism", mechanism.into());
            set("sasl.username", sasl.username.clone());
            set("sasl.password", sasl.password.0.clone());
        }
        all.extend(self.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn config() -> KafkaConfig {
        KafkaConfig { brokers: "a:9092,b:9092".into(), ..KafkaConfig::default() }
    }

    fn refusal(config: &KafkaConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_legal_is_named_with_what_is() {
        assert!(config().validate().is_ok());
        for brokers in ["", "a", "a:0", "a:9092,", ":9092", "a:port"] {
            let found = refusal(&KafkaConfig { brokers: brokers.into(), ..config() });
            assert_eq!(
                found,
                format!("`kafka.brokers` is `{brokers}`: expected `host:port`, or several separated by commas")
            );
        }
        assert!(refusal(&KafkaConfig { topic: "a b".into(), ..config() }).starts_with("`kafka.topic` is `a b`"));
        assert!(refusal(&KafkaConfig { topic: DEAD_LETTERS.into(), ..config() }).contains("another topic"));
        let sasl = Sasl {
            mechanism: Mechanism::Plain,
            username: "u".into(),
            password_file: "/p".into(),
            password: Password("pa ss".into()),
        };
        assert!(!format!("{sasl:?}").contains("pa ss"));
        let plain = KafkaConfig { sasl: Some(sasl), ..config() };
        assert!(refusal(&plain).contains("SCRAM-SHA-256"));
        assert!(KafkaConfig { tls: Some(Tls::default()), ..plain }.validate().is_ok());
    }

    #[test]
    fn properties_say_how_brokers_are_spoken_with() {
        let value = |config: &KafkaConfig, name: &str| {
            let all = config.client_properties().unwrap();
            all.into_iter().rfind(|(n, _)| n == name).map(|(_, value)| value)
        };
        assert_eq!(value(&config(), "security.protocol").unwrap(), "PLAINTEXT");
        let password = Password("pa ss".into());
        let sasl =
            Sasl { mechanism: Mechanism::ScramSha512, username: "u".into(), password_file: "/p".into(), password };
        let tls = Tls { ca_file: Some("/ca.pem".into()), ..Tls::default() };
        let mut config = KafkaConfig { tls: Some(tls), sasl: Some(sasl), ..config() };
        config.properties.insert("client.id".into(), "mine".into());
        for (name, expected) in [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", "/ca.pem"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", "pa ss"),
            ("client.id", "mine"),
        ] {
            assert_eq!(value(&config, name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(value(&config, "ssl.key.location"), None);
    }
}
