//! What was fetched, kept for later runs and other checkouts.

use crate::process::say;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Makes `home` by `fill`, which gets another folder, unless it is there and complete. Whole or not at all: `home` gets
/// its name when everything is in it. One process at a time fills it, others wait.
///
/// # Errors
/// `fill` fails, or leaves something incomplete.
pub(super) fn keep(
    home: &Path,
    is_complete: impl Fn(&Path) -> bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let beside = |end: &str| {
        let mut name = OsString::from(home);
        name.push(end);
        PathBuf::from(name)
    };
    if let Some(folder) = home.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let lock = beside(".lock");
    let lock = File::create(&lock).with_context(|| format!("cannot create `{}`", lock.display()))?;
    lock.lock().with_context(|| format!("cannot lock `{}.lock`", home.display()))?;
    if is_complete(home) {
        say(format!("in the cache: `{}`", home.display()));
        return Ok(());
    }
    let partial = beside(".partial");
    for old in [home, &partial] {
        fs::remove_dir_all(old)
            .or_else(super::ignore_missing)
            .with_context(|| format!("cannot remove `{}`", old.display()))?;
    }
    fs::create_dir(&partial).with_context(|| format!("cannot create `{}`", partial.display()))?;
    let filled = fill(&partial).and_then(|()| {
        if !is_complete(&partial) {
            bail!("what was fetched for `{}` is not complete", home.display());
        }
        fs::rename(&partial, home).with_context(|| format!("cannot move `{}`", partial.display()))
    });
    if filled.is_err() {
        // The reason is the failure, not what is left of it.
        let _ = fs::remove_dir_all(&partial);
    }
    filled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_not_complete_never_gets_the_name_and_what_is_there_is_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let home = cache.path().join("tool-1.2");
        let is_complete = |folder: &Path| folder.join("tool").is_file();
        let cut_off = keep(&home, is_complete, |folder| {
            fs::write(folder.join("half"), "")?;
            bail!("cut off")
        });
        assert_eq!(cut_off.unwrap_err().to_string(), "cut off");
        assert!(keep(&home, is_complete, |_| Ok(())).unwrap_err().to_string().ends_with("is not complete"));
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "nothing but the lock");

        keep(&home, is_complete, |folder| Ok(fs::write(folder.join("tool"), "x")?)).unwrap();
        keep(&home, is_complete, |_| bail!("fetched again")).unwrap();
        assert_eq!(fs::read_to_string(home.join("tool")).unwrap(), "x");
    }
}
