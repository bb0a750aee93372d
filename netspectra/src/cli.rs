//! The command line.

#[cfg(feature = "cluster")]
pub(crate) mod cluster;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// NetSpectra: who talks to whom, how much, over which protocol, on this host or in a capture file.
#[derive(Debug, Parser)]
#[command(name = "netspectra", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch this host's interfaces: capture, engine, store and API in one process.
    Run(RunArgs),
    /// Watch this host's interfaces, or read capture files, and write to Kafka: one on each node of a cluster.
    #[cfg(feature = "cluster")]
    Agent(Box<cluster::AgentArgs>),
    /// Read from Kafka, write to ClickHouse: as many as there is work, which they share.
    #[cfg(feature = "cluster")]
    Engine(cluster::EngineArgs),
    /// Answer questions from ClickHouse and the engines: as many as there are askers.
    #[cfg(feature = "cluster")]
    Api(cluster::ApiArgs),
    /// Make and check what a cluster needs: topics, tables.
    #[cfg(feature = "cluster")]
    Admin(cluster::AdminArgs),
    /// Report on capture files (pcap, pcapng, snoop; also .gz and .zst), or list their flows.
    Analyze(AnalyzeArgs),
    /// Say what this host can do, and what to do about what it cannot.
    Doctor(DoctorArgs),
    /// Take away what a killed `run` left counting in the kernel, and say how much was counted and is given up.
    Detach(DetachArgs),
    /// Answer questions from a store that `analyze --save` made, or that a `run` left.
    Serve(ServeArgs),
    /// Ask a running instance: flows, top, series, cardinality, quantiles, ledger.
    Query(QueryArgs),
    /// Show the top talkers of a running instance, again and again.
    Top(TopArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Native XDP, else TC; packet sockets where the kernel refuses eBPF.
    Auto,
    /// Native XDP (in the driver) or fail.
    Native,
    /// TCX, else clsact.
    Tc,
    /// Generic XDP (in the stack) or fail: packets that GRO merged count as one.
    Generic,
    /// Packet sockets: no eBPF, CAP_NET_RAW is enough.
    AfPacket,
}

