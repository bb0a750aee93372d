//! The API's bearer token: read, or made on the first start.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Random bytes of a new token.
const BYTES: usize = 24;

/// The token in `path`; a fresh one is made, readable by its owner alone, when there is no such file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn load_or_make(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let token = text.trim();
            if token.len() < 16 {
                bail!("the token in `{}` has {} characters: expected at least 16", path.display(), token.len());
            }
            let mode = std::fs::metadata(path).map(|m| m.permissions().mode()).unwrap_or(0o600);
            if mode & 0o077 != 0 {
                tracing::warn!(file = %path.display(), "others can read the API token: chmod 600 it");
            }
            Ok(token.to_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make(path),
        Err(e) => Err(e).with_context(|| format!("cannot read the token file `{}`", path.display())),
    }
}

/// Makes the file with its content at once: of several processes that come first, one does, and all have its token.
fn make(path: &Path) -> anyhow::Result<String> {
    let mut random = [0u8; BYTES];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).context("no random numbers for a token")?;
    let token: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", &token[..16]));
    let partial = PathBuf::from(partial);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("cannot make the token file `{}`", path.display()))
        .and_then(|mut file| {
            let written = writeln!(file, "{token}").and_then(|()| std::fs::hard_link(&partial, path));
            // Nobody needs this name any more, whatever came of it.
            let _ = std::fs::remove_file(&partial);
            match written {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
                result => {
                    result.map(|()| true).with_context(|| format!("cannot write the token file `{}`", path.display()))
                }
            }
        })?;
    if !made {
        return load_or_make(path);
    }
    tracing::info!(file = %path.display(), "made a new API token");
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let made = load_or_make(&path).unwrap();
        assert_eq!(made.len(), 2 * BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_make(&path).unwrap(), made);
    }

    #[test]
    fn all_who_come_first_have_the_same_token() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = dir.path().join(format!("token{round}"));
            let tokens: Vec<String> = std::thread::scope(|s| {
                let all: Vec<_> = (0..8).map(|_| s.spawn(|| load_or_make(&path).unwrap())).collect();
                all.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert!(tokens.iter().all(|t| *t == tokens[0]), "{tokens:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 20, "nothing else is left");
    }

    #[test]
    fn a_short_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        let error = load_or_make(&path).unwrap_err().to_string();
        assert!(error.ends_with("has 3 characters: expected at least 16"), "{error}");
    }
}
