//! The live board through sentinels, and in a cluster of Redis: real servers of this test's own on loopback, with a password, each
//! with TLS and without. Needs `redis-server` (`cargo xtask test` installs it).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; what is not tried is said")]

use netspectra_common::ports::StoreBatch;
use netspectra_engine::EngineStats;
use netspectra_engine::redis_board::{BoardConfig, LiveBoard, PartitionBoard};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use redis::aio::MultiplexedConnection;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For anything that servers are to do on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "only-for-tests";

/// Whether servers can be started.
fn is_there() -> bool {
    let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "`redis-server` must be installed on CI");
        eprintln!("not tried: install `redis-server`, or run `cargo xtask test`");
    }
    there
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Certificates for 127.0.0.1, and whose they are.
struct Tls {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let write = |name: &str, pem: String| {
            let path = dir.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            authority: write("ca.pem", authority.pem()),
            certificate: write("certificate.pem", certificate.pem()),
            key: write("key.pem", key.serialize_pem()),
        }
    }
}

/// A server with its settings in a file; killed when the test ends.
struct Server {
    settings: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// With `more` settings, as lines.
    fn new(dir: &Path, name: &str, tls: Option<&Tls>, more: &str) -> Self {
        let port = free_port();
        let home = dir.join(name);
        std::fs::create_dir_all(&home).unwrap();
        let ports = match tls {
            None => format!("port {port}\n"),
            Some(Tls { authority, certificate, key }) => format!(
                "port 0\ntls-port {port}\ntls-replication yes\ntls-cluster yes\ntls-auth-clients no\n\
                 tls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\n",
                authority.display(),
                certificate.display(),
                key.display()
            ),
        };
        let text = format!(
            "bind 127.0.0.1\n{ports}dir {}\nlogfile log\nsave \"\"\nrequirepass {PASSWORD}\n{more}",
            home.display()
        );
        let settings = home.join("redis.conf");
        std::fs::write(&settings, text).unwrap();
        let mut server = Self { settings, port, child: None };
        server.start();
        server
    }

    fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.arg(&self.settings).stdin(Stdio::null()).stdout(Stdio::null());
        if self.settings.parent().unwrap().file_name().unwrap().to_str().unwrap().starts_with("sentinel") {
            command.arg("--sentinel");
        }
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self, tls: Option<&Tls>) -> String {
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// A connection to it alone, as soon as it answers.
    async fn connection(&self, tls: Option<&Tls>) -> MultiplexedConnection {
        let url = self.url(tls);
        let client = match tls {
            None => redis::Client::open(url).unwrap(),
            Some(tls) => {
                let root_cert = Some(std::fs::read(&tls.authority).unwrap());
                redis::Client::build_with_tls(url, redis::TlsCertificates { client_tls: None, root_cert }).unwrap()
            }
        };
        let until = Instant::now() + LIMIT;
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", self.settings.display()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `command` answers with a text that `is_good`. Sentinels cut connections to a server whose part changes.
async fn until(server: &Server, tls: Option<&Tls>, command: &[&str], is_good: impl Fn(&str) -> bool) {
    let until = Instant::now() + LIMIT;
    loop {
        let mut ask = redis::cmd(command[0]);
        for word in &command[1..] {
            ask.arg(*word);
        }
        let answer: redis::RedisResult<redis::Value> = ask.query_async(&mut server.connection(tls).await).await;
        let text = match answer {
            Ok(redis::Value::BulkString(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => format!("{other:?}"),
        };
        if is_good(&text) {
            return;
        }
        assert!(Instant::now() < until, "{command:?}: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn block(board: &mut PartitionBoard, active_flows: usize) {
    board.publish(&StoreBatch::default(), &EngineStats { active_flows, nodes: 1, ..EngineStats::default() });
}

/// Writes blocks as an engine does until one is on the board.
async fn publish(live: &LiveBoard, board: &mut PartitionBoard, active_flows: usize) -> u64 {
    let (until, before) = (Instant::now() + LIMIT, live.stats());
    while live.stats().published == before.published {
        let tried = live.stats();
        block(board, active_flows);
        while live.stats() == tried {
            assert!(Instant::now() < until, "{:?}", live.stats());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(Instant::now() < until, "{:?}", live.stats());
    }
    live.stats().failed - before.failed
}

fn live(url: String, tls: Option<&Tls>, prefix: &str) -> LiveBoard {
    let ca_file = tls.map(|tls| tls.authority.clone());
    let config = BoardConfig { url, ca_file, prefix: prefix.to_owned(), ..BoardConfig::default() };
    LiveBoard::new(config).unwrap()
}

async fn through_sentinels(tls: Option<&Tls>, dir: &Path) {
    let mut first = Server::new(dir, "first", tls, &format!("masterauth {PASSWORD}\n"));
    let of = format!("masterauth {PASSWORD}\nreplicaof 127.0.0.1 {}\n", first.port);
    let second = Server::new(dir, "second", tls, &of);
    until(&second, tls, &["INFO", "replication"], |text| text.contains("master_link_status:up")).await;
    let watch = format!(
        "sentinel monitor main 127.0.0.1 {} 2\nsentinel auth-pass main {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n\
         sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 1000\n",
        first.port
    );
    let sentinels: Vec<Server> = (0..3).map(|n| Server::new(dir, &format!("sentinel{n}"), tls, &watch)).collect();
    for sentinel in &sentinels {
        let knows =
            |text: &str| text.contains("sentinels=3") && text.contains("slaves=1") && text.contains("status=ok");
        until(sentinel, tls, &["INFO", "sentinel"], knows).await;
    }
    let hosts: Vec<String> = sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
    let scheme = if tls.is_some() { "rediss" } else { "redis" };
    let url = format!("{scheme}+sentinel://:{PASSWORD}@{}/main", hosts.join(","));
    let live = live(url, tls, "flows");
    let mut board = live.partition(3);
    assert_eq!(publish(&live, &mut board, 10).await, 0);
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.active_flows), (1, 10));

    // The master dies: the sentinels name another one, and the next blocks go there.
    first.kill();
    let failed = publish(&live, &mut board, 20).await;
    assert!(failed > 0, "some blocks came while there was no master");
    until(&second, tls, &["ROLE"], |text| text.contains("master")).await;
    let answer = live.read().await.unwrap();
    assert_eq!((answer.partitions, answer.active_flows), (1, 20));
    // All of them come to know, so that a question finds it whichever is asked.
    for sentinel in &sentinels {
        let named = format!("address=127.0.0.1:{},", second.port);
        until(sentinel, tls, &["INFO", "sentinel"], |text| text.contains(&named)).await;
    }
}

#[tokio::test]
async fn a_master_that_dies_is_followed_by_the_one_that_sentinels_name() {
    if !is_there() {
        return;
    }
    let (plain, by_tls) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = Tls::new(by_tls.path());
    // Side by side: most of it is waiting.
    tokio::join!(through_sentinels(None, plain.path()), through_sentinels(Some(&tls), by_tls.path()));
}

async fn in_a_cluster(tls: Option<&Tls>, dir: &Path) {
    let mut nodes = Vec::new();
    let mut buses = Vec::new();
    for n in 0..3 {
        let bus = free_port();
        let more = format!("cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\nappendonly yes\n");
        nodes.push(Server::new(dir, &format!("node{n}"), tls, &more));
        buses.push(bus);
    }
    for (n, node) in nodes.iter().enumerate() {
        let mut connection = node.connection(tls).await;
        let slots = [0u32, 5461, 10923, 16384];
        let command = |words: &[String]| {
            let mut command = redis::cmd("CLUSTER");
            for word in words {
                command.arg(word);
            }
            command
        };
        let own = ["ADDSLOTSRANGE".to_owned(), slots[n].to_string(), (slots[n + 1] - 1).to_string()];
        let () = command(&own).query_async(&mut connection).await.unwrap();
        for other in 0..n {
            let meet = ["MEET".into(), "127.0.0.1".into(), nodes[other].port.to_string(), buses[other].to_string()];
            let () = command(&meet).query_async(&mut connection).await.unwrap();
        }
    }
    let whole = |text: &str| text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3");
    for node in &nodes {
        until(node, tls, &["CLUSTER", "INFO"], whole).await;
    }
    // One node is named, the others are learned from it. The topics' boards are on all of them.
    let scheme = if tls.is_some() { "rediss" } else { "redis" };
    let url = format!("{scheme}+cluster://:{PASSWORD}@127.0.0.1:{}", nodes[0].port);
    let topics: Vec<String> = (0..8).map(|n| format!("topic{n}")).collect();
    let boards: Vec<LiveBoard> = topics.iter().map(|topic| live(url.clone(), tls, topic)).collect();
    let mut partitions: Vec<[PartitionBoard; 2]> = boards.iter().map(|b| [b.partition(0), b.partition(5)]).collect();
    for (n, (live, [one, other])) in boards.iter().zip(&mut partitions).enumerate() {
        publish(live, one, n).await;
        publish(live, other, 100).await;
        let answer = live.read().await.unwrap();
        assert_eq!((answer.partitions, answer.active_flows), (2, 100 + n as u64), "{}", topics[n]);
    }
    for node in &nodes {
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut node.connection(tls).await).await.unwrap();
        assert!(keys > 0, "a node has no board: {keys}");
    }

    // A node that is away takes its boards with it; engines do not wait, and it has the next blocks when it is back.
    nodes[2].kill();
    let mut away = 0;
    for (n, (live, [one, _])) in boards.iter().zip(&mut partitions).enumerate() {
        let before = live.stats();
        block(one, 1000 + n);
        let until = Instant::now() + LIMIT;
        while live.stats() == before {
            assert!(Instant::now() < until, "{:?}", live.stats());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        away += u64::from(live.stats().failed > before.failed);
    }
    assert!(away > 0, "no board was on the node that is away");
    nodes[2].start();
    for node in &nodes {
        until(node, tls, &["CLUSTER", "INFO"], whole).await;
    }
    for (n, (live, [one, _])) in boards.iter().zip(&mut partitions).enumerate() {
        publish(live, one, 2000 + n).await;
        assert_eq!(live.read().await.unwrap().active_flows, 2100 + n as u64, "{}", topics[n]);
    }
}

#[tokio::test]
async fn boards_are_spread_over_a_cluster_whose_nodes_come_and_go() {
    if !is_there() {
        return;
    }
    let (plain, by_tls) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = Tls::new(by_tls.path());
    // Side by side: most of it is waiting.
    tokio::join!(in_a_cluster(None, plain.path()), in_a_cluster(Some(&tls), by_tls.path()));
}
