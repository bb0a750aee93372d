//! The sockets of this network namespace, as the kernel lists them. Sources: sock_diag(7), `linux/inet_diag.h`.

use crate::source::xdp::netlink::{Netlink, attributes, number};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// TCP's states, a bit each, but for those that have no socket any more (TIME_WAIT) or none yet (SYN_RECV, NEW_SYN_RECV).
const WITH_SOCKET: u32 = 0xfff & !(1 << 6) & !(1 << 3);
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// `INET_DIAG_SKV6ONLY`, `INET_DIAG_CGROUP_ID` (5.7).
const V6_ONLY: u16 = 11;
const CGROUP: u16 = 21;
/// `RTM_GETADDR` and its answers' attributes.
const GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// A socket as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) proto: u8,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: Option<(IpAddr, u16)>,
    /// Of the file, 0 when no process has it any more.
    pub(super) inode: u32,
    /// Of cgroup v2; `None` of older kernels.
    pub(super) cgroup: Option<u64>,
    /// An IPv6 socket that takes no IPv4.
    pub(super) v6_only: bool,
}

/// TCP and UDP sockets, at most `most`, and whether there are more. Cost: some microseconds, and about one for each two.
///
/// # Errors
/// The kernel's.
pub(super) fn list(netlink: &mut Netlink, most: usize) -> io::Result<(Vec<Socket>, bool)> {
    let (left, more) = (Cell::new(most), Cell::new(false));
    let mut all = Vec::new();
    for proto in [TCP, UDP] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            // struct inet_diag_req_v2: every socket of a UDP that is not connected is in state CLOSE.
            let states = if proto == TCP { WITH_SOCKET & !(1 << 7) } else { u32::MAX };
            let mut request = vec![family as u8, proto, 0, 0];
            request.extend(states.to_ne_bytes());
            request.extend([0; 48]);
            all.extend(netlink.dump(BY_FAMILY, &request, |_, body| {
                let socket = socket(proto, body)?;
                if left.get() == 0 {
                    more.set(true);
                    return None;
                }
                left.set(left.get() - 1);
                Some(socket)
            })?);
        }
    }
    Ok((all, more.get()))
}

fn socket(proto: u8, body: &[u8]) -> Option<Socket> {
    let message = body.first_chunk::<MESSAGE>()?;
    let family = message[0];
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let address = |at: usize| {
        let bytes: [u8; 16] = message[at..at + 16].try_into().ok()?;
        match i32::from(family) {
            libc::AF_INET => bytes.first_chunk::<4>().map(|v4| IpAddr::from(Ipv4Addr::from(*v4))),
            // IPv4 on an IPv6 socket is IPv4 on the wire.
            libc::AF_INET6 => Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()),
            _ => None,
        }
    };
    let (local, remote) = ((address(8)?, port(4)), (address(24)?, port(6)));
    let (mut cgroup, mut v6_only) = (None, false);
    for (kind, value) in attributes(&body[MESSAGE..]) {
        match kind {
            CGROUP => cgroup = value.first_chunk::<8>().map(|id| u64::from_ne_bytes(*id)),
            V6_ONLY => v6_only = value.first() == Some(&1),
            _ => {}
        }
    }
    Some(Socket {
        proto,
        local,
        remote: (remote.1 != 0 && !remote.0.is_unspecified()).then_some(remote),
        inode: number(&message[68..])?,
        cgroup,
        v6_only,
    })
}

/// The addresses of this network namespace, at most `most`, in their order.
///
/// # Errors
/// The kernel's.
pub(super) fn local_addresses(most: usize) -> io::Result<Vec<IpAddr>> {
    // struct ifaddrmsg, all families.
    let mut all = Netlink::open(0)?.dump(GETADDR, &[0; 8], |_, body| {
        let attributes = || attributes(body.get(8..).unwrap_or_default());
        // Of a point-to-point interface IFA_ADDRESS is the peer's.
        let of = |wanted| attributes().find(|(kind, _)| *kind == wanted).and_then(|(_, value)| address(value));
        of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))
    })?;
    all.sort_unstable();
    all.dedup();
    all.truncate(most);
    Ok(all)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn sockets_of_this_process_are_listed_with_their_inodes() {
        use std::os::fd::AsRawFd;
        let inode = |fd: i32| {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse::<u32>().unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let udp = UdpSocket::bind("[::]:0").unwrap();
        let (all, more) = list(&mut Netlink::sock_diag().unwrap(), 100_000).unwrap();
        assert!(!more);
        let find = |wanted: u32| all.iter().find(|socket| socket.inode == wanted).unwrap();
        let pair = |address: std::net::SocketAddr| (address.ip(), address.port());
        let (here, there) = (pair(client.local_addr().unwrap()), pair(client.peer_addr().unwrap()));
        let found = find(inode(client.as_raw_fd()));
        assert_eq!((found.proto, found.local, found.remote), (6, here, Some(there)));
        let found = find(inode(listener.as_raw_fd()));
        assert_eq!((found.proto, found.local, found.remote), (6, there, None));
        let found = find(inode(udp.as_raw_fd()));
        assert_eq!((found.proto, found.local, found.v6_only), (17, pair(udp.local_addr().unwrap()), false));
        assert!(local_addresses(64).unwrap().contains(&"127.0.0.1".parse().unwrap()));
        let (some, more) = list(&mut Netlink::sock_diag().unwrap(), 2).unwrap();
        assert_eq!((some.len(), more), (2, true));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), proto in any::<u8>()) {
            let _ = socket(proto, &bytes);
        }
    }
}
