//! What runs, in a file, so that another shell can see it and end it.

use super::process::ProcessId;
use super::service::Service;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Changes when a file of before can no longer be read.
const VERSION: u32 = 1;

/// The servers of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// The run for which they were started; they are to go when it is gone. `None`: until `cluster down`.
    pub(super) owner: Option<ProcessId>,
    pub(super) servers: BTreeMap<Service, Server>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) url: String,
    /// How it was come by, in words.
    pub(super) way: String,
    pub(super) run: Run,
    /// What else tests are told of it, by variable.
    #[serde(default)]
    pub(super) more: BTreeMap<String, String>,
}

/// What is to be done to start and to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Run {
    /// Somebody else's: it is used, and never ended.
    Given,
    /// A process of ours.
    Process {
        program: PathBuf,
        args: Vec<String>,
        log: PathBuf,
        /// `None` before its first start.
        id: Option<ProcessId>,
    },
    /// A container of ours, made by `engine create`.
    Container { engine: PathBuf, name: String },
}

/// A folder, its state, and the lock on both: one process at a time starts or ends servers there.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) state: State,
    _lock: File,
}

impl Folder {
    /// Makes the folder if there is none, waits for its lock, and reads its state.
    ///
    /// # Errors
    /// The folder cannot be made, or its state is not one that this version writes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("cannot create `{}`", file.display()))?;
        lock.lock().with_context(|| format!("cannot lock `{}`", file.display()))?;
        Ok(Self { path: path.to_owned(), state: read(&state_file(path))?, _lock: lock })
    }

    /// The log of one server. It stays when the server goes, so that one can see why.
    pub(super) fn log(&self, service: Service) -> PathBuf {
        self.path.join(format!("{}.log", service.name()))
    }

    /// The folder of one server's data and settings.
    pub(super) fn of(&self, service: Service) -> PathBuf {
        self.path.join(service.name())
    }

    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// The disk is full or not writable.
    pub(super) fn save(&self) -> Result<()> {
        let file = state_file(&self.path);
        if self.state.servers.is_empty() && self.state.owner.is_none() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove `{}`", file.display()))
                }
                _ => Ok(()),
            };
        }
        let partial = self.path.join("state.json.partial");
        let text = serde_json::to_string_pretty(&self.state).context("the state cannot be written as JSON")?;
        fs::write(&partial, text).with_context(|| format!("cannot write `{}`", partial.display()))?;
        fs::rename(&partial, &file).with_context(|| format!("cannot write `{}`", file.display()))
    }
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn read(file: &Path) -> Result<State> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(State { version: VERSION, owner: None, servers: BTreeMap::new() });
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", file.display())),
    };
    let hint = || format!("`{}` is not a state of this version: end the servers in it, then remove it", file.display());
    let state: State = serde_json::from_str(&text).with_context(hint)?;
    if state.version != VERSION {
        bail!(
            "`{}` has version {}, expected {VERSION}: end the servers in it, then remove it",
            file.display(),
            state.version
        );
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_one_run_writes_another_reads() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Folder::open(folder.path()).unwrap();
        assert!(one.state.servers.is_empty());
        let id = ProcessId::of(std::process::id()).unwrap();
        let log = one.log(Service::Redis);
        let args = vec!["--port".to_owned(), "1".to_owned()];
        for (service, run) in [
            (Service::Redis, Run::Process { program: "/bin/r".into(), args, log, id: Some(id) }),
            (Service::Kafka, Run::Given),
            (Service::Clickhouse, Run::Container { engine: "/bin/podman".into(), name: "c".into() }),
        ] {
            one.state.servers.insert(
                service,
                Server {
                    url: service.url(1),
                    way: "a test".into(),
                    run,
                    more: [("A".to_owned(), "b".to_owned())].into(),
                },
            );
        }
        one.state.owner = Some(id);
        one.save().unwrap();
        let written = one.state.clone();
        drop(one);
        let mut other = Folder::open(folder.path()).unwrap();
        assert_eq!(other.state, written);

        other.state.servers.clear();
        other.state.owner = None;
        other.save().unwrap();
        assert!(!state_file(folder.path()).exists(), "nothing runs: no file");
        other.save().unwrap();
    }

    #[test]
    fn a_state_that_cannot_be_understood_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("{", "is not a state of this version"),
            (r#"{"version":9,"owner":null,"servers":{}}"#, "has version 9, expected 1"),
        ] {
            fs::write(state_file(folder.path()), text).unwrap();
            let error = Folder::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_to_string(state_file(folder.path())).unwrap(), text);
        }
    }
}
