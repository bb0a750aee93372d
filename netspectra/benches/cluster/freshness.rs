//! Packets of their own, sent at known times, and a question that is asked until they are in the answer.

use super::load::{Node, cpu_seconds, publisher};
use super::support::cluster::{BINARY, Cluster, Part, ask, server};
use super::support::kill::Cleanup;
use super::support::net::{MON, Pair, enter};
use super::support::proxy::Proxy;
use super::support::traffic::{MON_V4, PEER_V4};
use super::throughput::metric;
use netspectra_common::model::Nanos;
use netspectra_common::ports::Publisher as _;
use serde_json::Value;
use std::collections::HashMap;
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Beside the probes, from as many nodes that are not there, in each second.
const NODES: u8 = 4;
const DELTAS: u64 = 25_000;
const PROBES: u16 = 300;
const PACE: Duration = Duration::from_millis(100);
/// When, after the first probe, something dies.
const DEATH: Duration = Duration::from_secs(8);
const FIRST_PORT: u16 = 30_000;
/// A probe that is not there by then is lost.
const LIMIT: Duration = Duration::from_secs(60);

fn now() -> Nanos {
    Nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64)
}

pub(crate) fn measure() {
    let doors = server("NETSPECTRA_KAFKA_PROXIED");
    let (front, behind) = doors.split_once('=').unwrap();
    let name = format!("fresh{}-", std::process::id());
    let _cleanup = Cleanup(name.clone());
    let pair = Pair::new();
    let listener = pair.inside(&pair.mon, || TcpListener::bind(front).unwrap());
    let _relay = Proxy::new(listener, behind.parse().unwrap());
    let cluster = Cluster::new("fresh");
    let mut engine = cluster.named_engine(0);
    let (_api, api) = cluster.api();
    let token = cluster.token();
    pair.up();
    let ns = format!("--net=/run/netns/{}", pair.mon);
    let arguments = [
        &ns,
        BINARY,
        "agent",
        "--config",
        &cluster.config,
        "--kafka",
        front,
        "--iface",
        MON,
        "--mode",
        "native",
        "--node",
        &name,
        "--listen",
        "127.0.0.1:0",
    ];
    let mut agent = Part::by("nsenter", &arguments);
    agent.wait_for("writing to Kafka");

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, config) = (stop.clone(), cluster.config.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let publisher = publisher(&config);
            let mut nodes: Vec<Node> = (0..NODES).map(|n| Node::new(n, 1, DELTAS, DELTAS / 20)).collect();
            let mut due = Instant::now();
            let mut late = Duration::ZERO;
            while !stop.load(Ordering::SeqCst) {
                let start = Nanos(now().0 - Nanos::PER_SECOND);
                for node in &mut nodes {
                    runtime.block_on(publisher.publish(node.generation(start))).unwrap();
                }
                due += Duration::from_secs(1);
                late = late.max(Instant::now().saturating_duration_since(due));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            late
        })
    };
    let until = Instant::now() + LIMIT;
    while metric(cluster.engines[0], "netspectra_engine_rows_total") == 0.0 {
        assert!(Instant::now() < until, "the load has not reached the store");
        std::thread::sleep(PACE);
    }
    println!(
        "\n# From the wire to an answer: a probe every {} ms through a live agent, Kafka, an engine and an API, beside {} k flow deltas a second",
        PACE.as_millis(),
        u64::from(NODES) * DELTAS / 1000
    );
    let before = (cpu_seconds(engine.id()), Instant::now());
    report("undisturbed", &probe(&pair, &api, &token, &name, FIRST_PORT, || {}));
    println!(
        "the engine had {:.0} % of a core meanwhile",
        (cpu_seconds(engine.id()) - before.0) / before.1.elapsed().as_secs_f64() * 100.0
    );
    let second = FIRST_PORT + PROBES;
    let latencies = probe(&pair, &api, &token, &name, second, || {
        std::thread::sleep(DEATH);
        engine.kill();
        engine = cluster.named_engine(0);
    });
    report("the engine is killed and starts again", &latencies);
    let third = second + PROBES;
    let latencies = probe(&pair, &api, &token, &name, third, || {
        std::thread::sleep(DEATH);
        engine.kill();
        engine = cluster.named_engine(1);
    });
    report("the engine is killed for good and another one starts", &latencies);
    let fourth = third + PROBES;
    let latencies = probe(&pair, &api, &token, &name, fourth, || {
        std::thread::sleep(DEATH);
        agent.kill();
        agent = Part::by("nsenter", &arguments);
        agent.wait_for("writing to Kafka");
    });
    report("the agent is killed and starts again", &latencies);
    stop.store(true, Ordering::SeqCst);
    println!("the load was at most {:?} late", load.join().unwrap());
    agent.stop();
}

/// Sends probes to ports from `first` on, and asks until all are seen; how long each took.
fn probe(
    pair: &Pair,
    api: &str,
    token: &str,
    node: &str,
    first: u16,
    meanwhile: impl FnOnce() + Send,
) -> Vec<Duration> {
    let sent: Arc<Mutex<HashMap<u16, Instant>>> = Arc::default();
    let from = now().0 / Nanos::PER_SECOND - 5;
    std::thread::scope(|s| {
        let times = sent.clone();
        s.spawn(move || {
            enter(&pair.peer);
            let socket = UdpSocket::bind((PEER_V4, 0)).unwrap();
            for port in first..first + PROBES {
                times.lock().unwrap().insert(port, Instant::now());
                socket.send_to(b"probe", (MON_V4, port)).unwrap();
                std::thread::sleep(PACE);
            }
        });
        s.spawn(meanwhile);
        let mut seen: HashMap<u16, Duration> = HashMap::new();
        let until = Instant::now() + PACE * u32::from(PROBES) + LIMIT;
        let question = format!(
            "top?by=dst_port&metric=packets&limit=1000&exact=true&from={from}&to={}&filter=node%20%3D%20{node}%20and%20proto%20%3D%20udp",
            from + 600
        );
        while seen.len() < usize::from(PROBES) {
            assert!(Instant::now() < until, "{} of {PROBES} probes were seen", seen.len());
            let (status, body) = ask(api, token, &question);
            let arrived = Instant::now();
            if status != 200 {
                assert!(status == 503, "{status}: {body}");
                continue;
            }
            let answer: Value = serde_json::from_str(&body).unwrap();
            for item in answer["items"].as_array().unwrap() {
                let port: u16 = item["key"]["dst_port"].as_str().unwrap().parse().unwrap();
                if let Some(at) = sent.lock().unwrap().get(&port).filter(|_| port >= first) {
                    seen.entry(port).or_insert_with(|| arrived.duration_since(*at));
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        seen.into_values().collect()
    })
}

fn report(name: &str, latencies: &[Duration]) {
    let mut sorted: Vec<f64> = latencies.iter().map(Duration::as_secs_f64).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    println!(
        "{name}: {} probes, p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, longest {:.2} s",
        sorted.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}
