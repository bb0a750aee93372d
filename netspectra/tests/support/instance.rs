//! A running `netspectra run`, and questions to it by `netspectra query`.

use super::net::{MON, Pair};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_netspectra");
/// Time between two questions.
const PACE: Duration = Duration::from_millis(50);
/// Longest wait for a condition.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Instance {
    child: Child,
    ns: String,
    url: String,
    start_log: String,
    pub data: tempfile::TempDir,
    log: Option<BufReader<ChildStderr>>,
}

impl Instance {
    /// Starts one on the monitored end and waits until it says where it listens.
    pub fn start(pair: &Pair, mode: &str) -> Self {
        Self::start_on(pair, mode, tempfile::tempdir().unwrap())
    }

    /// Starts one over data that is there already.
    pub fn start_on(pair: &Pair, mode: &str, data: tempfile::TempDir) -> Self {
        Self::start_with(pair, MON, mode, data)
    }

    /// Starts one on any interface of the monitored namespace.
    pub fn start_with(pair: &Pair, iface: &str, mode: &str, data: tempfile::TempDir) -> Self {
        Self::start_as(pair, &[], iface, mode, "test", data)
    }

    /// Starts one on any interface of the monitored namespace that goes on as `user`.
    pub fn start_for(pair: &Pair, iface: &str, user: &str, data: tempfile::TempDir) -> Self {
        Self::start_told(pair, &[], iface, "auto", "test", &["--user", user], data)
    }

    /// Starts one under a node name of its own, by a program that takes privileges away, `prefix` with its arguments.
    pub fn start_as(
        pair: &Pair,
        prefix: &[&str],
        iface: &str,
        mode: &str,
        node: &str,
        data: tempfile::TempDir,
    ) -> Self {
        Self::start_told(pair, prefix, iface, mode, node, &[], data)
    }

    #[allow(clippy::too_many_arguments, reason = "what can be told")]
    fn start_told(
        pair: &Pair,
        prefix: &[&str],
        iface: &str,
        mode: &str,
        node: &str,
        more: &[&str],
        data: tempfile::TempDir,
    ) -> Self {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", pair.mon))
            .args(prefix)
            .args([
                BINARY,
                "run",
                "--iface",
                iface,
                "--mode",
                mode,
                "--listen",
                "127.0.0.1:0",
                "--node",
                node,
                "--data-dir",
            ])
            .arg(data.path())
            .args(more)
            .args(data.path().join("run.toml").exists().then(|| format!("--config={}/run.toml", data.path().display())))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let url = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "ended before it was ready:\n{seen}");
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.split_whitespace().next().unwrap().to_owned();
            }
            seen.push_str(&line);
        };
        Self { child, ns: pair.mon.clone(), url, start_log: seen, data, log: Some(log) }
    }

    /// The log lines up to the one that says where it listens.
    pub fn start_log(&self) -> &str {
        &self.start_log
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The answer to whether it is ready.
    pub fn ready(&self) -> String {
        self.get("/readyz", "")
    }

    /// The port of it.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Has it read its configuration again, and waits until it logs a line with `word`.
    pub fn reload(&mut self, word: &str) -> String {
        // SAFETY: signals the process that this test started, which has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGHUP) };
        self.wait_for_line(word)
    }

    /// Waits for a line of the log with `word`.
    pub fn wait_for_line(&mut self, word: &str) -> String {
        let log = self.log.as_mut().unwrap();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "ended before it logged `{word}`");
            if line.contains(word) {
                return line;
            }
        }
    }

    /// The answer to a question, as JSON.
    pub fn query(&self, question: &str, args: &[&str]) -> Value {
        let out = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.ns))
            .args([BINARY, "query", question, "--format", "json", "--url", &self.url, "--token-file"])
            .arg(self.data.path().join("token"))
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "query {question} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Asks until `good` holds, at most [`DEADLINE`].
    pub fn wait(&self, question: &str, args: &[&str], good: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = self.query(question, args);
            if good(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "not within {DEADLINE:?}: {question} {args:?}: {answer:#}");
            // Keeps below the API's rate limit; the condition decides, not the time.
            std::thread::sleep(PACE);
        }
    }

    /// The text of `/metrics`, once `name` has reached `value`.
    pub fn wait_for_metric(&self, name: &str, value: u64) -> String {
        let end = Instant::now() + DEADLINE;
        let token = std::fs::read_to_string(self.data.path().join("token")).unwrap();
        loop {
            let text = self.get("/metrics", token.trim());
            let now = text.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.trim().parse::<u64>().ok());
            if now >= Some(value) {
                return text;
            }
            assert!(Instant::now() < end, "`{name}` is {now:?} after {DEADLINE:?}:\n{text}");
            std::thread::sleep(PACE);
        }
    }

    /// The body of a GET request, sent from the instance's namespace.
    fn get(&self, path: &str, token: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                super::net::enter(&self.ns);
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
                );
                std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
                let mut answer = String::new();
                std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                answer
            })
            .join()
            .unwrap()
        })
    }

    /// Ends it as Ctrl-C does; returns its exit status and the rest of its log.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.end()
    }

    /// As [`Instance::stop`], and hands over the data for another instance.
    pub fn stop_keeping_data(mut self) -> (ExitStatus, tempfile::TempDir) {
        let (status, _) = self.end();
        (status, std::mem::replace(&mut self.data, tempfile::tempdir().unwrap()))
    }

    /// Waits until it ends by itself; returns its exit status and the rest of its log.
    pub fn wait_for_end(&mut self) -> (ExitStatus, String) {
        self.rest()
    }

    /// The data of one that has ended, for another one.
    pub fn give_data(&mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.data, tempfile::tempdir().unwrap())
    }

    /// `kill -9`; hands over the data for another instance.
    pub fn kill_keeping_data(mut self) -> (ExitStatus, tempfile::TempDir) {
        self.child.kill().unwrap();
        (self.child.wait().unwrap(), self.give_data())
    }

    fn end(&mut self) -> (ExitStatus, String) {
        // SAFETY: signals the process that this test started, which has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) };
        self.rest()
    }

    fn rest(&mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        if let Some(mut log) = self.log.take() {
            let _ = std::io::Read::read_to_string(&mut log, &mut text);
        }
        (self.child.wait().unwrap(), text)
    }
}

impl Drop for Instance {
    /// Ends it as SIGTERM does, because a kill leaves the kernel counting.
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // SAFETY: signals the process that this test started, which has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let end = Instant::now() + DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(PACE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
