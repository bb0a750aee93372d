//! A log that waits, and engines that work it off.

use super::load::{Node, cpu_seconds, peak_mib, publisher};
use super::support::cluster::{Cluster, PATIENCE, Part};
use netspectra_common::model::Nanos;
use netspectra_common::ports::Publisher as _;
use std::time::{Duration, Instant};

const NODES: u8 = 8;
const GENERATIONS: u64 = 40;
/// Of a node in a generation of one second.
const DELTAS: u64 = 16_000;

/// One number of an engine's `/metrics`.
pub(crate) fn metric(port: u16, name: &str) -> f64 {
    let Ok(mut answer) = ureq::get(format!("http://127.0.0.1:{port}/metrics")).call() else { return 0.0 };
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

pub(crate) fn measure() {
    println!(
        "\n# Kafka to ClickHouse: {NODES} nodes, {GENERATIONS} generations of {DELTAS} flow deltas each, one flow in ten new in each, 4 partitions"
    );
    for engines in [1, 2] {
        let cluster = Cluster::new(&format!("throughput{engines}"));
        let publisher = publisher(&cluster.config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let began = Instant::now();
        let start = Nanos(1_600_000_020 * Nanos::PER_SECOND);
        let mut nodes: Vec<Node> = (0..NODES).map(|n| Node::new(n, 1, DELTAS, DELTAS / 20)).collect();
        for second in 0..GENERATIONS {
            for node in &mut nodes {
                let messages = node.generation(start.plus(Duration::from_secs(second)));
                runtime.block_on(publisher.publish(messages)).unwrap();
            }
        }
        let deltas = u64::from(NODES) * GENERATIONS * DELTAS;
        let rate = deltas as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        let parts: Vec<Part> = (0..engines).map(|n| cluster.engine(n)).collect();
        let of_all = |name: &str| cluster.engines[..engines].iter().map(|port| metric(*port, name)).sum::<f64>();
        while of_all("netspectra_engine_deltas_total") < deltas as f64 {
            assert!(began.elapsed() < PATIENCE, "{} of {deltas}", of_all("netspectra_engine_deltas_total"));
            std::thread::sleep(Duration::from_millis(100));
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu: f64 = parts.iter().map(|part| cpu_seconds(part.id())).sum();
        let memory = parts.iter().map(|part| peak_mib(part.id())).fold(0.0, f64::max);
        println!(
            "{engines} engine(s): {deltas} deltas in {seconds:.1} s = {:.0} k/s by the clock, start and assignment included; \
             {cpu:.1} CPU s of the engines = {:.0} k deltas per CPU s; {:.0} rows stored; at most {memory:.0} MiB each; \
             written to Kafka at {:.0} k/s",
            deltas as f64 / seconds / 1e3,
            deltas as f64 / cpu / 1e3,
            of_all("netspectra_engine_rows_total"),
            rate / 1e3,
        );
    }
}
