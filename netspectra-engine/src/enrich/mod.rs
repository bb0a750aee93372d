//! What is known of addresses beside the traffic: country and autonomous system from files in MaxMind's format, and local
//! networks and services by the configuration. Rows get it when they are made, so that history keeps what was true then. It is a
//! function of the address and of what was configured, and no part of an engine's state.
//!
//! Names of addresses and owners of sockets are what agents saw: they are part of the state, so that a replay gives the same.

mod cache;
mod held;
#[cfg(feature = "kubernetes")]
mod kubernetes;
pub(crate) mod names;
mod networks;
mod pods;
mod services;
pub(crate) mod sockets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use networks::LocalNetwork;
pub use pods::{KubernetesConfig, PodsError};

use cache::Cache;
use maxminddb::Reader;
use netspectra_common::model::{Country, Place, Pod};
use netspectra_common::report::chain;
use networks::Networks;
use pods::Pods;
use serde::{Deserialize, Serialize};
use services::Services;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// What is to be known of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// A file in MaxMind's format with countries: GeoLite2-Country, GeoLite2-City or alike.
    pub country_file: Option<PathBuf>,
    /// One with autonomous systems: GeoLite2-ASN or alike.
    pub as_file: Option<PathBuf>,
    /// A file with names of services in the format of `/etc/services`. Default: a list of well-known ones.
    pub services_file: Option<PathBuf>,
    /// Where the pods of Kubernetes are listed. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesConfig>,
    /// Local networks; the longest prefix that has an address names it.
    pub networks: Vec<LocalNetwork>,
}

/// Why nothing can be known.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    /// A file that cannot be read, or is no such file.
    #[error("`{path}` cannot be used: expected a file in MaxMind's format (`.mmdb`) with {expected}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        expected: &'static str,
        /// Why.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
    /// A file of another kind.
    #[error("`{path}` is a `{found}`: expected a file in MaxMind's format with {expected}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it calls itself.
        found: String,
        /// What was expected in it.
        expected: &'static str,
    },
    /// A file of services that cannot be read.
    #[error("`{path}` cannot be read: expected a file with services, such as `/etc/services`")]
    Services {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A service that is none.
    #[error("`{path}` line {line}: `{found}`: expected a name, a port and a protocol, such as `https 443/tcp`")]
    Service {
        /// The file.
        path: PathBuf,
        /// The line's number.
        line: usize,
        /// The line.
        found: String,
    },
    /// A list of pods.
    #[error(transparent)]
    Pods(PodsError),
    /// A network that is none.
    #[error("network `{name}`: `{found}` is no address block, expected such as `10.0.0.0/8` or `2001:db8::/32`")]
    Network {
        /// Its name.
        name: String,
        /// What is there.
        found: String,
    },
    /// A network without a name.
    #[error("a network of {cidrs} has no name: expected 1 to 64 characters")]
    Name {
        /// Its address blocks.
        cidrs: String,
    },
}

/// What is known of addresses. Cloning is cheap; clones share files and cache. The default knows nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Enrichment(Option<Arc<Sources>>);

impl Eq for Enrichment {}

impl PartialEq for Enrichment {
    /// The same one.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Sources {
    config: EnrichConfig,
    networks: Networks,
    pods: RwLock<Pods>,
    #[cfg(feature = "kubernetes")]
    server: Option<kubernetes::Server>,
    files: RwLock<Files>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Files {
    country: Option<File>,
    asn: Option<File>,
    services: Option<(Services, Option<SystemTime>)>,
}

struct File {
    reader: Reader<Vec<u8>>,
    changed: Option<SystemTime>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("kind", &self.reader.metadata().database_type).finish_non_exhaustive()
    }
}

const COUNTRIES: &str = "countries, such as GeoLite2-Country";
const SYSTEMS: &str = "autonomous systems, such as GeoLite2-ASN";

#[derive(Deserialize)]
struct CountryRecord<'a> {
    #[serde(borrow)]
    country: Option<Code<'a>>,
    #[serde(borrow)]
    registered_country: Option<Code<'a>>,
}

#[derive(Deserialize)]
struct Code<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct SystemRecord {
    autonomous_system_number: Option<u32>,
}

impl Enrichment {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be used; a network that is none.
    pub fn open(config: &EnrichConfig) -> Result<Self, EnrichError> {
        if *config == EnrichConfig::default() {
            return Ok(Self::default());
        }
        let networks = Networks::new(&config.networks)?;
        let files = RwLock::new(read_files(config)?);
        let mut pods = Pods::default();
        if let Some(kubernetes) = &config.kubernetes {
            kubernetes.validate()?;
            if let Some(file) = &kubernetes.pods_file {
                pods.update(pods::read(file)?, Instant::now());
            }
        }
        #[cfg(feature = "kubernetes")]
        let server = match &config.kubernetes {
            Some(kubernetes) if kubernetes.pods_file.is_none() => Some(kubernetes::Server::new(kubernetes)?),
            Some(_) | None => None,
        };
        Ok(Self(Some(Arc::new(Sources {
            config: config.clone(),
            networks,
            pods: RwLock::new(pods),
            #[cfg(feature = "kubernetes")]
            server,
            files,
            cache: Mutex::default(),
        }))))
    }

