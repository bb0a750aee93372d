//! Redis: `redis-server`, installed or by the package manager.

use super::service::Service;
use super::state::{Folder, Run, Server};
use super::{data_folder, path_text};
use crate::process::{capture, find_program};
use crate::setup;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;

/// The server by `program`.
///
/// # Errors
/// The program does not start, or its folder cannot be made.
pub(super) fn installed(folder: &Folder, program: &Path, port: u16) -> Result<Server> {
    let version = capture(Command::new(program).arg("--version"))?;
    let version = version.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("of unknown version");
    let data = data_folder(folder, Service::Redis)?;
    let run = Run::Process {
        program: program.to_owned(),
        args: arguments(port, path_text(&data)?),
        log: folder.log(Service::Redis),
        id: None,
    };
    let way = format!("`{}` {version}", program.display());
    Ok(Server { url: Service::Redis.url(port), way, run, more: Default::default() })
}

/// As [`installed`], after the package manager has installed it.
///
/// # Errors
/// No package manager, or no such package.
pub(super) fn fetched(folder: &Folder, port: u16) -> Result<Server> {
    setup::ensure_programs(&["redis-server"])?;
    let program = find_program("redis-server").context("the package has no `redis-server`")?;
    installed(folder, &program, port)
}

/// Every write is in a log on disk within a second.
pub(super) fn arguments(port: u16, data: &str) -> Vec<String> {
    let port = port.to_string();
    ["--port", &port, "--bind", "127.0.0.1", "--dir", data, "--appendonly", "yes", "--save", ""]
        .into_iter()
        .map(str::to_owned)
        .collect()
}
