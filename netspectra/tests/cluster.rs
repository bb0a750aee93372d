//! The parts of a cluster as a user starts them, through a real Kafka and a real ClickHouse: what several agents saw at once is
//! answered by every API as one process answers it, whatever was killed on the way.
//!
//! Needs `NETSPECTRA_KAFKA`, `NETSPECTRA_CLICKHOUSE` and `NETSPECTRA_PROMETHEUS` (`cargo xtask cluster up`). With `NETSPECTRA_CLUSTER_CTL` servers are
//! killed too. Not proven here: several brokers, replicas, TLS; live capture into Kafka (the kernel tests have its source).
#![cfg(feature = "cluster")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what a part of the cluster said is what explains a failure"
)]

use netspectra_agent::drain::Drain;
use netspectra_agent::payload::{PayloadLimits, Payloads};
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_api::{Auth, Check, Deps, Health, Limits};
use netspectra_common::model::{BusMessage, Nanos, Resolution};
use netspectra_common::ports::{BoxFuture, Clock, PortError, Publisher, Store};
use netspectra_engine::dissect::{self, Dissectors};
use netspectra_engine::store::embedded::{Config as StoreConfig, EmbeddedStore};
use netspectra_engine::{Engine, EngineConfig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time for anything that takes a moment.
const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "a-token-for-the-reference";

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("`{variable}` is not set: expected a running server, see `cargo xtask cluster up` or `cargo xtask test`")
    })
}

/// A process of the cluster; killed when the test ends.
struct Part {
    child: Child,
    lines: Receiver<String>,
}

impl Part {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netspectra"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, lines) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        let name = args[0].to_owned();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains(" WARN ") || line.contains(" ERROR ") || line.starts_with("netspectra:") {
                    println!("{name}: {line}");
                }
                let _ = to.send(line);
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with `text`.
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with `{text}` came"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end that a user sees.
    fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: signals a child of this process that was not waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that was waited for is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(args: &[&str]) {
    let done = Command::new(env!("CARGO_BIN_EXE_netspectra")).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Topic, database, and a configuration of a test's own.
struct Cluster {
    dir: tempfile::TempDir,
    config: String,
    engines: [u16; 2],
}

impl Cluster {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unique = format!("{name}_{}", std::process::id());
        let engines = [free_port(), free_port()];
        let path = dir.path().display();
        let redis =
            std::env::var("NETSPECTRA_REDIS").map_or_else(|_| String::new(), |url| format!("redis = \"{url}\"\n"));
        let text = format!(
            "[kafka]\nbrokers = \"{}\"\ntopic = \"t.{unique}\"\ndead_letters = \"d.{unique}\"\ngroup = \"g.{unique}\"\n\
             [clickhouse]\nurl = \"{}\"\ndatabase = \"{unique}\"\nretention_days = 10000\nwindow_retention_days = 10000\n\
             [cluster]\nengines = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\ntoken_file = \"{path}/cluster-token\"\n{redis}\
             [api]\ntoken_file = \"{path}/token\"\n",
            server("NETSPECTRA_KAFKA"),
            server("NETSPECTRA_CLICKHOUSE"),
            engines[0],
            engines[1],
        );
        let config = dir.path().join("netspectra.toml");
        std::fs::write(&config, text).unwrap();
        let cluster = Self { config: config.to_str().unwrap().to_owned(), dir, engines };
        let topics =
            ["admin", "topics", "--config", &cluster.config, "--create", "--partitions", "4", "--replication", "1"];
        run(&topics);
        run(&["admin", "migrate", "--config", &cluster.config]);
        cluster
    }

    fn engine(&self, number: usize) -> Part {
        let listen = format!("127.0.0.1:{}", self.engines[number]);
        Part::start(&["engine", "--config", &self.config, "--listen", &listen])
    }

    /// An API, and where it listens.
    fn api(&self) -> (Part, String) {
        let part = Part::start(&["api", "--config", &self.config, "--listen", "127.0.0.1:0"]);
        let line = part.wait_for("listening on http://");
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        (part, address)
    }

    fn agent(&self, node: &str, files: &[PathBuf]) -> Part {
        let mut args = vec!["agent", "--config", &self.config, "--node", node, "--read"];
        args.extend(files.iter().map(|file| file.to_str().unwrap()));
        Part::start(&args)
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("token")).unwrap().trim().to_owned()
    }
}