    /// Keeps the pods of Kubernetes up to date, as long as it is polled; ends where none are wanted. A list that cannot be had
    /// is named in the log, and what was known stays for two minutes.
    pub async fn follow_pods(&self) {
        let Some(sources) = &self.0 else { return };
        let Some(config) = &sources.config.kubernetes else { return };
        let mut failing = false;
        loop {
            match sources.list_pods(config).await {
                Ok(list) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("pods are listed again");
                    }
                    sources.take_pods(list);
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(error = %chain(&error), "pods are not listed");
                }
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(config.refresh_seconds)).await;
        }
    }

    /// Reads files again that were changed. Returns whether there were any; what was known stays when one cannot be used.
    ///
    /// # Errors
    /// As [`Enrichment::open`].
    pub fn refresh(&self) -> Result<bool, EnrichError> {
        let Some(sources) = &self.0 else { return Ok(false) };
        let config = &sources.config;
        let unchanged = {
            let files = sources.files.read().unwrap_or_else(PoisonError::into_inner);
            let same = |path: &Option<PathBuf>, file: &Option<File>| {
                path.as_deref().is_none_or(|path| file.as_ref().is_some_and(|file| file.changed == changed(path)))
            };
            let read = files.services.as_ref().and_then(|(_, changed)| *changed);
            same(&config.country_file, &files.country)
                && same(&config.as_file, &files.asn)
                && config.services_file.as_deref().is_none_or(|path| read == changed(path))
        };
        if unchanged {
            return Ok(false);
        }
        let files = read_files(config)?;
        *sources.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        *sources.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache::default();
        Ok(true)
    }

    /// The service of protocol `proto` between two ports. Cost: two look-ups at most.
    pub(crate) fn service(&self, proto: u8, ports: [u16; 2]) -> Option<Arc<str>> {
        let Some(sources) = &self.0 else { return Services::builtin().of(proto, ports) };
        let files = sources.files.read().unwrap_or_else(PoisonError::into_inner);
        match &files.services {
            Some((services, _)) => services.of(proto, ports),
            None => Services::builtin().of(proto, ports),
        }
    }

    /// Where `address` is. Cost: a look-up, of an address that was not asked for lately some hundred nanoseconds.
    pub(crate) fn place(&self, address: IpAddr) -> Place {
        let Some(sources) = &self.0 else { return Place::default() };
        let mut cache = sources.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get_or_insert_with(address, || {
            let files = sources.files.read().unwrap_or_else(PoisonError::into_inner);
            Place {
                country: files.country.as_ref().and_then(|file| file.country(address)),
                asn: files.asn.as_ref().and_then(|file| file.system(address)),
                network: sources.networks.of(address),
                pod: sources.pods.read().unwrap_or_else(PoisonError::into_inner).of(address),
                ..Place::default()
            }
        })
    }
}

impl Sources {
    async fn list_pods(&self, config: &KubernetesConfig) -> Result<Vec<(IpAddr, Arc<Pod>)>, PodsError> {
        if let Some(file) = &config.pods_file {
            return pods::read(file);
        }
        #[cfg(feature = "kubernetes")]
        if let Some(server) = &self.server {
            return server.pods().await;
        }
        Err(PodsError::NoServer)
    }

    fn take_pods(&self, list: Vec<(IpAddr, Arc<Pod>)>) {
        let changed = self.pods.write().unwrap_or_else(PoisonError::into_inner).update(list, Instant::now());
        if changed {
            *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache::default();
        }
    }
}

impl File {
    /// What cannot be read is not known.
    fn country(&self, address: IpAddr) -> Option<Country> {
        let record: CountryRecord<'_> = self.reader.lookup(address).ok()?.decode().ok()??;
        let code = |of: Option<Code<'_>>| of.and_then(|c| c.iso_code).and_then(Country::new);
        code(record.country).or_else(|| code(record.registered_country))
    }

    fn system(&self, address: IpAddr) -> Option<u32> {
        let record: SystemRecord = self.reader.lookup(address).ok()?.decode().ok()??;
        record.autonomous_system_number
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn read_files(config: &EnrichConfig) -> Result<Files, EnrichError> {
    let services = |path: &PathBuf| {
        // Before it is read: a change meanwhile is seen the next time.
        let changed = changed(path);
        Services::read(path).map(|services| (services, changed))
    };
    Ok(Files {
        services: config.services_file.as_ref().map(services).transpose()?,
        country: read(config.country_file.as_deref(), COUNTRIES, &["country", "city", "enterprise"])?,
        asn: read(config.as_file.as_deref(), SYSTEMS, &["asn", "isp", "as"])?,
    })
}

/// `kinds`: a file's own word for what it is has one of these in it.
fn read(path: Option<&Path>, expected: &'static str, kinds: &[&str]) -> Result<Option<File>, EnrichError> {
    let Some(path) = path else { return Ok(None) };
    // Before it is read: a change meanwhile is seen the next time.
    let changed = changed(path);
    let reader =
        Reader::open_readfile(path).map_err(|source| EnrichError::File { path: path.to_owned(), expected, source })?;
    let found = reader.metadata().database_type.clone();
    let lower = found.to_ascii_lowercase();
    if !kinds.iter().any(|kind| lower.contains(kind)) {
        return Err(EnrichError::Kind { path: path.to_owned(), found, expected });
    }
    Ok(Some(File { reader, changed }))
}
