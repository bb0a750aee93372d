//! The parts of a cluster as processes, over the servers that `cargo xtask cluster up` started, and questions to its APIs.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_netspectra");
/// Time for anything that takes a moment.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("`{variable}` is not set: expected a running server, see `cargo xtask cluster up` or `cargo xtask test`")
    })
}

/// A process of the cluster; killed when the test ends.
pub struct Part {
    child: Child,
    lines: Receiver<String>,
}

impl Part {
    pub fn start(args: &[&str]) -> Self {
        Self::by(BINARY, args)
    }

    /// Starts `program`, which becomes the part.
    pub fn by(program: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program)
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
    pub fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with `{text}` came"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Signals it.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: signals a child of this process that was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// SIGTERM, and the end that a user sees.
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
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

pub fn run(args: &[&str]) {
    let done = Command::new(BINARY).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Who kills servers is alone with them.
static SERVERS: RwLock<()> = RwLock::new(());

enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Topic, database, and a configuration of a test's own.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub config: String,
    /// Where engines listen; those that do not run are asked in vain.
    pub engines: [u16; 4],
    _turn: Turn,
}

impl Cluster {
    pub fn new(name: &str) -> Self {
        Self::over(name, &server("NETSPECTRA_KAFKA"), &server("NETSPECTRA_CLICKHOUSE"), "")
    }

    /// No other test has servers while this one lasts.
    pub fn alone(name: &str) -> Self {
        let turn = Turn::Alone(SERVERS.write().unwrap_or_else(PoisonError::into_inner));
        Self::in_turn(turn, name, &server("NETSPECTRA_KAFKA"), &server("NETSPECTRA_CLICKHOUSE"), "", "1")
    }

    /// Over servers at these addresses, with more settings of Kafka.
    pub fn over(name: &str, kafka: &str, clickhouse: &str, more: &str) -> Self {
        let turn = Turn::Shared(SERVERS.read().unwrap_or_else(PoisonError::into_inner));
        Self::in_turn(turn, name, kafka, clickhouse, more, "1")
    }

    /// Over several brokers, each message on three of them.
    pub fn replicated(name: &str, kafka: &str) -> Self {
        let turn = Turn::Shared(SERVERS.read().unwrap_or_else(PoisonError::into_inner));
        Self::in_turn(turn, name, kafka, &server("NETSPECTRA_CLICKHOUSE"), "", "3")
    }

    fn in_turn(turn: Turn, name: &str, kafka: &str, clickhouse: &str, more: &str, replicas: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unique = format!("{name}_{}", std::process::id());
        let engines = [(); 4].map(|()| free_port());
        let listening = engines.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
        let path = dir.path().display();
        let redis =
            std::env::var("NETSPECTRA_REDIS").map_or_else(|_| String::new(), |url| format!("redis = \"{url}\"\n"));
        let text = format!(
            "[kafka]\nbrokers = \"{}\"\ntopic = \"t.{unique}\"\ndead_letters = \"d.{unique}\"\ngroup = \"g.{unique}\"\n{more}\
             [clickhouse]\nurl = \"{}\"\ndatabase = \"{unique}\"\nretention_days = 10000\nwindow_retention_days = 10000\n\
             [cluster]\nengines = [{listening}]\ntoken_file = \"{path}/cluster-token\"\n{redis}\
             [api]\ntoken_file = \"{path}/token\"\n",
            kafka, clickhouse,
        );
        let config = dir.path().join("netspectra.toml");
        std::fs::write(&config, text).unwrap();
        let cluster = Self { config: config.to_str().unwrap().to_owned(), dir, engines, _turn: turn };
        let topics = [
            "admin",
            "topics",
            "--config",
            &cluster.config,
            "--create",
            "--partitions",
            "4",
            "--replication",
            replicas,
        ];
        run(&topics);
        run(&["admin", "migrate", "--config", &cluster.config]);
        cluster
    }

    pub fn engine(&self, number: usize) -> Part {
        let listen = format!("127.0.0.1:{}", self.engines[number]);
        Part::start(&["engine", "--config", &self.config, "--listen", &listen])
    }

    /// One that is known by its name when it starts again.
    pub fn named_engine(&self, number: usize) -> Part {
        self.engine_as(number, &format!("engine-{number}"))
    }

    /// The same, by a name that is given.
    pub fn engine_as(&self, number: usize, name: &str) -> Part {
        let listen = format!("127.0.0.1:{}", self.engines[number]);
        Part::start(&["engine", "--config", &self.config, "--listen", &listen, "--instance", name])
    }

    /// An API, and where it listens.
    pub fn api(&self) -> (Part, String) {
        let part = Part::start(&["api", "--config", &self.config, "--listen", "127.0.0.1:0"]);
        let line = part.wait_for("listening on http://");
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        (part, address)
    }

    pub fn agent(&self, node: &str, files: &[PathBuf]) -> Part {
        let mut args = vec!["agent", "--config", &self.config, "--node", node, "--read"];
        args.extend(files.iter().map(|file| file.to_str().unwrap()));
        Part::start(&args)
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("token")).unwrap().trim().to_owned()
    }
}

/// The body of a question, and its status. What cannot be reached at the moment, because another test has just killed it, is asked
/// again.
pub fn ask(address: &str, token: &str, question: &str) -> (u16, String) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask_once(address, token, question);
        if answer.0 != 503 || Instant::now() > until {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn ask_once(address: &str, token: &str, question: &str) -> (u16, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let url = format!("http://{address}/api/v1/{question}");
    let request = config.build().new_agent().get(&url).header("Authorization", format!("Bearer {token}"));
    let mut response = request.call().unwrap_or_else(|e| panic!("{url}: {e}"));
    // All records of a test's traffic in one page.
    let body = response.body_mut().with_config().limit(256 << 20).read_to_string().unwrap();
    (response.status().as_u16(), body)
}

pub fn ledger(address: &str, token: &str) -> Value {
    let (status, body) = ask(address, token, "ledger?from=1990-01-01T00:00:00Z&to=2100-01-01T00:00:00Z");
    match status {
        200 => serde_json::from_str(&body).unwrap(),
        // A server that was killed a moment ago.
        503 => Value::Null,
        other => panic!("{other}: {body}"),
    }
}

/// Waits until the API knows of all that the agents saw.
pub fn wait_for_all(address: &str, token: &str, packets: u64) {
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
