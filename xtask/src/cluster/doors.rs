//! Further ways into the Kafka of tests: with TLS and a name, and through whatever a test puts between.

use super::free_ports;
use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Who may come in, and with what. It guards nothing: the broker listens on 127.0.0.1, for as long as tests run.
pub(super) const USER: &str = "netspectra";
const PASSWORD: &str = "only for tests";

/// Two more listeners of a broker.
#[derive(Debug)]
pub(super) struct Doors {
    /// TLS, and SASL by PLAIN or SCRAM.
    secure: u16,
    /// Where it listens, and where it tells clients that it does: a test puts something of its own there.
    behind: u16,
    front: u16,
    /// PEM: who signed, the broker's certificate, its key.
    authority: String,
    certificate: String,
    key: String,
}

impl Doors {
    /// Free ports, and a certificate by an authority of this moment.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) fn new() -> Result<Self> {
        let [secure, _] = free_ports()?;
        let [behind, front] = free_ports()?;
        let made = || {
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            // Another name than the certificate's own, or that would be taken for one that signs itself.
            params.distinguished_name.push(DnType::CommonName, "NetSpectra's tests");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
            let key = KeyPair::generate()?;
            let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
            let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
            Ok::<_, rcgen::Error>((authority.pem(), certificate.pem(), key.serialize_pem()))
        };
        let (authority, certificate, key) = made().context("no certificate could be made")?;
        Ok(Self { secure, behind, front, authority, certificate, key })
    }

    /// Name and address of each listener, and the same as clients are told.
    pub(super) fn listeners(&self) -> [String; 2] {
        let text = |proxied| format!("SECURE://127.0.0.1:{},PROXIED://127.0.0.1:{proxied}", self.secure);
        [text(self.behind), text(self.front)]
    }

    /// Settings of the broker beside its listeners.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let module = "org.apache.kafka.common.security";
        let of_secure = |name: &str, value: String| (format!("listener.name.secure.{name}"), value);
        vec![
            of_secure("ssl.keystore.type", "PEM".into()),
            of_secure("ssl.keystore.certificate.chain", one_line(&self.certificate)),
            of_secure("ssl.keystore.key", one_line(&self.key)),
            of_secure("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512".into()),
            of_secure(
                "plain.sasl.jaas.config",
                format!("{module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"),
            ),
            of_secure("scram-sha-512.sasl.jaas.config", format!("{module}.scram.ScramLoginModule required;")),
        ]
    }

    /// What the storage tool is told of the user, for SCRAM.
    pub(super) fn user() -> String {
        format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
    }

    /// What tests are told: `address`, `user:password`, the authority's certificate in one line; and where the proxied
    /// listener is said to be, and where it is.
    pub(super) fn variables(&self, mechanisms: &str) -> BTreeMap<String, String> {
        [
            ("NETSPECTRA_KAFKA_SECURE", format!("127.0.0.1:{}", self.secure)),
            ("NETSPECTRA_KAFKA_MECHANISMS", mechanisms.to_owned()),
            ("NETSPECTRA_KAFKA_USER", format!("{USER}:{PASSWORD}")),
            ("NETSPECTRA_KAFKA_AUTHORITY", one_line(&self.authority)),
            ("NETSPECTRA_KAFKA_PROXIED", format!("127.0.0.1:{}=127.0.0.1:{}", self.front, self.behind)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// PEM with its line ends as the two characters `\n`: what properties of Java have for them.
fn one_line(pem: &str) -> String {
    pem.trim_end().lines().fold(String::new(), |mut text, line| {
        let _ = write!(text, "{line}\\n");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn settings_are_lines_and_tests_are_told_of_the_same_doors() {
        let doors = Doors::new().unwrap();
        assert!(doors.settings().iter().all(|(name, value)| !name.contains('=') && !value.contains('\n')));
        let [listens, advertised] = doors.listeners();
        let variables = doors.variables("PLAIN");
        let (front, behind) = variables["NETSPECTRA_KAFKA_PROXIED"].split_once('=').unwrap();
        assert!(listens.ends_with(behind) && advertised.ends_with(front), "{listens} {advertised}");
        assert!(
            listens.contains(&variables["NETSPECTRA_KAFKA_SECURE"])
                && advertised.contains(&format!("{}", doors.secure))
        );
        let pem = variables["NETSPECTRA_KAFKA_AUTHORITY"].replace("\\n", "\n");
        assert!(
            pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n"),
            "{pem}"
        );
    }
}
