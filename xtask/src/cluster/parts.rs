//! `run --cluster`: the parts of a cluster on this host, over real servers.

use super::service::Service;
use super::state::Folder;
use super::{folder, interrupt, raise, refuse_if_taken, remove_orphans};
use crate::build;
use crate::process::{as_root, run, say, shown};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// Ports of the two engines, the two APIs and the agent's health.
const ENGINES: [u16; 2] = [8472, 8473];
const APIS: [u16; 2] = [8470, 8474];
const AGENT: u16 = 8471;
/// Partitions of the topic: as many for each engine.
const PARTITIONS: &str = "4";
/// How often the parts are looked at.
const POLL: Duration = Duration::from_millis(100);
/// Time that parts have to end by themselves.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts servers, topics, tables, two engines, two APIs and an agent with `args`, until Ctrl-C. Servers and data stay, see
/// `cluster down`.
///
/// # Errors
/// A build failed, a server does not come up, or a part ended by itself.
pub(crate) fn run_parts(ws: &Workspace, args: &[String]) -> Result<()> {
    let binary = build::build(ws, true)?;
    interrupt::watch()?;
    let mut servers = Folder::open(&folder(ws, None)?)?;
    remove_orphans(&mut servers)?;
    refuse_if_taken(&servers)?;
    raise(ws, &mut servers)?;
    let config = configure(&servers)?;
    drop(servers);
    let config = config.as_str();
    run(Command::new(&binary).args([
        "admin",
        "topics",
        "--create",
        "--partitions",
        PARTITIONS,
        "--replication",
        "1",
        "--config",
        config,
    ]))?;
    run(Command::new(&binary).args(["admin", "migrate", "--config", config]))?;

    let mut parts = Parts(Vec::new());
    for (number, port) in ENGINES.into_iter().enumerate() {
        parts.start(Command::new(&binary).args([
            "engine",
            "--config",
            config,
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--instance",
            &format!("engine-{number}"),
        ]))?;
    }
    for port in APIS {
        parts.start(Command::new(&binary).args([
            "api",
            "--config",
            config,
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]))?;
    }
    let mut agent = as_root(&binary, "attaching eBPF programs")?;
    agent.args(["agent", "--config", config, "--listen", &format!("127.0.0.1:{AGENT}")]).args(args);
    parts.start(&mut agent)?;
    let token = Path::new(config).with_file_name("token");
    say(format!(
        "ask http://127.0.0.1:{} or http://127.0.0.1:{} with the token in `{}`; Ctrl-C ends the parts",
        APIS[0],
        APIS[1],
        token.display()
    ));
    parts.until_interrupted()
}

/// Writes the configuration of all parts; returns its path.
fn configure(servers: &Folder) -> Result<String> {
    let url =
        |service: Service| servers.state.servers.get(&service).map(|server| server.url.clone()).unwrap_or_default();
    let path = servers.path.display();
    let text = format!(
        "[kafka]\nbrokers = \"{}\"\n\n[clickhouse]\nurl = \"{}\"\n\n[cluster]\nengines = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n\
         token_file = \"{path}/cluster-token\"\nredis = \"{}\"\n\n[api]\ntoken_file = \"{path}/token\"\n\n[remote_write]\nurl = \"{}/api/v1/write\"\n",
        url(Service::Kafka),
        url(Service::Clickhouse),
        ENGINES[0],
        ENGINES[1],
        url(Service::Redis),
        url(Service::Prometheus),
    );
    let file = servers.path.join("netspectra.toml");
    std::fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
    file.to_str().map(str::to_owned).with_context(|| format!("`{}` is not UTF-8", file.display()))
}

/// Processes that end together.
struct Parts(Vec<(String, Child)>);

impl Parts {
    fn start(&mut self, command: &mut Command) -> Result<()> {
        let line = shown(command);
        println!("     + {line}");
        let child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        self.0.push((line, child));
        Ok(())
    }

    /// Waits for Ctrl-C, which the parts get from the terminal too.
    fn until_interrupted(mut self) -> Result<()> {
        loop {
            for (line, child) in &mut self.0 {
                if let Some(status) = child.try_wait()? {
                    if interrupt::check().is_err() {
                        break;
                    }
                    bail!("`{line}` ended by itself ({status})");
                }
            }
            if interrupt::check().is_err() {
                return self.end();
            }
            std::thread::sleep(POLL);
        }
    }

    /// SIGTERM to each, in the order of the data's way, and its end.
    fn end(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        for (line, child) in self.0.iter_mut().rev() {
            terminate(child);
            let until = std::time::Instant::now() + PATIENCE;
            let ended = loop {
                match child.try_wait()? {
                    Some(status) => break status.success(),
                    None if std::time::Instant::now() > until => break false,
                    None => std::thread::sleep(POLL),
                }
            };
            if !ended {
                failed.push(line.clone());
            }
        }
        if failed.is_empty() {
            say("the parts have ended; the servers run on: `cargo xtask cluster down` ends them");
            return Ok(());
        }
        bail!("did not end well: `{}`", failed.join("`, `"))
    }
}

/// SIGTERM to a child that was not waited for; one that runs as root through sudo is told by sudo.
fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by Ctrl-C already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            if matches!(child.try_wait(), Ok(None)) {
                terminate(child);
                let _ = child.wait();
            }
        }
    }
}
