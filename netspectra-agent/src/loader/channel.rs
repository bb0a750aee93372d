//! Messages and descriptors between two processes, over a pair of sockets that keeps messages whole.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors of one message at most; the kernel's limit is 253.
pub(crate) const MOST_FDS: usize = 64;
/// Bytes of one message at most.
const MOST_BYTES: usize = 128 << 10;

/// One end. Both processes are of the same program, so that messages need no version.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Sends `message` with `fds`, at most [`MOST_FDS`].
    ///
    /// # Errors
    /// The kernel's; a message above 128 KiB.
    pub(crate) fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
        if bytes.len() > MOST_BYTES {
            return Err(io::Error::other(format!("a message of {} bytes, expected at most {MOST_BYTES}", bytes.len())));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        // The room is rounded up: it may take more than the other end has room for.
        if fds.len() > MOST_FDS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
            return Err(io::Error::other(format!("{} descriptors, expected at most {MOST_FDS}", fds.len())));
        }
        rustix::io::retry_on_intr(|| {
            sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Waits for the next message and its descriptors; `None` when the other end is closed.
    ///
    /// # Errors
    /// The kernel's; a message that is too long, or none of ours.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0u8; MOST_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message was cut: raise the limit of open files"));
        }
        let message = postcard::from_bytes(bytes.get(..got.bytes).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((message, fds)))
    }

    /// Whether the other end is closed.
    pub(crate) fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec::default();
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::{Read as _, Seek as _, Write as _};

    #[test]
    fn messages_stay_whole_and_bring_their_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"here").unwrap();
        file.rewind().unwrap();
        a.send(&("one", 1u32), &[file.as_fd()]).unwrap();
        a.send(&("two", 2u32), &[]).unwrap();
        let ((text, number), mut fds) = b.receive::<(String, u32)>().unwrap().unwrap();
        assert_eq!((text.as_str(), number, fds.len()), ("one", 1, 1));
        let mut read = String::new();
        std::fs::File::from(fds.remove(0)).read_to_string(&mut read).unwrap();
        assert_eq!(read, "here");
        let ((text, number), fds) = b.receive::<(String, u32)>().unwrap().unwrap();
        assert_eq!((text.as_str(), number, fds.len()), ("two", 2, 0));
        assert!(!b.is_closed());
        drop(a);
        assert!(b.is_closed());
        assert!(b.receive::<()>().unwrap().is_none());
        assert_eq!(b.send(&(), &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_sent_and_nonsense_when_it_comes() {
        let (a, b) = Channel::pair().unwrap();
        assert!(a.send(&vec![1u8; MOST_BYTES + 1], &[]).unwrap_err().to_string().contains("expected at most 131072"));
        let many = vec![a.as_fd(); MOST_FDS + 1];
        assert!(a.send(&1u8, &many).unwrap_err().to_string().contains("expected at most 64"));
        a.send(&[7u8; 3], &[]).unwrap();
        assert!(b.receive::<String>().is_err());
    }
}
