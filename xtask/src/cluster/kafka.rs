//! Kafka: one node that is broker and controller, an installed one or from its own jars at Maven Central.

use super::doors::Doors;
use super::service::Service;
use super::state::{Folder, Run, Server};
use super::{cache, data_folder, path_text};
use crate::process::{capture, find_program, is_executable, run_within, say};
use crate::setup;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const VERSION: &str = "4.0.0";
/// What Kafka's own distribution logs with.
const LOG4J: &str = "2.24.3";
/// Kafka 4 needs it.
const OLDEST_JAVA: u32 = 17;
/// 42 MB in 45 files.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
const FORMAT_LIMIT: Duration = Duration::from_secs(120);
/// Identity of the cluster: 16 bytes in Kafka's base64.
pub(super) const CLUSTER_ID: &str = "bmV0c3BlY3RyYS10ZXN0cw";

/// Folder of an installed Kafka of the same generation: of `KAFKA_HOME`, or of `kafka-server-start.sh` in `PATH`.
pub(super) fn installed() -> Option<PathBuf> {
    let by_script = || {
        let script = fs::canonicalize(find_program("kafka-server-start.sh")?).ok()?;
        Some(script.parent()?.parent()?.to_owned())
    };
    let named = std::env::var_os("KAFKA_HOME").map(PathBuf::from);
    [named, by_script()].into_iter().flatten().find(|home| is_kafka_4(&home.join("libs")))
}

fn is_kafka_4(libs: &Path) -> bool {
    fs::read_dir(libs)
        .is_ok_and(|entries| entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("kafka_2.13-4.")))
}

/// The server of an installed Kafka.
///
/// # Errors
/// No Java that is recent enough and none to be had, or the folder of its data cannot be made.
pub(super) fn from_home(folder: &Folder, home: &Path, ports: [u16; 2]) -> Result<Server> {
    server(folder, &home.join("libs"), ports, format!("`{}`", home.display()))
}

/// The server from its jars, which are kept in the cache.
///
/// # Errors
/// As [`from_home`]; Maven Central does not answer.
pub(super) fn fetched(ws: &Workspace, folder: &Folder, ports: [u16; 2]) -> Result<Server> {
    let java = java()?;
    let home = ws.cache.join(format!("kafka-{VERSION}"));
    cache::keep(
        &home,
        |home| is_kafka_4(&home.join("libs")),
        |home| {
            setup::ensure_programs(&["mvn"])?;
            fetch(home, &java)
        },
    )?;
    server(folder, &home.join("libs"), ports, format!("Kafka {VERSION} from Maven Central"))
}

fn fetch(home: &Path, java: &Path) -> Result<()> {
    say(format!("fetching Kafka {VERSION} from Maven Central (42 MB)"));
    fs::write(home.join("pom.xml"), pom()).context("cannot write `pom.xml`")?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "dependency:copy-dependencies"]);
    maven.args(["-DincludeScope=runtime", "-DoutputDirectory=libs"]);
    // The Java that was just found, where `java` in `PATH` is another one.
    if let Some(java_home) = java.parent().and_then(Path::parent) {
        maven.env("JAVA_HOME", java_home);
    }
    run_within(maven.current_dir(home), FETCH_LIMIT)
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>netspectra</groupId>\n  <artifactId>kafka</artifactId>\n  <version>1</version>\n  <dependencies>\n\
         {}{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
        dependency("org.apache.logging.log4j", "log4j-core", LOG4J),
    )
}

/// A Java that is recent enough, installed if there is none.
fn java() -> Result<PathBuf> {
    if let Some(found) = find_java() {
        return Ok(found);
    }
    setup::ensure_programs(&["java"])?;
    find_java().with_context(|| format!("there is no Java {OLDEST_JAVA} or later: install one, or set `JAVA_HOME`"))
}

fn find_java() -> Option<PathBuf> {
    let named = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let of_path = find_program("java").and_then(|java| fs::canonicalize(java).ok());
    [named, of_path].into_iter().flatten().filter(|java| is_executable(java)).find(|java| {
        // Java says its version on standard error; `--version` says it on standard output.
        capture(Command::new(java).arg("--version")).ok().and_then(|text| java_version(&text)) >= Some(OLDEST_JAVA)
    })
}

