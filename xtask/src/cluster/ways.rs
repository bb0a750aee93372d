//! Which ways there are to come by a server, and in which order they are tried.

use super::service::Service;
use super::{clickhouse, container, kafka};
use crate::process::{find_program, say};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// One way to come by a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// It runs already, at this URL.
    Given(String),
    /// A program (of Kafka: its folder) that is installed.
    Installed(PathBuf),
    /// A container engine.
    Container(PathBuf),
    /// Fetched, and started as a process.
    Fetched,
}

/// What this machine has for one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// Value of the service's variable.
    pub(super) given: Option<String>,
    /// Where it is installed, in a version that is recent enough.
    pub(super) installed: Option<PathBuf>,
    /// A container engine that answers.
    pub(super) engine: Option<PathBuf>,
}

impl Surroundings {
    /// Looks around. Cost: starts the server's program once for its version, and the container engine.
    pub(super) fn look(service: Service) -> Self {
        let given = std::env::var(service.variable()).ok().filter(|url| !url.is_empty());
        if given.is_some() {
            return Self { given, ..Self::default() };
        }
        let installed = match service {
            Service::Kafka => kafka::installed(),
            Service::Clickhouse => clickhouse::installed(),
            Service::Redis => find_program("redis-server"),
            Service::Prometheus => find_program("prometheus"),
        };
        // What comes first is enough: an engine is asked only if it may be needed.
        let engine = if installed.is_some() { None } else { container::engine() };
        Self { given, installed, engine }
    }

    /// The ways, in the order in which they are tried. A given server has no substitute: whoever named it means it.
    pub(super) fn ways(&self) -> Vec<Way> {
        if let Some(url) = &self.given {
            return vec![Way::Given(url.clone())];
        }
        let installed = self.installed.iter().cloned().map(Way::Installed);
        installed.chain(self.engine.iter().cloned().map(Way::Container)).chain([Way::Fetched]).collect()
    }
}

/// The result of the first of `ways` that works.
///
/// # Errors
/// None works; the message has the reason of each.
pub(super) fn first<T>(service: Service, ways: &[Way], mut attempt: impl FnMut(&Way) -> Result<T>) -> Result<T> {
    let mut reasons = Vec::new();
    for way in ways {
        match attempt(way) {
            Ok(done) => return Ok(done),
            Err(error) => {
                if ways.len() > 1 {
                    say(format!("{service}: {way} does not work: {error:#}"));
                }
                reasons.push(format!("{way}: {error:#}"));
                super::interrupt::check()?;
            }
        }
    }
    let hint = format!("or name a running one in `{}`", service.variable());
    bail!("{service} cannot be started. {}. Correct that, {hint}", reasons.join(". "))
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(url) => write!(f, "the server `{url}`"),
            Self::Installed(path) => write!(f, "the installed `{}`", path.display()),
            Self::Container(engine) => write!(f, "a container by `{}`", engine.display()),
            Self::Fetched => f.write_str("fetching it"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn installed_comes_before_containers_and_those_before_fetching() {
        let mut here = Surroundings::default();
        assert_eq!(here.ways(), [Way::Fetched]);
        here.engine = Some("/e".into());
        assert_eq!(here.ways(), [Way::Container("/e".into()), Way::Fetched]);
        here.installed = Some("/i".into());
        assert_eq!(here.ways(), [Way::Installed("/i".into()), Way::Container("/e".into()), Way::Fetched]);
    }

    #[test]
    fn a_given_server_has_no_substitute() {
        let here = Surroundings { given: Some("k:1".into()), installed: Some("/i".into()), engine: Some("/e".into()) };
        assert_eq!(here.ways(), [Way::Given("k:1".into())]);
    }

    #[test]
    fn the_first_way_that_works_is_taken_and_every_reason_is_said() {
        let ways = [Way::Installed("/i".into()), Way::Container("/e".into()), Way::Fetched];
        let mut tried = 0;
        let taken = first(Service::Redis, &ways, |way| {
            tried += 1;
            if *way == ways[1] { Ok(7) } else { bail!("broken") }
        });
        assert_eq!((taken.unwrap(), tried), (7, 2));

        let error = first::<()>(Service::Redis, &ways, |way| bail!("no luck with {way}")).unwrap_err().to_string();
        for part in ["Redis cannot be started", "installed `/i`: no luck", "by `/e`: no luck", "`NETSPECTRA_REDIS`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
