//! The way to Kafka with TLS and a password.

use super::support::cluster::{BINARY, Cluster, server, wait_for_all};
use super::traffic::captures;
use std::path::Path;
use std::process::Command;

/// Settings of a client: the authority that it trusts, and its password by `mechanism`.
fn settings(dir: &Path, mechanism: &str, password: &str) -> String {
    let authority = dir.join("ca.pem");
    std::fs::write(&authority, server("NETSPECTRA_KAFKA_AUTHORITY").replace("\\n", "\n")).unwrap();
    let file = dir.join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    let user = server("NETSPECTRA_KAFKA_USER");
    let (user, _) = user.split_once(':').unwrap();
    format!(
        "tls = {{ ca_file = \"{}\" }}\nsasl = {{ mechanism = \"{mechanism}\", username = \"{user}\", password_file = \"{}\" }}\n",
        authority.display(),
        file.display()
    )
}

fn password() -> String {
    server("NETSPECTRA_KAFKA_USER").split_once(':').unwrap().1.to_owned()
}

#[test]
fn everybody_comes_in_with_tls_and_a_password() {
    for mechanism in server("NETSPECTRA_KAFKA_MECHANISMS").split(',') {
        let dir = tempfile::tempdir().unwrap();
        let more = settings(dir.path(), mechanism, &password());
        let kafka = server("NETSPECTRA_KAFKA_SECURE");
        let name = mechanism.to_lowercase().replace('-', "_");
        let cluster = Cluster::over(&name, &kafka, &server("NETSPECTRA_CLICKHOUSE"), &more);
        let files = captures(cluster.dir.path(), 1, 20, 50);
        let _engine = cluster.engine(0);
        cluster.agent("node0", &files).wait_for("Kafka has all of it");
        let (_api, api) = cluster.api();
        wait_for_all(&api, &cluster.token(), 20 * 50);
    }
}

#[test]
fn who_has_another_password_or_another_authority_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = server("NETSPECTRA_KAFKA_SECURE");
    let attempt = |more: &str| {
        let config = dir.path().join("netspectra.toml");
        std::fs::write(&config, format!("[kafka]\nbrokers = \"{kafka}\"\n{more}")).unwrap();
        let done = Command::new(BINARY).args(["admin", "topics", "--config"]).arg(&config).output().unwrap();
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let said = attempt(&settings(dir.path(), "PLAIN", "not the password"));
    assert!(said.contains("Authentication failed"), "{said}");
    let untrusted = settings(dir.path(), "PLAIN", &password());
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), other.cert.pem()).unwrap();
    let said = attempt(&untrusted);
    assert!(said.contains("certificate verify failed"), "{said}");
}
