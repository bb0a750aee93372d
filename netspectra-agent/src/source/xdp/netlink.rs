//! Netlink, of routing and of sockets: requests, dumps, and notices. Messages are read with bounds checked; nothing is kept.
//!
//! Sources: RFC 3549; `include/uapi/linux/netlink.h`, `rtnetlink.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const HEADER: usize = 16;
/// The kernel fills at most 32 KiB of a dump into a datagram; notices are smaller.
const ROOM: usize = 65_536;
/// Dumps that were interrupted by changes are asked for again, so often at most.
const DUMPS: usize = 5;

/// A socket in the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket that gets the notices of `groups` (a bit for each), 0 for none.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn open(groups: u32) -> io::Result<Self> {
        Self::of(libc::NETLINK_ROUTE, groups)
    }

    /// Opens a socket that is asked about sockets (sock_diag(7)).
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn sock_diag() -> io::Result<Self> {
        Self::of(libc::NETLINK_SOCK_DIAG, 0)
    }

    fn of(protocol: libc::c_int, groups: u32) -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked and owned.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an all-zero address is a valid one: the kernel chooses the port.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups;
        let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address outlives the call and its length is given.
        let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        if rc == 0 { Ok(Self { fd, sequence: 0 }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a request and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's word on the request.
    pub(crate) fn request(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, libc::NLM_F_ACK as u16, body)?;
        self.receive(&mut |_, _| {}).map(drop)
    }

    /// Asks for all objects of a kind and hands each message's type and body to `each`.
    ///
    /// # Errors
    /// The kernel's; when objects change faster than they can be listed.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        each: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMPS {
            let mut all = Vec::new();
            self.send(kind, libc::NLM_F_DUMP as u16, body)?;
            if self.receive(&mut |kind, body| all.extend(each(kind, body)))? {
                return Ok(all);
            }
        }
        Err(io::Error::other("the list changed each time that it was read"))
    }

    /// Throws away the notices that came; whether there were any. Those that found no room count as well.
    pub(crate) fn had_notices(&self) -> bool {
        let mut any = false;
        let mut room = [0u8; 512];
        loop {
            // SAFETY: the buffer outlives the call, which writes at most its length; the rest of a notice is dropped.
            let got =
                unsafe { libc::recv(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
            let lost = got < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
            if got <= 0 && !lost {
                return any;
            }
            any = true;
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        // SAFETY: the message outlives the call and its length is given.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent == message.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Reads the answers to the last request up to their end; false when the list is not consistent.
    fn receive(&mut self, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut room = vec![0u8; ROOM];
        let mut consistent = true;
        loop {
            // SAFETY: the buffer outlives the call, which writes at most its length and returns the message's.
            let got = unsafe { libc::recv(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_TRUNC) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            let datagram =
                room.get(..got as usize).ok_or_else(|| io::Error::other("a netlink message above 64 KiB"))?;
            for m in messages(datagram) {
                if m.sequence != self.sequence {
                    continue;
                }
                consistent &= m.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match libc::c_int::from(m.kind) {
                    libc::NLMSG_DONE => return Ok(consistent),
                    libc::NLMSG_ERROR => {
                        return match m.body.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)) {
                            Some(0) => Ok(consistent),
                            Some(negative) => Err(io::Error::from_raw_os_error(negative.wrapping_neg())),
                            None => Err(io::Error::other("a netlink error without a number")),
                        };
                    }
                    _ => each(m.kind, m.body),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram, up to the first that does not fit.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let [a, b, c, d, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let body = rest.get(HEADER..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    })
}

/// Attributes as `(type, value)`, without the type's flag bits, up to the first that does not fit.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const TYPE: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let [l0, l1, t0, t1] = *rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([t0, t1]) & TYPE, value))
    })
}

/// An attribute of four bytes.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b))
}

/// An attribute that is a text with a terminating zero.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_read_up_to_the_one_that_does_not_fit() {
        let bytes = [
            &5u16.to_ne_bytes()[..],
            &3u16.to_ne_bytes(),
            &[7, 0, 0, 0],
            &9u16.to_ne_bytes(),
            &4u16.to_ne_bytes(),
            &[1],
        ]
        .concat();
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(3, &[7u8][..])]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
