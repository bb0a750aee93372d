//! Pods of Kubernetes by address, from lists of pods as the API server and kubelets give them.

use super::EnrichError;
use hashbrown::HashMap;
use netspectra_common::model::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pods that are kept.
const MOST: usize = 200_000;
/// Bytes of a list in a file.
const LARGEST: u64 = 512 << 20;
/// How long an address stays with a pod that is gone, for rows that are still to be made.
const STAYS: Duration = Duration::from_secs(120);
/// Where a pod finds what it needs to ask the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the list of pods comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// `https://host:port` of an API server, or the whole address of a kubelet's list (`https://node:10250/pods`). Default: the
    /// API server of the cluster in which this runs as a pod.
    pub url: Option<String>,
    /// Asks the API server for the pods of this node alone.
    pub node: Option<String>,
    /// A file with a PodList as JSON (`kubectl get pods -A -o json`) in place of a server.
    pub pods_file: Option<PathBuf>,
    /// The service account's token, read each time.
    pub token_file: PathBuf,
    /// The authority of the server's certificate, PEM.
    pub ca_file: PathBuf,
    /// Seconds between two looks, 1 to 3,600.
    pub refresh_seconds: u64,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            url: None,
            node: None,
            pods_file: None,
            token_file: Path::new(ACCOUNT).join("token"),
            ca_file: Path::new(ACCOUNT).join("ca.crt"),
            refresh_seconds: 15,
        }
    }
}

/// Why there is no list of pods.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// A key of the configuration.
    #[error("`enrich.kubernetes.{key}` is `{found}`: expected {expected}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
        /// What is legal.
        expected: &'static str,
    },
    /// No server is named, and this is no pod.
    #[error(
        "`enrich.kubernetes` names no server and KUBERNETES_SERVICE_HOST is not set: name one by `url`, or a list by `pods_file`"
    )]
    NoServer,
    /// A file that cannot be read.
    #[error("`{path}` cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too large.
    #[error("`{path}` has {found} bytes: expected a PodList of at most {LARGEST}")]
    Large {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// What is no list of pods.
    #[error("`{origin}` gives no list of pods: expected a PodList as JSON")]
    List {
        /// File or address.
        origin: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The authority's certificate.
    #[error("`{path}` cannot be used as the authority of the server's certificate: {why}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The server does not answer as it should.
    #[error("`{url}` {why}")]
    Server {
        /// Its address.
        url: String,
        /// What happened.
        why: String,
    },
}

impl KubernetesConfig {
    /// Whether each key is legal.
    ///
    /// # Errors
    /// Names the key, what was found, and what is legal.
    pub fn validate(&self) -> Result<(), PodsError> {
        let refused = |key, found: String, expected| Err(PodsError::Config { key, found, expected });
        if !(1..=3600).contains(&self.refresh_seconds) {
            return refused("refresh_seconds", self.refresh_seconds.to_string(), "1 to 3600");
        }
        match (&self.url, &self.pods_file) {
            (Some(url), Some(_)) => refused("url", url.clone(), "no address beside `pods_file`"),
            (Some(url), None) if !url.starts_with("https://") && !url.starts_with("http://") => {
                refused("url", url.clone(), "`https://host:port`, or a kubelet's `https://host:10250/pods`")
            }
            (Some(_) | None, _) => Ok(()),
        }
    }
}

/// A list, or a page of one, in the parts that are looked at.
#[derive(Deserialize)]
pub(super) struct PodList {
    #[cfg(feature = "kubernetes")]
    #[serde(default)]
    pub(super) metadata: ListMetadata,
    items: Option<Vec<Item>>,
}

#[cfg(feature = "kubernetes")]
#[derive(Default, Deserialize)]
pub(super) struct ListMetadata {
    /// Names the next page.
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Deserialize)]
struct OwnerReference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    ip: String,
}

impl PodList {
    pub(super) fn parse(bytes: &[u8], origin: &str) -> Result<Self, PodsError> {
        serde_json::from_slice(bytes).map_err(|source| PodsError::List { origin: origin.to_owned(), source })
    }

