//! Starting and ending one server, whatever it is.

use super::process::ProcessId;
use super::service::Service;
use super::state::{Run, Server};
use super::{container, interrupt};
use crate::process::{capture, say};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a server that starts is asked.
const POLL: Duration = Duration::from_millis(100);
/// How often it is said that one waits.
const TELL: Duration = Duration::from_secs(5);
/// How long a server may take to end in order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of a log is shown.
const LINES: usize = 5;

/// Starts it. It is in a process group of its own: Ctrl-C at this terminal is not meant for it.
///
/// # Errors
/// The program does not start, or its log cannot be written.
pub(super) fn begin(run: &mut Run) -> Result<()> {
    match run {
        Run::Given => Ok(()),
        Run::Process { program, args, log, id } => {
            let out = OpenOptions::new().create(true).append(true).open(&*log);
            let out = out.with_context(|| format!("cannot write `{}`", log.display()))?;
            let mut command = Command::new(&*program);
            command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
            let mut child = command.spawn().with_context(|| format!("cannot start `{}`", program.display()))?;
            *id = Some(ProcessId::of(child.id()).inspect_err(|_| {
                // Without its start time nobody could end it later.
                let _ = child.kill();
            })?);
            // Whoever ends it may be another process; this one collects it if it is still there.
            std::thread::spawn(move || child.wait());
            Ok(())
        }
        Run::Container { engine, name } => capture(Command::new(engine).args(["start", name])).map(drop),
    }
}

/// Waits until it answers.
///
/// # Errors
/// It ended, or does not answer in time, or somebody pressed Ctrl-C; with the end of its log.
pub(super) fn wait(service: Service, server: &Server) -> Result<()> {
    let started = Instant::now();
    let mut told = TELL;
    loop {
        interrupt::check()?;
        let Err(error) = service.probe(&server.url) else { return Ok(()) };
        if !is_running(&server.run) {
            bail!("{service} ended while it was starting{}", tail(&server.run));
        }
        if server.run == Run::Given {
            return Err(error).with_context(|| format!("{service} at `{}` does not answer", server.url));
        }
        let (waited, limit) = (started.elapsed(), service.patience());
        if waited > limit {
            let log = tail(&server.run);
            return Err(error).with_context(|| format!("{service} did not answer within {} s{log}", limit.as_secs()));
        }
        if waited > told {
            say(format!("{service}: waiting until it answers, {} of {} s", waited.as_secs(), limit.as_secs()));
            told += TELL;
        }
        std::thread::sleep(POLL);
    }
}

/// Whether it runs; of somebody else's nothing else is known.
pub(super) fn is_running(run: &Run) -> bool {
    match run {
        Run::Given => true,
        Run::Process { id, .. } => id.is_some_and(ProcessId::is_alive),
        Run::Container { engine, name } => container::is_running(engine, name),
    }
}

/// Kills it at once.
///
/// # Errors
/// It is somebody else's, or belongs to another user.
pub(super) fn kill(service: Service, server: &Server) -> Result<()> {
    match &server.run {
        Run::Given => {
            bail!("{service} at `{}` was not started by `cargo xtask cluster up`: it is left alone", server.url)
        }
        Run::Process { id, .. } => id.map_or(Ok(()), ProcessId::kill),
        Run::Container { engine, name } => capture(Command::new(engine).args(["kill", name])).map(drop),
    }
}

/// Ends it in order, or by force after a while. Without `keep_data` a container is removed.
///
/// # Errors
/// It is still there.
pub(super) fn end(run: &mut Run, keep_data: bool) -> Result<()> {
    match run {
        Run::Given => Ok(()),
        Run::Process { id, .. } => {
            id.map_or(Ok(()), |id| id.end(PATIENCE))?;
            *id = None;
            Ok(())
        }
        Run::Container { engine, name } => {
            let words: &[&str] = if keep_data { &["stop"] } else { &["rm", "--force", "--volumes"] };
            capture(Command::new(engine).args(words).arg(name)).map(drop)
        }
    }
}

/// Where to look at it.
pub(super) fn shown(run: &Run) -> String {
    match run {
        Run::Given => "left alone".to_owned(),
        Run::Process { id, log, .. } => {
            let id = id.filter(|id| id.is_alive());
            let id = id.map_or_else(|| "no process".to_owned(), |id| format!("process {}", id.pid));
            format!("{id}, log `{}`", log.display())
        }
        Run::Container { engine, name } => format!("container `{name}`: `{} logs {name}`", engine.display()),
    }
}

fn tail(run: &Run) -> String {
    let (place, text) = match run {
        Run::Given => return String::new(),
        Run::Process { log, .. } => (log.display().to_string(), last_lines(log)),
        Run::Container { engine, name } => (name.clone(), container::log(engine, name)),
    };
    if text.trim().is_empty() { format!("; `{place}` is empty") } else { format!("; the end of `{place}`:\n{text}\n") }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
