use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A country by its ISO 3166-1 code of two letters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 2]", into = "[u8; 2]")]
pub struct Country([u8; 2]);

impl Country {
    /// The country of a code in either case; `None` for anything but two ASCII letters.
    pub fn new(code: &str) -> Option<Self> {
        let [a, b] = *code.as_bytes() else { return None };
        [a, b].try_into().ok()
    }

    /// Its code.
    pub fn as_str(&self) -> &str {
        // Two ASCII letters, see `try_from`.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<[u8; 2]> for Country {
    type Error = &'static str;

    fn try_from(code: [u8; 2]) -> Result<Self, Self::Error> {
        if code.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(code.map(|b| b.to_ascii_uppercase())))
        } else {
            Err("a country is two letters")
        }
    }
}

impl From<Country> for [u8; 2] {
    fn from(country: Country) -> Self {
        country.0
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an address is: what an engine knew of it when it made the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Country.
    pub country: Option<Country>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Name of the local network, by the configuration.
    pub network: Option<Arc<str>>,
    /// Name that was asked for when a DNS answer had the address.
    pub name: Option<Arc<str>>,
    /// The Kubernetes pod that has the address.
    pub pod: Option<Arc<Pod>>,
    /// Whose socket the end of the flow is.
    pub owner: Option<Arc<Owner>>,
}

/// A pod of Kubernetes. Rows that are read in part have only what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// What it belongs to, as `Deployment/web`; none for a pod of its own.
    pub workload: Option<Arc<str>>,
}

/// Who has a socket of the host, as far as the agent could see.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the process, as the kernel has it: at most 15 bytes.
    pub process: Option<Arc<str>>,
    /// Path of its control group below the root of the hierarchy.
    pub cgroup: Option<Arc<str>>,
}

impl Place {
    /// Namespace of the pod.
    pub fn namespace(&self) -> Option<&str> {
        self.pod.as_deref()?.namespace.as_deref()
    }

    /// Name of the pod.
    pub fn pod_name(&self) -> Option<&str> {
        self.pod.as_deref()?.name.as_deref()
    }

    /// What the pod belongs to.
    pub fn workload(&self) -> Option<&str> {
        self.pod.as_deref()?.workload.as_deref()
    }

    /// Name of the process that has the socket.
    pub fn process(&self) -> Option<&str> {
        self.owner.as_deref()?.process.as_deref()
    }

    /// Control group of the process that has the socket.
    pub fn cgroup(&self) -> Option<&str> {
        self.owner.as_deref()?.cgroup.as_deref()
    }
}

impl Pod {
    /// The pod of what is known of one; `None` where nothing is.
    pub fn of(namespace: Option<Arc<str>>, name: Option<Arc<str>>, workload: Option<Arc<str>>) -> Option<Arc<Self>> {
        let pod = Self { namespace, name, workload };
        (pod != Self::default()).then(|| pod.into())
    }
}

impl Owner {
    /// The owner of what is known of one; `None` where nothing is.
    pub fn of(process: Option<Arc<str>>, cgroup: Option<Arc<str>>) -> Option<Arc<Self>> {
        let owner = Self { process, cgroup };
        (owner != Self::default()).then(|| owner.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_country_is_two_letters_in_upper_case() {
        assert_eq!(Country::new("de").unwrap().as_str(), "DE");
        for wrong in ["", "D", "DEU", "D1", "é"] {
            assert_eq!(Country::new(wrong), None, "{wrong}");
        }
        assert!(serde_json::from_str::<Country>("[49, 97]").is_err());
        let text = serde_json::to_string(&Country::new("nz")).unwrap();
        assert_eq!(serde_json::from_str::<Option<Country>>(&text).unwrap(), Country::new("NZ"));
    }
}
