//! Tables, in versioned steps.

use super::config::ClickHouseConfig;
use clickhouse::Client;
use clickhouse::error::Error;

/// A step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number; steps are made in their order, each once.
    pub version: u32,
    /// What it does.
    pub what: &'static str,
}

/// Why the schema is not there.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The server does not answer, or refuses.
    #[error("ClickHouse at `{url}` refuses {what}")]
    Server {
        /// Where it is.
        url: String,
        /// What was asked of it.
        what: String,
        /// What it said.
        #[source]
        source: Error,
    },
    /// Steps are missing.
    #[error("database `{database}` has schema {found}, expected {expected}: run `netspectra admin migrate`")]
    Old {
        /// The database.
        database: String,
        /// Its schema.
        found: u32,
        /// This build's.
        expected: u32,
    },
    /// A newer release made it.
    #[error(
        "database `{database}` has schema {found}, newer than this build's {expected}: take the release that made it, or a newer one"
    )]
    New {
        /// The database.
        database: String,
        /// Its schema.
        found: u32,
        /// This build's.
        expected: u32,
    },
}

impl SchemaError {
    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Server { source: Error::Network(_) | Error::TimedOut, .. })
    }
}

/// The schema of this build.
const VERSION: u32 = 6;
/// The oldest schema whose builds go on with this one: raised by a step that takes something away, or gives it another meaning.
/// Steps that add tables and columns leave it: who does not know a column writes its default.
const OLDEST: u32 = 1;
/// Blocks of inserts that tables without replicas remember by their tokens.
const REMEMBERED: u32 = 10_000;

/// Columns that every table of rows has: where in the log the row comes from.
const PLACE: &str = "log_topic LowCardinality(String),
    log_partition UInt32,
    block_first UInt64 CODEC(Delta, ZSTD(1)),
    block_last UInt64 CODEC(Delta, ZSTD(1))";

/// The log that a row comes from.
const TOPIC: &str = "log_topic LowCardinality(String)";

/// The columns of sketches.
macro_rules! sketches {
    () => {
        "src_ips String CODEC(ZSTD(1)),
    dst_ips String CODEC(ZSTD(1)),
    ips String CODEC(ZSTD(1)),
    dst_ports String CODEC(ZSTD(1)),
    pairs String CODEC(ZSTD(1)),
    flows String CODEC(ZSTD(1)),
    top_src_bytes String CODEC(ZSTD(1)),
    top_dst_bytes String CODEC(ZSTD(1)),
    top_src_packets String CODEC(ZSTD(1)),
    top_dst_packets String CODEC(ZSTD(1)),
    top_dst_port_bytes String CODEC(ZSTD(1)),
    packet_size String CODEC(ZSTD(1)),
    flow_duration String CODEC(ZSTD(1)),
    server_rtt String CODEC(ZSTD(1)),
    client_rtt String CODEC(ZSTD(1)),
    dns_latency String CODEC(ZSTD(1))"
    };
}

/// Name, columns, sorting key, and what rows are kept by.
type Table = (&'static str, &'static str, &'static str, Option<(&'static str, Kept)>);

/// How long rows are kept.
#[derive(Clone, Copy)]
enum Kept {
    Records,
    Windows,
}

