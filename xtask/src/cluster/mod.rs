//! The verb `cluster`, and the servers of a run of tests: real Kafka, ClickHouse, Redis and Prometheus on this host.
//!
//! Everything listens on 127.0.0.1, at ports that were free. What was started is in a state file, so that another shell
//! can see it and end it; only what is in there is ever ended. A server that does not come up leaves nothing behind.

mod cache;
mod clickhouse;
mod container;
mod doors;
mod for_tests;
mod interrupt;
mod kafka;
mod launch;
mod parts;
mod process;
mod prometheus;
mod redis;
mod service;
mod state;
mod ways;

pub(crate) use for_tests::ForTests;
pub(crate) use parts::run_parts;
pub(crate) use service::Service;

use crate::process::say;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use state::{Folder, Run, Server};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Instant;
use ways::{Surroundings, Way};

/// Where the state file is, for this program when a test calls it.
pub(crate) const FOLDER_VARIABLE: &str = "NETSPECTRA_CLUSTER_DIR";

/// The folder that is meant when none is named.
fn folder(ws: &Workspace, named: Option<&Path>) -> Result<PathBuf> {
    let folder = named.map_or_else(|| ws.target.join("cluster"), Path::to_owned);
    std::path::absolute(&folder).with_context(|| format!("`{}` is not a path", folder.display()))
}

/// Starts what does not run, waits until each server answers, and says where they are.
///
/// # Errors
/// A server cannot be started: which, why, and where its log is. Those that this call started are ended again.
pub(crate) fn up(ws: &Workspace, named: Option<&Path>) -> Result<()> {
    interrupt::watch()?;
    let mut folder = Folder::open(&folder(ws, named)?)?;
    remove_orphans(&mut folder)?;
    refuse_if_taken(&folder)?;
    raise(ws, &mut folder)?;
    report(&folder)
}

/// Ends the servers of `up`. With `keep_data` the next `up` starts them again, at the same ports.
///
/// # Errors
/// One of them cannot be ended; the others are.
pub(crate) fn down(ws: &Workspace, named: Option<&Path>, keep_data: bool) -> Result<()> {
    let mut folder = Folder::open(&folder(ws, named)?)?;
    if folder.state.servers.is_empty() {
        say("no servers are known here");
    }
    lower(&mut folder, &Service::ALL, keep_data)
}

/// Says what runs.
///
/// # Errors
/// Nothing was started, or a server that was does not answer.
pub(crate) fn status(ws: &Workspace, named: Option<&Path>) -> Result<()> {
    let folder = Folder::open(&folder(ws, named)?)?;
    if folder.state.servers.is_empty() {
        bail!("no servers are known in `{}`: `cargo xtask cluster up` starts them", folder.path.display());
    }
    report(&folder)
}

/// Kills one server (SIGKILL), as a crash does. Its data stays.
///
/// # Errors
/// It is not one of ours.
pub(crate) fn kill(ws: &Workspace, named: Option<&Path>, service: Service) -> Result<()> {
    let folder = Folder::open(&folder(ws, named)?)?;
    launch::kill(service, known(&folder, service)?)?;
    say(format!("{service} is killed"));
    Ok(())
}

/// Starts one server that was killed: same data, same port.
///
/// # Errors
/// It is not one of ours, or does not come up.
pub(crate) fn start(ws: &Workspace, named: Option<&Path>, service: Service) -> Result<()> {
    interrupt::watch()?;
    let mut folder = Folder::open(&folder(ws, named)?)?;
    let server = known(&folder, service)?.clone();
    start_again(&mut folder, service, server)
}

fn known(folder: &Folder, service: Service) -> Result<&Server> {
    folder.state.servers.get(&service).with_context(|| {
        format!("no {service} is known in `{}`: `cargo xtask cluster up` starts it", folder.path.display())
    })
}

