//! System calls on packet sockets. With `ring`, the `unsafe` of this source.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Turns the result of a call that gives -1 on failure into ours.
fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// A packet socket that is bound to nothing and so receives nothing.
pub(super) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just gave this descriptor to us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option to a plain value. `T` is the structure that the option takes.
pub(super) fn set_option<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for the length that is passed, and the kernel copies it.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), len) }).map(drop)
}

/// A number that a socket option holds.
pub(super) fn number_option(fd: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<u32> {
    let mut value = 0u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes, and any bytes are a number.
    check(unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Frames that passed the socket's filter and those of them that were dropped, since the last call.
pub(super) fn statistics(fd: RawFd) -> io::Result<(u32, u32)> {
    let mut value = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes, and any bytes are numbers.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok((value.tp_packets, value.tp_drops))
}

/// Lets the first `bytes` bytes of every frame through; none at all for 0.
pub(super) fn set_filter(fd: RawFd, bytes: u32) -> io::Result<()> {
    /// `BPF_RET | BPF_K`: returns a constant.
    const RETURN: u16 = 0x06;
    let mut code = libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: bytes };
    let program = libc::sock_fprog { len: 1, filter: &raw mut code };
    // The kernel copies the program before the call returns, so `code` lives long enough.
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Binds to an interface, for all protocols.
pub(super) fn bind(fd: RawFd, ifindex: u32) -> io::Result<()> {
    // SAFETY: an all-zero address is a valid one to fill in.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex as libc::c_int;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is readable for the length that is passed.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len) }).map(drop)
}

/// The hardware type (`ARPHRD_*`) of an interface.
pub(super) fn hardware_type(fd: RawFd, iface: &str) -> io::Result<u16> {
    // SAFETY: an all-zero request is a valid one to fill in.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(iface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request outlives the call, which writes into it only.
    check(unsafe { libc::ioctl(fd, libc::SIOCGIFHWADDR, &raw mut request) })?;
    // SAFETY: after a successful SIOCGIFHWADDR the address is what the union holds.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr }.sa_family)
}

/// A counter to wake a thread that polls it.
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel just gave this descriptor to us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Wakes the thread that polls `event`. Can only fail when the counter is at its end, and then it is awake.
pub(super) fn wake(event: &OwnedFd) {
    let one = 1u64;
    // SAFETY: `one` is readable for its size.
    let _ = unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

/// Makes `event` one that nobody woke. Can only fail when it is one already.
pub(super) fn reset(event: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: `count` is writable for its size; the descriptor does not block.
    let _ = unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
}

/// Waits until `socket` has a block or an error, or until `event` was woken, which is reset; at most `limit_ms`
/// milliseconds, without end for -1. Returns whether the socket has an error.
pub(super) fn wait(socket: RawFd, event: &OwnedFd, limit_ms: libc::c_int) -> io::Result<bool> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut fds = [poll(socket), poll(event.as_raw_fd())];
    // SAFETY: the array is writable and has two elements.
    let ready = check(unsafe { libc::poll(fds.as_mut_ptr(), 2, limit_ms) });
    match ready {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
        other => other?,
    };
    if fds[1].revents != 0 {
        reset(event);
    }
    Ok(fds[0].revents & libc::POLLERR != 0)
}

/// Returns when no CPU is still receiving by what was in force before the call.
///
/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period (`kernel/sched/membarrier.c`), and frames are received inside an
/// RCU read-side section. A kernel with full dynticks CPUs refuses; the caller then has the kernel's counters only.
pub(super) fn wait_for_receivers() -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let rc = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