impl Mode {
    /// As the configuration has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
            Self::AfPacket => "af-packet",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo netspectra run                                    # the interface of the default route
  sudo netspectra run --iface 'eth*,wlan0' --data-dir /var/lib/netspectra
  sudo netspectra run --iface eth0 --mode tc --listen 127.0.0.1:9000
  netspectra run --config netspectra.toml --check        # read the configuration, say if it is good, and exit

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed, 2 when an argument or the host is not fit.")]
pub(crate) struct RunArgs {
    /// Interfaces, names or globs, separated by commas [default: the interface of the default route].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) iface: Vec<String>,
    /// Where the API listens [default: 127.0.0.1:8470].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where data is kept [default: ./netspectra-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// File with the API's bearer token; made with a fresh token when it does not exist [default: DIR/token].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
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
    /// capabilities]. Its files: the data folder, which is made for it, and what the configuration names.
    #[arg(long, value_name = "NAME|UID[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Configuration file (TOML); options on the command line win.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check arguments and configuration, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the configuration in force as TOML, and exit.
    #[arg(long)]
    pub(crate) dump: bool,
    /// Plain log lines even on a terminal.
    #[arg(long)]
    pub(crate) no_live: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: a report, or aligned columns.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line (with --flows).
    Ndjson,
    /// Comma-separated values with a header line (with --flows).
    Csv,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum TunnelIdentity {
    /// The outermost IP header's five-tuple.
    Outer,
    /// The innermost IP header's five-tuple.
    Inner,
}

impl TunnelIdentity {
    /// As the configuration has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Inner => "inner",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra analyze capture.pcap
  netspectra analyze --format json capture.pcapng.gz | jq .ledger
  netspectra analyze --format json capture.pcap | jq '.dns.rcodes, .http.hosts, .tls.sni'
  netspectra analyze --flows --format csv a.pcap b.pcap > flows.csv      # merged by time
  zcat capture.pcap.gz | netspectra analyze --flows --unidirectional --format ndjson -
  netspectra analyze --tunnel inner overlay.pcap
  netspectra analyze --by src_ip,dst_port --metric packets --top 20 capture.pcap
  netspectra analyze --by dst_country --country-file GeoLite2-Country.mmdb capture.pcap
  netspectra analyze --by src_network,dst_network --network office=10.0.0.0/8 --network lab=10.1.0.0/16 capture.pcap
  netspectra analyze --by dst_name,service capture.pcap
  netspectra analyze --flows --names --format csv capture.pcap
  netspectra analyze --by proto --time-bucket 10s --format csv capture.pcap
  netspectra analyze --flows --filter 'dst_port = 443 and src_ip in 10.0.0.0/8' capture.pcap
  netspectra analyze --export parquet --output flows.parquet --filter 'port = 53' capture.pcap
  netspectra analyze --save monday monday.pcap && netspectra serve monday

Exit status: 0 on success, 1 when a file is damaged (what could be read is reported), 2 on misuse.")]
pub(crate) struct AnalyzeArgs {
    /// Capture files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// List flow records instead of the report.
    #[arg(long, group = "records")]
    pub(crate) flows: bool,
    /// Write flow records instead of the report, for other programs.
    #[arg(long, value_enum, value_name = "KIND", group = "records", conflicts_with = "format")]
    pub(crate) export: Option<Export>,
    /// With --flows or --export: where records go; `-` is standard output. A file that is there is replaced.
    #[arg(long, requires = "records", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// With --flows or --export: one record for each direction instead of one for both.
    #[arg(long, requires = "records")]
    pub(crate) unidirectional: bool,
    /// The largest groups by these dimensions instead of the report, separated by commas (src_ip, dst_port, proto, ...).
    #[arg(long, value_name = "DIMENSIONS", conflicts_with = "records")]
    pub(crate) by: Option<String>,
    /// With --by: what ranks the groups: bytes, packets, flows or peers [default: bytes].
    #[arg(long, value_name = "METRIC", requires = "by", conflicts_with = "time_bucket")]
    pub(crate) metric: Option<String>,
    /// Totals over time instead of the report, in points of this length; with --by a line for each group.
    #[arg(long, value_name = "DURATION", conflicts_with = "records")]
    pub(crate) time_bucket: Option<String>,
    /// With --by, --time-bucket, --flows or --export: only what this expression says.
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) filter: Option<String>,
    /// Keep everything in a store in this new folder, for `netspectra serve`.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Whose five-tuple a tunnelled packet is booked to.
    #[arg(long, value_enum, default_value = "outer")]
    pub(crate) tunnel: TunnelIdentity,
    /// Configuration file (TOML) whose `[[capture.rules]]` say which packets get a flow record, `[detect]` what is an anomaly, and `[enrich]` what is known of addresses.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File in MaxMind's format with countries (GeoLite2-Country), for src_country and dst_country.
    #[arg(long, value_name = "FILE")]
    pub(crate) country_file: Option<PathBuf>,
    /// File in MaxMind's format with autonomous systems (GeoLite2-ASN), for src_as and dst_as.
    #[arg(long, value_name = "FILE")]
    pub(crate) as_file: Option<PathBuf>,
    /// Local network, for src_network and dst_network: office=10.0.0.0/8,2001:db8::/32. May be given several times.
    #[arg(long, value_name = "NAME=BLOCKS")]
    pub(crate) network: Vec<String>,
    /// File with names of services in the format of /etc/services, for service [default: a list of well-known ones].
    #[arg(long, value_name = "FILE")]
    pub(crate) services_file: Option<PathBuf>,
    /// With --flows, --export, --by or --time-bucket: read DNS answers, for src_name and dst_name. The report, --save, and a
    /// question that names one of them read them anyway.
    #[arg(long, conflicts_with = "no_l7")]
    pub(crate) names: bool,
    /// Rows of each top list in the report, or of --by.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: u16,
    /// Silence for which a flow is taken to have ended, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle_timeout: u64,
    /// Age at which a flow that goes on is reported, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) active_timeout: u64,
    /// Memory that is kept to, at least 256MiB: beyond it flows are reported early, with end reason lack_of_resources.
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = crate::analyze::parse_memory)]
    pub(crate) memory: u64,
    /// Flows that are tracked at the same time, if --memory has room for so many; beyond it the longest silent one is
    /// reported early.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) max_flows: u64,
    /// Do not read payloads: no DNS, HTTP and TLS in the report.
    #[arg(long)]
    pub(crate) no_l7: bool,
    /// Leave out what is behind `?` in the targets of HTTP requests: it may hold secrets.
    #[arg(long)]
    pub(crate) no_http_queries: bool,
    /// Do not look for anomalies.
    #[arg(long)]
    pub(crate) no_detect: bool,
    /// Threads that share the work, of which four have something to do; the output is the same [default: 2, or 1 on one core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// No progress bar.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo netspectra detach                                 # of every instance that does not run
  sudo netspectra detach --instance web-1-5d2c09ab

To lose nothing start `netspectra run` again with the same configuration, and end it by Ctrl-C.

Exit status: 0 when nothing is left, 1 when something could not be taken away, 2 when the instance is not known.")]
pub(crate) struct DetachArgs {
    /// Names of instances, separated by commas [default: all that do not run].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) instance: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo netspectra doctor
  sudo netspectra doctor --format json
  sudo netspectra doctor --probe                         # interrupts traffic shortly

Exit status: 0 when live capture would work here, 1 when it would not.")]
pub(crate) struct DoctorArgs {
    /// table or json.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Attach a program to every interface for a moment to see whether its driver has native XDP. Many drivers reset
    /// their queues for that: traffic is interrupted shortly.
    #[arg(long)]
    pub(crate) probe: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra analyze --save monday monday.pcap
  netspectra serve monday
  netspectra query top --by src_ip --from all --token-file monday/token

Times relative to now are relative to the end of the data: `--from -15m` is its last quarter of an hour.

Exit status: 0 after Ctrl-C or SIGTERM, 1 when something failed, 2 when there is no store or an argument is not fit.")]
pub(crate) struct ServeArgs {
    /// The store's folder.
    #[arg(value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where the API listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8470")]
    pub(crate) listen: SocketAddr,
    /// File with the API's bearer token; made with a fresh token when it does not exist [default: DIR/token].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// How flow records are written to a file.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Export {
    /// Parquet with the columns of the store's files.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// An IPFIX file (RFC 5655) of biflows (RFC 5103).
    Ipfix,
}

/// Where a running instance is.
#[derive(Debug, Args)]
pub(crate) struct Instance {
    /// The instance's API.
    #[arg(long, default_value = "http://127.0.0.1:8470", value_name = "URL", env = "NETSPECTRA_URL")]
    pub(crate) url: String,
    /// The bearer token.
    #[arg(long, value_name = "TOKEN", env = "NETSPECTRA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// File with the bearer token.
    #[arg(long, value_name = "FILE", default_value = "netspectra-data/token")]
    pub(crate) token_file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Question {
    /// Flow records, newest first.
    Flows,
    /// What detectors said, newest first.
    Alerts,
    /// DNS, HTTP, TLS and other messages, newest first.
    Messages,
    /// Largest groups.
    Top,
    /// Totals over time.
    Series,
    /// Number of distinct values.
    Cardinality,
    /// Quantiles of frame size or flow duration.
    Quantiles,
    /// Where every frame went.
    Ledger,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra query top --by src_ip --metric bytes --limit 5
  netspectra query flows --filter 'src_ip in 10.0.0.0/8 and dst_port = 443' --from -15m
  netspectra query alerts --filter 'severity = high' --from -1d
  netspectra query messages --filter 'app = dns and code = 3' --format ndjson
  netspectra query series --step 10s --by proto --format csv
  netspectra query cardinality --of src_ip --from now-1h
  netspectra query quantiles --of packet_size --q 0.5,0.99
  netspectra query ledger --format json")]
pub(crate) struct QueryArgs {
    /// What to ask.
    #[arg(value_enum)]
    pub(crate) question: Question,
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Begin: RFC 3339, Unix seconds, or relative to now (-15m).
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Filter expression.
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) filter: Option<String>,
    /// Dimensions to group by, separated by commas.
    #[arg(long, value_name = "DIMENSIONS")]
    pub(crate) by: Option<String>,
    /// bytes, packets, flows, or peers (with src_ip or dst_ip).
    #[arg(long, value_name = "METRIC")]
    pub(crate) metric: Option<String>,
    /// Rows.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Length of a point.
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,
    /// Dimensions (cardinality), or packet_size, flow_duration, server_rtt, client_rtt or dns_latency (quantiles).
    #[arg(long, value_name = "WHAT")]
    pub(crate) of: Option<String>,
    /// Quantiles, separated by commas.
    #[arg(long, value_name = "Q")]
    pub(crate) q: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  netspectra top
  netspectra top --by dst_ip --metric packets --window 5m --count 1")]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Dimensions to group by, separated by commas.
    #[arg(long, default_value = "src_ip", value_name = "DIMENSIONS")]
    pub(crate) by: String,
    /// bytes, packets, flows, or peers (with src_ip or dst_ip).
    #[arg(long, default_value = "bytes", value_name = "METRIC")]
    pub(crate) metric: String,
    /// Filter expression.
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) filter: Option<String>,
    /// How far back.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub(crate) window: String,
    /// Rows.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u32,
    /// Seconds between refreshes.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    /// Refreshes; 0 for no end.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) count: u64,
}
