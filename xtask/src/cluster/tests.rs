#![allow(clippy::unwrap_used, reason = "tests")]
//! Of the servers only their processes: that the real ones start and answer is seen when `cargo xtask test` begins.

use super::process::ProcessId;
use super::*;

/// A server that runs, and says nothing.
fn sleeper(folder: &Folder, service: Service) -> Server {
    process(folder, service, "exec sleep 600")
}

fn process(folder: &Folder, service: Service, script: &str) -> Server {
    data_folder(folder, service).unwrap();
    let args = vec!["-c".to_owned(), format!("exec 1>&2; {script}")];
    let run = Run::Process { program: "/bin/sh".into(), args, log: folder.log(service), id: None };
    Server { url: service.url(1), way: "a script".into(), run, more: Default::default() }
}

fn id(server: &Server) -> Option<ProcessId> {
    match &server.run {
        Run::Process { id, .. } => *id,
        Run::Given | Run::Container { .. } => None,
    }
}

/// On record and running, as after a good start.
fn running(folder: &mut Folder, service: Service) -> ProcessId {
    let mut server = sleeper(folder, service);
    launch::begin(&mut server.run).unwrap();
    let process = id(&server).unwrap();
    folder.state.servers.insert(service, server);
    folder.save().unwrap();
    process
}

fn reopened(folder: Folder) -> Folder {
    let path = folder.path.clone();
    drop(folder);
    Folder::open(&path).unwrap()
}

#[test]
fn another_shell_ends_what_this_one_started_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(temporary.path()).unwrap();
    let processes = [running(&mut folder, Service::Redis), running(&mut folder, Service::Kafka)];
    let mut folder = reopened(folder);
    assert!(processes.iter().all(|process| process.is_alive()));
    lower(&mut folder, &Service::ALL, false).unwrap();
    assert!(!processes.iter().any(|process| process.is_alive()));
    assert!(!folder.of(Service::Redis).exists() && !temporary.path().join("state.json").exists());
    assert!(reopened(folder).state.servers.is_empty());
}

#[test]
fn a_server_that_ends_while_it_starts_is_named_with_its_log_and_taken_off_the_record() {
    let temporary = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(temporary.path()).unwrap();
    let server = process(&folder, Service::Clickhouse, "echo no room; exit 3");
    let error = begin(&mut folder, Service::Clickhouse, server).unwrap_err().to_string();
    assert!(error.starts_with("ClickHouse ended while it was starting; the end of `/"), "{error}");
    assert!(error.contains("clickhouse.log") && error.contains("no room"), "{error}");
    lower(&mut folder, &[Service::Clickhouse], false).unwrap();
    assert!(reopened(folder).state.servers.is_empty());
    assert!(temporary.path().join("clickhouse.log").is_file(), "the log stays");
}

#[test]
fn with_its_data_kept_a_server_stays_on_record_without_a_process() {
    let temporary = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(temporary.path()).unwrap();
    let process = running(&mut folder, Service::Redis);
    let before = folder.state.servers[&Service::Redis].clone();
    lower(&mut folder, &Service::ALL, true).unwrap();
    assert!(!process.is_alive());
    let folder = reopened(folder);
    let after = &folder.state.servers[&Service::Redis];
    assert_eq!((id(after), &after.url), (None, &before.url));
    assert!(folder.of(Service::Redis).join("data").is_dir());
}

#[test]
fn a_server_of_somebody_else_is_never_killed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(temporary.path()).unwrap();
    let server = Server { url: "k:1".into(), way: "named".into(), run: Run::Given, more: Default::default() };
    let error = launch::kill(Service::Kafka, &server).unwrap_err().to_string();
    assert!(error.contains("`k:1` was not started by") && error.contains("left alone"), "{error}");
    folder.state.servers.insert(Service::Kafka, server);
    lower(&mut folder, &Service::ALL, true).unwrap();
    assert!(folder.state.servers.is_empty(), "it is forgotten, also when data are kept");
}

#[test]
fn what_a_dead_run_of_tests_left_is_ended_and_what_a_living_one_uses_is_not() {
    let temporary = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(temporary.path()).unwrap();
    let process = running(&mut folder, Service::Redis);
    folder.state.owner = Some(ProcessId::of(std::process::id()).unwrap());
    remove_orphans(&mut folder).unwrap();
    assert!(process.is_alive());
    assert!(refuse_if_taken(&folder).unwrap_err().to_string().contains("is running tests with the servers in"));

    let mut dead = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    folder.state.owner = Some(ProcessId::of(dead.id()).unwrap());
    dead.kill().unwrap();
    dead.wait().unwrap();
    remove_orphans(&mut folder).unwrap();
    assert!(!process.is_alive());
    assert_eq!((folder.state.owner, folder.state.servers.len()), (None, 0));
    refuse_if_taken(&folder).unwrap();
}

#[test]
fn ports_are_free_and_two() {
    let [one, other] = free_ports().unwrap();
    assert_ne!(one, other);
    TcpListener::bind(("127.0.0.1", one)).unwrap();
}