/// The tables of the first step.
const COUNTED: [Table; 6] = [
    (
        "flows",
        "node LowCardinality(String),
    iface LowCardinality(String),
    src_ip Nullable(IPv6) CODEC(ZSTD(1)),
    dst_ip Nullable(IPv6) CODEC(ZSTD(1)),
    src_port UInt16 CODEC(ZSTD(1)),
    dst_port UInt16 CODEC(ZSTD(1)),
    proto UInt8,
    ether_type UInt16,
    icmp_type Nullable(UInt8),
    icmp_code Nullable(UInt8),
    vlan Nullable(UInt16),
    inner_vlan Nullable(UInt16),
    tunnel LowCardinality(String),
    tunnel_id Nullable(UInt32),
    packets UInt64 CODEC(T64, ZSTD(1)),
    bytes UInt64 CODEC(T64, ZSTD(1)),
    l3_bytes UInt64 CODEC(T64, ZSTD(1)),
    reverse_packets UInt64 CODEC(T64, ZSTD(1)),
    reverse_bytes UInt64 CODEC(T64, ZSTD(1)),
    reverse_l3_bytes UInt64 CODEC(T64, ZSTD(1)),
    tcp_flags UInt16,
    reverse_tcp_flags UInt16,
    retransmitted UInt64 CODEC(T64, ZSTD(1)),
    reverse_retransmitted UInt64 CODEC(T64, ZSTD(1)),
    out_of_order UInt64 CODEC(T64, ZSTD(1)),
    reverse_out_of_order UInt64 CODEC(T64, ZSTD(1)),
    zero_windows UInt64 CODEC(T64, ZSTD(1)),
    reverse_zero_windows UInt64 CODEC(T64, ZSTD(1)),
    server_rtt_us Nullable(UInt32) CODEC(ZSTD(1)),
    client_rtt_us Nullable(UInt32) CODEC(ZSTD(1)),
    first_seen DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    last_seen DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    flow_start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    state LowCardinality(String),
    end_reason LowCardinality(String),
    initiator_by LowCardinality(String),
    flow_id UInt64 CODEC(ZSTD(1)),
    INDEX by_src src_ip TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_dst dst_ip TYPE bloom_filter(0.01) GRANULARITY 4",
        "(last_seen, flow_id)",
        Some(("last_seen", Kept::Records)),
    ),
    (
        "rollups",
        "window DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String),
    iface LowCardinality(String),
    direction LowCardinality(String),
    src_ip Nullable(IPv6) CODEC(ZSTD(1)),
    dst_ip Nullable(IPv6) CODEC(ZSTD(1)),
    src_port UInt16 CODEC(ZSTD(1)),
    dst_port UInt16 CODEC(ZSTD(1)),
    proto UInt8,
    ether_type UInt16,
    vlan Nullable(UInt16),
    tunnel LowCardinality(String),
    tunnel_id Nullable(UInt32),
    packets UInt64 CODEC(T64, ZSTD(1)),
    bytes UInt64 CODEC(T64, ZSTD(1)),
    l3_bytes UInt64 CODEC(T64, ZSTD(1)),
    new_flows UInt64 CODEC(T64, ZSTD(1))",
        "(window, proto, dst_port)",
        Some(("window", Kept::Records)),
    ),
    (
        "windows",
        concat!(
            "node LowCardinality(String),
    resolution_seconds UInt32,
    start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    packets UInt64,
    bytes UInt64,
    new_flows UInt64,
    protocols Array(Tuple(Int16, UInt64, UInt64)),
    ",
            sketches!()
        ),
        "(resolution_seconds, start, node)",
        Some(("start", Kept::Windows)),
    ),
    (
        "ledger",
        "node LowCardinality(String),
    epoch UInt64,
    generation UInt64,
    start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    end DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    seen_packets UInt64,
    seen_bytes UInt64,
    accounted_packets UInt64,
    accounted_bytes UInt64,
    ledger String CODEC(ZSTD(1)),
    nics String CODEC(ZSTD(1)),
    chain_break Bool",
        "(start, node)",
        Some(("start", Kept::Windows)),
    ),
    (
        "blocks",
        "flows UInt64,
    rollups UInt64,
    windows UInt64,
    generations UInt64,
    stored_at DateTime DEFAULT now()",
        "(log_topic, log_partition, block_last)",
        None,
    ),
    (
        "engine_state",
        "part UInt32,
    parts UInt32,
    state String CODEC(ZSTD(1)),
    stored_at DateTime DEFAULT now()",
        "(log_topic, log_partition, block_last, part)",
        None,
    ),
];

