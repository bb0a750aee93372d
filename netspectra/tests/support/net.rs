//! Namespaces and links. Dropping the pair removes both namespaces, and the links with them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The monitored end.
pub const MON: &str = "mon0";
/// The other end.
pub const PEER: &str = "peer0";

/// A monitored namespace and its peer.
pub struct Pair {
    pub mon: String,
    pub peer: String,
}

/// Packets and bytes, received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

/// Runs a command that must succeed.
pub fn sh(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("`{program}` cannot start: {e}"));
    assert!(out.status.success(), "`{program} {}`: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Pair {
    /// Both links are configured and down: nothing passes until [`Pair::up`]. Offloads are off: both ends count packets of
    /// the wire.
    pub fn new() -> Self {
        let pair = Self::with_offloads();
        for (ns, dev) in [(&pair.mon, MON), (&pair.peer, PEER)] {
            pair.inside(ns, || offloads_off(dev));
        }
        pair
    }

    /// As [`Pair::new`], with the offloads that veth has.
    pub fn with_offloads() -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{n}", std::process::id());
        let pair = Self { mon: format!("nsm-{id}"), peer: format!("nsp-{id}") };
        sh("ip", &["netns", "add", &pair.mon]);
        sh("ip", &["netns", "add", &pair.peer]);
        sh("ip", &["link", "add", MON, "netns", &pair.mon, "type", "veth", "peer", "name", PEER, "netns", &pair.peer]);
        for (ns, dev, host) in [(&pair.mon, MON, 1), (&pair.peer, PEER, 2)] {
            sh("ip", &["-n", ns, "link", "set", "lo", "up"]);
            sh("ip", &["-n", ns, "addr", "add", &format!("10.55.0.{host}/24"), "dev", dev]);
            sh("ip", &["-n", ns, "addr", "add", &format!("fd55::{host}/64"), "dev", dev, "nodad"]);
        }
        pair
    }

    /// Lets traffic pass.
    pub fn up(&self) {
        sh("ip", &["-n", &self.peer, "link", "set", PEER, "up"]);
        sh("ip", &["-n", &self.mon, "link", "set", MON, "up"]);
        // The end that was up first sends only once the kernel has noticed, a moment later, that it has a carrier.
        let end = Instant::now() + Duration::from_secs(30);
        for (ns, dev) in [(&self.peer, PEER), (&self.mon, MON)] {
            while !sh("ip", &["-n", ns, "link", "show", dev]).contains("state UP") {
                assert!(Instant::now() < end, "`{dev}` in `{ns}` has no carrier");
                std::thread::yield_now();
            }
        }
    }

    /// Ends all traffic: the counters are final afterwards.
    pub fn down(&self) {
        sh("ip", &["-n", &self.mon, "link", "set", MON, "down"]);
        sh("ip", &["-n", &self.peer, "link", "set", PEER, "down"]);
    }

    /// Runs `f` in a thread inside namespace `ns`.
    pub fn inside<T: Send>(&self, ns: &str, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|s| {
            s.spawn(|| {
                enter(ns);
                f()
            })
            .join()
            .unwrap_or_else(|e| std::panic::resume_unwind(e))
        })
    }

    /// The peer's own counters.
    pub fn peer_counters(&self) -> Counters {
        let n = self.device(&self.peer, PEER);
        Counters { rx_bytes: n[0], rx_packets: n[1], tx_bytes: n[8], tx_packets: n[9] }
    }

    /// Packets that the monitored end sent, past every hook, while the other one took none.
    pub fn sent_to_nobody(&self) -> u64 {
        self.device(&self.mon, MON)[11]
    }

    /// The numbers of a device in `/proc/net/dev`.
    fn device(&self, ns: &str, dev: &str) -> Vec<u64> {
        self.inside(ns, || {
            // The file shows the namespace of the thread that opens it.
            let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let line = text.lines().find_map(|l| l.trim().strip_prefix(&format!("{dev}:"))).unwrap();
            line.split_whitespace().map(|v| v.parse().unwrap()).collect()
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for ns in [&self.mon, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}

/// Moves the calling thread into namespace `ns`.
pub fn enter(ns: &str) {
    let file = File::open(format!("/run/netns/{ns}")).unwrap();
    // SAFETY: `file` is open; only this thread's network namespace changes.
    let rc = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "setns: {}", std::io::Error::last_os_error());
}

/// Switches segmentation and receive offloads of `dev` off, so that both ends count packets of the wire.
fn offloads_off(dev: &str) {
    const TSO: u32 = 0x1f;
    const GSO: u32 = 0x24;
    for cmd in [TSO, GSO, GRO] {
        set_offload(dev, cmd, false);
    }
}

/// Lets `dev` join what it receives into super-packets.
pub fn receive_offload_on(dev: &str) {
    set_offload(dev, GRO, true);
}

/// `ETHTOOL_SGRO`.
const GRO: u32 = 0x2c;

fn set_offload(dev: &str, cmd: u32, on: bool) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    #[repr(C)]
    struct Value {
        cmd: u32,
        data: u32,
    }
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut value = Value { cmd, data: on.into() };
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(dev.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value it points to outlive the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    assert_eq!(rc, 0, "ethtool command {cmd:#x} on {dev}: {}", std::io::Error::last_os_error());
}
