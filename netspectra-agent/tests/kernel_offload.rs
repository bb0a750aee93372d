//! Segmentation offload and merging: what is counted is what goes over the wire.
//!
//! `s` sends through `m` to `r`. `m` is watched at both of its ends, `a0` (towards `s`) and `b0` (towards `r`). `b0` hands
//! over one segment at a time, so that what `r0` counted is the wire: the kernel's own segmentation is the reference. What
//! is forwarded differs in the time to live only, so `a0` must have counted the same. Needs root and the eBPF object.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, reason = "tests")]

mod support;

use netspectra_agent::source::xdp::{AttachMode, EgressChoice, XdpConfig, XdpSource};
use netspectra_common::abi::Direction;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;
use support::count::{Sum, object};
use support::lab::Lab;
use support::send;

const MTU_FRAME: usize = 1514;
const MULTICAST_REPORTS: Duration = Duration::from_millis(500);

/// How super-packets come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offload {
    /// The sender's stack leaves the cutting to the device, veth does not cut.
    Sender,
    /// The sender cuts, `a0` merges.
    Receiver,
    /// Nobody merges.
    None,
}

/// The links' addresses: `s0`, `a0`, `b0`, `r0`.
type Addresses = [&'static str; 4];
const V4: Addresses = ["10.1.0.1", "10.1.0.2", "10.2.0.2", "10.2.0.1"];
const V6: Addresses = ["fd01::1", "fd01::2", "fd02::2", "fd02::1"];

fn routed(offload: Offload) -> Lab {
    routed_over(offload, V4)
}

/// Switches IPv6 on for a device, which then says nothing by itself but what it has to when it gets an address.
fn switch_v6(lab: &Lab, ns: &str, dev: &str) {
    lab.inside(ns, || {
        for (what, value) in [
            ("addr_gen_mode", "1"),
            ("accept_dad", "0"),
            ("mldv2_unsolicited_report_interval", "10"),
            ("disable_ipv6", "0"),
        ] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{dev}/{what}"), value).unwrap();
        }
    });
}

