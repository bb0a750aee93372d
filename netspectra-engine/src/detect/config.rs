//! What detectors can be told. All numbers are whole, so that configurations can be compared.

use netspectra_common::query::parse_filter;
use serde::{Deserialize, Serialize};

/// A value that is not legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`detect.{key}` is {found}: expected {expected}")]
pub struct ConfigError {
    /// Name below `detect`.
    pub key: String,
    /// What it is.
    pub found: String,
    /// What is legal.
    pub expected: String,
}

macro_rules! config {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

config!(
    /// All detectors.
    DetectConfig {
        /// Whether any detector runs. Default true.
        enabled: bool = true,
        /// Many ports of one host, or one port of many hosts, that do not answer.
        port_scan: ScanConfig = ScanConfig::default(),
        /// Connections to one port that are begun and never made.
        syn_flood: SynFloodConfig = SynFloodConfig::default(),
        /// Packets of many senders to one host, without answers.
        flood: FloodConfig = FloodConfig::default(),
        /// Answers of public services that nobody asked for.
        reflection: ReflectionConfig = ReflectionConfig::default(),
        /// Data in the names of DNS queries.
        dns_tunnel: TunnelConfig = TunnelConfig::default(),
        /// Connections at regular intervals.
        beacon: BeaconConfig = BeaconConfig::default(),
        /// Hosts and services that were not there before.
        new_talker: NewTalkerConfig = NewTalkerConfig::default(),
        /// Totals that are not as at this time of other days.
        baseline: BaselineConfig = BaselineConfig::default(),
        /// Rules of one's own. None by default.
        threshold: Vec<ThresholdRule> = Vec::new(),
    }
);
config!(
    /// See `port_scan`.
    ScanConfig {
        /// Default true.
        enabled: bool = true,
        /// Ports of one host without an answer, in the window. Default 60.
        ports: u64 = 60,
        /// Hosts that do not answer at one port, in the window. Default 60.
        hosts: u64 = 60,
        /// Length of the window. Default 120.
        window_seconds: u64 = 120,
    }
);
config!(
    /// See `syn_flood`.
    SynFloodConfig {
        /// Default true.
        enabled: bool = true,
        /// Connections to one port that were begun and not made, in the window. Default 1000.
        half_open: u64 = 1000,
        /// What of all connections to the port these have to be at least. Default 80.
        percent: u64 = 80,
        /// Length of the window. Default 60.
        window_seconds: u64 = 60,
    }
);
config!(
    /// See `flood`.
    FloodConfig {
        /// Default true.
        enabled: bool = true,
        /// Packets to one host in flows that it hardly answers, in the window. Default 100,000.
        packets: u64 = 100_000,
        /// Senders of these. Default 50.
        senders: u64 = 50,
        /// Length of the window. Default 60.
        window_seconds: u64 = 60,
    }
);
config!(
    /// See `reflection`.
    ReflectionConfig {
        /// Default true.
        enabled: bool = true,
        /// Servers whose answers come without a question, in the window. Default 20.
        servers: u64 = 20,
        /// Bytes of these answers. Default 1,000,000.
        bytes: u64 = 1_000_000,
        /// Length of the window. Default 60.
        window_seconds: u64 = 60,
    }
);
config!(
    /// See `dns_tunnel`.
    TunnelConfig {
        /// Default true.
        enabled: bool = true,
        /// Different names below one registered domain that one client asks for, in the window. Default 60.
        names: u64 = 60,
        /// Their mean length without the domain, characters. Default 28.
        length: u64 = 28,
        /// The same where at least half of the queries are for TXT, NULL or KEY records. Default 14.
        length_of_txt: u64 = 14,
        /// Length of the window. Default 300.
        window_seconds: u64 = 300,
    }
);
config!(
    /// See `beacon`.
    BeaconConfig {
        /// Default true.
        enabled: bool = true,
        /// Connections in a row. Default 12, at most 32.
        connections: u64 = 12,
        /// How far intervals are from their median at most, by the median of that, percent. Default 10.
        jitter_percent: u64 = 10,
        /// Shortest interval that counts. Default 5.
        interval_seconds: u64 = 5,
        /// Only to addresses that are not of private networks. Default true.
        external_only: bool = true,
    }
);
config!(
    /// See `new_talker`.
    NewTalkerConfig {
        /// Default true.
        enabled: bool = true,
        /// Time of each node in which everything is learnt and nothing is said. Default 86,400: a day.
        learning_seconds: u64 = 86_400,
    }
);
config!(
    /// See `baseline`.
    BaselineConfig {
        /// Default true.
        enabled: bool = true,
        /// Minutes before anything is said. Default 120.
        learning_minutes: u64 = 120,
        /// How many usual deviations are unusual. Default 8.
        deviations: u64 = 8,
        /// Minutes in a row. Default 3.
        minutes: u64 = 3,
        /// Changes below this many bytes a minute are none. Default 50,000,000.
        bytes: u64 = 50_000_000,
        /// Changes below this many flows a minute are none. Default 2000.
        flows: u64 = 2_000,
    }
);

/// A rule of one's own: too much of something in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRule {
    /// What alerts call it.
    pub name: String,
    /// Which flow records count, as in a query. Default all.
    #[serde(default)]
    pub filter: String,
    /// For whom it counts: `src_ip`, `dst_ip`, or nothing for all together.
    #[serde(default)]
    pub by: String,
    /// `bytes`, `packets` or `flows`.
    pub metric: String,
    /// More than this is an alert.
    pub above: u64,
    /// Length of the window. Default 60.
    #[serde(default = "a_minute")]
    pub window_seconds: u64,
}

