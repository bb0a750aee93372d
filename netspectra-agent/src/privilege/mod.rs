//! What a thread may do: capabilities are given up as soon as they are not needed, for good.
//!
//! Capabilities belong to threads; a thread that is started has those of the one that starts it. So who drops them before
//! any other thread is there drops them for the whole process (capabilities(7)).

mod user;

pub use user::{User, UserError};

use std::io;

/// Attaching to interfaces.
const NET_ADMIN: u64 = 1 << 12;
/// Packet sockets.
const NET_RAW: u64 = 1 << 13;
/// Taking capabilities out of the set of those that files may bring.
const SETPCAP: u64 = 1 << 8;
/// What contained the next one before Linux 5.8, and still does.
const SYS_ADMIN: u64 = 1 << 21;
/// Maps, and attaching.
const BPF: u64 = 1 << 39;

/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: files whatever their permissions.
pub const FILES: u64 = 1 << 1 | 1 << 2;

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What a thread needs, of what it may do now, that goes on with programs that are loaded: reads and empties their maps,
/// changes rules, attaches to interfaces that come.
///
/// # Errors
/// The kernel's.
pub fn for_loaded_programs() -> io::Result<u64> {
    let may = permitted()?;
    Ok(may & (NET_ADMIN | if may & BPF != 0 { BPF } else { SYS_ADMIN }))
}

/// As [`for_loaded_programs`], of one that opens packet sockets on interfaces that come.
pub const FOR_PACKET_SOCKETS: u64 = NET_RAW;

/// Gives up every capability of this thread that is not in `keep`, and those that programs it starts would have.
///
/// # Errors
/// The kernel's.
pub fn keep_only(keep: u64) -> io::Result<()> {
    let kept = permitted()? & keep;
    let half = |shift: u32| {
        let word = (kept >> shift) as u32;
        Sets { effective: word, permitted: word, inheritable: 0 }
    };
    let header = Header { version: VERSION, pid: 0 };
    let sets = [half(0), half(32)];
    // SAFETY: the header is one of version 3, for which the kernel reads two structures; both outlive the call.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on no program that this thread, or one that it starts, executes has more privilege than it has.
///
/// # Errors
/// The kernel's.
pub fn gain_nothing_more() -> io::Result<()> {
    // SAFETY: a plain request; the arguments that it does not use must be 0.
    let rc = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on no program that this thread, or one that it starts, executes gets a capability: none may be inherited, and
/// none comes with a file. Without CAP_SETPCAP the set of those that files may bring stays, which [`gain_nothing_more`]
/// makes of no use.
///
/// # Errors
/// The kernel's.
pub fn pass_nothing_on() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    if permitted()? & SETPCAP == 0 {
        return Ok(());
    }
    for capability in 0..u64::BITS {
        // SAFETY: a plain request; the arguments that it does not use must be 0.
        let rc = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        if rc != 0 {
            let error = io::Error::last_os_error();
            // One that this kernel does not have: there are no more.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Goes on as `user`, or as the same one, with the capabilities of `keep` that there are, and without other groups than the
/// user's. Before any other thread is there: it is for this thread and those that it will start.
///
/// # Errors
/// The kernel's.
pub fn settle(user: Option<User>, keep: u64) -> io::Result<()> {
    match user {
        Some(user) => user.take_on(keep),
        None => keep_only(keep),
    }
}

/// What a thread needs, of what it may do now, that reads and empties maps by descriptors: nothing, but where the kernel
/// refuses that to it (before Linux 5.19, with `kernel.unprivileged_bpf_disabled`). It is tried.
///
/// # Errors
/// The kernel's.
pub fn for_reading_maps() -> io::Result<u64> {
    let Ok(map) = crate::source::xdp::small_map() else {
        // There will be no maps to read.
        return Ok(0);
    };
    let is_refused = std::thread::scope(|s| {
        let reader = s.spawn(|| {
            keep_only(0)?;
            Ok(crate::source::xdp::read_small_map(&map).is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)))
        });
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the thread that tried it panicked")))
    })?;
    let may = permitted()?;
    Ok(if is_refused { may & if may & BPF != 0 { BPF } else { SYS_ADMIN } } else { 0 })
}

/// What this thread may do, or may make itself able to do: a bit for each capability by its number.
fn permitted() -> io::Result<u64> {
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: the header is one of version 3, for which the kernel writes two structures; both outlive the call.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw const header, &raw mut sets) };
    if rc == 0 {
        Ok(u64::from(sets[0].permitted) | u64::from(sets[1].permitted) << 32)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::source::xdp::effective_capabilities;

    #[test]
    fn a_thread_keeps_what_it_is_told_to_and_passes_nothing_else_on() {
        let of_a_thread = |f: fn() -> u64| std::thread::spawn(f).join().unwrap();
        let before = of_a_thread(effective_capabilities);
        let kept = of_a_thread(|| {
            keep_only(for_loaded_programs().unwrap()).unwrap();
            std::thread::spawn(effective_capabilities).join().unwrap()
        });
        assert_eq!(kept, before & (NET_ADMIN | BPF));
        let none = of_a_thread(|| {
            keep_only(0).unwrap();
            keep_only(u64::MAX).unwrap();
            effective_capabilities()
        });
        assert_eq!((none, of_a_thread(effective_capabilities)), (0, before));
    }
}
