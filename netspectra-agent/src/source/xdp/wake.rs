//! One descriptor for two reasons to end a generation early: tables are filling, interfaces have changed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Changes of interfaces end a generation early so often at most; more wait for the next one.
const PACE: Duration = Duration::from_millis(250);

/// The descriptor, an epoll instance.
#[derive(Debug)]
pub(super) struct Wake {
    epoll: OwnedFd,
    armed: Instant,
}

impl Wake {
    /// Readable when `filling` is, and once when `notices` is, see [`Wake::rearm`].
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new(filling: BorrowedFd<'_>, notices: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked and owned.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let wake = Self { epoll: unsafe { OwnedFd::from_raw_fd(fd) }, armed: Instant::now() };
        wake.control(libc::EPOLL_CTL_ADD, filling, libc::EPOLLIN | libc::EPOLLET)?;
        wake.control(libc::EPOLL_CTL_ADD, notices, libc::EPOLLIN | libc::EPOLLONESHOT)?;
        Ok(wake)
    }

    /// A descriptor to wait for.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Lets `notices` wake again, when it has not just done so.
    pub(super) fn rearm(&mut self, notices: BorrowedFd<'_>) {
        if self.armed.elapsed() < PACE {
            return;
        }
        self.armed = Instant::now();
        if let Err(error) = self.control(libc::EPOLL_CTL_MOD, notices, libc::EPOLLIN | libc::EPOLLONESHOT) {
            tracing::warn!(%error, "changes of interfaces are seen at the end of generations only");
        }
    }

    fn control(&self, what: libc::c_int, fd: BorrowedFd<'_>, events: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: 0 };
        // SAFETY: both descriptors are open and the event outlives the call.
        let rc = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