/// Ends the servers of a run that is gone.
fn remove_orphans(folder: &mut Folder) -> Result<()> {
    match folder.state.owner {
        Some(owner) if !owner.is_alive() => {
            say("ending the servers of a test run that was cut off");
            lower(folder, &Service::ALL, false)
        }
        _ => Ok(()),
    }
}

/// Servers of a run of tests that goes on end with it: nobody else may count on them.
fn refuse_if_taken(folder: &Folder) -> Result<()> {
    match folder.state.owner {
        Some(owner) => {
            let path = folder.path.display();
            bail!(
                "process {} is running tests with the servers in `{path}`: wait for it, or name another `--dir`",
                owner.pid
            )
        }
        None => Ok(()),
    }
}

/// Starts each server that does not answer. After a failure those that were started here are gone again.
fn raise(ws: &Workspace, folder: &mut Folder) -> Result<()> {
    let mut begun = Vec::new();
    for service in Service::ALL {
        let given = std::env::var(service.variable()).ok().filter(|url| !url.is_empty());
        let server = folder.state.servers.get(&service).cloned();
        let done = interrupt::check().and_then(|()| match server {
            // Named anew: the one on record is not ours, so it is only forgotten.
            Some(server) if server.run == Run::Given && given.is_none_or(|url| url != server.url) => {
                obtain(ws, folder, service)
            }
            Some(server) if launch::is_running(&server.run) && service.probe(&server.url).is_ok() => Ok(()),
            Some(server) => start_again(folder, service, server),
            None => {
                begun.push(service);
                obtain(ws, folder, service)
            }
        });
        if let Err(error) = done {
            if let Err(left) = lower(folder, &begun, false) {
                say(format!("{left:#}"));
            }
            return Err(error);
        }
    }
    Ok(())
}

fn obtain(ws: &Workspace, folder: &mut Folder, service: Service) -> Result<()> {
    let log = folder.log(service);
    fs::remove_file(&log).or_else(ignore_missing).with_context(|| format!("cannot remove `{}`", log.display()))?;
    let ways = Surroundings::look(service).ways();
    ways::first(service, &ways, |way| {
        say(format!("{service}: {way}"));
        let server = prepare(ws, folder, service, way)?;
        let begun = begin(folder, service, server);
        if begun.is_err() {
            lower(folder, &[service], false)?;
        }
        begun
    })
}

fn prepare(ws: &Workspace, folder: &Folder, service: Service, way: &Way) -> Result<Server> {
    let ports = free_ports()?;
    match (way, service) {
        (Way::Given(url), _) => {
            service.address(url)?;
            let way = format!("named by `{}`", service.variable());
            Ok(Server { url: url.clone(), way, run: Run::Given, more: BTreeMap::new() })
        }
        (Way::Container(engine), _) => container::create(service, engine, ports),
        (Way::Installed(home), Service::Kafka) => kafka::from_home(folder, home, ports),
        (Way::Fetched, Service::Kafka) => kafka::fetched(ws, folder, ports),
        (Way::Installed(program), Service::Clickhouse) => clickhouse::from_program(folder, program, ports),
        (Way::Fetched, Service::Clickhouse) => clickhouse::fetched(ws, folder, ports[0]),
        (Way::Installed(program), Service::Redis) => redis::installed(folder, program, ports[0]),
        (Way::Fetched, Service::Redis) => redis::fetched(folder, ports[0]),
        (Way::Installed(program), Service::Prometheus) => {
            prometheus::installed(folder, program, ports[0]).map(|server| with_victoria_metrics(ws, server))
        }
        (Way::Fetched, Service::Prometheus) => {
            prometheus::fetched(ws, folder, ports[0]).map(|server| with_victoria_metrics(ws, server))
        }
    }
}

