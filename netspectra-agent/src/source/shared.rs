//! Memory that this process shares with the kernel.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// A mapping of a descriptor, to be read and written. Unmapped when dropped.
#[derive(Debug)]
pub(super) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this is its only handle.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps the first `len` bytes of `fd`.
    ///
    /// # Errors
    /// The kernel's: a length of 0 or beyond what there is.
    pub(super) fn map(fd: RawFd, len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len })
    }

    /// The first byte, at the begin of a page. Good for as long as this lives.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and what was read through it does not outlive it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
