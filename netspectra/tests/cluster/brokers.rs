//! Three brokers, each message on three of them, and each of them killed while agents write and engines read.
//!
//! They are of this test, from the jars that `NETSPECTRA_KAFKA_LIBS` names and by the Java of `NETSPECTRA_KAFKA_JAVA` (`cargo xtask
//! cluster up` says both; a Kafka that is only named by its address cannot be killed). Each is controller, too.

use super::support::cluster::{BINARY, Cluster, PATIENCE, free_port, ledger, server};
use super::traffic::{captures, reference};
use super::{agents, assert_whole, wait_for_agents};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BROKERS: usize = 3;
/// Between two looks at something that takes a moment.
const LOOK: Duration = Duration::from_millis(100);

struct Broker {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Java with Kafka's classes, and little memory.
fn java(dir: &Path, main: &str) -> Command {
    let log = || File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(server("NETSPECTRA_KAFKA_JAVA"));
    command.args([
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &format!("{}/*", server("NETSPECTRA_KAFKA_LIBS")),
        main,
    ]);
    command.stdin(Stdio::null()).stdout(log()).stderr(log());
    command
}

impl Broker {
    fn start(&mut self) {
        let child = java(&self.dir, "kafka.Kafka").arg(self.dir.join("server.properties")).spawn().unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Brokers with empty disks, which know of each other.
fn brokers(dir: &Path) -> Vec<Broker> {
    let ports: Vec<[u16; 2]> = (0..BROKERS).map(|_| [free_port(), free_port()]).collect();
    let voters: Vec<String> =
        ports.iter().enumerate().map(|(n, [_, controller])| format!("{}@127.0.0.1:{controller}", n + 1)).collect();
    let mut made = Vec::new();
    for (n, [port, controller]) in ports.iter().enumerate() {
        let home = dir.join(format!("broker{}", n + 1));
        std::fs::create_dir_all(&home).unwrap();
        let settings = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", (n + 1).to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("controller.listener.names", "CONTROLLER".into()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
            ("log.dirs", home.join("data").display().to_string()),
            ("offsets.topic.replication.factor", "3".into()),
            ("offsets.topic.num.partitions", "4".into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
            // Who is away, or behind, is missed soon; not so soon that three of them on a busy machine miss each other.
            ("broker.heartbeat.interval.ms", "500".into()),
            ("broker.session.timeout.ms", "5000".into()),
            ("replica.lag.time.max.ms", "5000".into()),
            ("controller.quorum.election.timeout.ms", "1000".into()),
            ("controller.quorum.fetch.timeout.ms", "3000".into()),
        ];
        let text: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(home.join("server.properties"), text).unwrap();
        let mut format = java(&home, "kafka.tools.StorageTool");
        format
            .args(["format", "--cluster-id", "bmV0c3BlY3RyYS10aHJlZQ", "--config"])
            .arg(home.join("server.properties"));
        made.push((format.spawn().unwrap(), Broker { dir: home, port: *port, child: None }));
    }
    let mut brokers = Vec::new();
    for (mut format, mut broker) in made {
        assert!(format.wait().unwrap().success(), "{}", std::fs::read_to_string(broker.dir.join("log")).unwrap());
        broker.start();
        brokers.push(broker);
    }
    // Each of them takes part when a topic can be on all three.
    let config = dir.join("probe.toml");
    let text =
        format!("[kafka]\nbrokers = \"{}\"\ntopic = \"probe\"\ndead_letters = \"probe-dead\"\n", addresses(&brokers));
    std::fs::write(&config, text).unwrap();
    wait_for_topics(config.to_str().unwrap(), &["--create", "--partitions", "1"]);
    brokers
}

fn addresses(brokers: &[Broker]) -> String {
    brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect::<Vec<_>>().join(",")
}

/// Waits until the topics are as planned, and every broker has everything.
fn wait_for_topics(config: &str, more: &[&str]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let check = ["admin", "topics", "--config", config, "--replication", "3"];
        let done = Command::new(BINARY).args(check).args(more).output().unwrap();
        if done.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(Instant::now() < until, "{said}");
        std::thread::sleep(LOOK);
    }
}

#[test]
fn brokers_that_are_killed_one_after_the_other_lose_nothing_and_nothing_comes_twice() {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let mut brokers = brokers(dir.path());
    let cluster = Cluster::replicated("brokers", &addresses(&brokers));
    println!("three brokers after {:?}", began.elapsed());
    let files = captures(cluster.dir.path(), 2 * BROKERS, 90, 50);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let engines = [cluster.engine(0), cluster.engine(1)];
    for engine in &engines {
        engine.wait_for("took the partition over");
    }
    let (_api, api) = cluster.api();
    let token = cluster.token();
    for (n, files) in files.chunks(2).enumerate() {
        wait_for_topics(&cluster.config, &["--partitions", "4"]);
        let seen = || ledger(&api, &token)["seen"]["packets"].as_u64().unwrap_or(0);
        let (until, already) = (Instant::now() + PATIENCE, seen());
        let before = agents(&cluster, 2 * n, &files[..1]);
        while seen() == already {
            assert!(Instant::now() < until, "nothing of agent {} came", 2 * n);
        }
        brokers[n].kill();
        // Two are enough: these end while the third is away.
        let while_away = agents(&cluster, 2 * n + 1, &files[1..]);
        wait_for_agents(&before);
        wait_for_agents(&while_away);
        println!("broker {} is away after {:?}: everything is written", n + 1, began.elapsed());
        brokers[n].start();
    }
    wait_for_topics(&cluster.config, &["--partitions", "4"]);
    println!("all three are whole after {:?}", began.elapsed());
    assert_whole(&[&api], &token, reference, packets);
    println!("the end after {:?}", began.elapsed());
}
