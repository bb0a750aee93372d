//! Another user to go on as.

use rustix::process::{Gid, Uid};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;

/// Room for an entry of the user or group database at first, and at most.
const ROOM: std::ops::RangeInclusive<usize> = 1 << 12..=1 << 20;

/// Who is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name.
    #[error("there is no {kind} `{name}` on this host: name one that there is, or its number")]
    Unknown {
        /// User or group.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A number without an entry.
    #[error("user {uid} has no entry in the user database: give the group too, as in `{uid}:{uid}`")]
    NoGroup {
        /// The number.
        uid: u32,
    },
    /// Nothing would be gained.
    #[error("user `{name}` is root: expected one without privileges")]
    Root {
        /// What was asked for.
        name: String,
    },
    /// The database cannot be read.
    #[error("the {kind} database cannot be asked for `{name}`")]
    Database {
        /// User or group.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl User {
    /// Reads `NAME`, `UID`, `NAME:GROUP` or `UID:GROUP`; without a group the user's own.
    ///
    /// # Errors
    /// Who is not known, or is root.
    pub fn find(text: &str) -> Result<Self, UserError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let entry = match user.parse::<u32>() {
            Ok(uid) => user_by_number(uid, user)?.or(group.map(|_| (uid, 0))).ok_or(UserError::NoGroup { uid })?,
            Err(_) => user_by_name(user)?.ok_or_else(|| UserError::Unknown { kind: "user", name: user.to_owned() })?,
        };
        let gid = match group {
            None => entry.1,
            Some(group) => match group.parse::<u32>() {
                Ok(gid) => gid,
                Err(_) => {
                    group_by_name(group)?.ok_or_else(|| UserError::Unknown { kind: "group", name: group.to_owned() })?
                }
            },
        };
        if entry.0 == 0 {
            return Err(UserError::Root { name: user.to_owned() });
        }
        Ok(Self { uid: entry.0, gid })
    }

    /// Makes this thread that user's, without other groups. Only the effective and permitted capabilities of `keep` stay.
    ///
    /// # Errors
    /// The kernel's: without CAP_SETUID and CAP_SETGID.
    pub(super) fn take_on(self, keep: u64) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_keep_capabilities(keep != 0)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        super::keep_only(keep)?;
        rustix::thread::set_keep_capabilities(false)?;
        Ok(())
    }
}

fn c_name(kind: &'static str, name: &str) -> Result<CString, UserError> {
    CString::new(name).map_err(|_| UserError::Unknown { kind, name: name.to_owned() })
}

fn user_by_name(name: &str) -> Result<Option<(u32, u32)>, UserError> {
    let c_name = c_name("user", name)?;
    let ids = |entry: &libc::passwd| (entry.pw_uid, entry.pw_gid);
    ask("user", name, ids, |entry, room, len, found| {
        // SAFETY: `ask` hands over room for an entry and `len` bytes for its strings; the name ends with a zero.
        unsafe { libc::getpwnam_r(c_name.as_ptr(), entry, room, len, found) }
    })
}

fn user_by_number(uid: u32, name: &str) -> Result<Option<(u32, u32)>, UserError> {
    let ids = |entry: &libc::passwd| (entry.pw_uid, entry.pw_gid);
    ask("user", name, ids, |entry, room, len, found| {
        // SAFETY: `ask` hands over room for an entry and `len` bytes for its strings.
        unsafe { libc::getpwuid_r(uid, entry, room, len, found) }
    })
}

fn group_by_name(name: &str) -> Result<Option<u32>, UserError> {
    let c_name: &CStr = &c_name("group", name)?;
    ask(
        "group",
        name,
        |entry: &libc::group| entry.gr_gid,
        |entry, room, len, found| {
            // SAFETY: `ask` hands over room for an entry and `len` bytes for its strings; the name ends with a zero.
            unsafe { libc::getgrnam_r(c_name.as_ptr(), entry, room, len, found) }
        },
    )
}

/// Calls `look_up` with more and more room, and hands what it finds to `read`.
fn ask<E, T>(
    kind: &'static str,
    name: &str,
    read: impl Fn(&E) -> T,
    look_up: impl Fn(*mut E, *mut libc::c_char, usize, *mut *mut E) -> libc::c_int,
) -> Result<Option<T>, UserError> {
    let mut len = *ROOM.start();
    loop {
        let mut entry = MaybeUninit::<E>::uninit();
        let mut room: Vec<libc::c_char> = vec![0; len];
        let mut found: *mut E = std::ptr::null_mut();
        match look_up(entry.as_mut_ptr(), room.as_mut_ptr(), len, &raw mut found) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: the call succeeded and set `found`: it has filled `entry`, whose strings are in `room`.
            0 => return Ok(Some(read(unsafe { entry.assume_init_ref() }))),
            libc::ERANGE if len < *ROOM.end() => len *= 2,
            // What glibc returns for a name that is not there, by getpwnam(3).
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            code => {
                let source = io::Error::from_raw_os_error(code);
                return Err(UserError::Database { kind, name: name.to_owned(), source });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_number_with_a_group_or_its_own() {
        let nobody = User::find("nobody").unwrap();
        assert!(nobody.uid != 0);
        assert_eq!(User::find(&nobody.uid.to_string()).unwrap(), nobody);
        assert_eq!(User::find("nobody:0").unwrap(), User { uid: nobody.uid, gid: 0 });
        assert_eq!(User::find("nobody:root").unwrap(), User { uid: nobody.uid, gid: 0 });
        assert_eq!(User::find("4000000001:77").unwrap(), User { uid: 4_000_000_001, gid: 77 });
    }

    #[test]
    fn who_is_not_there_or_is_root_is_refused() {
        for (text, expected) in [
            ("no-such-user", "there is no user `no-such-user` on this host"),
            ("nobody:no-such-group", "there is no group `no-such-group` on this host"),
            ("4000000001", "user 4000000001 has no entry in the user database: give the group too"),
            ("root", "user `root` is root"),
            ("0:5", "user `0` is root"),
            ("", "there is no user `` on this host"),
            ("a\0b", "there is no user"),
        ] {
            let error = User::find(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