/// The tables of the second step.
const TOLD: [Table; 2] = [
    (
        "alerts",
        "id UInt64 CODEC(ZSTD(1)),
    node LowCardinality(String),
    detector LowCardinality(String),
    phase LowCardinality(String),
    severity LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    why String CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    first_seen DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    last_seen DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    score Float64,
    threshold Float64,
    evidence Array(Tuple(String, Float64)),
    flows Array(UInt64)",
        "(at, id)",
        Some(("at", Kept::Windows)),
    ),
    (
        "messages",
        "id UInt64 CODEC(ZSTD(1)),
    node LowCardinality(String),
    at DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    src_ip Nullable(IPv6) CODEC(ZSTD(1)),
    dst_ip Nullable(IPv6) CODEC(ZSTD(1)),
    src_port UInt16 CODEC(ZSTD(1)),
    dst_port UInt16 CODEC(ZSTD(1)),
    proto UInt8,
    vlan Nullable(UInt16),
    app LowCardinality(String),
    message LowCardinality(String),
    name Nullable(String) CODEC(ZSTD(1)),
    code Nullable(UInt16),
    latency_us Nullable(UInt64) CODEC(ZSTD(1)),
    detail String CODEC(ZSTD(3)),
    INDEX by_name name TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_app app TYPE set(32) GRANULARITY 4",
        "(at, id)",
        Some(("at", Kept::Records)),
    ),
];

/// The tables of the third step.
const MERGED: [Table; 1] = [(
    "merged_windows",
    concat!(
        "id UInt64,
    length_seconds UInt32,
    start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    first DateTime64(9, 'UTC'),
    last DateTime64(9, 'UTC'),
    partitions Array(UInt32) CODEC(ZSTD(1)),
    throughs Array(UInt64) CODEC(ZSTD(1)),
    packets UInt64,
    bytes UInt64,
    new_flows UInt64,
    protocols Array(Tuple(Int16, UInt64, UInt64)),
    ",
        sketches!(),
        ",
    peers String CODEC(ZSTD(1))"
    ),
    "(start, length_seconds)",
    Some(("start", Kept::Windows)),
)];

