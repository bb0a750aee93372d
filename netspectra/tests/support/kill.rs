//! `netspectra run` that is killed, and traffic that goes on meanwhile.

use super::instance::BINARY;
use super::net::{MON, Pair, enter};
use super::traffic::{MON_V4, PEER_V4};
use netspectra_agent::source::xdp::instances_folder;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Flows in each direction.
pub const FLOWS: u16 = 24;
const FIRST_PORT: u16 = 20_000;
/// Pause after each flow had a packet, in each direction.
const PAUSE: Duration = Duration::from_millis(1);

/// A process that will be killed.
pub struct Victim {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Victim {
    /// Starts it over `data`, in the namespace of the calling thread's `pair`.
    pub fn start(pair: &Pair, node: &str, data: &Path) -> Self {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", pair.mon))
            .args([BINARY, "run", "--iface", MON, "--mode", "native", "--listen", "127.0.0.1:0", "--node", node])
            .arg("--data-dir")
            .arg(data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || log.lines().map_while(Result::ok).all(|line| to.send(line).is_ok()));
        Self { child, lines, said: Vec::new() }
    }

    /// Whether it says where it listens within `time`. It must not end by itself.
    pub fn is_ready_within(&mut self, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let is_ready = line.contains("listening on ");
                    self.said.push(line);
                    if is_ready {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("it ended by itself:\n{}", self.said.join("\n")),
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes away what a test that failed left in the kernel.
pub struct Cleanup(pub String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let all = instances_folder().and_then(std::fs::read_dir).into_iter().flatten().flatten();
        for name in all.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(&self.0)) {
            let _ = Command::new(BINARY).args(["detach", "--instance", &name]).status();
        }
    }
}

/// Datagrams both ways over the same sockets, from its start until it is stopped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    pub fn start(pair: &Pair) -> Self {
        Self::paced(pair, PAUSE)
    }

    /// With a pause of its own after each flow had a packet.
    pub fn paced(pair: &Pair, pause: Duration) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = [(&pair.peer, PEER_V4, MON_V4), (&pair.mon, MON_V4, PEER_V4)].map(|(ns, from, to)| {
            let (ns, stop, sent) = (ns.clone(), stop.clone(), sent.clone());
            std::thread::spawn(move || {
                enter(&ns);
                // What arrives is never read: a full socket is no answer, and the counters are those of the link.
                let sockets: Vec<UdpSocket> =
                    (0..FLOWS).map(|n| UdpSocket::bind((from, FIRST_PORT + n)).unwrap()).collect();
                let mut round = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    for (n, socket) in (0..FLOWS).zip(&sockets) {
                        round += 1;
                        // A neighbour that is not resolved yet costs packets before they are on the wire.
                        if socket.send_to(&[7; 512][..round % 512], (to, FIRST_PORT + n)).is_ok() {
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    std::thread::sleep(pause);
                }
            })
        });
        Self { stop, sent, threads: threads.into() }
    }

    /// Ends it; the number of datagrams that were sent.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|t| t.join().unwrap());
        self.sent.load(Ordering::Relaxed)
    }
}

/// Numbers below `n`, evenly; not repeatable, which is the purpose.
pub fn random(n: u64) -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    u64::from_ne_bytes(bytes) % n
}