    /// Addresses with their pods. A pod on its node's network has its node's address, which says nothing of it; one that has
    /// ended has none any more.
    pub(super) fn addresses(self) -> impl Iterator<Item = (IpAddr, Arc<Pod>)> {
        let running = |item: &Item| !item.spec.host_network && !matches!(&*item.status.phase, "Succeeded" | "Failed");
        self.items.unwrap_or_default().into_iter().filter(running).flat_map(|item| {
            let Item { metadata, status, .. } = item;
            let workload = workload(&metadata);
            let pod = Arc::new(Pod {
                namespace: Some(metadata.namespace.into()),
                name: Some(metadata.name.into()),
                workload: workload.map(Into::into),
            });
            let all = status.pod_ip.into_iter().chain(status.pod_ips.into_iter().map(|p| p.ip));
            all.filter_map(|ip| ip.parse::<IpAddr>().ok()).map(move |ip| (ip, pod.clone())).collect::<Vec<_>>()
        })
    }
}

/// What a pod belongs to, as `kind/name`. Of the sets and jobs that a Deployment or CronJob makes, whose names it makes by a
/// rule, that one.
fn workload(pod: &Metadata) -> Option<String> {
    let owner = pod.owner_references.iter().find(|owner| owner.controller)?;
    let (name, suffix) = owner.name.rsplit_once('-').unwrap_or((&owner.name, ""));
    Some(match &*owner.kind {
        "ReplicaSet" if pod.labels.get("pod-template-hash").is_some_and(|hash| hash == suffix) => {
            format!("Deployment/{name}")
        }
        // The minute of its time, since 1970.
        "Job" if suffix.len() >= 8 && suffix.bytes().all(|b| b.is_ascii_digit()) => format!("CronJob/{name}"),
        kind => format!("{kind}/{}", owner.name),
    })
}

/// The list in a file.
pub(super) fn read(path: &Path) -> Result<Vec<(IpAddr, Arc<Pod>)>, PodsError> {
    let unread = |source| PodsError::File { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(unread)?.len();
    if found > LARGEST {
        return Err(PodsError::Large { path: path.to_owned(), found });
    }
    let bytes = std::fs::read(path).map_err(unread)?;
    Ok(PodList::parse(&bytes, &path.display().to_string())?.addresses().collect())
}

/// Pods by address.
#[derive(Debug, Default)]
pub(super) struct Pods(HashMap<IpAddr, (Arc<Pod>, Instant)>);

impl Pods {
    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.0.get(&address.to_canonical()).map(|(pod, _)| pod.clone())
    }

    /// Takes in what is there `now`; what is not any more stays for a while. Returns whether an address has another pod, or
    /// none, than before.
    pub(super) fn update(&mut self, list: Vec<(IpAddr, Arc<Pod>)>, now: Instant) -> bool {
        let mut changed = false;
        for (address, pod) in list {
            let has_room = self.0.len() < MOST;
            match self.0.get_mut(&address) {
                Some((known, listed)) => {
                    *listed = now;
                    if *known != pod {
                        *known = pod;
                        changed = true;
                    }
                }
                None if has_room => {
                    self.0.insert(address, (pod, now));
                    changed = true;
                }
                None => {}
            }
        }
        let before = self.0.len();
        self.0.retain(|_, (_, listed)| now.duration_since(*listed) < STAYS);
        changed || self.0.len() != before
    }
}

