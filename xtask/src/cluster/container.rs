//! Servers in containers, where an engine is there and can pull images.
//!
//! Containers share the host's network stack, so that a server has the same address inside and outside, and keep their
//! data in themselves: a container that is killed and started again has it still.

use super::doors::Doors;
use super::service::Service;
use super::state::{Run, Server};
use crate::process::{capture, find_program, run_within};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An engine whose daemon is away may hang.
const ENGINE_LIMIT: Duration = Duration::from_secs(10);
/// Some hundred megabytes.
const PULL_LIMIT: Duration = Duration::from_secs(600);

/// The first container engine that answers.
pub(super) fn engine() -> Option<PathBuf> {
    ["podman", "docker"].into_iter().filter_map(find_program).find(|engine| answers(engine))
}

fn answers(engine: &Path) -> bool {
    let mut command = Command::new(engine);
    command.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    matches!(crate::process::wait_within(&mut child, ENGINE_LIMIT, &mut |_| {}), Ok(Some(status)) if status.success())
}

/// Pulls the image and makes the container, which is not started yet.
///
/// # Errors
/// The registry does not answer, or the engine refuses.
pub(super) fn create(service: Service, engine: &Path, ports: [u16; 2]) -> Result<Server> {
    let image = image(service);
    run_within(Command::new(engine).args(["pull", image]), PULL_LIMIT)
        .with_context(|| format!("the image `{image}` cannot be pulled"))?;
    let name = format!("netspectra-{}-{}", service.name(), ports[0]);
    let mut command = Command::new(engine);
    command.args(["create", "--name", &name, "--network", "host"]);
    // Its storage is prepared by the image, which knows no users.
    let doors = Doors::new()?;
    let more = if service == Service::Kafka { doors.variables("PLAIN") } else { Default::default() };
    for (variable, value) in environment(service, ports, &doors) {
        command.args(["--env", &format!("{variable}={value}")]);
    }
    command.arg(image).args(arguments(service, ports));
    capture(&mut command)?;
    let run = Run::Container { engine: engine.to_owned(), name };
    Ok(Server { url: service.url(ports[0]), way: format!("container of `{image}`"), run, more })
}

/// Whether the container runs.
pub(super) fn is_running(engine: &Path, name: &str) -> bool {
    capture(Command::new(engine).args(["inspect", "--format", "{{.State.Running}}", name]))
        .is_ok_and(|answer| answer.trim() == "true")
}

/// The last lines that the server in the container wrote.
pub(super) fn log(engine: &Path, name: &str) -> String {
    capture(Command::new(engine).args(["logs", "--tail", "5", name])).unwrap_or_default()
}

/// Images, with the version that is meant.
fn image(service: Service) -> &'static str {
    match service {
        Service::Kafka => "docker.io/apache/kafka:4.0.0",
        Service::Clickhouse => "docker.io/clickhouse/clickhouse-server:25.8",
        Service::Redis => "docker.io/library/redis:7.2",
        Service::Prometheus => "docker.io/prom/prometheus:v2.53.4",
    }
}

fn environment(service: Service, ports: [u16; 2], doors: &Doors) -> Vec<(String, String)> {
    match service {
        // The image's start script makes properties of these.
        Service::Kafka => super::kafka::settings(ports, doors, "/var/lib/kafka/data")
            .into_iter()
            .map(|(key, value)| (format!("KAFKA_{}", key.to_uppercase().replace('.', "_")), value))
            .chain([("CLUSTER_ID".to_owned(), super::kafka::CLUSTER_ID.to_owned())])
            .collect(),
        Service::Clickhouse => vec![("CLICKHOUSE_SKIP_USER_SETUP".into(), "1".into())],
        Service::Redis | Service::Prometheus => Vec::new(),
    }
}

fn arguments(service: Service, ports: [u16; 2]) -> Vec<String> {
    let port = ports[0];
    match service {
        Service::Kafka => Vec::new(),
        Service::Clickhouse => vec![
            "--".into(),
            "--listen_host=127.0.0.1".into(),
            format!("--http_port={port}"),
            format!("--tcp_port={}", ports[1]),
        ],
        Service::Redis => super::redis::arguments(port, "/data"),
        // The image's own settings: it may scrape itself, and takes no samples out of order.
        Service::Prometheus => super::prometheus::arguments(port, "/etc/prometheus/prometheus.yml", "/prometheus"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that does what `script` says.
    fn engine_of(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("engine");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn an_engine_without_its_daemon_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(answers(&engine_of(folder.path(), "exit 0")));
        assert!(!answers(&engine_of(folder.path(), "exit 1")));
        assert!(!answers(&folder.path().join("nothing")));
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = create(Service::Redis, &engine_of(folder.path(), "exit 125"), [1, 2]).unwrap_err().to_string();
        assert_eq!(error, "the image `docker.io/library/redis:7.2` cannot be pulled");
    }

    #[test]
    fn a_container_is_made_with_its_port_and_settings() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let engine = engine_of(folder.path(), &format!("echo \"$@\" >> '{}'", said.display()));
        let server = create(Service::Kafka, &engine, [7001, 7002]).unwrap();
        assert_eq!(server.url, "127.0.0.1:7001");
        assert_eq!(server.run, Run::Container { engine, name: "netspectra-kafka-7001".into() });
        let said = std::fs::read_to_string(said).unwrap();
        assert!(said.starts_with("pull docker.io/apache/kafka:4.0.0\ncreate --name netspectra-kafka-7001"), "{said}");
        for part in ["KAFKA_ADVERTISED_LISTENERS=BROKER://127.0.0.1:7001", "KAFKA_MIN_INSYNC_REPLICAS=1"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
