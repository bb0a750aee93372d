//! Packet sockets count what the eBPF programs count: both watch the same interface while the same traffic passes.
//!
//! Needs root and the eBPF object. Proves: veth, loopback and tun on the running kernel. Does not prove: other drivers,
//! receive offloads of hardware.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

#[path = "../../netspectra/tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the binary, a part is used")]
mod net;
#[path = "../../netspectra/tests/support/packet_socket.rs"]
#[allow(unreachable_pub, reason = "shared with the tests of the binary")]
mod packet_socket;
#[path = "../../netspectra/tests/support/traffic.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the binary, a part is used")]
mod traffic;

use net::{MON, PEER, Pair, enter, sh};
use netspectra_agent::generation::{Generation, empty_totals, merge_totals};
use netspectra_agent::source::Source;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketError, AfPacketSource};
use netspectra_agent::source::xdp::{AttachMode, LEAST_FLOWS, XdpConfig, XdpSource};
use netspectra_common::abi::{
    Direction, FLAG_SYN_ACK_SEEN, FLAG_SYN_SEEN, FlowKey, GenTotals, LossReason, Obs, TCP_FLAGS_MASK, VLAN_PRESENT,
};
use netspectra_common::model::Counter;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads and descriptors are counted in one of the tests, so they run one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT").unwrap_or_else(|_| {
        panic!("NETSPECTRA_BPF_OBJECT is not set: run `cargo xtask test`, or name the built object in it")
    });
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

fn af_packet(iface: &str, sockets: usize) -> AfPacketSource {
    let config = AfPacketConfig { interfaces: vec![iface.into()], sockets, ..AfPacketConfig::default() };
    AfPacketSource::open(&config).unwrap_or_else(|e| panic!("{e}"))
}

fn xdp(iface: &str, mode: AttachMode) -> XdpSource {
    let config = XdpConfig { interfaces: vec![iface.into()], mode, ..XdpConfig::default() };
    XdpSource::open(&object(), &config).unwrap_or_else(|e| panic!("{e}"))
}

/// What does not depend on time, summed over generations.
#[derive(Debug, Default, PartialEq)]
struct Records {
    flows: BTreeMap<FlowKey, (u64, u64, u64, u16)>,
    hints: Vec<(FlowKey, u32, Vec<u8>)>,
}

struct Sum {
    records: Records,
    totals: Box<GenTotals>,
}

impl Sum {
    fn of(generations: impl IntoIterator<Item = Generation>) -> Self {
        let mut sum = Self { records: Records::default(), totals: empty_totals() };
        for g in generations {
            let in_flows = g.flows.iter().fold(Counter::default(), |mut c, f| {
                c.add(Counter::new(f.stats.packets, f.stats.bytes));
                c
            });
            let mut accounted = in_flows;
            g.totals.reasons.iter().for_each(|r| accounted.add(*r));
            assert_eq!(accounted, g.totals.seen, "each generation adds up by itself");
            assert_eq!(g.totals.sizes.iter().sum::<u64>() + ring_full(&g.totals), g.totals.seen.packets);
            merge_totals(&mut sum.totals, &g.totals);
            for f in &g.flows {
                let cell = sum.records.flows.entry(f.key).or_default();
                cell.0 += f.stats.packets;
                cell.1 += f.stats.bytes;
                cell.2 += f.stats.l3_bytes;
                // The other bits are the state of sequence numbers, which depends on the CPUs that saw the segments.
                cell.3 |= f.stats.tcp_flags & (TCP_FLAGS_MASK | FLAG_SYN_SEEN | FLAG_SYN_ACK_SEEN);
            }
            // Which segments open a connection depends on the CPU that saw its SYN, so those are not compared.
            let datagrams = g.hints.into_iter().filter(|h| h.seq.is_none());
            sum.records.hints.extend(datagrams.map(|h| (h.key, h.len, h.prefix)));
        }
        sum.records.hints.sort();
        sum
    }

    /// Packets, bytes and L3 bytes of the flows that `what` picks.
    fn flows(&self, what: impl Fn(&FlowKey) -> bool) -> (u64, u64, u64) {
        let of = self.records.flows.iter().filter(|(k, _)| what(k)).map(|(_, c)| c);
        of.fold((0, 0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1, sum.2 + c.2))
    }
}

fn ring_full(totals: &GenTotals) -> u64 {
    totals.reasons[LossReason::RingFull as usize].packets
}

