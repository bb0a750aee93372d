//! Packets whose number and lengths on the wire are known before they are sent.

use anyhow::{Context as _, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Ethernet, IPv4 and UDP headers.
const HEADERS4: u64 = 14 + 20 + 8;
/// Ethernet, IPv6 and UDP headers.
const HEADERS6: u64 = 14 + 40 + 8;
/// IPv4 payload of a fragment on a link with an MTU of 1,500: a multiple of 8.
const FRAGMENT: u64 = 1480;

/// Where the packets go: to everyone on the link, so that no address has to be resolved.
const TO4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 255);
const TO6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x6e65, 0x7473);

/// One kind of packets of one flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// UDP destination port: tells the bursts apart.
    pub(super) port: u16,
    /// Where IPv4 packets go.
    to: Ipv4Addr,
    v6: bool,
    datagrams: u64,
    payload: u64,
    /// Bytes of payload in each packet of a segmentation-offload super-packet; 0 for none.
    segment: u64,
}

/// Everything that is sent. Segmentation offload only where the hook sees segments or super-packets by their parts:
/// generic XDP sees the super-packet as one.
pub(super) fn bursts(offload: bool) -> Vec<Burst> {
    let plain = Burst { port: 4000, to: TO4, v6: false, datagrams: 1000, payload: 100, segment: 0 };
    let mut all = vec![
        plain,
        Burst { port: 4001, payload: 1, ..plain },
        Burst { port: 4002, datagrams: 50, payload: 4000, ..plain },
        Burst { port: 4003, v6: true, datagrams: 500, ..plain },
        Burst { port: 53, datagrams: 20, payload: 60, ..plain },
    ];
    if offload {
        all.push(Burst { port: 4004, datagrams: 20, payload: 5500, segment: 1000, ..plain });
    }
    all
}

impl Burst {
    /// Datagrams of 100 bytes to the network of `to`, a broadcast address.
    pub(super) const fn datagrams(port: u16, to: Ipv4Addr, datagrams: u64) -> Self {
        Self { port, to, v6: false, datagrams, payload: 100, segment: 0 }
    }

    /// The same on the link that the machine begins with.
    pub(super) const fn on_the_link(port: u16, datagrams: u64) -> Self {
        Self::datagrams(port, TO4, datagrams)
    }

    /// Packets and bytes on the wire, L2 without FCS.
    pub(super) fn expected(&self) -> (u64, u64) {
        let (headers, datagram) = match self.v6 {
            true => (HEADERS6, self.payload),
            false => (HEADERS4, self.payload),
        };
        if self.segment != 0 {
            let segments = datagram.div_ceil(self.segment);
            return (self.datagrams * segments, self.datagrams * (datagram + segments * headers));
        }
        if datagram + 8 <= FRAGMENT {
            return (self.datagrams, self.datagrams * (datagram + headers));
        }
        // The UDP header is in the first fragment only; the others have Ethernet's and IP's.
        let fragments = (datagram + 8).div_ceil(FRAGMENT);
        (self.datagrams * fragments, self.datagrams * (datagram + 8 + fragments * (HEADERS4 - 8)))
    }

    /// Sends it on the interface with index `ifindex`.
    pub(super) fn send(&self, ifindex: u32) -> Result<()> {
        let payload = vec![0u8; self.payload as usize];
        let socket = match self.v6 {
            true => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
            false => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        }
        .context("cannot make a socket")?;
        if self.segment != 0 {
            segment(&socket, self.segment as libc::c_int)?;
        }
        socket.set_broadcast(true)?;
        for n in 0..self.datagrams {
            let sent = match self.v6 {
                true => socket.send_to(&payload, SocketAddrV6::new(TO6, self.port, 0, ifindex)),
                false => socket.send_to(&payload, SocketAddrV4::new(self.to, self.port)),
            };
            sent.with_context(|| format!("cannot send datagram {n} to port {}", self.port))?;
        }
        Ok(())
    }
}

/// Asks for segmentation by the kernel (`UDP_SEGMENT`, Linux 4.18).
fn segment(socket: &UdpSocket, bytes: libc::c_int) -> Result<()> {
    // SAFETY: the option's value is one live `int`, and its size is stated.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("UDP_SEGMENT") }
}
