//! Processes that were started earlier, perhaps by another run of this program.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How often a process that shall end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// One process and no other: the kernel gives a number again, but not with the same start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    /// Clock ticks between boot and the process's start: field 22 of `/proc/PID/stat`.
    started: u64,
}

impl ProcessId {
    /// The process that has the number `pid` now.
    ///
    /// # Errors
    /// There is none, or `/proc` is not readable.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let (_, started) = parse(&stat).with_context(|| format!("`{path}` has no start time"))?;
        Ok(Self { pid, started })
    }

    /// Whether it runs; one that ended and that nobody waited for (a zombie) does not.
    pub(super) fn is_alive(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        parse(&stat).is_some_and(|(state, started)| started == self.started && !matches!(state, 'Z' | 'X'))
    }

    /// Sends `signal` to this process, and to no later one with its number. Nothing happens when it does not run.
    ///
    /// # Errors
    /// It belongs to another user.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // First hold the process, then look who it is: from here on its number means nobody else.
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&held, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot end process {}", self.pid)),
        }
    }

    /// Asks it to end (SIGTERM), and after `patience` makes it (SIGKILL). It has ended when this returns.
    ///
    /// # Errors
    /// As [`ProcessId::signal`], or it outlives SIGKILL by ten seconds.
    pub(super) fn end(self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.is_gone_within(patience) { Ok(()) } else { self.kill() }
    }

    /// Kills it (SIGKILL). It has ended when this returns.
    ///
    /// # Errors
    /// As [`ProcessId::end`].
    pub(super) fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if !self.is_gone_within(Duration::from_secs(10)) {
            bail!("process {} is still there 10 s after SIGKILL", self.pid);
        }
        Ok(())
    }

    fn is_gone_within(self, limit: Duration) -> bool {
        let started = Instant::now();
        while self.is_alive() {
            if started.elapsed() > limit {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// State and start time. The program's name, in parentheses, may itself hold spaces and parentheses.
fn parse(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::process::Command;

    #[test]
    fn the_start_time_is_read_behind_any_program_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(parse(&format!("12 (a b) c) {fields}")), Some(('S', 777)));
        assert_eq!(parse("12 (a"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_process_with_the_same_number_and_another_start_is_not_touched() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let real = ProcessId::of(child.id()).unwrap();
        let earlier = ProcessId { pid: real.pid, started: real.started - 1 };
        assert!(real.is_alive() && !earlier.is_alive());
        earlier.kill().unwrap();
        assert!(real.is_alive(), "only the process that is meant is killed");
        real.kill().unwrap();
        assert!(!real.is_alive(), "a zombie does not run");
        child.wait().unwrap();
        real.end(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo; while :; do sleep 1; done"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        // It has set its trap when it says something.
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.end(Duration::ZERO).unwrap();
        assert!(!id.is_alive());
        assert!(!child.wait().unwrap().success());
    }
}
