//! The configuration of `netspectra run`: defaults, then the file, then the command line.

use crate::cli::RunArgs;
use anyhow::{Context, bail};
use netspectra_agent::rules::{self, Rule};
use netspectra_engine::detect::DetectConfig;
use netspectra_engine::enrich::EnrichConfig;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything `run` can be told. Every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Name of this node in records. Default: the host's name.
    pub(crate) node: Option<String>,
    pub(crate) capture: Capture,
    pub(crate) engine: Engine,
    /// What is known of addresses beside their traffic.
    pub(crate) enrich: EnrichConfig,
    /// Which anomalies are looked for.
    pub(crate) detect: DetectConfig,
    pub(crate) store: Store,
    pub(crate) api: Api,
    /// Where agents write and engines read; for `agent` and `engine`.
    #[cfg(feature = "cluster")]
    pub(crate) kafka: netspectra_common::kafka::KafkaConfig,
    /// Where engines write and the API reads; for `engine` and `api`.
    #[cfg(feature = "cluster")]
    pub(crate) clickhouse: netspectra_engine::store::clickhouse::ClickHouseConfig,
    /// How the parts of a cluster know each other.
    #[cfg(feature = "cluster")]
    pub(crate) cluster: Cluster,
    /// Where time series go, for `run` and `engine`.
    #[cfg(feature = "cluster")]
    pub(crate) remote_write: netspectra_engine::remote_write::RemoteWriteConfig,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Capture {
    /// Interface names or globs; interfaces that come later and match are watched, too. Default: the interface of the
    /// default route.
    pub(crate) interfaces: Vec<String>,
    /// Where ingress is seen: `auto` (native XDP, else TC, and packet sockets where the kernel refuses eBPF), `native`, `tc`,
    /// `af-packet`, or `generic` (XDP in the stack, which counts packets that GRO merged as one).
    pub(crate) mode: String,
    /// Where TC programs are: `auto` (TCX, else clsact) or `clsact`.
    pub(crate) egress: String,
    /// Whose five-tuple a tunnelled packet is booked to: `outer` or `inner`.
    pub(crate) tunnel: String,
    /// Flow table entries in a generation, shared out to the CPUs (16,384 each at least), 1024 to 16,777,216. A generation
    /// ends early when a CPU has used half of its share; packets of flows beyond the whole are counted without their
    /// five-tuple (`table_full`). Kernel memory follows the flows that are there.
    pub(crate) max_flows: u32,
    /// Whether the kernel counts on when the process is killed, until it is started again (or `netspectra detach`). After
    /// Ctrl-C or SIGTERM nothing stays, either way.
    pub(crate) pin: bool,
    /// The user (`NAME` or `UID`, then `:GROUP` or nothing) that everything but the loading of programs goes on as: engine,
    /// dissectors, API, Kafka's client. Default: the one who starts it, without capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Whether the processes and control groups of the host's own sockets are looked up, once a second at most, as far as the
    /// rights of this process go.
    pub(crate) sockets: bool,
    /// Memory of all capture rings together in mode `af-packet`, MiB, 1 to 16,384. A ring has 1 MiB at least.
    pub(crate) ring_mib: usize,
    /// Whether the first bytes of some payloads are read where packets are seen (name look-ups, first segments of TCP
    /// connections, begins of requests and responses, QUIC's first packets), for what DNS, HTTP, TLS and others say.
    pub(crate) payloads: bool,
    /// Which packets get a flow record: the first rule that a packet meets decides, and a packet that meets none is
    /// included. At most 64, with 4,096 networks. What is left out is counted (`excluded`, `sampled_out`). Read again on
    /// SIGHUP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            mode: "auto".into(),
            egress: "auto".into(),
            tunnel: "outer".into(),
            max_flows: 262_144,
            pin: true,
            user: None,
            sockets: true,
            ring_mib: 64,
            payloads: true,
            rules: Vec::new(),
        }
    }
}