/// `openjdk 17.0.15 2025-04-15` has 17.
fn java_version(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

fn server(folder: &Folder, libs: &Path, ports: [u16; 2], way: String) -> Result<Server> {
    let java = java()?;
    let home = folder.of(Service::Kafka);
    let data = data_folder(folder, Service::Kafka)?;
    let properties = home.join("server.properties");
    let doors = Doors::new()?;
    let text: String =
        settings(ports, &doors, path_text(&data)?).iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    fs::write(&properties, text).with_context(|| format!("cannot write `{}`", properties.display()))?;
    let logging = home.join("log4j2.properties");
    fs::write(&logging, LOGGING).with_context(|| format!("cannot write `{}`", logging.display()))?;

    let common = [
        "-Xmx512m".to_owned(),
        format!("-Dlog4j2.configurationFile={}", path_text(&logging)?),
        "-cp".to_owned(),
        format!("{}/*", path_text(libs)?),
    ];
    let mut format = Command::new(&java);
    format.args(&common).args(["kafka.tools.StorageTool", "format", "--ignore-formatted"]);
    format.args(["--cluster-id", CLUSTER_ID, "--config", path_text(&properties)?]);
    format.args(["--add-scram", &Doors::user()]);
    run_within(&mut format, FORMAT_LIMIT).context("the folder of Kafka's data cannot be prepared")?;

    let mut args = common.to_vec();
    args.extend(["kafka.Kafka".to_owned(), path_text(&properties)?.to_owned()]);
    let mut more = doors.variables("PLAIN,SCRAM-SHA-512");
    // Tests that want several brokers start them themselves.
    for (name, value) in [("NETSPECTRA_KAFKA_JAVA", path_text(&java)?), ("NETSPECTRA_KAFKA_LIBS", path_text(libs)?)] {
        more.insert(name.to_owned(), value.to_owned());
    }
    let run = Run::Process { program: java, args, log: folder.log(Service::Kafka), id: None };
    Ok(Server { url: Service::Kafka.url(ports[0]), way, run, more })
}

/// One node; data on disk; what is acknowledged by all replicas is acknowledged by one.
pub(super) fn settings([port, controller]: [u16; 2], doors: &Doors, data: &str) -> Vec<(String, String)> {
    let [more, advertised] = doors.listeners();
    let listeners = format!("BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{more}");
    [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", &format!("1@127.0.0.1:{controller}")),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "BROKER"),
        ("listeners", &listeners),
        ("advertised.listeners", &format!("BROKER://127.0.0.1:{port},{advertised}")),
        ("listener.security.protocol.map", "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL"),
        ("log.dirs", data),
        ("min.insync.replicas", "1"),
        ("default.replication.factor", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "4"),
        ("group.initial.rebalance.delay.ms", "0"),
        // A broker that comes back after a kill is let in when its former self is given up: 9 s by default.
        ("broker.heartbeat.interval.ms", "500"),
        ("broker.session.timeout.ms", "2000"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .chain(doors.settings())
    .collect()
}

const LOGGING: &str = "\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_pom_names_kafka_and_its_logging_with_their_versions() {
        let pom = pom();
        for line in [
            "<groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.0.0</version>",
            "<artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>",
            "<artifactId>log4j-core</artifactId><version>2.24.3</version>",
        ] {
            assert!(pom.contains(line), "{pom}");
        }
        let count = |tag: &str| pom.matches(tag).count();
        assert_eq!((count("<dependency>"), count("</dependency>"), count("</project>")), (3, 3, 1));
    }

    #[test]
    fn versions_of_java_are_read() {
        assert_eq!(java_version("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(java_version("openjdk 21-ea 2023-09-19"), Some(21));
        assert_eq!(java_version("java 11.0.2 2019-01-15 LTS"), Some(11));
        assert_eq!(java_version(""), None);
        assert!(None < Some(OLDEST_JAVA), "an unknown version is not recent enough");
    }

    #[test]
    fn an_older_kafka_is_not_taken() {
        let libs = tempfile::tempdir().unwrap();
        assert!(!is_kafka_4(libs.path()));
        fs::write(libs.path().join("kafka_2.13-3.9.0.jar"), "").unwrap();
        assert!(!is_kafka_4(libs.path()));
        fs::write(libs.path().join("kafka_2.13-4.1.0.jar"), "").unwrap();
        assert!(is_kafka_4(libs.path()));
    }
}
