//! The command line of the parts of a cluster.

use super::{Mode, TunnelIdentity};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What all parts take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// Configuration file (TOML), the same for all parts; options on the command line win.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check arguments and configuration, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the configuration in force as TOML, and exit.
    #[arg(long)]
    pub(crate) dump: bool,
}

/// Where the log is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Log {
    /// Brokers, `host:port`, separated by commas.
    #[arg(long, value_name = "BROKERS")]
    pub(crate) kafka: Option<String>,
    /// Topic [default: netspectra.flows].
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
}

/// Where the tables are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tables {
    /// ClickHouse, `http://host:8123` or `https://host:8443`.
    #[arg(long, value_name = "URL")]
    pub(crate) clickhouse: Option<String>,
    /// Database [default: netspectra].
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// User of ClickHouse: each part has its own, see `netspectra admin users`.
    #[arg(long, value_name = "NAME")]
    pub(crate) clickhouse_user: Option<String>,
    /// File with that user's password.
    #[arg(long, value_name = "FILE")]
    pub(crate) clickhouse_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo netspectra agent --kafka broker:9092                       # the interface of the default route
  sudo netspectra agent --kafka broker:9092 --iface 'eth*' --node rack7-host3
  netspectra agent --kafka broker:9092 --read a.pcap b.pcapng.gz --node lab
  netspectra agent --config netspectra.toml --check

Exit status: 0 after Ctrl-C or SIGTERM, or when all files are read; 1 when something failed; 2 when an argument or the host
is not fit.")]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) log: Log,
    /// Interfaces, names or globs, separated by commas [default: the interface of the default route].
    #[arg(long, value_delimiter = ',', value_name = "NAME", conflicts_with = "read")]
    pub(crate) iface: Vec<String>,
    /// Capture files to be read instead, merged by time; `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) read: Vec<PathBuf>,
    /// Where ingress is seen [default: auto].
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// Whose five-tuple a tunnelled packet is booked to [default: outer].
    #[arg(long, value_enum)]
    pub(crate) tunnel: Option<TunnelIdentity>,
    /// Name of this node in records [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// The user that everything but the loading of programs goes on as [default: the one who starts it, without
    /// capabilities].
    #[arg(long, value_name = "NAME|UID[:GROUP]", conflicts_with = "read")]
    pub(crate) user: Option<String>,
    /// Where health and metrics are served [default: 127.0.0.1:8471].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra engine --kafka broker:9092 --clickhouse http://clickhouse:8123 --cluster-token-file token
  netspectra engine --config netspectra.toml --listen 0.0.0.0:8471

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed, 2 when an argument is not fit.")]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) log: Log,
    /// Name in the group that this engine has again after a restart, and with it its partitions at once.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// Redis for the live board, `redis://host:6379`.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Where health, metrics and, to the API, what is not stored are served [default: 127.0.0.1:8471].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// File with the token that engines and APIs share; made when it does not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra api --clickhouse http://clickhouse:8123 --engines engine:8471 --cluster-token-file token
  netspectra api --config netspectra.toml --listen 0.0.0.0:8470 --token-file api-token

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed, 2 when an argument is not fit.")]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// Topic whose blocks are asked for [default: netspectra.flows].
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Redis of the live board, `redis://host:6379`, for `/api/v1/now`.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Engines, `host:port` of their --listen, separated by commas; a name with several addresses is an engine at each.
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) engines: Vec<String>,
    /// Where the API listens [default: 127.0.0.1:8470].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// File with the API's bearer token; made with a fresh token when it does not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the token that engines and APIs share; made when it does not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) what: Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Check the topics in Kafka, or make them.
    #[command(after_help = "Examples:
  netspectra admin topics --kafka broker:9092
  netspectra admin topics --kafka broker:9092 --create --partitions 64
  netspectra admin topics --kafka localhost:9092 --create --partitions 4 --replication 1

Exit status: 0 when they are as planned, 1 when not, 2 on misuse.")]
    Topics(TopicsArgs),
    /// Make ClickHouse's tables, step by step; safe to run again.
    #[command(after_help = "Examples:
  netspectra admin migrate --clickhouse http://clickhouse:8123
  netspectra admin migrate --config netspectra.toml --only-check

Exit status: 0 when the schema is this release's, 1 when not, 2 on misuse.")]
    Migrate(MigrateArgs),
    /// Make ClickHouse's users, each with the rights of its part and no others: print the statements, or apply them.
    #[command(after_help = "Examples:
  netspectra admin users --config netspectra.toml --engine-password-file engine --api-password-file api
  netspectra admin users --config netspectra.toml --clickhouse-user admin --clickhouse-password-file admin \\
    --engine-password-file engine --api-password-file api --migrate-password-file migrate --apply
  netspectra admin users --clickhouse http://clickhouse:8123      # the roles alone, for users of your own

Users are DATABASE_engine, DATABASE_api and DATABASE_migrate; roles DATABASE_writer, DATABASE_reader and
DATABASE_migrator. Passwords are printed and sent as salted hashes.

Exit status: 0 when it is done, 1 when not, 2 on misuse.")]
    Users(UsersArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) log: Log,
    /// Make those that are not there.
    #[arg(long)]
    pub(crate) create: bool,
    /// Partitions of the topic of flows: as many engines can share the work.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// Brokers that have each message.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=15))]
    pub(crate) replication: u16,
    /// Hours that messages are kept: the longest outage of all engines that loses nothing.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub(crate) retention_hours: u32,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// Change nothing: end with 1 when the schema is not this release's.
    #[arg(long)]
    pub(crate) only_check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// File with the password of the engines' user; without it the role is made, and no user.
    #[arg(long, value_name = "FILE")]
    pub(crate) engine_password_file: Option<PathBuf>,
    /// File with the password of the APIs' user; without it the role is made, and no user.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_password_file: Option<PathBuf>,
    /// File with the password of the user for `admin migrate`; without it the role is made, and no user.
    #[arg(long, value_name = "FILE")]
    pub(crate) migrate_password_file: Option<PathBuf>,
    /// Send the statements instead of printing them: as a user who may make users and has these rights to give.
    #[arg(long)]
    pub(crate) apply: bool,
}
