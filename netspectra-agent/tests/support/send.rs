//! Traffic that is known to the byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

/// A broadcast frame with tags (TPID, VID).
pub fn ethernet(tags: &[(u16, u16)], ether_type: u16, rest: &[u8]) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend([2, 0, 0, 0, 0, 1]);
    for (tpid, vid) in tags {
        f.extend(tpid.to_be_bytes());
        f.extend(vid.to_be_bytes());
    }
    f.extend(ether_type.to_be_bytes());
    f.extend(rest);
    f
}

/// An IPv4 packet from 192.0.2.1 to 192.0.2.2; `fragment` is the field of flags and offset.
pub fn ipv4(proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0];
    p.extend((20 + payload.len() as u16).to_be_bytes());
    p.extend([0x12, 0x34]);
    p.extend(fragment.to_be_bytes());
    p.extend([64, proto, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    // A bridge with netfilter drops what has no checksum.
    let sum: u32 = p.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    p[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    p.extend(payload);
    p
}

/// An IPv6 packet.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((payload.len() as u16).to_be_bytes());
    p.extend([next, 64]);
    p.extend([0x20; 16]);
    p.extend([0x21; 16]);
    p.extend(payload);
    p
}

/// A UDP datagram from port 1000.
pub fn udp(port: u16, len: usize) -> Vec<u8> {
    let mut d = 1000u16.to_be_bytes().to_vec();
    d.extend(port.to_be_bytes());
    d.extend((8 + len as u16).to_be_bytes());
    d.extend([0, 0]);
    d.extend(vec![0x55; len]);
    d
}

/// `count` frames of a UDP datagram to `port`, with `len` bytes of payload.
pub fn datagrams(count: usize, port: u16, len: usize) -> Vec<Vec<u8>> {
    vec![ethernet(&[], 0x0800, &ipv4(17, 0, &udp(port, len))); count]
}

/// Sends `bytes` over TCP from this thread's namespace to `to`, where `listener` takes them; returns when both ends have
/// seen the end.
pub fn tcp(listener: TcpListener, to: SocketAddr, bytes: usize) {
    let taker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got.len()
    });
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&vec![0x77; bytes]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the other end closes");
    assert_eq!(taker.join().unwrap(), bytes);
}

/// Sends datagrams of `segment` bytes, `len` bytes in one call, `count` times: the kernel cuts them (UDP_SEGMENT).
pub fn udp_segments(from: SocketAddr, to: SocketAddr, count: usize, len: usize, segment: u16) {
    const SOL_UDP: libc::c_int = 17;
    const UDP_SEGMENT: libc::c_int = 103;
    let socket = UdpSocket::bind(from).unwrap();
    let value = libc::c_int::from(segment);
    // SAFETY: the value outlives the call and its length is given.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            SOL_UDP,
            UDP_SEGMENT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(rc, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
    for _ in 0..count {
        assert_eq!(socket.send_to(&vec![0x66; len], to).unwrap(), len);
    }
}