/// The rest of a source that was detached.
fn rest(source: &mut impl Source) -> Generation {
    let g = source.generation().unwrap().unwrap();
    assert!(g.last);
    g
}

fn assert_same(by_xdp: &Sum, by_sockets: &Sum) {
    for (key, counts) in &by_xdp.records.flows {
        assert_eq!(by_sockets.records.flows.get(key), Some(counts), "packet sockets against XDP: {key:?}");
    }
    assert_eq!(by_xdp.records, by_sockets.records);
    assert_eq!(by_xdp.totals.seen, by_sockets.totals.seen);
    assert_eq!(by_xdp.totals.reasons, by_sockets.totals.reasons);
    assert_eq!(by_xdp.totals.orphan_fragments, by_sockets.totals.orphan_fragments);
    assert_eq!(by_xdp.totals.sizes.to_vec(), by_sockets.totals.sizes.to_vec(), "sizes");
}

/// Both ways watch `mon0` in `mode` while `traffic` passes; returns what XDP and what the sockets counted.
fn both(pair: &Pair, mode: AttachMode, sockets: usize, traffic: impl FnOnce()) -> (Sum, Sum) {
    enter(&pair.mon);
    let (mut kernel, mut packets) = (xdp(MON, mode), af_packet(MON, sockets));
    pair.up();
    traffic();
    pair.down();
    kernel.detach();
    packets.detach();
    let sums = (Sum::of([rest(&mut kernel)]), Sum::of([rest(&mut packets)]));
    assert!(packets.generation().unwrap().is_none(), "nothing comes after the last generation");
    sums
}

/// Every kind of traffic that the parser tells apart.
fn all_kinds(pair: &Pair) {
    traffic::udp(pair, false, 5000, 50, 100, 333);
    traffic::udp(pair, true, 5010, 30, 1200, 1);
    // Fragmented both ways: 3 fragments of a request, 2 of an answer.
    traffic::udp(pair, false, 5020, 10, 1400, 1800);
    traffic::ping(pair, false, 10, 56);
    traffic::ping(pair, true, 5, 900);
    traffic::http(pair, false, 100_000);
    traffic::http(pair, true, 1000);
    let fragment = |offset: u16, more: bool| {
        let mut f = traffic::udp_frame(9000, &[8; 64]);
        let field = offset | if more { 0x2000 } else { 0 };
        f[20..22].copy_from_slice(&field.to_be_bytes());
        f
    };
    traffic::raw(pair, PEER, &[fragment(0, true), fragment(9, true), fragment(18, false)]);
    traffic::raw(pair, PEER, &vec![traffic::tagged_frame(&[(0x8100, 100)], 50); 7]);
    traffic::raw(pair, PEER, &vec![traffic::tagged_frame(&[(0x88a8, 200), (0x8100, 30)], 60); 5]);
    traffic::raw(pair, PEER, &vec![traffic::tagged_frame(&[(0x8100, 1), (0x8100, 2), (0x8100, 3)], 60); 2]);
    let deep: Vec<(u16, u16)> = (1..10).map(|n| (0x8100, n)).collect();
    traffic::raw(pair, PEER, &vec![traffic::tagged_frame(&deep, 60); 3]);
    let query = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[3, b'o', b'r', b'g', 0, 0, 1, 0, 1]].concat();
    traffic::raw(pair, PEER, &[traffic::udp_frame(53, &query), traffic::udp_frame(53, &[7; 400])]);
    let mut lldp = vec![1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
    lldp.resize(60, 2);
    let mut bad_ip = traffic::udp_frame(1, &[0; 40]);
    bad_ip[14] = 0x42;
    traffic::raw(pair, PEER, &[lldp, bad_ip]);
}