/// A column that a table of an earlier step gets: table, name, type with a default. Without one, rows of a release that does not
/// know the column would be refused by its client, and engines of that release could not be started any more.
type Column = (&'static str, &'static str, &'static str);

/// The columns of the third step.
const SAMPLED: [Column; 1] = [("windows", "peers", "String DEFAULT '' CODEC(ZSTD(1))")];

/// The columns of the fourth step.
const PLACES: [Column; 12] = [
    ("flows", "src_country", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_country", "LowCardinality(String) DEFAULT ''"),
    ("flows", "src_as", "Nullable(UInt32) DEFAULT NULL CODEC(ZSTD(1))"),
    ("flows", "dst_as", "Nullable(UInt32) DEFAULT NULL CODEC(ZSTD(1))"),
    ("flows", "src_network", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_network", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_country", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_country", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_as", "Nullable(UInt32) DEFAULT NULL CODEC(ZSTD(1))"),
    ("rollups", "dst_as", "Nullable(UInt32) DEFAULT NULL CODEC(ZSTD(1))"),
    ("rollups", "src_network", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_network", "LowCardinality(String) DEFAULT ''"),
];

/// The columns of the fifth step. Rows of before are of every flow.
const SAMPLINGS: [Column; 2] = [("flows", "sampling", "UInt32 DEFAULT 1"), ("rollups", "sampling", "UInt32 DEFAULT 1")];

/// The columns of the sixth step. Rows of before have none of it.
const KNOWN: [Column; 26] = [
    ("flows", "src_name", "String DEFAULT '' CODEC(ZSTD(1))"),
    ("flows", "dst_name", "String DEFAULT '' CODEC(ZSTD(1))"),
    ("flows", "src_pod", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_pod", "LowCardinality(String) DEFAULT ''"),
    ("flows", "src_namespace", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_namespace", "LowCardinality(String) DEFAULT ''"),
    ("flows", "src_workload", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_workload", "LowCardinality(String) DEFAULT ''"),
    ("flows", "src_process", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_process", "LowCardinality(String) DEFAULT ''"),
    ("flows", "src_cgroup", "LowCardinality(String) DEFAULT ''"),
    ("flows", "dst_cgroup", "LowCardinality(String) DEFAULT ''"),
    ("flows", "service", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_name", "String DEFAULT '' CODEC(ZSTD(1))"),
    ("rollups", "dst_name", "String DEFAULT '' CODEC(ZSTD(1))"),
    ("rollups", "src_pod", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_pod", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_namespace", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_namespace", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_workload", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_workload", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_process", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_process", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "src_cgroup", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "dst_cgroup", "LowCardinality(String) DEFAULT ''"),
    ("rollups", "service", "LowCardinality(String) DEFAULT ''"),
];

/// Name of a view, and what it selects.
pub(super) type View = (&'static str, &'static str);

/// Views of `messages` for people and dashboards. No answer of the API reads them.
pub(super) const VIEWS: [View; 3] = [
    (
        "dns",
        "at, node, src_ip, dst_ip, app, message, name, code AS rcode, latency_us,
    JSONExtractInt(detail, 'dns', 'question', 'qtype') AS qtype,
    JSONExtractBool(detail, 'dns', 'truncated') AS truncated,
    arrayMap(r -> JSONExtractString(r, 'data'), JSONExtractArrayRaw(detail, 'dns', 'records')) AS answers
    FROM {database}.messages WHERE app IN ('dns', 'mdns', 'llmnr')",
    ),
    (
        "http",
        "at, node, src_ip, dst_ip, message, name AS host, code AS status, latency_us,
    if(message = 'request', JSONExtractString(detail, 'http_request', 'method'), JSONExtractString(detail, 'http_response', 'method')) AS method,
    JSONExtractString(detail, 'http_request', 'target') AS target,
    JSONExtractString(detail, 'http_request', 'user_agent') AS user_agent
    FROM {database}.messages WHERE app = 'http'",
    ),
    (
        "tls",
        "at, node, src_ip, dst_ip, app, message, name AS server_name,
    if(message = 'client_hello', JSONExtractInt(detail, 'tls_client', 'version'), JSONExtractInt(detail, 'tls_server', 'version')) AS version,
    JSONExtractString(detail, 'tls_client', 'ja4') AS ja4,
    JSONExtractInt(detail, 'tls_server', 'cipher') AS cipher
    FROM {database}.messages WHERE app IN ('tls', 'quic')",
    ),
];

pub(super) fn on_cluster(config: &ClickHouseConfig) -> String {
    config.cluster.as_ref().map_or_else(String::new, |cluster| format!(" ON CLUSTER {cluster}"))
}

/// The statement that makes `table`.
fn create(config: &ClickHouseConfig, (name, columns, key, kept): &Table) -> String {
    let (database, cluster) = (&config.database, on_cluster(config));
    let (engine, settings) = match &config.cluster {
        None => ("MergeTree".to_owned(), format!("non_replicated_deduplication_window = {REMEMBERED}")),
        Some(_) => (
            // The macros are the server's.
            format!("ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{database}/{name}', '{{replica}}')"),
            format!("replicated_deduplication_window = {REMEMBERED}, replicated_deduplication_window_seconds = 604800"),
        ),
    };
    let (mut partition, mut ttl) = (String::new(), String::new());
    if let Some((time, kept)) = kept {
        let days = match kept {
            Kept::Records => config.retention_days,
            Kept::Windows => config.window_retention_days,
        };
        partition = format!("\nPARTITION BY toYYYYMMDD({time})");
        if matches!(kept, Kept::Windows) {
            partition = format!("\nPARTITION BY toYYYYMM({time})");
        }
        ttl = format!("\nTTL toDateTime({time}) + INTERVAL {days} DAY DELETE");
    }
    // A merged row is of many blocks.
    let place = if *name == MERGED[0].0 { TOPIC } else { PLACE };
    format!(
        "CREATE TABLE IF NOT EXISTS {database}.{name}{cluster} (\n    {place},\n    {columns}\n)\nENGINE = {engine}{partition}\nORDER BY {key}{ttl}\nSETTINGS {settings}, ttl_only_drop_parts = 1"
    )
}

/// The statement that makes a view.
fn view(config: &ClickHouseConfig, (name, select): &View) -> String {
    let (database, cluster) = (&config.database, on_cluster(config));
    format!("CREATE VIEW IF NOT EXISTS {database}.{name}{cluster} AS SELECT {}", select.replace("{database}", database))
}

/// The statement that gives a table a column.
fn add(config: &ClickHouseConfig, (table, name, kind): &Column) -> String {
    let (database, cluster) = (&config.database, on_cluster(config));
    format!("ALTER TABLE {database}.{table}{cluster} ADD COLUMN IF NOT EXISTS {name} {kind}")
}

/// A step, and what it makes: tables, then columns, then views.
struct Step {
    migration: Migration,
    tables: &'static [Table],
    columns: &'static [Column],
    views: &'static [View],
}

/// The steps, in their order.
const STEPS: [Step; VERSION as usize] = [
    Step {
        migration: Migration { version: 1, what: "tables for flows, roll-ups, windows, ledgers and states" },
        tables: &COUNTED,
        columns: &[],
        views: &[],
    },
    Step {
        migration: Migration { version: 2, what: "tables for alerts and messages, views for dns, http and tls" },
        tables: &TOLD,
        columns: &[],
        views: &VIEWS,
    },
    Step {
        migration: Migration {
            version: 3,
            what: "a table for windows merged over nodes and time, a column for pairs of addresses",
        },
        tables: &MERGED,
        columns: &SAMPLED,
        views: &[],
    },
    Step {
        migration: Migration { version: 4, what: "columns for country, autonomous system and local network" },
        tables: &[],
        columns: &PLACES,
        views: &[],
    },
    Step {
        migration: Migration { version: 5, what: "columns for sampling" },
        tables: &[],
        columns: &SAMPLINGS,
        views: &[],
    },
    Step {
        migration: Migration { version: 6, what: "columns for names, pods, processes and services" },
        tables: &[],
        columns: &KNOWN,
        views: &[],
    },
];

impl Step {
    /// All its statements.
    fn statements(&self, config: &ClickHouseConfig) -> Vec<String> {
        let tables = self.tables.iter().map(|table| create(config, table));
        let columns = self.columns.iter().map(|column| add(config, column));
        tables.chain(columns).chain(self.views.iter().map(|v| view(config, v))).collect()
    }
}

/// The statements that make the database, and the table of what was made in it.
fn begin(config: &ClickHouseConfig) -> [String; 3] {
    let (database, cluster) = (&config.database, on_cluster(config));
    let engine = match &config.cluster {
        None => "MergeTree".to_owned(),
        Some(_) => {
            format!("ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{database}/schema_migrations', '{{replica}}')")
        }
    };
    [
        format!("CREATE DATABASE IF NOT EXISTS {database}{cluster}"),
        format!(
            "CREATE TABLE IF NOT EXISTS {database}.schema_migrations{cluster} (version UInt32, what String, made_at DateTime DEFAULT now(), oldest UInt32 DEFAULT version) ENGINE = {engine} ORDER BY version"
        ),
        // Where an earlier release made it. A step of which nothing else is said is for builds that know it.
        format!(
            "ALTER TABLE {database}.schema_migrations{cluster} ADD COLUMN IF NOT EXISTS oldest UInt32 DEFAULT version"
        ),
    ]
}

/// Every statement that a migration sends but the note of each step.
#[cfg(test)]
pub(super) fn all_statements(config: &ClickHouseConfig) -> Vec<String> {
    begin(config).into_iter().chain(STEPS.iter().flat_map(|step| step.statements(config))).collect()
}

pub(super) async fn migrate(client: &Client, config: &ClickHouseConfig) -> Result<Vec<Migration>, SchemaError> {
    migrate_through(client, config, VERSION).await
}

/// [`migrate`], as a release does whose schema is `version`.
pub(super) async fn migrate_through(
    client: &Client,
    config: &ClickHouseConfig,
    through: u32,
) -> Result<Vec<Migration>, SchemaError> {
    // The database cannot be named before it is there.
    let bare = client.clone().with_database("default");
    let server = |what: &str| {
        let what = what.to_owned();
        move |source| refusal(config, &what, source)
    };
    let words = ["to make the database", "to make table `schema_migrations`", "to change table `schema_migrations`"];
    for (statement, what) in begin(config).iter().zip(words) {
        bare.query_raw(statement).execute().await.map_err(server(what))?;
    }
    let found = version(client, config).await?;
    if found > VERSION {
        return allowed(client, config, found).await.map(|()| Vec::new());
    }
    let mut made = Vec::new();
    for step in STEPS.iter().filter(|step| (found + 1..=through).contains(&step.migration.version)) {
        for statement in step.statements(config) {
            // As far as it says what is made or changed.
            let what: Vec<&str> = statement.split_whitespace().take(6).collect();
            bare.query_raw(&statement).execute().await.map_err(server(&format!("`{} …`", what.join(" "))))?;
        }
        client
            .query("INSERT INTO schema_migrations (version, what, oldest) SELECT {version:UInt32}, {what:String}, {oldest:UInt32}")
            .param("version", step.migration.version)
            .param("what", step.migration.what)
            .param("oldest", OLDEST)
            .execute()
            .await
            .map_err(server("to note the schema's version"))?;
        made.push(step.migration.clone());
    }
    Ok(made)
}

pub(super) async fn check(client: &Client, config: &ClickHouseConfig) -> Result<(), SchemaError> {
    let found = version(client, config).await?;
    let (database, expected) = (config.database.clone(), VERSION);
    match found {
        VERSION => Ok(()),
        found if found < VERSION => Err(SchemaError::Old { database, found, expected }),
        found => allowed(client, config, found).await,
    }
}

/// Whether builds of this schema may go on with the newer one that was `found`.
async fn allowed(client: &Client, config: &ClickHouseConfig, found: u32) -> Result<(), SchemaError> {
    let oldest = client.query("SELECT max(oldest) FROM schema_migrations").fetch_one::<u32>().await;
    match oldest {
        Ok(oldest) if oldest <= VERSION => Ok(()),
        // UNKNOWN_IDENTIFIER
        Err(Error::BadResponse(text)) if !text.contains("Code: 47.") => {
            Err(refusal(config, "to say which releases its schema is for", Error::BadResponse(text)))
        }
        Ok(_) | Err(Error::BadResponse(_)) => {
            Err(SchemaError::New { database: config.database.clone(), found, expected: VERSION })
        }
        Err(source) => Err(refusal(config, "to say which releases its schema is for", source)),
    }
}

fn refusal(config: &ClickHouseConfig, what: &str, source: Error) -> SchemaError {
    SchemaError::Server { url: config.url.clone(), what: what.to_owned(), source }
}

/// 0 where there is none.
async fn version(client: &Client, config: &ClickHouseConfig) -> Result<u32, SchemaError> {
    let found = client.query("SELECT max(version) FROM schema_migrations").fetch_one::<u32>().await;
    match found {
        Ok(version) => Ok(version),
        // UNKNOWN_TABLE, UNKNOWN_DATABASE
        Err(Error::BadResponse(text)) if text.contains("Code: 60.") || text.contains("Code: 81.") => Ok(0),
        Err(source) => Err(refusal(config, "to say its schema's version", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_and_a_cluster_differ_in_engines_alone() {
        let one = ClickHouseConfig::default();
        let many = ClickHouseConfig { cluster: Some("main".into()), ..one.clone() };
        let all =
            |config| STEPS.iter().flat_map(|step| step.tables).map(|table| create(config, table)).collect::<Vec<_>>();
        for (one, many) in all(&one).iter().zip(all(&many)) {
            assert!(one.contains("ENGINE = MergeTree\n"), "{one}");
            assert!(one.contains("non_replicated_deduplication_window = 10000"), "{one}");
            assert!(many.contains(" ON CLUSTER main ("), "{many}");
            assert!(many.contains("ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/netspectra/"), "{many}");
            assert!(many.contains("', '{replica}')\n"), "{many}");
            let columns = |text: &str| text.split("ENGINE").next().map(|t| t.replace(" ON CLUSTER main", ""));
            assert_eq!(columns(one), columns(&many));
        }
    }

    #[test]
    fn columns_that_came_later_have_defaults() {
        let columns = STEPS.iter().flat_map(|step| step.columns);
        assert!(columns.clone().count() > 10);
        for (table, name, kind) in columns {
            assert!(kind.contains(" DEFAULT "), "{table}.{name} {kind}");
        }
    }

    #[test]
    fn rows_go_when_they_are_as_old_as_the_configuration_says() {
        let config = ClickHouseConfig { retention_days: 7, window_retention_days: 90, ..ClickHouseConfig::default() };
        let all = STEPS[0].statements(&config);
        assert!(all[0].contains("TTL toDateTime(last_seen) + INTERVAL 7 DAY DELETE"), "{}", all[0]);
        assert!(all[2].contains("TTL toDateTime(start) + INTERVAL 90 DAY DELETE"), "{}", all[2]);
        assert!(!all[4].contains("TTL"), "{}", all[4]);
    }
}
