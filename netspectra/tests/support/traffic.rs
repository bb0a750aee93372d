//! Real traffic between the two ends, with the numbers it must show up as.

use super::net::{Pair, enter};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::mpsc;

pub const MON_V4: &str = "10.55.0.1";
pub const PEER_V4: &str = "10.55.0.2";
pub const MON_V6: &str = "fd55::1";
pub const PEER_V6: &str = "fd55::2";

/// Sends `count` datagrams of `len` payload bytes from the peer, `port` to `port + 1`; each is answered by one of
/// `reply` bytes, so that both directions are known exactly.
pub fn udp(pair: &Pair, v6: bool, port: u16, count: usize, len: usize, reply: usize) {
    let (mon, peer): (IpAddr, IpAddr) = if v6 {
        (MON_V6.parse().unwrap(), PEER_V6.parse().unwrap())
    } else {
        (MON_V4.parse().unwrap(), PEER_V4.parse().unwrap())
    };
    std::thread::scope(|s| {
        let (ready, is_ready) = mpsc::channel();
        s.spawn(move || {
            enter(&pair.mon);
            let socket = UdpSocket::bind(SocketAddr::new(mon, port + 1)).unwrap();
            ready.send(()).unwrap();
            let mut buffer = [0; 2048];
            for _ in 0..count {
                let (_, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&vec![7; reply], from).unwrap();
            }
        });
        is_ready.recv().unwrap();
        pair.inside(&pair.peer, || {
            let socket = UdpSocket::bind(SocketAddr::new(peer, port)).unwrap();
            let mut buffer = [0; 2048];
            for _ in 0..count {
                socket.send_to(&vec![9; len], SocketAddr::new(mon, port + 1)).unwrap();
                socket.recv(&mut buffer).unwrap();
            }
        });
    });
}

/// An HTTP exchange: the peer asks, the monitored end answers with `body` bytes and closes.
pub fn http(pair: &Pair, v6: bool, body: usize) -> SocketAddr {
    let mon: IpAddr = if v6 { MON_V6.parse().unwrap() } else { MON_V4.parse().unwrap() };
    std::thread::scope(|s| {
        let (ready, is_ready) = mpsc::channel();
        s.spawn(move || {
            enter(&pair.mon);
            let listener = TcpListener::bind(SocketAddr::new(mon, 8080)).unwrap();
            ready.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![b'x'; body]).unwrap();
        });
        is_ready.recv().unwrap();
        pair.inside(&pair.peer, || {
            let mut stream = TcpStream::connect(SocketAddr::new(mon, 8080)).unwrap();
            let local = stream.local_addr().unwrap();
            stream.write_all(b"GET /index.html HTTP/1.1\r\nHost: mon\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.len() > body);
            local
        })
    })
}

/// `count` echo requests of `len` payload bytes from the peer, each answered by the kernel.
pub fn ping(pair: &Pair, v6: bool, count: usize, len: usize) {
    pair.inside(&pair.peer, || {
        let (family, protocol, kind) =
            if v6 { (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128) } else { (libc::AF_INET, libc::IPPROTO_ICMP, 8) };
        // SAFETY: plain system call; the result is checked and owned.
        let fd = unsafe { libc::socket(family, libc::SOCK_RAW, protocol) };
        assert!(fd >= 0, "raw socket: {}", std::io::Error::last_os_error());
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let socket = unsafe { UdpSocket::from(OwnedFd::from_raw_fd(fd)) };
        let to = SocketAddr::new(if v6 { MON_V6.parse().unwrap() } else { MON_V4.parse().unwrap() }, 0);
        for n in 0..count {
            let mut packet = vec![kind, 0, 0, 0, 0x55, 0xaa, (n >> 8) as u8, n as u8];
            packet.resize(8 + len, 0x33);
            if !v6 {
                let sum = checksum(&packet);
                packet[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            socket.send_to(&packet, to).unwrap();
            // The answer carries the same sequence number; what else comes (router discovery) is not ours.
            loop {
                let mut buffer = [0u8; 2048];
                let got = socket.recv(&mut buffer).unwrap();
                let icmp = if v6 { &buffer[..got] } else { &buffer[20..got] };
                let reply = if v6 { 129 } else { 0 };
                if icmp[0] == reply && icmp[6..8] == [(n >> 8) as u8, n as u8] {
                    break;
                }
            }
        }
    });
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Puts frames on the wire from the peer as they are.
pub fn raw(pair: &Pair, dev: &str, frames: &[Vec<u8>]) {
    pair.inside(&pair.peer, || super::packet_socket::raw(dev, frames));
}

/// A broadcast UDP datagram from 192.0.2.1 to 192.0.2.2, 1000 to 2000, with `tags` before it.
pub fn tagged_frame(tags: &[(u16, u16)], payload: usize) -> Vec<u8> {
    datagram(tags, 2000, &vec![0x44; payload])
}

/// The same without tags, to `port`.
pub fn udp_frame(port: u16, payload: &[u8]) -> Vec<u8> {
    datagram(&[], port, payload)
}

/// A VXLAN packet of network `vni` around `inner`.
pub fn vxlan_frame(vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    udp_frame(4789, &[&[8, 0, 0, 0, a, b, c, 0], inner].concat())
}

fn datagram(tags: &[(u16, u16)], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend([2, 0, 0, 0, 0, 1]);
    for (tpid, vid) in tags {
        f.extend(tpid.to_be_bytes());
        f.extend(vid.to_be_bytes());
    }
    f.extend([0x08, 0x00]);
    let total = (28 + payload.len()) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    f.extend(ip);
    f.extend(1000u16.to_be_bytes());
    f.extend(port.to_be_bytes());
    f.extend((8 + payload.len() as u16).to_be_bytes());
    f.extend([0, 0]);
    f.extend(payload);
    f
}