#[test]
fn the_same_traffic_gives_the_same_records() {
    let _alone = alone();
    let pair = Pair::new();
    let (by_xdp, by_sockets) = both(&pair, AttachMode::Native, 3, || all_kinds(&pair));
    assert_same(&by_xdp, &by_sockets);
    // What is compared is there.
    let tags = |n: u16, inner: u16| {
        by_sockets
            .flows(|k| k.vlan == VLAN_PRESENT | n && k.inner_vlan == if inner == 0 { 0 } else { VLAN_PRESENT | inner })
    };
    assert_eq!(tags(100, 0), (7, 7 * (46 + 50), 7 * 78));
    assert_eq!(tags(200, 30), (5, 5 * (50 + 60), 5 * 88));
    assert_eq!(tags(1, 2), (2, 2 * (54 + 60), 2 * 88));
    assert_eq!(by_sockets.totals.reasons[LossReason::TooDeep as usize].packets, 3);
    assert_eq!(by_sockets.totals.reasons[LossReason::MalformedIp as usize].packets, 1);
    assert_eq!(by_sockets.totals.orphan_fragments, 0);
    assert_eq!(by_sockets.flows(|k| k.dst_port == 9000).0, 3, "later fragments are in their datagram's flow");
    assert_eq!(by_sockets.flows(|k| k.src_port == 5021).0, 20, "and two for each answer of 1800 bytes");
    assert_eq!(by_sockets.records.hints.len(), 2);
}

/// Sends `len` bytes over TCP to the other namespace.
fn stream(pair: &Pair, from_peer: bool, len: usize) {
    let (from, to, address) =
        if from_peer { (&pair.peer, &pair.mon, traffic::MON_V4) } else { (&pair.mon, &pair.peer, traffic::PEER_V4) };
    let listener = pair.inside(to, || TcpListener::bind((address, 8181)).unwrap());
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::copy(&mut Read::by_ref(&mut stream), &mut std::io::sink()).unwrap()
        });
        pair.inside(from, || {
            TcpStream::connect((address, 8181)).unwrap().write_all(&vec![5; len]).unwrap();
        });
        assert_eq!(reader.join().unwrap(), len as u64);
    });
}

/// Sends `count` UDP super-packets of `len` bytes from the monitored end, to be cut into `segment` bytes.
fn udp_segments(pair: &Pair, count: usize, len: usize, segment: u16) {
    let receiver = pair.inside(&pair.peer, || UdpSocket::bind((traffic::PEER_V4, 7007)).unwrap());
    pair.inside(&pair.mon, || {
        let socket = UdpSocket::bind((traffic::MON_V4, 7006)).unwrap();
        let size = libc::c_int::from(segment);
        let rc = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const size).cast(), 4)
        };
        assert_eq!(rc, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
        for _ in 0..count {
            assert_eq!(socket.send_to(&vec![6; len], (traffic::PEER_V4, 7007)).unwrap(), len);
        }
    });
    drop(receiver);
}

#[test]
fn super_packets_count_as_the_segments_that_they_are_on_the_wire() {
    let _alone = alone();
    let pair = Pair::with_offloads();
    pair.inside(&pair.mon, || net::receive_offload_on(MON));
    let buffers = pair.inside(&pair.mon, Buffers::open);
    let (by_xdp, by_sockets) = both(&pair, AttachMode::Native, 2, || {
        stream(&pair, false, 3_000_000);
        stream(&pair, true, 3_000_000);
        udp_segments(&pair, 20, 5500, 1000);
    });
    // A super-packet is one buffer: there were many both ways, and it is their segments that are in the flows.
    let (sent, received) = buffers.counts();
    for (direction, buffers) in [(Direction::Egress, sent), (Direction::Ingress, received)] {
        let (packets, bytes, _) = by_sockets.flows(|k| Obs(k.obs).direction() == direction);
        assert!(buffers < packets, "{direction:?}: {packets} packets in {buffers} buffers");
        assert!(bytes > 3_000_000, "{direction:?}: {bytes}");
    }
    assert_eq!(by_sockets.flows(|k| k.dst_port == 7007), (120, 20 * (5500 + 6 * 42), 20 * (5500 + 6 * 28)));
    assert_same(&by_xdp, &by_sockets);
}

/// A packet socket on `mon0` that only counts the buffers that pass.
struct Buffers(OwnedFd);

impl Buffers {
    /// Call it inside the namespace, as [`Buffers::counts`].
    fn open() -> Self {
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(fd >= 0, "packet socket: {}", std::io::Error::last_os_error());
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = unsafe { libc::if_nametoindex(c"mon0".as_ptr()) } as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(unsafe { libc::bind(fd, (&raw const address).cast(), len) }, 0);
        Self(socket)
    }

    /// Sent and received ones. The interface counts those that it sent.
    fn counts(&self) -> (u64, u64) {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as u32;
        let (option, fd) = (libc::PACKET_STATISTICS, self.0.as_raw_fd());
        let to = (&raw mut stats).cast();
        assert_eq!(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, option, to, &raw mut len) }, 0);
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = text.lines().find_map(|l| l.trim().strip_prefix("mon0:")).unwrap();
        let sent: u64 = line.split_whitespace().nth(9).unwrap().parse().unwrap();
        (sent, u64::from(stats.tp_packets) - sent)
    }
}