const fn a_minute() -> u64 {
    60
}

impl DetectConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first that is not legal.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let in_range = |key: &str, found: u64, min: u64, max: u64| match (min..=max).contains(&found) {
            true => Ok(()),
            false => {
                Err(ConfigError { key: key.into(), found: found.to_string(), expected: format!("{min} to {max}") })
            }
        };
        for (key, seconds) in [
            ("port_scan.window_seconds", self.port_scan.window_seconds),
            ("syn_flood.window_seconds", self.syn_flood.window_seconds),
            ("flood.window_seconds", self.flood.window_seconds),
            ("reflection.window_seconds", self.reflection.window_seconds),
            ("dns_tunnel.window_seconds", self.dns_tunnel.window_seconds),
        ] {
            in_range(key, seconds, 2, 86_400)?;
        }
        for (key, count) in [
            ("port_scan.ports", self.port_scan.ports),
            ("port_scan.hosts", self.port_scan.hosts),
            ("syn_flood.half_open", self.syn_flood.half_open),
            ("flood.packets", self.flood.packets),
            ("flood.senders", self.flood.senders),
            ("reflection.servers", self.reflection.servers),
            ("reflection.bytes", self.reflection.bytes),
            ("dns_tunnel.names", self.dns_tunnel.names),
            ("baseline.deviations", self.baseline.deviations),
            ("baseline.minutes", self.baseline.minutes),
        ] {
            in_range(key, count, 1, u64::MAX)?;
        }
        in_range("syn_flood.percent", self.syn_flood.percent, 1, 100)?;
        in_range("beacon.connections", self.beacon.connections, 4, 32)?;
        in_range("beacon.jitter_percent", self.beacon.jitter_percent, 0, 50)?;
        in_range("beacon.interval_seconds", self.beacon.interval_seconds, 1, 86_400)?;
        for (n, rule) in self.threshold.iter().enumerate() {
            let refuse = |field: &str, found: &str, expected: String| {
                Err(ConfigError { key: format!("threshold[{n}].{field}"), found: format!("`{found}`"), expected })
            };
            if rule.name.trim().is_empty() {
                return refuse("name", &rule.name, "a name".into());
            }
            if !["", "src_ip", "dst_ip"].contains(&rule.by.as_str()) {
                return refuse("by", &rule.by, "`src_ip`, `dst_ip`, or nothing".into());
            }
            if !["bytes", "packets", "flows"].contains(&rule.metric.as_str()) {
                return refuse("metric", &rule.metric, "`bytes`, `packets` or `flows`".into());
            }
            if let Err(error) = parse_filter(&rule.filter) {
                return refuse("filter", &rule.filter, format!("an expression as in a query: {error}"));
            }
            in_range(&format!("threshold[{n}].window_seconds"), rule.window_seconds, 2, 86_400)?;
        }
        Ok(())
    }
}
