//! Prometheus: as a receiver of remote write that scrapes nothing.

use super::service::Service;
use super::state::{Folder, Run, Server};
use super::{cache, data_folder, path_text};
use crate::process::{as_root, capture, find_program, is_root, run, run_within, say};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// 19 MB, and the lists of packages.
const LIMIT: Duration = Duration::from_secs(300);
/// Where Debian's package has it.
const PROGRAM: &str = "usr/bin/prometheus";
/// Another receiver of samples, which tests start themselves, by the name of program and package.
const VICTORIA_METRICS: &str = "victoria-metrics";
/// Tells tests where that program is.
pub(super) const VICTORIA_VARIABLE: &str = "NETSPECTRA_VICTORIA_METRICS";
/// An engine that takes a partition over sends the samples of its last blocks again.
const SETTINGS: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 10m\n";

/// The server by `program`.
///
/// # Errors
/// The program does not start, is older than 2.39 (without out-of-order samples), or its folder cannot be made.
pub(super) fn installed(folder: &Folder, program: &Path, port: u16) -> Result<Server> {
    let text = capture(Command::new(program).arg("--version"))?;
    let version = text.split_whitespace().nth(2).unwrap_or("of unknown version");
    if version_of(version).is_some_and(|found| found < (2, 39)) {
        bail!("`{}` is {version}, expected 2.39 or later", program.display());
    }
    let data = data_folder(folder, Service::Prometheus)?;
    let settings = folder.of(Service::Prometheus).join("prometheus.yml");
    fs::write(&settings, SETTINGS).with_context(|| format!("cannot write `{}`", settings.display()))?;
    let run = Run::Process {
        program: program.to_owned(),
        args: arguments(port, path_text(&settings)?, path_text(&data)?),
        log: folder.log(Service::Prometheus),
        id: None,
    };
    let way = format!("`{}` {version}", program.display());
    Ok(Server { url: Service::Prometheus.url(port), way, run, more: Default::default() })
}

/// As [`installed`], with the program of Debian's package, which is unpacked into the cache: installed it would start a
/// server of its own.
///
/// # Errors
/// Not a system with apt, or no such package.
pub(super) fn fetched(ws: &Workspace, folder: &Folder, port: u16) -> Result<Server> {
    installed(folder, &unpacked(ws, "prometheus", PROGRAM)?, port)
}

/// VictoriaMetrics' program, installed or of Debian's package.
///
/// # Errors
/// As [`fetched`].
pub(super) fn victoria_metrics(ws: &Workspace) -> Result<PathBuf> {
    match find_program(VICTORIA_METRICS) {
        Some(program) => Ok(program),
        None => unpacked(ws, VICTORIA_METRICS, &format!("usr/bin/{VICTORIA_METRICS}")),
    }
}

/// A program of a package of Debian's, in the cache.
fn unpacked(ws: &Workspace, package: &str, program: &str) -> Result<PathBuf> {
    for program in ["apt-get", "dpkg"] {
        if find_program(program).is_none() {
            bail!("`{program}` is not installed: this is not a Debian system");
        }
    }
    let home = ws.cache.join(package);
    cache::keep(&home, |home| home.join(program).is_file(), |to| fetch(package, to))?;
    Ok(home.join(program))
}

fn fetch(package: &str, to: &Path) -> Result<()> {
    if download(package, to).is_err() {
        say("apt does not have the package: updating its lists");
        let mut update = as_root("apt-get", "`apt-get update`")?;
        run_within(update.args(["-o", "Acquire::http::Timeout=30", "update"]), LIMIT)?;
        download(package, to)?;
    }
    let package = package_in(to)?.context("apt fetched no package")?;
    run(Command::new("dpkg").arg("-x").arg(&package).arg(to))?;
    fs::remove_file(&package).with_context(|| format!("cannot remove `{}`", package.display()))
}

fn download(package: &str, to: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2"]);
    if is_root()? {
        // Its sandbox user cannot write into root's folders.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    run_within(command.args(["download", package]).current_dir(to), LIMIT).map(drop)
}

fn package_in(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.find(|path| path.extension().is_some_and(|end| end == "deb")))
}

/// Takes samples; keeps them in `data`; scrapes what `settings` name.
pub(super) fn arguments(port: u16, settings: &str, data: &str) -> Vec<String> {
    vec![
        format!("--config.file={settings}"),
        format!("--storage.tsdb.path={data}"),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
        "--log.level=warn".to_owned(),
    ]
}

/// Major and minor of `2.42.0+ds`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn server_of(folder: &Path, version: &str) -> Result<Server> {
        let program = folder.join("prometheus-program");
        fs::write(&program, format!("#!/bin/sh\necho 'prometheus, version {version} (branch: x)'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        installed(&Folder::open(folder).unwrap(), &program, 7001)
    }

    #[test]
    fn a_server_listens_on_loopback_and_takes_what_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let server = server_of(folder.path(), "2.42.0+ds").unwrap();
        assert_eq!(server.url, "http://127.0.0.1:7001");
        assert!(server.way.ends_with("prometheus-program` 2.42.0+ds"), "{}", server.way);
        let Run::Process { args, .. } = server.run else { panic!("expected a process") };
        let settings = args[0].strip_prefix("--config.file=").unwrap();
        assert_eq!(fs::read_to_string(settings).unwrap(), SETTINGS);
        assert_eq!(args[2..4], ["--web.listen-address=127.0.0.1:7001", "--web.enable-remote-write-receiver"]);
    }

    #[test]
    fn one_that_is_too_old_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = server_of(folder.path(), "2.38.1").unwrap_err().to_string();
        assert!(error.ends_with("is 2.38.1, expected 2.39 or later"), "{error}");
        assert_eq!([version_of("3.1.0"), version_of("x")], [Some((3, 1)), None]);
    }
}