impl From<PodsError> for EnrichError {
    fn from(error: PodsError) -> Self {
        Self::Pods(error)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    /// A list as an API server gives it, in the fields that matter and some that do not.
    pub(crate) const LIST: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"12345"},"items":[
      {"metadata":{"name":"web-6d4cf56db6-abcde","namespace":"shop","uid":"1","labels":{"app":"web","pod-template-hash":"6d4cf56db6"},
        "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-6d4cf56db6","uid":"2","controller":true,"blockOwnerDeletion":true}]},
       "spec":{"nodeName":"n1","containers":[{"name":"web"}]},
       "status":{"phase":"Running","hostIP":"192.168.1.10","podIP":"10.244.1.5","podIPs":[{"ip":"10.244.1.5"},{"ip":"fd00:10:244:1::5"}]}},
      {"metadata":{"name":"db-0","namespace":"shop","ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"3","controller":true}]},
       "spec":{},"status":{"phase":"Running","podIP":"10.244.1.6","podIPs":[{"ip":"10.244.1.6"}]}},
      {"metadata":{"name":"backup-28374650-x7x9z","namespace":"ops","ownerReferences":[{"apiVersion":"batch/v1","kind":"Job","name":"backup-28374650","uid":"4","controller":true}]},
       "spec":{},"status":{"phase":"Running","podIP":"10.244.1.7"}},
      {"metadata":{"name":"done-1-x","namespace":"ops"},"spec":{},"status":{"phase":"Succeeded","podIP":"10.244.1.8"}},
      {"metadata":{"name":"kube-proxy-q","namespace":"kube-system","ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"kube-proxy","uid":"5","controller":true}]},
       "spec":{"hostNetwork":true},"status":{"phase":"Running","hostIP":"192.168.1.10","podIP":"192.168.1.10"}},
      {"metadata":{"name":"alone","namespace":"default"},"spec":{},"status":{"phase":"Pending"}},
      {"metadata":{"name":"bare","namespace":"default"},"spec":{},"status":{"phase":"Running","podIP":"10.244.1.9"}}]}"#;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::testing::LIST;
    use super::*;

    #[test]
    fn pods_are_known_by_address_with_namespace_and_workload() {
        let mut pods = Pods::default();
        let list = || PodList::parse(LIST.as_bytes(), "test").unwrap().addresses().collect::<Vec<_>>();
        let now = Instant::now();
        assert!(pods.update(list(), now));
        let of = |pods: &Pods, ip: &str| {
            let pod = pods.of(ip.parse().unwrap())?;
            let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
            Some([text(&pod.namespace), text(&pod.name), text(&pod.workload)].join(" "))
        };
        let web = Some("shop web-6d4cf56db6-abcde Deployment/web".to_owned());
        for ip in ["10.244.1.5", "fd00:10:244:1::5", "::ffff:10.244.1.5"] {
            assert_eq!(of(&pods, ip), web, "{ip}");
        }
        assert_eq!(of(&pods, "10.244.1.6").as_deref(), Some("shop db-0 StatefulSet/db"));
        assert_eq!(of(&pods, "10.244.1.7").as_deref(), Some("ops backup-28374650-x7x9z CronJob/backup"));
        assert_eq!(of(&pods, "10.244.1.9").as_deref(), Some("default bare -"));
        for ip in ["10.244.1.8", "192.168.1.10"] {
            assert_eq!(of(&pods, ip), None, "{ip}");
        }
        // The same list changes nothing; one that is gone stays for a while.
        assert!(!pods.update(list(), now));
        assert!(!pods.update(Vec::new(), now + STAYS / 2));
        assert_eq!(of(&pods, "10.244.1.5"), web);
        assert!(pods.update(list().into_iter().skip(2).collect(), now + STAYS));
        assert_eq!((of(&pods, "10.244.1.5"), of(&pods, "10.244.1.9").is_some()), (None, true));
    }

    #[test]
    fn what_is_no_list_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pods.json");
        std::fs::write(&path, "<html>").unwrap();
        let expected = format!("`{}` gives no list of pods: expected a PodList as JSON", path.display());
        assert_eq!(read(&path).unwrap_err().to_string(), expected);
        std::fs::write(&path, LIST).unwrap();
        assert_eq!(read(&path).unwrap().len(), 7);
        assert!(matches!(read(dir.path().join("none").as_path()), Err(PodsError::File { .. })));
        let refused = |config: KubernetesConfig| config.validate().unwrap_err().to_string();
        let config = |url: &str| KubernetesConfig { url: Some(url.into()), ..KubernetesConfig::default() };
        assert_eq!(
            refused(config("kubelet:10250")),
            "`enrich.kubernetes.url` is `kubelet:10250`: expected `https://host:port`, or a kubelet's `https://host:10250/pods`"
        );
        assert!(
            refused(KubernetesConfig { pods_file: Some(path), ..config("https://a") }).contains("beside `pods_file`")
        );
        assert!(refused(KubernetesConfig { refresh_seconds: 0, ..config("https://a") }).contains("expected 1 to 3600"));
    }
}
