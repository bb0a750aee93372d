//! Running other programs: said before it is done, bounded in time where a network is involved.

use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a bounded child is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Prints one line about what comes next.
pub(crate) fn say(text: impl AsRef<str>) {
    println!("xtask: {}", text.as_ref());
}

/// `command` as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy().replace('\u{1f}', " ");
            if word.is_empty() || word.contains(char::is_whitespace) { format!("'{word}'") } else { word }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Says `command`, runs it on this terminal, and waits as long as it takes.
///
/// # Errors
/// It cannot be started, or ends with anything but 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    run_bounded(command, None)
}

/// As [`run`], but a child that lives longer than `limit` is killed: a network step that hangs is a failure.
///
/// # Errors
/// As [`run`], and when the limit is reached.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    run_bounded(command, Some(limit))
}

fn run_bounded(command: &mut Command, limit: Option<Duration>) -> Result<()> {
    let line = shown(command);
    println!("     + {line}");
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let status = match limit {
        None => child.wait()?,
        Some(limit) => wait_within(&mut child, limit, &mut |_| {})?.with_context(|| {
            format!(
                "`{line}` did not end within {} s: check the network (proxy, mirror) and run it again",
                limit.as_secs()
            )
        })?,
    };
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Waits for `child`, which is killed when it lives longer than `limit`: `None` then. `meanwhile` is called with the time
/// that has passed.
///
/// # Errors
/// The child cannot be waited for.
pub(crate) fn wait_within(
    child: &mut Child,
    limit: Duration,
    meanwhile: &mut dyn FnMut(Duration),
) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            // A child under sudo is not ours to kill; it is reported all the same.
            if child.kill().is_ok() {
                child.wait()?;
            }
            return Ok(None);
        }
        meanwhile(started.elapsed());
        std::thread::sleep(POLL);
    }
}

/// Runs `command` quietly and returns what it wrote to standard output.
///
/// # Errors
/// It cannot be started, or fails; then the message holds what it wrote to standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of `name` among the folders of `PATH` and the system folders that users' `PATH`s often lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(name, std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from)))
}

fn find_in(name: &str, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// Whether `path` is a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether this process has user id 0.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read `/proc/self/status`")?;
    effective_uid(&status).map(|uid| uid == 0).context("`/proc/self/status` has no `Uid:` line")
}

fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// `program` as root: itself if this process is root, else through sudo, which keeps the environment.
///
/// # Errors
/// Not root, and no sudo: `why` tells the user what needed it.
pub(crate) fn as_root(program: impl AsRef<OsStr>, why: &str) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let Some(sudo) = find_program("sudo") else {
        bail!("{why} needs root, and there is no `sudo`: run `cargo xtask` as root");
    };
    let mut command = Command::new(sudo);
    command.arg("-E").arg(program);
    Ok(command)
}

/// `variable` of the environment with `first` put before its value, as a search path.
pub(crate) fn prepended(variable: &str, first: &Path) -> Result<OsString> {
    let old = std::env::var_os(variable).unwrap_or_default();
    let all =
        std::iter::once(first.to_owned()).chain(std::env::split_paths(&old).filter(|p| !p.as_os_str().is_empty()));
    std::env::join_paths(all).with_context(|| format!("`{}` cannot be part of `{variable}`", first.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_hanging_child_is_ended_and_named() {
        let error = run_within(Command::new("sleep").arg("600"), Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("`sleep 600` did not end within 0 s"), "{error}");
    }

    #[test]
    fn a_failing_child_is_reported_with_its_standard_error() {
        let error = capture(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("oh no"), "{error}");
        assert!(run(Command::new("sh").args(["-c", "exit 3"])).is_err());
        assert!(run(&mut Command::new("sh-that-does-not-exist")).is_err());
    }

    #[test]
    fn only_executable_files_are_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        fs::write(&path, "").unwrap();
        assert_eq!(find_in("tool", [folder.path().to_owned()].into_iter()), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in("tool", [folder.path().to_owned()].into_iter()), Some(path));
    }

    #[test]
    fn the_effective_user_decides() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn words_with_spaces_are_quoted_when_shown() {
        assert_eq!(shown(Command::new("a").args(["b c", "", "d"])), "a 'b c' '' d");
    }
}