/// How flows live.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Engine {
    /// Silence after which a flow has ended, seconds, 1 to 86,400.
    pub(crate) idle_timeout_seconds: u64,
    /// Age at which a flow that goes on is recorded, seconds, 1 to 86,400.
    pub(crate) active_timeout_seconds: u64,
    /// Flows tracked at the same time, at least 1; beyond it the longest silent one is recorded early.
    pub(crate) max_flows: usize,
    /// Whether messages of application protocols (names that were asked for, requests) are stored.
    pub(crate) keep_messages: bool,
    /// Whether what is behind `?` in the targets of HTTP requests is kept: it may hold secrets.
    pub(crate) http_queries: bool,
    /// Addresses of each node whose names are kept, by the DNS answers that it saw, at most 1,048,576; 0: none.
    pub(crate) max_names: usize,
    /// How long such a name counts at least, whatever the answer's TTL, seconds, at most 86,400.
    pub(crate) names_hold_seconds: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            idle_timeout_seconds: 30,
            active_timeout_seconds: 60,
            max_flows: 1_000_000,
            keep_messages: true,
            http_queries: true,
            max_names: 16_384,
            names_hold_seconds: 3600,
        }
    }
}

/// Where data is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// The folder. Made when it does not exist.
    pub(crate) data_dir: PathBuf,
    /// Age at which data is deleted, hours, at least 1.
    pub(crate) retention_hours: u64,
    /// Disk budget, MiB, at least 16: the oldest data goes first.
    pub(crate) retention_mib: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { data_dir: "netspectra-data".into(), retention_hours: 24 * 30, retention_mib: 20 * 1024 }
    }
}

/// How the API is reached.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// File with the bearer token. Default: `token` in the data folder.
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8470)), token_file: None }
    }
}

/// How the parts of a cluster know each other.
#[cfg(feature = "cluster")]
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// Where `agent` and `engine` serve health, metrics and, to the API, what is not stored yet.
    pub(crate) listen: SocketAddr,
    /// File with the token that engines and APIs share. Default: `cluster-token` in the data folder.
    pub(crate) token_file: Option<PathBuf>,
    /// `host:port` of the engines' `cluster.listen`. A name with several addresses stands for an engine at each. Without
    /// engines the API answers from what is stored, which is a few seconds old.
    pub(crate) engines: Vec<String>,
    /// `redis://`, `rediss://`, `redis+cluster://` or `redis+sentinel://` of the live board. Default: none. No answer
    /// depends on it.
    pub(crate) redis: Option<String>,
    /// PEM file with the authorities that are trusted for `rediss` in place of the public ones.
    pub(crate) redis_ca_file: Option<PathBuf>,
}

#[cfg(feature = "cluster")]
impl Default for Cluster {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8471)),
            token_file: None,
            engines: Vec::new(),
            redis: None,
            redis_ca_file: None,
        }
    }
}

impl Config {
    /// Defaults, the file of `--config`, and the command line, in that order; checked.
    ///
    /// # Errors
    /// Names the file or the key, what was found, and what is legal.
    pub(crate) fn load(args: &RunArgs) -> anyhow::Result<Self> {
        let mut config = match &args.config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        if !args.iface.is_empty() {
            config.capture.interfaces.clone_from(&args.iface);
        }
        if let Some(mode) = args.mode {
            config.capture.mode = mode.name().into();
        }
        if let Some(tunnel) = args.tunnel {
            config.capture.tunnel = tunnel.name().into();
        }
        if let Some(listen) = args.listen {
            config.api.listen = listen;
        }
        if let Some(dir) = &args.data_dir {
            config.store.data_dir.clone_from(dir);
        }
        if let Some(file) = &args.token_file {
            config.api.token_file = Some(file.clone());
        }
        if args.user.is_some() {
            config.capture.user.clone_from(&args.user);
        }
        if let Some(node) = &args.node {
            config.node = Some(node.clone());
        }
        config.validate()?;
        Ok(config)
    }

