//! How much the process keeps for its files: nothing, where the data folder is its user's.

use crate::Failure;
use anyhow::{Context, anyhow};
use netspectra_agent::privilege::{self, User};
use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

/// The user that the configuration names.
///
/// # Errors
/// There is none of that name, or it is root.
pub(crate) fn user(name: Option<&str>) -> Result<Option<User>, Failure> {
    let found = name.map(User::find).transpose();
    found.context("`--user` (`capture.user`)").map_err(Failure::misuse)
}

/// Makes the data folder, for `user` where it is new.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_folder(dir: &Path, user: Option<User>) -> Result<(), Failure> {
    let is_there = dir.exists();
    std::fs::create_dir_all(dir)
        .and_then(|()| match user {
            Some(User { uid, gid }) if !is_there => chown(dir, Some(uid), Some(gid)),
            _ => Ok(()),
        })
        .with_context(|| format!("cannot make the data folder `{}`: name another with --data-dir", dir.display()))
        .map_err(Failure::misuse)
}

/// Goes on as `user`, where there is one, and gives up the privileges of this thread, and of those that it will start; the
/// capabilities of `also` stay for now. Without a user, where the data folder `dir` is out of reach then (root in somebody
/// else's home), the right to pass over permissions of files is kept, and that is said.
///
/// Returns what all threads keep.
///
/// # Errors
/// The kernel's; a folder that the user cannot write.
pub(super) fn give_up(dir: &Path, user: Option<User>, also: u64) -> Result<u64, Failure> {
    let keep = match user {
        Some(_) => 0,
        None if is_in_reach(dir) => 0,
        None => {
            tracing::warn!(
                folder = %dir.display(),
                "the data folder is another user's: every thread keeps CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; \
                 name a folder of this user with --data-dir, or its user with --user"
            );
            privilege::FILES
        }
    };
    privilege::settle(user, keep | also).context("privileges cannot be given up")?;
    match user {
        Some(user) => check_folder(dir, user).map(|()| keep).map_err(Failure::misuse),
        None => Ok(keep),
    }
}

/// Asserts that everything in the folder is the user's, who this process is.
fn check_folder(dir: &Path, user: User) -> anyhow::Result<()> {
    let User { uid, gid } = user;
    let remedy = format!("`chown -R {uid}:{gid} {}`, or name another with --data-dir", dir.display());
    let entries = std::fs::read_dir(dir)
        .with_context(|| format!("the data folder `{}` cannot be read by user {uid}: {remedy}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("the data folder `{}`", dir.display()))?;
        let metadata = entry.metadata().with_context(|| format!("`{}` in the data folder", entry.path().display()))?;
        if metadata.uid() != uid {
            let (name, owner) = (entry.file_name(), metadata.uid());
            return Err(anyhow!(
                "the data folder `{}` holds `{}` of user {owner}, expected user {uid}: {remedy}",
                dir.display(),
                name.display()
            ));
        }
    }
    if is_written(dir) {
        return Ok(());
    }
    Err(anyhow!("the data folder `{}` cannot be written by user {uid}: {remedy}", dir.display()))
}

/// Whether a thread without privileges can write there.
fn is_in_reach(dir: &Path) -> bool {
    std::thread::scope(|s| {
        let thread = s.spawn(|| privilege::keep_only(0).is_ok() && is_written(dir));
        thread.join().unwrap_or(false)
    })
}

fn is_written(dir: &Path) -> bool {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    File::create_new(&probe).is_ok() && std::fs::remove_file(&probe).is_ok()
}