#[test]
fn loopback_counts_each_packet_once_as_xdp_does() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let (mut kernel, mut packets) = (xdp("lo", AttachMode::Auto), af_packet("lo", 2));
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:7777").unwrap());
    for _ in 0..30 {
        a.send_to(&[1; 100], "127.0.0.1:7777").unwrap();
        b.recv(&mut [0; 200]).unwrap();
    }
    // In buffers of up to 64 KiB, which count as the segments that they stand for.
    let listener = TcpListener::bind("127.0.0.1:8383").unwrap();
    let mut sender = TcpStream::connect("127.0.0.1:8383").unwrap();
    let mut receiver = listener.accept().unwrap().0;
    std::thread::scope(|s| {
        s.spawn(|| std::io::copy(&mut receiver, &mut std::io::sink()).unwrap());
        sender.write_all(&vec![1; 1_000_000]).unwrap();
        sender.shutdown(std::net::Shutdown::Both).unwrap();
    });
    drop((receiver, sender));
    kernel.detach();
    packets.detach();
    let (by_xdp, by_sockets) = (Sum::of([rest(&mut kernel)]), Sum::of([rest(&mut packets)]));
    assert_same(&by_xdp, &by_sockets);
    assert_eq!(by_sockets.flows(|k| k.dst_port == 7777), (30, 30 * 142, 30 * 128));
    assert_eq!(by_sockets.flows(|k| Obs(k.obs).direction() == Direction::Egress).0, 0);
}

#[test]
fn a_tun_interface_has_raw_ip_in_both_directions() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"tun0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    let rc = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) };
    assert_eq!(rc, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    sh("ip", &["-n", &pair.mon, "addr", "add", "10.57.0.1/24", "dev", "tun0"]);
    let mut source = af_packet("tun0", 1);
    sh("ip", &["-n", &pair.mon, "link", "set", "tun0", "up"]);
    let socket = UdpSocket::bind(("10.57.0.1", 4000)).unwrap();
    for _ in 0..9 {
        socket.send_to(&[1; 100], ("10.57.0.2", 4001)).unwrap();
    }
    // An IP packet as the other side of the tunnel would send it.
    let mut packet = traffic::udp_frame(4002, &[2; 50])[14..].to_vec();
    packet[10..12].copy_from_slice(&[0, 0]);
    for _ in 0..4 {
        (&tun).write_all(&packet).unwrap();
    }
    source.detach();
    let sum = Sum::of([rest(&mut source)]);
    let of = |port: u16, direction| {
        sum.flows(|k| k.dst_port == port && k.family == 4 && Obs(k.obs).direction() == direction)
    };
    assert_eq!(of(4001, Direction::Egress), (9, 9 * 128, 9 * 128));
    assert_eq!(of(4002, Direction::Ingress), (4, 4 * 78, 4 * 78));
    assert_eq!(sum.totals.reasons, [Counter::default(); LossReason::COUNT]);
}

#[test]
fn generations_hold_every_packet_once_while_they_are_swapped() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let mut source = af_packet(MON, 2);
    pair.up();
    const FRAMES: u64 = 30_000;
    let mut generations = Vec::new();
    std::thread::scope(|s| {
        let sender = s.spawn(|| {
            // Different ports, so that both sockets have their part.
            let frames: Vec<_> = (0..100).map(|port| traffic::udp_frame(20_000 + port, &[3; 30])).collect();
            for _ in 0..FRAMES / 100 {
                traffic::raw(&pair, PEER, &frames);
            }
        });
        while !sender.is_finished() {
            generations.push(source.generation().unwrap().unwrap());
            source.recycle().unwrap();
        }
        sender.join().unwrap();
    });
    source.detach();
    generations.push(rest(&mut source));
    assert!(generations.iter().filter(|g| !g.flows.is_empty()).count() > 2, "traffic is spread over generations");
    let sum = Sum::of(generations);
    assert_eq!(ring_full(&sum.totals), 0);
    let sent = sum.flows(|k| (20_000..20_100).contains(&k.dst_port));
    assert_eq!(sent, (FRAMES, FRAMES * 72, FRAMES * 58));
}

