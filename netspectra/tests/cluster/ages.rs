//! What is not of this release in the log: messages of newer agents, and ticks, beside what agents of this release write.

use super::support::cluster::{Cluster, PATIENCE, ledger, wait_for_all};
use super::traffic::{captures, reference};
use super::{agents, assert_whole, wait_for_agents};
use netspectra_agent::bus::kafka::KafkaPublisher;
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_common::kafka::KafkaConfig;
use netspectra_common::model::{BusMessage, Counter, ManifestHash, Reasons};
use netspectra_common::ports::Publisher as _;
use netspectra_common::proto;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn kafka(cluster: &Cluster) -> KafkaConfig {
    let settings: toml::Table = toml::from_str(&std::fs::read_to_string(&cluster.config).unwrap()).unwrap();
    settings["kafka"].clone().try_into().unwrap()
}

/// The value of a metric of the first engine.
fn metric(cluster: &Cluster, name: &str) -> u64 {
    let url = format!("http://127.0.0.1:{}/metrics", cluster.engines[0]);
    let text = ureq::get(url).call().unwrap().into_body().read_to_string().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no metric `{name}`: {text}")).parse().unwrap()
}

/// A message as a later release writes it, with a field that nobody here knows.
fn newer(message: &BusMessage) -> Vec<u8> {
    // Field 1000, a text.
    [&proto::encode(message)[..], &[0xc2, 0x3e, 3, 97, 98, 99]].concat()
}

/// A message of a kind that nobody here knows: `newer`, and nothing but field 900, a message.
fn of_another_kind(message: &BusMessage) -> Vec<u8> {
    let v1 = proto::encode(message);
    // The generation, which comes first, as it is.
    let generation = 2 + usize::from(v1[1]);
    [&v1[..generation], &[0xa2, 0x38, 2, 8, 1]].concat()
}

/// What a later release's agent makes of a capture, which counts one more frame in each generation, under a reason of its own.
fn generations(file: &Path) -> Vec<Vec<BusMessage>> {
    let mut source = PcapSource::open(&[file.to_owned()], &PcapConfig::default()).unwrap();
    let mut drain = Drain::new("newer".into(), 7, 16_384);
    let mut previous: Option<ManifestHash> = None;
    let mut all = Vec::new();
    while let Some(generation) = source.generation().unwrap() {
        let mut messages = drain.cut(generation);
        let Some(BusMessage::Manifest(manifest)) = messages.last_mut() else { panic!("a manifest comes last") };
        let manifest = Arc::make_mut(manifest);
        let mut reasons = manifest.ledger.reasons.told();
        reasons.resize(13, Counter::default());
        reasons[12] = Counter::new(1, 60);
        manifest.ledger.reasons = Reasons::of_list(&reasons).unwrap();
        manifest.ledger.seen.add(reasons[12]);
        manifest.previous = previous;
        previous = Some(manifest.hash());
        all.push(messages);
    }
    all
}

#[test]
fn newer_and_older_agents_are_counted_side_by_side_and_nothing_is_lost_in_silence() {
    let cluster = Cluster::new("ages");
    let files = captures(cluster.dir.path(), 2, 30, 50);
    let engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let agents = agents(&cluster, 0, &files[..1]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let publish = |encode: fn(&BusMessage) -> Vec<u8>, messages: Vec<BusMessage>| {
        runtime.block_on(KafkaPublisher::new(&kafka(&cluster), encode).unwrap().publish(messages)).unwrap();
    };
    let newer_generations = generations(&files[1]);
    let more = newer_generations.len() as u64;
    assert!(more > 20, "{more}");
    for (n, messages) in newer_generations.into_iter().enumerate() {
        if n == 10 {
            publish(of_another_kind, vec![messages[0].clone()]);
        }
        publish(newer, messages);
    }
    wait_for_agents(&agents);
    let token = cluster.token();
    wait_for_all(&api, &token, 2 * 30 * 50 + more);
    let found = ledger(&api, &token);
    assert_eq!((&found["residual"]["packets"], &found["residual"]["bytes"]), (&0.into(), &0.into()), "{found}");
    assert_eq!(
        (&found["reasons"]["reason_12"]["packets"], &found["chain_breaks"]),
        (&more.into(), &0.into()),
        "{found}"
    );
    assert_eq!(found["completeness"]["without_flow_packets"], more, "{found}");
    // The one that nobody can read is put aside, and said.
    engine.wait_for("it goes to the dead letters");
    assert_eq!(metric(&cluster, "netspectra_engine_dead_letters_total"), 1);
}

#[test]
fn an_engine_writes_ticks_where_nobody_else_writes_and_reads_them() {
    let cluster = Cluster::new("ticks");
    let files = captures(cluster.dir.path(), 2, 60, 50);
    let (_runtime, reference, packets) = reference(&cluster.dir.path().join("one"), &files);
    let _engine = cluster.engine(0);
    let (_api, api) = cluster.api();
    let token = cluster.token();
    wait_for_agents(&agents(&cluster, 0, &files[..1]));
    wait_for_all(&api, &token, 60 * 50);
    // Nobody knows whether the agent comes back: its partition is told what time it is, again and again.
    let (until, read) = (Instant::now() + PATIENCE, metric(&cluster, "netspectra_engine_messages_total"));
    while metric(&cluster, "netspectra_engine_ticks_total") < 2 {
        assert!(Instant::now() < until, "no ticks came");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(metric(&cluster, "netspectra_engine_messages_total") > read, "ticks are read");
    wait_for_agents(&agents(&cluster, 1, &files[1..]));
    assert_whole(&[&api], &token, reference, packets);
    assert_eq!(metric(&cluster, "netspectra_engine_dead_letters_total"), 0);
}
