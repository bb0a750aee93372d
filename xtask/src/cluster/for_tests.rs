//! The servers of one run of tests.

use super::process::ProcessId;
use super::service::Service;
use super::state::Folder;
use super::{FOLDER_VARIABLE, folder, interrupt, lower, path_text, raise, refuse_if_taken, remove_orphans};
use crate::process::shown;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// This program, for tests that kill and start servers.
const CONTROL_VARIABLE: &str = "NETSPECTRA_CLUSTER_CTL";
/// How often a run of tests is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Servers for one run of tests: those of `cluster up` where they run, else servers that go when this does.
#[derive(Debug)]
pub(crate) struct ForTests {
    folder: PathBuf,
    /// What tests are told of each.
    variables: Vec<(String, String)>,
    are_ours: bool,
}

impl ForTests {
    /// Starts them, or finds them running.
    ///
    /// # Errors
    /// As [`up`].
    pub(crate) fn start(ws: &Workspace) -> Result<Self> {
        interrupt::watch()?;
        let path = folder(ws, std::env::var_os(FOLDER_VARIABLE).as_deref().map(Path::new))?;
        let mut folder = Folder::open(&path)?;
        remove_orphans(&mut folder)?;
        refuse_if_taken(&folder)?;
        let are_ours = folder.state.servers.is_empty();
        if are_ours {
            folder.state.owner = Some(ProcessId::of(std::process::id())?);
        }
        let raised = raise(ws, &mut folder);
        if raised.is_err() && are_ours {
            folder.state.owner = None;
            folder.save()?;
        }
        raised?;
        let mut variables = Vec::new();
        for (service, server) in &folder.state.servers {
            variables.push((service.variable().to_owned(), server.url.clone()));
            variables.extend(server.more.clone());
        }
        Ok(Self { folder: path, variables, are_ours })
    }

    /// What tests are told: where each server is, and how to kill and start one.
    ///
    /// # Errors
    /// The path of this program is unknown.
    fn environment(&self) -> Result<Vec<(String, String)>> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        let mut all = self.variables.clone();
        all.push((CONTROL_VARIABLE.to_owned(), path_text(&program)?.to_owned()));
        all.push((FOLDER_VARIABLE.to_owned(), path_text(&self.folder)?.to_owned()));
        Ok(all)
    }

    /// Runs `command` on this terminal, which may take as long as it takes, but not longer than until Ctrl-C.
    ///
    /// # Errors
    /// It cannot be started, ends with anything but 0, or was interrupted.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        command.envs(self.environment()?);
        let line = shown(command);
        println!("     + {line}");
        let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if let Err(interrupted) = interrupt::check() {
                // It may have ended by the same signal.
                let _ = child.kill();
                child.wait()?;
                return Err(interrupted);
            }
            std::thread::sleep(POLL);
        };
        if !status.success() {
            bail!("`{line}` failed ({status})");
        }
        Ok(())
    }

    /// Ends them, if they were started for this run.
    ///
    /// # Errors
    /// As [`down`].
    pub(crate) fn end(self) -> Result<()> {
        if !self.are_ours {
            return Ok(());
        }
        let mut folder = Folder::open(&self.folder)?;
        lower(&mut folder, &Service::ALL, false)
    }
}