fn routed_over(offload: Offload, [s0, a0, b0, r0]: Addresses) -> Lab {
    let lab = Lab::new(&["s", "m", "r"]);
    let is_v6 = s0.contains(':');
    lab.veth("s", "s0", "m", "a0");
    lab.veth("r", "r0", "m", "b0");
    let mac = |ns: &str, dev: &str| {
        let text = lab.ip(ns, &format!("-o link show {dev}"));
        text.split("link/ether ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    for (ns, dev, own, other_ns, other_dev, other) in [
        ("s", "s0", s0, "m", "a0", a0),
        ("m", "a0", a0, "s", "s0", s0),
        ("m", "b0", b0, "r", "r0", r0),
        ("r", "r0", r0, "m", "b0", b0),
    ] {
        if is_v6 {
            switch_v6(&lab, ns, dev);
            lab.ip(ns, &format!("addr add {own}/64 dev {dev} nodad"));
        } else {
            lab.ip(ns, &format!("addr add {own}/24 dev {dev}"));
        }
        lab.ip(ns, &format!("neigh replace {other} lladdr {} dev {dev} nud permanent", mac(other_ns, other_dev)));
    }
    lab.ip("s", &format!("route add default via {a0}"));
    lab.ip("r", &format!("route add default via {b0}"));
    lab.inside("m", || {
        let forwarding = if is_v6 { "ipv6/conf/all/forwarding" } else { "ipv4/ip_forward" };
        std::fs::write(format!("/proc/sys/net/{forwarding}"), "1").unwrap();
        switch_gro("a0", offload == Offload::Receiver);
        switch_gro("b0", false);
    });
    let one = |ns: &str, dev: &str| lab.ip(ns, &format!("link set dev {dev} gso_max_segs 1"));
    one("m", "b0");
    one("r", "r0");
    if offload != Offload::Sender {
        one("s", "s0");
    }
    if is_v6 {
        // Until the last report of a multicast group that came with an address (RFC 3810 section 9.11; within 20 ms here).
        std::thread::sleep(MULTICAST_REPORTS);
    }
    lab
}

/// Switches the stack's merging of received packets.
fn switch_gro(dev: &str, on: bool) {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const SET_GRO: u32 = 0x2c;
    let mut value = [SET_GRO, u32::from(on)];
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(dev.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request and the value it points to outlive the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    assert_eq!(rc, 0, "GRO on {dev}: {}", std::io::Error::last_os_error());
}

fn watch(mode: AttachMode, interfaces: &[&str]) -> XdpSource {
    let interfaces = interfaces.iter().map(|i| (*i).to_owned()).collect();
    let config = XdpConfig { interfaces, mode, egress: EgressChoice::Auto, ..XdpConfig::default() };
    XdpSource::open(&object(), &config).unwrap()
}

/// Sends `traffic` from `s` to `r`; asserts that both ends of `m` counted the wire, in both directions. Returns what was
/// counted, and the packets that `s0` says it sent (super-packets are one).
fn assert_wire(lab: &Lab, mode: AttachMode, traffic: impl FnOnce() + Send) -> (Sum, u64) {
    lab.inside("m", || {
        let mut source = watch(mode, &["a0", "b0"]);
        let before = (lab.counters("r", "r0"), lab.counters("s", "s0"));
        traffic();
        let received = || {
            let now = lab.counters("r", "r0");
            [0, 1, 2, 3].map(|n| now[n] - before.0[n])
        };
        let (mut sum, mut wire) = (Sum::default(), [0; 4]);
        sum.take_until(&mut source, "the wire", |sum, _| {
            let earlier = std::mem::replace(&mut wire, received());
            earlier == wire
                && sum.at("a0", Direction::Egress).0 == wire[2]
                && sum.at("b0", Direction::Egress).0 == wire[0]
        });
        for (iface, way, [packets, bytes]) in [
            ("b0", Direction::Egress, [wire[0], wire[1]]),
            ("a0", Direction::Ingress, [wire[0], wire[1]]),
            ("b0", Direction::Ingress, [wire[2], wire[3]]),
            ("a0", Direction::Egress, [wire[2], wire[3]]),
        ] {
            // With native XDP on the receiving end veth counts what was sent without the link header (`veth_xdp_rcv`).
            let uncounted = if mode == AttachMode::Native && wire[2] == packets && wire[3] == bytes { 14 } else { 0 };
            let bytes = bytes + uncounted * packets;
            assert_eq!(sum.at(iface, way), (packets, bytes, bytes - 14 * packets), "{iface} {way:?} {wire:?}");
        }
        let longest = sum.sizes.keys().last().copied().unwrap_or(0);
        assert!(longest <= MTU_FRAME, "a frame of {longest} bytes was never on the wire");
        assert_eq!(sum.sizes.values().sum::<u64>(), sum.seen.packets);
        (sum, lab.counters("s", "s0")[2] - before.1[2])
    })
}

fn tcp_to_r(lab: &Lab, bytes: usize) {
    tcp_to(lab, "10.2.0.1:7000", bytes);
}

fn tcp_to(lab: &Lab, to: &str, bytes: usize) {
    let to: SocketAddr = to.parse().unwrap();
    let listener = lab.inside("r", || TcpListener::bind(to).unwrap());
    lab.inside("s", || send::tcp(listener, to, bytes));
}

/// Datagrams of 11 segments, the last one shorter.
fn udp_to_r(lab: &Lab, count: usize) {
    let (from, to) = ("10.1.0.1:6000".parse().unwrap(), "10.2.0.1:6001".parse().unwrap());
    let _taker = lab.inside("r", || UdpSocket::bind(to).unwrap());
    lab.inside("s", || send::udp_segments(from, to, count, 14_100, 1400));
}

#[test]
fn super_packets_of_a_sender_count_as_their_segments_at_tc() {
    let lab = routed(Offload::Sender);
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || tcp_to_r(&lab, 3_000_000));
    let (packets, ..) = sum.at("a0", Direction::Ingress);
    assert!(sent * 2 < packets, "there were super-packets: {sent} sent, {packets} on the wire");
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || udp_to_r(&lab, 20));
    assert_eq!((sum.at("a0", Direction::Ingress).0, sent), (220, 20));
    assert_eq!(sum.at("a0", Direction::Ingress).1, 20 * (14_100 + 11 * 42));
}

