//! Time series of a cluster, as a real Prometheus has them.

use super::support::cluster::{Cluster, PATIENCE, Part, free_port, server};
use super::traffic::captures_from;
use super::wait_for_agents;
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_common::model::Resolution;
use netspectra_engine::{Engine, EngineConfig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Packets by labels and times, as Prometheus has them of the cluster called `name`.
fn samples(prometheus: &str, name: &str) -> BTreeMap<(String, i64), f64> {
    let query = format!("netspectra_window_packets{{cluster=\"{name}\"}}[1h]");
    let mut answer = ureq::get(format!("{prometheus}/api/v1/query")).query("query", query).call().unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    let mut samples = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let labels = format!("{} {}", series["metric"]["node"], series["metric"]["proto"]).replace('"', "");
        for sample in series["values"].as_array().unwrap() {
            let at = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
            samples.insert((labels.clone(), at), sample[1].as_str().unwrap().parse().unwrap());
        }
    }
    samples
}

/// Packets by node, protocol and end of the window, as an engine counts them that sees everything.
fn windows_of(files: &[PathBuf]) -> BTreeMap<(String, i64), f64> {
    let mut sums = BTreeMap::new();
    for (n, file) in files.iter().enumerate() {
        let mut source = PcapSource::open(std::slice::from_ref(file), &PcapConfig::default()).unwrap();
        let mut drain = Drain::new(format!("node{n}").into(), 1, 16_384);
        let mut engine = Engine::new(EngineConfig::default());
        while let Some(generation) = source.generation().unwrap() {
            for batch in drain.cut(generation).iter().filter_map(|message| engine.apply(message)) {
                for row in &batch.rollups {
                    let proto = if row.proto == 17 { "udp" } else { "tcp" };
                    let end = row.window.plus(Resolution::S10.duration()).0 / 1_000_000;
                    *sums.entry((format!("node{n} {proto}"), end as i64)).or_default() += row.packets as f64;
                }
            }
        }
    }
    sums
}

#[test]
fn time_series_are_those_of_one_engine_whichever_engine_is_killed() {
    let prometheus = server("NETSPECTRA_PROMETHEUS");
    let cluster = Cluster::new("series");
    let name = format!("series-{}-{}", std::process::id(), free_port());
    let mut text = std::fs::read_to_string(&cluster.config).unwrap();
    text += &format!(
        "[remote_write]\nurl = \"{prometheus}/api/v1/write\"\nmax_delay_ms = 100\nlabels = {{ cluster = \"{name}\" }}\n"
    );
    std::fs::write(&cluster.config, text).unwrap();
    // On a minute, and so that all of it is over.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    let begin = now / 60 * 60 - 180;
    let files = captures_from(begin, cluster.dir.path(), 4, 120, 100);
    let mut engines = [cluster.engine(0), cluster.engine(1)];
    let mut agents = Vec::new();
    for (round, file) in files.iter().enumerate() {
        agents.push(cluster.agent(&format!("node{round}"), std::slice::from_ref(file)));
        let number = round % 2;
        engines[number].kill();
        engines[number] = cluster.engine(number);
    }
    wait_for_agents(&agents);
    // Both die once more, when they have sent something: what they stored since their last state is sent again.
    let until = Instant::now() + PATIENCE;
    while samples(&prometheus, &name).is_empty() {
        assert!(Instant::now() < until, "no sample came");
        std::thread::sleep(Duration::from_millis(20));
    }
    for (number, engine) in engines.iter_mut().enumerate() {
        engine.kill();
        *engine = cluster.engine(number);
    }
    // The last block of a partition is open, and with it the last windows.
    let last = i64::from(begin + 100) * 1000;
    let expected: BTreeMap<_, _> = windows_of(&files).into_iter().filter(|((_, at), _)| *at <= last).collect();
    assert_eq!(expected.len(), 4 * 2 * 10);
    let until = Instant::now() + PATIENCE;
    loop {
        let found: BTreeMap<_, _> =
            samples(&prometheus, &name).into_iter().filter(|((_, at), _)| *at <= last).collect();
        if found == expected {
            break;
        }
        for (key, value) in &found {
            assert_eq!(expected.get(key), Some(value), "{key:?}");
        }
        assert!(Instant::now() < until, "{} samples of {}", found.len(), expected.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    // The end of an engine in order: what it has is sent.
    engines.into_iter().for_each(Part::stop);
    let whole = samples(&prometheus, &name);
    assert!(expected.iter().all(|(key, value)| whole.get(key) == Some(value)), "as before");
}
