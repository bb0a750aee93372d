//! Two processes where there was one: a small one, the loader, that may load and attach programs, and the one that works with
//! bytes from the network, which may not.
//!
//! The loader is forked before there are threads. It answers a closed set of requests over a socket pair and hands over
//! descriptors: of maps, which are read and emptied without privilege, or of packet sockets. It ends when the other end
//! is closed: with the process that asks, however that dies.

mod channel;
mod messages;

pub use channel::Channel;
pub(crate) use channel::MOST_FDS;
pub use messages::Refusal;
pub(crate) use messages::{Reply, Request, SocketFacts};

use rustix::process::{Pid, WaitOptions, waitpid};
use std::io;
use std::os::fd::OwnedFd;

/// The loader, as the other process has it. Dropping it ends the loader and waits for that.
#[derive(Debug)]
pub struct Loader {
    channel: Option<Channel>,
    pid: Pid,
}

/// Starts a process that does `work` and ends with the status that it returns.
///
/// # Errors
/// The kernel's; when this process has threads, which a fork would leave behind.
pub fn start(work: impl FnOnce(Channel) -> u8) -> io::Result<Loader> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("the process has {threads} threads, expected 1")));
    }
    let (ours, theirs) = Channel::pair()?;
    // SAFETY: there is no other thread, so no lock is held and no memory is half written in the new process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                outlive_signals();
                work(theirs)
            }));
            // SAFETY: ends the process at once, without what the other one has registered for its end.
            unsafe { libc::_exit(status.map_or(101, i32::from)) }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("a process without a number"))?;
            Ok(Loader { channel: Some(ours), pid })
        }
    }
}

/// What a terminal or a service manager sends to the whole group is for the other process, which ends this one.
fn outlive_signals() {
    if let Err(error) = rustix::thread::set_name(c"netspectra-load") {
        tracing::debug!(%error, "the loader's process has no name of its own");
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler is installed: the signals are ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

impl Loader {
    /// Asks and waits for the answer. A refusal is an answer.
    ///
    /// # Errors
    /// The loader is gone, or the kernel's.
    pub(crate) fn ask(&self, request: &Request) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.channel()?.send(request, &[])?;
        self.next()
    }

    /// Waits for a further answer.
    ///
    /// # Errors
    /// As for [`Loader::ask`].
    pub(crate) fn next(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.channel()?.receive()?.ok_or_else(gone)
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.channel.as_ref().is_none_or(Channel::is_closed)
    }

    fn channel(&self) -> io::Result<&Channel> {
        self.channel.as_ref().ok_or_else(gone)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.channel = None;
        let ended = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        match ended {
            Ok(Some((_, status))) if status.exit_status() == Some(0) => {}
            Ok(status) => tracing::error!(?status, "the loader's process did not end well"),
            Err(error) => tracing::warn!(%error, "the loader's process cannot be waited for"),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the loader's process is gone")
}
