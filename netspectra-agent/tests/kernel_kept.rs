//! What a process that is killed leaves in the kernel, and what the next one makes of it: a death after every step, by
//! dropping the source there, which does to pinned state what a kill does.
//!
//! Needs root, a BPF file system and the eBPF object. Packets come by `BPF_PROG_TEST_RUN` or over the loopback interface
//! of a network namespace. Does not prove: real kills (see `netspectra/tests/kernel_kill.rs`), a power failure, which
//! takes the kernel's memory with it.
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{
    AttachMode, EgressChoice, Step, XdpConfig, XdpError, XdpSource, give_up, instances, instances_folder,
};
use netspectra_common::abi::Counter;
use netspectra_common::model::{BusMessage, ManifestHash, NicDelta};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Tests that look at what the whole kernel holds come one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// An instance of its own; nothing of it stays, however the test ends.
struct Instance(String);

impl Instance {
    fn new() -> Self {
        Self(format!("test-kept-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn dir(&self) -> PathBuf {
        instances_folder().unwrap().join(&self.0)
    }

    fn config(&self) -> XdpConfig {
        XdpConfig { instance: Some(self.0.clone()), ..XdpConfig::default() }
    }

    fn load(&self) -> XdpSource {
        XdpSource::load(&object(), &self.config()).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = give_up(&self.0);
    }
}

/// A network namespace with nothing but its loopback interface, entered by the calling thread until it ends.
struct Namespace(String);

impl Namespace {
    fn enter() -> Self {
        let name = format!("durable-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        let this = Self(name);
        assert!(Command::new("ip").args(["-n", &this.0, "link", "set", "lo", "up"]).status().unwrap().success());
        let file = File::open(format!("/run/netns/{}", this.0)).unwrap();
        // SAFETY: `file` is open; only this thread's network namespace changes.
        assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        this
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// An Ethernet frame with an IPv4 UDP packet from `port`, 42 bytes.
fn frame(port: u16) -> Vec<u8> {
    let mut f = vec![0u8; 12];
    f.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    f.extend(port.to_be_bytes());
    f.extend([0, 99, 0, 8, 0, 0]);
    f
}

/// What was seen, packets by source port, the manifest's hash (which stands for everything it says), and the hash that it
/// carries.
type Kept = (Counter, BTreeMap<u16, u64>, ManifestHash, Option<ManifestHash>);

/// What a bus keeps of generations: each once, by epoch and number; one that comes again must be the same.
#[derive(Default)]
struct Bus {
    generations: BTreeMap<(u64, u64), Kept>,
    /// What devices gained, of each generation once.
    nics: Vec<NicDelta>,
    again: usize,
}

impl Bus {
    /// Reads the next generation of `source` and keeps it.
    fn take(&mut self, source: &mut XdpSource) {
        let id = (source.epoch(), source.next_generation());
        let mut drain = Drain::new("n".into(), id.0, 100).from_generation(id.1, source.previous());
        let g = source.generation().unwrap().unwrap();
        let flows = g.flows.iter().map(|d| (d.key.src_port, d.stats.packets)).collect();
        let (mut booked, seen) = (Counter::default(), g.totals.seen);
        g.flows.iter().for_each(|d| booked.add(Counter::new(d.stats.packets, d.stats.bytes)));
        g.totals.reasons.iter().for_each(|r| booked.add(*r));
        assert_eq!(seen, booked, "the residual of {id:?} is 0");
        let nics = g.nics.clone();
        let Some(BusMessage::Manifest(manifest)) = drain.cut(g).pop() else { panic!("no manifest") };
        source.sent(manifest.hash());
        let new = (seen, flows, manifest.hash(), manifest.previous);
        match self.generations.get(&id) {
            Some(old) => {
                assert_eq!(*old, new, "{id:?} comes again as it was");
                self.again += 1;
            }
            None => {
                self.generations.insert(id, new);
                self.nics.extend(nics);
            }
        }
    }

    fn seen(&self) -> Counter {
        let mut sum = Counter::default();
        self.generations.values().for_each(|g| sum.add(g.0));
        sum
    }

    /// Every manifest of a run carries the hash of the one before it.
    fn assert_chained(&self) {
        let mut before: Option<(u64, ManifestHash)> = None;
        for ((epoch, number), (_, _, hash, previous)) in &self.generations {
            let expected = before.filter(|(of, _)| of == epoch).map(|(_, hash)| hash);
            assert_eq!(*previous, expected, "generation {number} of {epoch}");
            before = Some((*epoch, *hash));
        }
    }

    /// Packets of the flow from `port`.
    fn packets(&self, port: u16) -> u64 {
        self.generations.values().filter_map(|g| g.1.get(&port)).sum()
    }
}

struct Death;

/// Runs `f` until `source` has done `step`; the source is gone then, as after a kill.
fn dies_after(step: Step, mut source: XdpSource, f: impl FnOnce(&mut XdpSource)) {
    source.on_step(move |done| {
        if done == step {
            std::panic::resume_unwind(Box::new(Death));
        }
    });
    let died = catch_unwind(AssertUnwindSafe(move || f(&mut source)));
    assert!(died.is_err_and(|e| e.is::<Death>()), "{step:?} is reached");
}

#[test]
fn a_death_after_any_step_of_a_generation_loses_nothing_and_doubles_nothing() {
    let steps = [Step::Ending, Step::Told, Step::Still, Step::Frozen, Step::Clearing, Step::Emptied, Step::Clean];
    for step in steps {
        let instance = Instance::new();
        let mut bus = Bus::default();
        let mut source = instance.load();
        let epoch = source.epoch();
        source.test_runner().unwrap().run(&frame(1), 100).unwrap();
        bus.take(&mut source);
        source.recycle().unwrap();
        let runner = source.test_runner().unwrap();
        runner.run(&frame(2), 200).unwrap();
        dies_after(step, source, |s| {
            bus.take(s);
            s.recycle().unwrap();
        });
        // The programs count on while nobody is there.
        runner.run(&frame(3), 300).unwrap();
        let mut source = instance.load();
        assert_eq!(source.epoch(), epoch, "after {step:?}");
        source.test_runner().unwrap().run(&frame(4), 400).unwrap();
        for _ in 0..3 {
            bus.take(&mut source);
            source.recycle().unwrap();
        }
        let numbers: Vec<u64> = bus.generations.keys().map(|(_, n)| *n).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "after {step:?}");
        assert_eq!(bus.seen(), Counter::new(1000, 42_000), "after {step:?}");
        bus.assert_chained();
        for port in 1..=4 {
            assert_eq!(bus.packets(port), u64::from(port) * 100, "port {port} after {step:?}");
        }
    }
}

#[test]
fn a_generation_that_was_sent_comes_again_the_same_until_it_is_recycled() {
    let instance = Instance::new();
    let mut bus = Bus::default();
    for life in 1..=5 {
        let mut source = instance.load();
        source.test_runner().unwrap().run(&frame(life), 10).unwrap();
        bus.take(&mut source);
    }
    assert_eq!(bus.again, 4);
    assert_eq!(bus.seen(), Counter::new(10, 420));
    let mut source = instance.load();
    for _ in 0..2 {
        bus.take(&mut source);
        source.recycle().unwrap();
    }
    assert_eq!(bus.seen(), Counter::new(50, 2100));
    bus.assert_chained();
}

#[test]
fn an_instance_has_one_process_at_a_time() {
    let instance = Instance::new();
    let source = instance.load();
    assert!(instances().contains(&instance.0));
    let second = XdpSource::load(&object(), &instance.config()).err().unwrap();
    assert!(matches!(second, XdpError::Busy { .. }), "{second}");
    assert!(matches!(give_up(&instance.0), Err(XdpError::Busy { .. })));
    drop(source);
    instance.load();
}

#[test]
fn giving_up_says_how_many_packets_and_leaves_nothing() {
    let instance = Instance::new();
    let mut source = instance.load();
    let runner = source.test_runner().unwrap();
    runner.run(&frame(1), 30).unwrap();
    let _ = source.generation().unwrap();
    runner.run(&frame(1), 40).unwrap();
    drop(source);
    let left = give_up(&instance.0).unwrap().unwrap();
    assert_eq!((left.hooks, left.given_up), (0, Counter::new(70, 70 * 42)));
    assert!(!instance.dir().exists());
    assert_eq!(give_up(&instance.0).unwrap(), None);
}

#[test]
fn what_another_version_left_is_refused_and_can_be_given_up() {
    let instance = Instance::new();
    let mut source = instance.load();
    source.test_runner().unwrap().run(&frame(1), 30).unwrap();
    drop(source);
    let state = aya::maps::MapData::from_pin(instance.dir().join("state")).unwrap();
    let size = state.info().unwrap().value_size() as usize;
    let mut bytes = vec![0u8; size];
    element(1, &state, &mut bytes);
    // The version of the layout between programs and agent.
    bytes[12..16].copy_from_slice(&77u32.to_ne_bytes());
    element(2, &state, &mut bytes);
    let error = XdpSource::load(&object(), &instance.config()).err().unwrap().to_string();
    assert!(
        error.contains("was left by another version of the agent (version 77.") && error.contains("netspectra detach"),
        "{error}"
    );
    assert_eq!(give_up(&instance.0).unwrap().unwrap().given_up, Counter::new(30, 30 * 42));
    instance.load();
}

/// `BPF_MAP_LOOKUP_ELEM` (1) or `BPF_MAP_UPDATE_ELEM` (2) of element 0.
fn element(command: libc::c_long, map: &aya::maps::MapData, value: &mut [u8]) {
    use std::os::fd::AsFd;
    let key = 0u32;
    let attr = [map.fd().as_fd().as_raw_fd() as u64, (&raw const key) as u64, value.as_mut_ptr() as u64, 0];
    // SAFETY: the attribute is a whole one for these commands; `value` has the map's value size.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of_val(&attr)) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn an_object_of_another_version_is_refused_and_harms_nothing_that_was_left() {
    let instance = Instance::new();
    let mut source = instance.load();
    source.test_runner().unwrap().run(&frame(1), 30).unwrap();
    drop(source);
    let mut other = object();
    let name = format!("ABI_{}\0", netspectra_common::abi::ABI_VERSION).into_bytes();
    let at: Vec<usize> = other.windows(name.len()).enumerate().filter(|(_, w)| **w == name).map(|(i, _)| i).collect();
    assert!(!at.is_empty());
    at.iter().for_each(|i| other[i + 4] = b'9');
    let error = XdpSource::load(&other, &instance.config()).err().unwrap();
    assert!(matches!(error, XdpError::Object { .. }), "{error}");
    let mut bus = Bus::default();
    bus.take(&mut instance.load());
    assert_eq!(bus.seen(), Counter::new(30, 30 * 42));
}

#[test]
fn the_rest_of_a_start_that_was_cut_short_is_removed() {
    let instance = Instance::new();
    fs::create_dir_all(instance.dir()).unwrap();
    let map = instance.load();
    drop(map);
    fs::remove_file(instance.dir().join("state")).unwrap();
    let mut source = instance.load();
    assert_eq!(source.next_generation(), 0);
    assert!(!source.is_adopted());
    source.test_runner().unwrap().run(&frame(1), 5).unwrap();
    let mut bus = Bus::default();
    bus.take(&mut source);
    assert_eq!(bus.seen(), Counter::new(5, 210));
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let instance = Instance::new();
    let config = XdpConfig { interfaces: vec!["no-such-iface".into()], ..instance.config() };
    assert!(XdpSource::open(&object(), &config).is_err());
    assert!(!instance.dir().exists());
    // But what was left before stays.
    drop(instance.load());
    assert!(XdpSource::open(&object(), &config).is_err());
    assert!(instance.load().is_adopted());
}

/// Sends `n` datagrams to itself over the loopback interface.
fn send(n: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    for _ in 0..n {
        socket.send_to(b"12345678", to).unwrap();
        socket.recv(&mut [0; 64]).unwrap();
    }
}

fn attached_config(instance: &Instance) -> XdpConfig {
    XdpConfig { interfaces: vec!["lo".into()], mode: AttachMode::Generic, ..instance.config() }
}

#[test]
fn hooks_stay_over_a_death_are_taken_over_and_go_at_the_end() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::spawn(|| {
        let instance = Instance::new();
        let _namespace = Namespace::enter();
        let config = attached_config(&instance);
        let mut bus = Bus::default();
        for step in [Step::Frozen, Step::Attached, Step::Detached, Step::Clean] {
            let mut source = XdpSource::open(&object(), &config).unwrap();
            send(10);
            if step == Step::Attached {
                drop(source);
            } else {
                dies_after(step, source, |s| {
                    bus.take(s);
                    if step == Step::Detached {
                        s.recycle().unwrap();
                        s.detach();
                    }
                    s.recycle().unwrap();
                });
            }
            if step != Step::Detached {
                send(10);
            }
            source = XdpSource::open(&object(), &config).unwrap();
            assert!(source.is_adopted());
            bus.take(&mut source);
            source.recycle().unwrap();
        }
        let mut source = XdpSource::open(&object(), &config).unwrap();
        send(10);
        source.detach();
        // Nothing counts any more.
        send(10);
        bus.take(&mut source);
        source.recycle().unwrap();
        bus.take(&mut source);
        source.recycle().unwrap();
        assert!(!instance.dir().exists(), "the end leaves nothing");
        // An IPv4 UDP packet of 8 bytes over Ethernet.
        assert_eq!(bus.seen(), Counter::new(80, 80 * 50));
        bus.assert_chained();
        let gained: u64 = bus.nics.iter().map(|n| n.gained.rx_packets).sum();
        let bytes: u64 = bus.nics.iter().map(|n| n.gained.tx_bytes).sum();
        // One run goes on over three deaths, and each of its generations says what the device gained in it, also while
        // nobody was there. The ten after the hooks went are seen by the device alone, which counts
        // without the Ethernet header on loopback.
        assert_eq!((gained, bytes, bus.nics.iter().filter(|n| n.reset).count()), (90, 90 * 36, 0));
    })
    .join()
    .unwrap();
}

#[test]
fn giving_up_detaches() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::spawn(|| {
        let instance = Instance::new();
        let _namespace = Namespace::enter();
        drop(XdpSource::open(&object(), &attached_config(&instance)).unwrap());
        send(7);
        let left = give_up(&instance.0).unwrap().unwrap();
        assert_eq!((left.hooks, left.given_up), (1, Counter::new(7, 350)));
        // Nobody holds the hook: another instance, which does not share the first one's state, can have it.
        let mut source =
            XdpSource::open(&object(), &XdpConfig { instance: None, ..attached_config(&instance) }).unwrap();
        send(1);
        let mut bus = Bus::default();
        bus.take(&mut source);
        assert_eq!(bus.seen(), Counter::new(1, 50));
    })
    .join()
    .unwrap();
}

#[test]
fn a_filter_at_clsact_is_found_again_and_not_doubled() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::spawn(|| {
        let instance = Instance::new();
        let namespace = Namespace::enter();
        let ip = |args: &[&str]| {
            let out = Command::new("ip").args(["-n", &namespace.0]).args(args).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        ip(&["link", "add", "dur0", "type", "veth", "peer", "name", "dur1"]);
        ip(&["link", "set", "dur0", "up"]);
        ip(&["link", "set", "dur1", "up"]);
        ip(&["addr", "add", "10.77.0.1/24", "dev", "dur0"]);
        ip(&["neigh", "add", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", "dur0"]);
        let config = XdpConfig {
            interfaces: vec!["dur0".into()],
            mode: AttachMode::Generic,
            egress: EgressChoice::Clsact,
            ..instance.config()
        };
        let filters = || {
            let out = Command::new("tc").args(["-n", &namespace.0, "filter", "show", "dev", "dur0", "egress"]).output();
            String::from_utf8(out.unwrap().stdout).unwrap().matches(" handle ").count()
        };
        let mut bus = Bus::default();
        let socket = UdpSocket::bind("10.77.0.1:4000").unwrap();
        for _ in 0..4 {
            let mut source = XdpSource::open(&object(), &config).unwrap();
            assert_eq!(filters(), 1);
            for _ in 0..10 {
                socket.send_to(b"12345678", "10.77.0.2:9").unwrap();
            }
            bus.take(&mut source);
            source.recycle().unwrap();
        }
        assert_eq!(bus.packets(4000), 40);
        // What TCX would do comes on top: a filter that is there stays the hook.
        let auto = XdpConfig { egress: EgressChoice::Auto, ..config };
        let mut source = XdpSource::open(&object(), &auto).unwrap();
        socket.send_to(b"12345678", "10.77.0.2:9").unwrap();
        bus.take(&mut source);
        source.recycle().unwrap();
        assert_eq!(bus.packets(4000), 41);
        source.detach();
        assert_eq!(filters(), 0);
    })
    .join()
    .unwrap();
}