#[test]
fn packets_that_the_stack_merged_count_as_they_came_at_tc() {
    let lab = routed(Offload::Receiver);
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || tcp_to_r(&lab, 3_000_000));
    assert_eq!(sum.at("a0", Direction::Ingress).0, sent, "the sender sent segments");
    assert_eq!(sum.at("a0", Direction::Ingress).1, lab.counters("s", "s0")[3]);
}

#[test]
fn native_xdp_sees_segments_whatever_the_sender_would_like() {
    for offload in [Offload::Sender, Offload::Receiver, Offload::None] {
        let lab = routed(offload);
        assert_wire(&lab, AttachMode::Native, || tcp_to_r(&lab, 1_000_000));
    }
}

#[test]
fn super_packets_of_ipv6_count_as_their_segments_as_well() {
    let lab = routed_over(Offload::Sender, V6);
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || tcp_to(&lab, "[fd02::1]:7000", 3_000_000));
    let (packets, ..) = sum.at("a0", Direction::Ingress);
    assert!(sent * 2 < packets, "there were super-packets: {sent} sent, {packets} on the wire");
    let lab = routed_over(Offload::Receiver, V6);
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || tcp_to(&lab, "[fd02::1]:7000", 3_000_000));
    assert_eq!(sum.at("a0", Direction::Ingress).0, sent, "the sender sent segments");
    let lab = routed_over(Offload::Sender, V6);
    assert_wire(&lab, AttachMode::Native, || tcp_to(&lab, "[fd02::1]:7000", 1_000_000));
}

/// Why generic XDP is no rung of the ladder.
#[test]
fn generic_xdp_counts_a_super_packet_once() {
    let lab = routed(Offload::Sender);
    lab.inside("m", || {
        let mut source = watch(AttachMode::Generic, &["a0"]);
        udp_to_r(&lab, 20);
        let mut sum = Sum::default();
        sum.take_until(&mut source, "all super-packets", |s, _| s.seen.packets >= 20);
        assert_eq!(sum.at("a0", Direction::Ingress).0, 20, "220 went over the wire");
    });
}

#[test]
fn super_packets_inside_a_tunnel_count_with_all_headers_of_each_segment() {
    let lab = routed(Offload::Sender);
    for (ns, own, other, address) in
        [("s", "10.1.0.1", "10.2.0.1", "10.9.0.1/24"), ("r", "10.2.0.1", "10.1.0.1", "10.9.0.2/24")]
    {
        lab.ip(
            ns,
            &format!(
                "link add vx0 address 02:00:00:00:09:0{} type vxlan id 7 local {own} remote {other} dstport 4789",
                &address[7..8]
            ),
        );
        lab.ip(ns, &format!("addr add {address} dev vx0"));
        lab.ip(ns, "link set vx0 up");
    }
    lab.ip("s", "neigh replace 10.9.0.2 lladdr 02:00:00:00:09:02 dev vx0 nud permanent");
    lab.ip("r", "neigh replace 10.9.0.1 lladdr 02:00:00:00:09:01 dev vx0 nud permanent");
    lab.ip("r", "link set vx0 gso_max_segs 1");
    let (sum, sent) = assert_wire(&lab, AttachMode::Tc, || {
        let to: SocketAddr = "10.9.0.2:7000".parse().unwrap();
        let listener = lab.inside("r", || TcpListener::bind(to).unwrap());
        lab.inside("s", || send::tcp(listener, to, 1_000_000));
    });
    let (packets, ..) = sum.at("a0", Direction::Ingress);
    assert!(sent * 2 < packets, "there were super-packets: {sent} sent, {packets} on the wire");
}