/// The body of a question, and its status.
fn ask(address: &str, token: &str, question: &str) -> (u16, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let url = format!("http://{address}/api/v1/{question}");
    let request = config.build().new_agent().get(&url).header("Authorization", format!("Bearer {token}"));
    let mut response = request.call().unwrap_or_else(|e| panic!("{url}: {e}"));
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn ledger(address: &str, token: &str) -> Value {
    let (status, body) = ask(address, token, "ledger?from=1990-01-01T00:00:00Z&to=2100-01-01T00:00:00Z");
    match status {
        200 => serde_json::from_str(&body).unwrap(),
        // A server that was killed a moment ago.
        503 => Value::Null,
        other => panic!("{other}: {body}"),
    }
}

/// Waits until the API knows of all that the agents saw.
fn wait_for_all(address: &str, token: &str, packets: u64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = ledger(address, token);
        if found["seen"]["packets"] == packets {
            return;
        }
        assert!(Instant::now() < until, "expected {packets} packets, found {found}");
        assert!(found["seen"]["packets"].as_u64().unwrap_or(0) <= packets, "more than there were: {found}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `count` capture files with traffic of `seconds`, each of other hosts. Times are of long ago, on a minute.
fn captures(dir: &Path, count: usize, seconds: u32, per_second: u32) -> Vec<PathBuf> {
    captures_from(1_600_000_020, dir, count, seconds, per_second)
}

/// [`captures`] that begin at `begin`, seconds since 1970.
fn captures_from(begin: u32, dir: &Path, count: usize, seconds: u32, per_second: u32) -> Vec<PathBuf> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % below
    };
    let file = |n: usize| {
        let mut out = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        for second in 0..seconds {
            for i in 0..per_second {
                let (client, server) = (random(40) as u8, 200 + random(10) as u8);
                let port = 20_000 + random(30) as u16;
                let there = random(2) == 0;
                let (src, dst) = if there { (client, server) } else { (server, client) };
                let (sport, dport) = if there { (port, 443) } else { (443, port) };
                let udp = random(4) == 0;
                let payload = random(900) as u16;
                let mut frame = vec![0u8; 12];
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((if udp { 28 } else { 40 } + payload).to_be_bytes());
                frame.extend([0, 0, 0, 0, 64, if udp { 17 } else { 6 }, 0, 0]);
                frame.extend([10, n as u8, 0, src, 10, n as u8, 0, dst]);
                frame.extend(sport.to_be_bytes());
                frame.extend(dport.to_be_bytes());
                if udp {
                    frame.extend((8 + payload).to_be_bytes());
                    frame.extend([0, 0]);
                } else {
                    let flags = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04][random(6) as usize];
                    frame.extend(random(u32::MAX).to_be_bytes());
                    frame.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
                }
                frame.resize(frame.len() + usize::from(payload), 7);
                let micros = i * (1_000_000 / per_second);
                for word in [begin + second, micros, frame.len() as u32, frame.len() as u32] {
                    out.extend(word.to_le_bytes());
                }
                out.extend(frame);
            }
        }
        let path = dir.join(format!("{n}.pcap"));
        std::fs::write(&path, out).unwrap();
        path
    };
    (0..count).map(file).collect()
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Nanos {
        Nanos(1_700_000_000_000_000_000)
    }
}