#[test]
fn a_generation_asks_to_end_when_its_table_is_half_full_and_a_full_one_keeps_the_totals() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let config = AfPacketConfig { interfaces: vec![MON.into()], sockets: 1, max_flows: 1, ..AfPacketConfig::default() };
    let mut source = AfPacketSource::open(&config).unwrap_or_else(|e| panic!("{e}"));
    let wake = source.wake().unwrap();
    let is_woken = |limit_ms| {
        let mut poll = libc::pollfd { fd: wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        unsafe { libc::poll(&raw mut poll, 1, limit_ms) == 1 }
    };
    let burst = |ports: std::ops::Range<u16>| {
        traffic::raw(&pair, PEER, &ports.map(|port| traffic::udp_frame(port, &[3; 30])).collect::<Vec<_>>());
    };
    pair.up();
    burst(20_000..20_100);
    let first = source.generation().unwrap().unwrap();
    assert!(!is_woken(0), "a few flows do not fill a table");
    burst(20_000..28_200);
    assert!(is_woken(10_000), "half of {LEAST_FLOWS} flows were not noticed");
    let second = source.generation().unwrap().unwrap();
    assert!(!is_woken(0), "what filled is in the generation that ended");
    burst(20_000..37_000);
    pair.down();
    source.detach();
    let sum = Sum::of([first, second, rest(&mut source)]);
    let full = sum.totals.reasons[LossReason::TableFull as usize];
    assert!(full.packets >= 17_000 - u64::from(LEAST_FLOWS), "{full:?}");
    let sent = pair.peer_counters();
    assert_eq!(sum.totals.seen.packets, sent.rx_packets + sent.tx_packets);
    assert_eq!(sum.totals.seen.bytes, sent.rx_bytes + sent.tx_bytes);
}

/// Capture threads and open descriptors of this process.
fn threads_and_descriptors() -> (usize, usize) {
    let is_ours = |task: &std::fs::DirEntry| {
        // A thread that ends meanwhile has no name any more.
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("capture-"))
    };
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|t| is_ours(t.as_ref().unwrap())).count();
    (threads, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

/// Asserts that no capture thread is left, and as many descriptors as there were.
fn assert_nothing_is_left(descriptors: usize, when: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    // The kernel says that a thread has ended a moment before it takes it off the list.
    while threads_and_descriptors().0 > 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(threads_and_descriptors(), (0, descriptors), "{when}");
}

#[test]
fn sources_leave_no_thread_and_no_descriptor_however_they_end() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let (_, descriptors) = threads_and_descriptors();
    for round in 0..12 {
        let mut source = af_packet("lo", 4);
        // A socket and an event for each thread, an event for all, and a socket to ask what devices counted.
        assert_eq!(threads_and_descriptors().1, descriptors + 10);
        match round % 3 {
            // In the middle of its work.
            0 => {}
            1 => assert!(!source.generation().unwrap().unwrap().last),
            _ => {
                source.detach();
                rest(&mut source);
            }
        }
        drop(source);
        assert_nothing_is_left(descriptors, &format!("round {round}"));
    }
}

#[test]
fn an_interface_that_goes_down_and_up_is_watched_on() {
    let _alone = alone();
    let pair = Pair::new();
    enter(&pair.mon);
    let mut source = af_packet(MON, 2);
    for _ in 0..2 {
        pair.up();
        traffic::udp(&pair, false, 6000, 20, 100, 50);
        pair.down();
    }
    source.detach();
    let sum = Sum::of([rest(&mut source)]);
    assert_eq!(sum.flows(|k| k.dst_port == 6001), (40, 40 * 142, 40 * 128));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let _alone = alone();
    let config = AfPacketConfig { interfaces: vec!["nosuch0".into()], ..AfPacketConfig::default() };
    let error = AfPacketSource::open(&config).err().unwrap();
    assert!(matches!(&error, AfPacketError::Interfaces(_)), "{error}");
    assert!(error.to_string().starts_with("no interface matches `nosuch0`"), "{error}");
    let huge = AfPacketConfig { interfaces: vec!["lo".into()], ring_bytes: usize::MAX, ..AfPacketConfig::default() };
    let (_, descriptors) = threads_and_descriptors();
    let error = AfPacketSource::open(&huge).err().unwrap().to_string();
    assert!(error.contains("ring of interface `lo`") && error.contains("`capture.ring_mib`"), "{error}");
    assert_nothing_is_left(descriptors, "after a refusal");
}