    /// What the file at `path` says for an analysis: rules, detectors, and what is known of addresses.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn of_analysis(path: &Path) -> anyhow::Result<(Vec<Rule>, DetectConfig, EnrichConfig)> {
        let config = Self::read(path)?;
        config.validate()?;
        Ok((config.capture.rules, config.detect, config.enrich))
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("configuration file `{}`", path.display()))
    }

    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        let in_range = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(anyhow::anyhow!("`{key}` is {value}: expected {low} to {high}"))
            }
        };
        if !["auto", "native", "tc", "generic", "af-packet"].contains(&self.capture.mode.as_str()) {
            bail!(
                "`capture.mode` is `{}`: expected `auto`, `native`, `tc`, `generic` or `af-packet`",
                self.capture.mode
            );
        }
        if !["auto", "clsact"].contains(&self.capture.egress.as_str()) {
            bail!("`capture.egress` is `{}`: expected `auto` or `clsact`", self.capture.egress);
        }
        if !["outer", "inner"].contains(&self.capture.tunnel.as_str()) {
            bail!("`capture.tunnel` is `{}`: expected `outer` or `inner`", self.capture.tunnel);
        }
        rules::validate(&self.capture.rules).context("`capture.rules`")?;
        self.detect.validate()?;
        in_range("capture.max_flows", self.capture.max_flows.into(), 1024, 1 << 24)?;
        in_range("capture.ring_mib", self.capture.ring_mib as u64, 1, 16_384)?;
        in_range("engine.idle_timeout_seconds", self.engine.idle_timeout_seconds, 1, 86_400)?;
        in_range("engine.active_timeout_seconds", self.engine.active_timeout_seconds, 1, 86_400)?;
        in_range("engine.max_flows", self.engine.max_flows as u64, 1, 100_000_000)?;
        in_range("engine.max_names", self.engine.max_names as u64, 0, 1 << 20)?;
        in_range("engine.names_hold_seconds", self.engine.names_hold_seconds, 0, 86_400)?;
        in_range("store.retention_hours", self.store.retention_hours, 1, 24 * 365 * 100)?;
        in_range("store.retention_mib", self.store.retention_mib, 16, 1 << 40)?;
        #[cfg(feature = "cluster")]
        self.remote_write.validate()?;
        Ok(())
    }

    /// Where the token is.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.api.token_file.clone().unwrap_or_else(|| self.store.data_dir.join("token"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;

    fn args(words: &[&str]) -> RunArgs {
        let all = ["netspectra", "run"].iter().chain(words).copied();
        let cli = crate::cli::Cli::try_parse_from(all).unwrap();
        let crate::cli::Command::Run(args) = cli.command else { panic!("expected run, found {cli:?}") };
        args
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        std::fs::write(&file, "[capture]\nmode = \"native\"\n[api]\nlisten = \"127.0.0.1:1\"\n").unwrap();
        let path = file.to_str().unwrap();
        let config = Config::load(&args(&["--config", path, "--listen", "127.0.0.1:2"])).unwrap();
        assert_eq!(config.capture.mode, "native");
        assert_eq!(config.api.listen.port(), 2);
        assert_eq!(config.engine, Engine::default());
    }

    #[test]
    fn a_bad_key_and_a_bad_value_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            crate::output::chain(&Config::load(&args(&["--config", file.to_str().unwrap()])).unwrap_err())
        };
        assert!(load("[capture]\ninterface = [\"eth0\"]\n").contains("unknown field `interface`"));
        assert!(
            load("[engine]\nidle_timeout_seconds = 0\n")
                .contains("`engine.idle_timeout_seconds` is 0: expected 1 to 86400")
        );
        assert!(load("[capture]\nmode = \"fast\"\n").contains("`capture.mode` is `fast`"));
        #[cfg(feature = "cluster")]
        {
            let refused = load("[remote_write]\nurl = \"vm:8428\"\n");
            assert!(refused.contains("`remote_write.url` is `vm:8428`: expected `http://host"), "{refused}");
            assert!(load("[remote_write]\ntoken = \"x\"\n").contains("unknown field `token`"));
        }
    }

    #[test]
    fn rules_are_read_in_their_order_and_a_bad_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Config::load(&args(&["--config", file.to_str().unwrap()])).map_err(|e| crate::output::chain(&e))
        };
        let rules = "[[capture.rules]]\naction = \"include\"\nnet = [\"10.1.0.0/16\"]\n\
             [[capture.rules]]\naction = \"exclude\"\nport = [\"53\", \"8000-8999\"]\nproto = [\"udp\"]\n";
        let config = load(rules).unwrap();
        assert_eq!(config.capture.rules.len(), 2);
        assert_eq!(config.capture.rules[0].action, rules::Action::Include);
        let dumped = toml::to_string(&config).unwrap();
        assert_eq!(load(&dumped).unwrap(), config);
        for (text, expected) in [
            ("action = \"exclude\"\nport = [\"http\"]", "`capture.rules`: rule 1: `port` has `http`, expected a port"),
            ("action = \"exclude\"\nnet = [\"10.0.0.0/40\"]", "`10.0.0.0/40` is no network"),
            ("action = \"drop\"", "unknown variant `drop`"),
            ("action = \"exclude\"\nvlan = [5]", "unknown field `vlan`"),
        ] {
            let error = load(&format!("[[capture.rules]]\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let many = "[[capture.rules]]\naction = \"exclude\"\n".repeat(65);
        assert!(load(&many).unwrap_err().contains("there are 65 rules, expected at most 64"));
    }

    #[test]
    fn what_dump_prints_loads_again() {
        let config = Config::default();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }
}