impl Health for Fixed {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// One process: an engine that sees everything, and the embedded store behind the same API. Returns its address and packets.
fn reference(dir: &Path, files: &[PathBuf]) -> (tokio::runtime::Runtime, SocketAddr, u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let store = Arc::new(
        EmbeddedStore::open(dir, StoreConfig { retention_age: Duration::MAX, ..StoreConfig::default() }).unwrap(),
    );
    let mut packets = 0;
    let mut engine = Engine::new(EngineConfig::default());
    for (n, file) in files.iter().enumerate() {
        let source = PcapSource::open(std::slice::from_ref(file), &PcapConfig::default()).unwrap();
        let dissectors = Arc::new(Dissectors::new(dissect::builtin()));
        let mut source = source.reading_payloads(Payloads::new(dissectors, PayloadLimits::default()));
        let mut drain = Drain::new(format!("node{n}").into(), 1, 16_384);
        while let Some(generation) = source.generation().unwrap() {
            for message in drain.cut(generation) {
                if let BusMessage::Manifest(manifest) = &message {
                    packets += manifest.ledger.seen.packets;
                }
                if let Some(batch) = engine.apply(&message) {
                    runtime.block_on(store.append(&batch)).unwrap();
                }
            }
        }
    }
    runtime.block_on(store.append(&engine.finish())).unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let deps = Deps {
        store,
        live: None,
        clock: Arc::new(Fixed),
        auth: Auth::bearer([TOKEN]).unwrap(),
        health: Arc::new(Fixed),
        metrics: Default::default(),
        limits: Limits::default(),
    };
    runtime.spawn(netspectra_api::serve(listener, deps, std::future::pending()));
    (runtime, address, packets)
}

const QUESTIONS: [&str; 14] = [
    "ledger?",
    "flows?limit=10000&",
    "flows?limit=500&filter=proto%20%3D%20udp%20and%20ip%20in%2010.1.0.0%2F16&",
    "top?by=src_ip&limit=50&",
    "top?by=src_ip,dst_ip&metric=packets&limit=200&",
    "top?by=node,proto,dst_port&metric=flows&limit=200&",
    "top?by=src_ip&limit=10&exact=true&filter=not%20dst_port%20%3D%20443&",
    "series?step=10s&",
    "series?step=1s&by=proto&",
    "series?step=60s&by=node,proto&filter=src_port%20%3D%20443&",
    "cardinality?of=src_ip&",
    "cardinality?of=src_ip,dst_ip,src_port,dst_port,proto&",
    "quantiles?of=packet_size&q=0.5,0.9,0.99&",
    "quantiles?of=flow_duration&q=0.5,0.9,0.99&",
];

/// Every API answers as the one process does, byte for byte.
fn assert_same_answers(apis: &[&str], token: &str, reference: SocketAddr) {
    for question in QUESTIONS {
        let question = format!("{question}from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z");
        let (status, expected) = ask(&reference.to_string(), TOKEN, &question);
        assert_eq!(status, 200, "{question}: {expected}");
        for api in apis {
            let (status, found) = ask(api, token, &question);
            assert_eq!(status, 200, "{question}: {found}");
            assert!(found == expected, "{question}\n found    {found:.2000}\n expected {expected:.2000}");
        }
    }
}

#[test]
fn several_agents_engines_and_apis_answer_as_one_process() {
    let cluster = Cluster::new("several");
    let files = captures(cluster.dir.path(), 6, 150, 60);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let engines = [cluster.engine(0), cluster.engine(1)];
    let ((_api, one), (_other_api, other)) = (cluster.api(), cluster.api());
    let agents: Vec<Part> = files
        .iter()
        .enumerate()
        .map(|(n, file)| cluster.agent(&format!("node{n}"), std::slice::from_ref(file)))
        .collect();
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    let token = cluster.token();
    wait_for_all(&one, &token, packets);
    assert_same_answers(&[&one, &other], &token, reference);
    // An engine that leaves gives its partitions to the other one.
    let [first, second] = engines;
    first.stop();
    second.wait_for("took the partition over");
    wait_for_all(&other, &token, packets);
    let until = Instant::now() + PATIENCE;
    // Until it has read again what is not stored.
    while ask(&one, &token, "flows?limit=10000&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z")
        != ask(&other, &token, "flows?limit=10000&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z")
    {
        assert!(Instant::now() < until);
    }
    assert_same_answers(&[&one, &other], &token, reference);
}

/// Rounds in which something is killed under load.
fn rounds() -> usize {
    std::env::var("NETSPECTRA_CLUSTER_KILLS").map_or(8, |n| n.parse().expect("`NETSPECTRA_CLUSTER_KILLS` is a number"))
}

/// Kills a server and starts it again, where that may be done.
fn kill_server(name: &str) -> bool {
    let Some(ctl) = std::env::var_os("NETSPECTRA_CLUSTER_CTL") else { return false };
    for verb in ["kill", "start"] {
        let done = Command::new(&ctl).args(["cluster", verb, name]).output().unwrap();
        assert!(done.status.success(), "{verb} {name}: {}", String::from_utf8_lossy(&done.stderr));
    }
    true
}

#[test]
fn whatever_is_killed_nothing_is_lost_and_nothing_comes_twice() {
    let cluster = Cluster::new("killed");
    let files = captures(cluster.dir.path(), rounds().max(4), 90, 200);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let mut engines = [Some(cluster.engine(0)), Some(cluster.engine(1))];
    let (mut api, mut address) = cluster.api();
    let token = cluster.token();
    let mut agents = Vec::new();
    for (round, file) in files.iter().enumerate() {
        agents.push(cluster.agent(&format!("node{round}"), std::slice::from_ref(file)));
        match round % 5 {
            0 | 3 => {
                let number = round % 2;
                engines[number].take().unwrap().kill();
                engines[number] = Some(cluster.engine(number));
            }
            1 => {
                kill_server("clickhouse");
            }
            2 => {
                api.kill();
                (api, address) = cluster.api();
            }
            _ => {
                kill_server("kafka");
                kill_server("redis");
            }
        }
        let found = ledger(&address, &token);
        assert!(found["residual"]["packets"].as_i64().unwrap_or(0) == 0, "{found}");
        assert!(found["seen"]["packets"].as_u64().unwrap_or(0) <= packets, "more than there were: {found}");
    }
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    wait_for_all(&address, &token, packets);
    // What was read again may not have reached the store's end yet: the live side is silent until then.
    let question = "flows?limit=10000&from=2020-09-13T12:00:00Z&to=2020-09-13T13:00:00Z";
    let expected = ask(&reference.to_string(), TOKEN, question);
    let until = Instant::now() + PATIENCE;
    while ask(&address, &token, question) != expected {
        assert!(Instant::now() < until, "flows differ from those of one process");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_same_answers(&[&address], &token, reference);
    drop(api);
}

/// Packets by labels and times, as Prometheus has them of the cluster called `name`.
fn samples(prometheus: &str, name: &str) -> BTreeMap<(String, i64), f64> {
    let query = format!("netspectra_window_packets{{cluster=\"{name}\"}}[1h]");
    let mut answer = ureq::get(format!("{prometheus}/api/v1/query")).query("query", query).call().unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    let mut samples = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let labels = format!("{} {}", series["metric"]["node"], series["metric"]["proto"]).replace('"', "");
        for sample in series["values"].as_array().unwrap() {
            let at = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
            samples.insert((labels.clone(), at), sample[1].as_str().unwrap().parse().unwrap());
        }
    }
    samples
}

/// Packets by node, protocol and end of the window, as an engine counts them that sees everything.
fn windows_of(files: &[PathBuf]) -> BTreeMap<(String, i64), f64> {
    let mut sums = BTreeMap::new();
    for (n, file) in files.iter().enumerate() {
        let mut source = PcapSource::open(std::slice::from_ref(file), &PcapConfig::default()).unwrap();
        let mut drain = Drain::new(format!("node{n}").into(), 1, 16_384);
        let mut engine = Engine::new(EngineConfig::default());
        while let Some(generation) = source.generation().unwrap() {
            for batch in drain.cut(generation).iter().filter_map(|message| engine.apply(message)) {
                for row in &batch.rollups {
                    let proto = if row.proto == 17 { "udp" } else { "tcp" };
                    let end = row.window.plus(Resolution::S10.duration()).0 / 1_000_000;
                    *sums.entry((format!("node{n} {proto}"), end as i64)).or_default() += row.packets as f64;
                }
            }
        }
    }
    sums
}

#[test]
fn time_series_are_those_of_one_engine_whichever_engine_is_killed() {
    let prometheus = server("NETSPECTRA_PROMETHEUS");
    let cluster = Cluster::new("series");
    let name = format!("series-{}-{}", std::process::id(), free_port());
    let mut text = std::fs::read_to_string(&cluster.config).unwrap();
    text += &format!(
        "[remote_write]\nurl = \"{prometheus}/api/v1/write\"\nmax_delay_ms = 100\nlabels = {{ cluster = \"{name}\" }}\n"
    );
    std::fs::write(&cluster.config, text).unwrap();
    // On a minute, and so that all of it is over.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    let begin = now / 60 * 60 - 180;
    let files = captures_from(begin, cluster.dir.path(), 4, 120, 100);
    let mut engines = [Some(cluster.engine(0)), Some(cluster.engine(1))];
    let mut agents = Vec::new();
    for (round, file) in files.iter().enumerate() {
        agents.push(cluster.agent(&format!("node{round}"), std::slice::from_ref(file)));
        let number = round % 2;
        engines[number].take().unwrap().kill();
        engines[number] = Some(cluster.engine(number));
    }
    agents.iter().for_each(|agent| drop(agent.wait_for("Kafka has all of it")));
    // Both die once more, when they have sent something: what they stored since their last state is sent again.
    let until = Instant::now() + PATIENCE;
    while samples(&prometheus, &name).is_empty() {
        assert!(Instant::now() < until, "no sample came");
        std::thread::sleep(Duration::from_millis(20));
    }
    for (number, engine) in engines.iter_mut().enumerate() {
        engine.take().unwrap().kill();
        *engine = Some(cluster.engine(number));
    }
    // The last block of a partition is open, and with it the last windows.
    let last = i64::from(begin + 100) * 1000;
    let expected: BTreeMap<_, _> = windows_of(&files).into_iter().filter(|((_, at), _)| *at <= last).collect();
    assert_eq!(expected.len(), 4 * 2 * 10);
    let until = Instant::now() + PATIENCE;
    loop {
        let found: BTreeMap<_, _> =
            samples(&prometheus, &name).into_iter().filter(|((_, at), _)| *at <= last).collect();
        if found == expected {
            break;
        }
        for (key, value) in &found {
            assert_eq!(expected.get(key), Some(value), "{key:?}");
        }
        assert!(Instant::now() < until, "{} samples of {}", found.len(), expected.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    // The end of an engine in order: what it has is sent.
    engines.into_iter().flatten().for_each(Part::stop);
    let whole = samples(&prometheus, &name);
    assert!(expected.iter().all(|(key, value)| whole.get(key) == Some(value)), "as before");
}

/// Publishes messages as they are, so that a test can send any bytes.
struct Raw(netspectra_agent::bus::kafka::KafkaPublisher);

impl Publisher for Raw {
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
        self.0.publish(messages)
    }
}

#[test]
fn a_message_that_nobody_can_read_is_put_aside_and_the_rest_goes_on() {
    let cluster = Cluster::new("poison");
    let files = captures(cluster.dir.path(), 1, 20, 20);
    let text = std::fs::read_to_string(&cluster.config).unwrap();
    let settings: toml::Table = toml::from_str(&text).unwrap();
    let kafka: netspectra_common::kafka::KafkaConfig = settings["kafka"].clone().try_into().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The same messages in bytes of nobody's.
    let garbage =
        Raw(netspectra_agent::bus::kafka::KafkaPublisher::new(&kafka, |_| b"\xff\xfe nonsense".to_vec()).unwrap());
    let mut source = PcapSource::open(&files, &PcapConfig::default()).unwrap();
    let mut drain = Drain::new("node0".into(), 7, 16_384);
    let messages = drain.cut(source.generation().unwrap().unwrap());
    let sent = messages.len();
    runtime.block_on(garbage.publish(messages)).unwrap();
    let engine = cluster.engine(0);
    let (_api, address) = cluster.api();
    cluster.agent("node0", &files).wait_for("Kafka has all of it");
    let token = cluster.token();
    wait_for_all(&address, &token, 20 * 20);
    for _ in 0..sent {
        engine.wait_for("it goes to the dead letters");
    }
    let metrics = ureq::get(format!("http://127.0.0.1:{}/metrics", cluster.engines[0])).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    assert!(metrics.contains(&format!("netspectra_engine_dead_letters_total {sent}\n")), "{metrics}");
}