/// Says beside `server` where another program is that takes samples, if it can be had.
fn with_victoria_metrics(ws: &Workspace, mut server: Server) -> Server {
    match prometheus::victoria_metrics(ws) {
        Ok(program) => {
            server.more.insert(prometheus::VICTORIA_VARIABLE.to_owned(), program.display().to_string());
        }
        Err(error) => say(format!("no VictoriaMetrics for tests: {error:#}")),
    }
    server
}

/// Starts a server whose data is there.
fn start_again(folder: &mut Folder, service: Service, server: Server) -> Result<()> {
    if launch::is_running(&server.run) && server.run != Run::Given {
        say(format!("{service} runs already"));
        return Ok(());
    }
    say(format!("{service}: starting it again at `{}`", server.url));
    begin(folder, service, server)
}

/// Starts `server`, on record before it runs, and waits until it answers.
fn begin(folder: &mut Folder, service: Service, server: Server) -> Result<()> {
    let started = Instant::now();
    let server = folder.state.servers.entry(service).insert_entry(server).into_mut();
    launch::begin(&mut server.run)?;
    let server = server.clone();
    folder.save()?;
    launch::wait(service, &server)?;
    say(format!("{service} answers at `{}` after {:.1} s", server.url, started.elapsed().as_secs_f32()));
    Ok(())
}

/// Ends `services`, all of them also when one cannot be ended; that one stays on record.
fn lower(folder: &mut Folder, services: &[Service], keep_data: bool) -> Result<()> {
    let mut failed = Vec::new();
    // Last started, first ended.
    for service in services.iter().rev().copied() {
        let Some(server) = folder.state.servers.get_mut(&service) else { continue };
        if let Err(error) = launch::end(&mut server.run, keep_data) {
            failed.push(format!("{service} cannot be ended: {error:#}"));
            continue;
        }
        let was_given = server.run == Run::Given;
        if !keep_data || was_given {
            folder.state.servers.remove(&service);
            let home = folder.of(service);
            if let Err(error) = fs::remove_dir_all(&home).or_else(ignore_missing) {
                failed.push(format!("`{}` cannot be removed: {error}", home.display()));
            }
        }
        if !was_given {
            say(format!("{service} is ended{}", if keep_data { ", its data is kept" } else { "" }));
        }
    }
    if folder.state.servers.is_empty() || keep_data {
        folder.state.owner = None;
    }
    folder.save()?;
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

fn report(folder: &Folder) -> Result<()> {
    let mut silent = Vec::new();
    for (service, server) in &folder.state.servers {
        let state = match service.probe(&server.url) {
            Ok(()) => "answers".to_owned(),
            Err(error) => {
                silent.push(service.to_string());
                format!("DOES NOT ANSWER ({error:#})")
            }
        };
        say(format!("{service} {state}: {}, {}", server.way, launch::shown(&server.run)));
    }
    for (service, server) in &folder.state.servers {
        println!("export {}={}", service.variable(), server.url);
        for (name, value) in &server.more {
            println!("export {name}='{value}'");
        }
    }
    if !silent.is_empty() {
        bail!(
            "{} not answer: `cargo xtask cluster start NAME` starts one again",
            match &silent[..] {
                [one] => format!("{one} does"),
                many => format!("{} do", many.join(", ")),
            }
        );
    }
    Ok(())
}

/// Two ports that nobody listened at a moment ago.
fn free_ports() -> Result<[u16; 2]> {
    let free = || TcpListener::bind(("127.0.0.1", 0)).context("there is no free port");
    let both = [free()?, free()?];
    Ok([both[0].local_addr()?.port(), both[1].local_addr()?.port()])
}

/// The folder of a server's data, made if there is none.
fn data_folder(folder: &Folder, service: Service) -> Result<PathBuf> {
    let data = folder.of(service).join("data");
    fs::create_dir_all(&data).with_context(|| format!("cannot create `{}`", data.display()))?;
    Ok(data)
}

/// `path` as an argument or in a file of settings.
fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8: choose another folder by `--dir`", path.display()))
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
