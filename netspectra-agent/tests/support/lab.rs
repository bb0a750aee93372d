//! Network namespaces. Dropping the lab removes them, and the links with them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Some namespaces, called by short names.
pub struct Lab {
    id: String,
    names: Vec<String>,
}

/// Runs a command line that must succeed; returns what it prints.
pub fn sh(line: &str) -> String {
    let (ok, text) = try_sh(line);
    assert!(ok, "`{line}`: {text}");
    text
}

/// Runs a command line; whether it succeeded, and what it printed.
pub fn try_sh(line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let out = Command::new(program).args(words).output().unwrap_or_else(|e| panic!("`{program}` cannot start: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

impl Lab {
    /// Makes the namespaces. IPv6 is off in them, so that nobody speaks unasked.
    pub fn new(names: &[&str]) -> Self {
        let id = format!("attach{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { id, names: names.iter().map(|n| (*n).to_owned()).collect() };
        for name in names {
            sh(&format!("ip netns add {}", lab.path(name)));
            lab.inside(name, || {
                for which in ["all", "default"] {
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1").unwrap();
                }
            });
        }
        lab
    }

    /// Two namespaces, `mon` with `mon0` and `peer` with `peer0`, the ends of a veth pair that is up, without addresses.
    pub fn pair() -> Self {
        let lab = Self::new(&["mon", "peer"]);
        lab.veth("mon", "mon0", "peer", "peer0");
        lab
    }

    /// A veth pair that is up.
    pub fn veth(&self, ns: &str, dev: &str, other: &str, other_dev: &str) {
        let (short, other_short) = (ns, other);
        let (ns, other) = (self.path(ns), self.path(other));
        sh(&format!("ip link add {dev} netns {ns} type veth peer name {other_dev} netns {other}"));
        sh(&format!("ip -n {ns} link set {dev} up"));
        sh(&format!("ip -n {other} link set {other_dev} up"));
        self.wait_running(short, dev);
        self.wait_running(other_short, other_dev);
    }

    /// Waits until a link that is up carries packets: the kernel puts its queue in place some time after the carrier came.
    pub fn wait_running(&self, ns: &str, dev: &str) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !self.ip(ns, &format!("-o link show {dev}")).contains("state UP") {
            assert!(std::time::Instant::now() < end, "`{dev}` in `{ns}` does not come up within 20 s");
        }
    }

    /// `ip` in namespace `ns`.
    pub fn ip(&self, ns: &str, line: &str) -> String {
        sh(&format!("ip -n {} {line}", self.path(ns)))
    }

    /// `tc` in namespace `ns`.
    pub fn tc(&self, ns: &str, line: &str) -> String {
        sh(&format!("tc -n {} {line}", self.path(ns)))
    }

    /// Runs `f` in a thread inside namespace `ns`.
    pub fn inside<T: Send>(&self, ns: &str, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|s| {
            let thread = s.spawn(|| {
                self.enter(ns);
                f()
            });
            thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
        })
    }

    /// Moves the calling thread into namespace `ns`.
    pub fn enter(&self, ns: &str) {
        let file = File::open(format!("/run/netns/{}", self.path(ns))).unwrap();
        // SAFETY: `file` is open; only this thread's network namespace changes.
        let rc = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(rc, 0, "setns: {}", std::io::Error::last_os_error());
    }

    /// What `dev` in `ns` counted: received packets and bytes, sent packets and bytes.
    pub fn counters(&self, ns: &str, dev: &str) -> [u64; 4] {
        self.inside(ns, || {
            let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let line = text.lines().find_map(|l| l.trim().strip_prefix(&format!("{dev}:"))).unwrap();
            let n: Vec<u64> = line.split_whitespace().map(|v| v.parse().unwrap()).collect();
            [n[1], n[0], n[9], n[8]]
        })
    }

    /// The full name of a namespace.
    pub fn path(&self, ns: &str) -> String {
        format!("{}-{ns}", self.id)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for ns in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &self.path(ns)]).status();
        }
    }
}
