//! `netspectra agent`: this host's traffic, or capture files, to Kafka.

use super::metrics::agent_registry;
use super::settings::{Needs, load, set};
use crate::cli::cluster::AgentArgs;
use crate::cli::{Mode, TunnelIdentity};
use crate::config::Config;
use crate::run::capture::{CaptureThread, CapturedSource};
use crate::run::health::State;
use crate::run::source::{self, start_loader};
use crate::run::{
    CHUNK_FLOWS, EndSignals, GENERATION, Hands, closed, default_interface, fix_privileges, instance, least, node_name,
    on_runtime, part,
};
use crate::{Failure, Outcome};
use anyhow::{Context, anyhow};
use netspectra_agent::bus::kafka::KafkaPublisher;
use netspectra_agent::drain::Drain;
use netspectra_agent::payload::{PayloadLimits, Payloads};
use netspectra_agent::source::Source;
use netspectra_agent::source::pcap::{PcapConfig, PcapSource};
use netspectra_agent::table::Identity;
use netspectra_agent::{privilege, run as agent};
use netspectra_api::{Auth, Limits, ServiceDeps, serve_service};
use netspectra_common::ports::Publisher;
use netspectra_common::proto;
use netspectra_engine::dissect::{self, Dissectors};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) fn main(args: AgentArgs) -> Outcome {
    let change = |config: &mut Config| {
        args.log.apply(config);
        set(&mut config.cluster.listen, &args.listen);
        if args.node.is_some() {
            config.node.clone_from(&args.node);
        }
        if !args.iface.is_empty() {
            config.capture.interfaces.clone_from(&args.iface);
        }
        if args.user.is_some() {
            config.capture.user.clone_from(&args.user);
        }
        if let Some(mode) = args.mode {
            config.capture.mode = Mode::name(mode).into();
        }
        if let Some(tunnel) = args.tunnel {
            config.capture.tunnel = TunnelIdentity::name(tunnel).into();
        }
    };
    let mut config = match load(&args.common, Needs { kafka: true, clickhouse: false }, change)? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    if !args.read.is_empty() {
        return super::run(replay(config, args.read));
    }
    if config.capture.interfaces.is_empty() {
        config.capture.interfaces = vec![default_interface().map_err(Failure::misuse)?];
    }
    crate::run::init_log(false);
    let user = least::user(config.capture.user.as_deref())?;
    // No thread but this one until now: the loader's process begins as this one is, all threads have what is left.
    fix_privileges()?;
    // The kernel's side belongs to the topic that it is counted for.
    let topic = format!("{}/{}", config.kafka.brokers, config.kafka.topic);
    let instance = instance::name(&node_name(&config), Path::new(&topic));
    let loader = start_loader(&config.capture, &instance)?;
    let listener = std::net::TcpListener::bind(config.cluster.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("cannot listen on `{}`: name a free address with --listen", config.cluster.listen))
        .map_err(Failure::misuse)?;
    let reading = privilege::for_reading_maps().context("privileges cannot be told")?;
    privilege::settle(user, reading).context("privileges cannot be given up")?;
    let capture = CaptureThread::start(reading)?;
    privilege::keep_only(0).context("privileges cannot be given up")?;
    on_runtime(watch_host(config, listener, Hands { capture, loader, instance }))
}

fn publisher(config: &Config) -> Result<Arc<KafkaPublisher>, Failure> {
    KafkaPublisher::new(&config.kafka, proto::encode).map(Arc::new).map_err(Failure::misuse)
}

async fn watch_host(config: Config, listener: std::net::TcpListener, hands: Hands) -> Outcome {
    let mut signals = EndSignals::watch()?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the listener cannot be waited for")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let publisher = publisher(&config)?;
    let node = node_name(&config);
    let asked = config.capture.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let source = hands.open(asked)?;
        let facts = source.with(|s| (s.epoch(), s.mode(), s.next_generation(), s.previous()));
        Ok::<_, Failure>((source, facts.context("the capture did not begin")?))
    });
    let (source, (epoch, mode, next, previous)) = opened.await.context("the capture was lost")??;

    let state = Arc::new(State::new(mode));
    let deps = ServiceDeps {
        health: state.clone(),
        metrics: agent_registry(state.clone(), publisher.stats()),
        partitions: None,
        auth: Auth::open(),
        limits: Limits::default(),
    };
    let (stop, stopped) = watch::channel(false);
    let (close, closing) = watch::channel(false);
    let drain =
        Drain::new(node.into(), epoch.0, CHUNK_FLOWS).from_generation(next, previous).reading_hints(source::hints());
    let bus = Arc::new(state.watch(publisher));
    let mut capture = tokio::spawn(agent::run(source, drain, bus, GENERATION, stopped, CapturedSource::detach));
    let mut service = tokio::spawn(serve_service(listener, deps, closed(closing)));
    tracing::info!(
        brokers = config.kafka.brokers,
        topic = config.kafka.topic,
        "writing to Kafka; health and metrics on http://{address}"
    );
    let ended_early = tokio::select! {
        () = signals.come() => None,
        r = &mut capture => Some(part("capture", r.map(|r| r.map_err(anyhow::Error::new)))),
        r = &mut service => Some(part("service", r.map(|r| r.map_err(anyhow::Error::new)))),
    };
    let _ = stop.send(true);
    if let Some(error) = ended_early {
        return Err(error.into());
    }
    tracing::info!("ending: detaching, and waiting until Kafka has what was counted");
    capture.await.context("the capture task was lost")?.context("the capture did not end well")?;
    let _ = close.send(true);
    service.await.context("the service was lost")?.context("the service did not end well")?;
    Ok(ExitCode::SUCCESS)
}

/// Capture files to Kafka, as fast as it takes them.
async fn replay(config: Config, files: Vec<PathBuf>) -> Outcome {
    let publisher = publisher(&config)?;
    let pcap = PcapConfig {
        identity: if config.capture.tunnel == "inner" { Identity::Inner } else { Identity::Outer },
        ..PcapConfig::default()
    };
    let mut source = PcapSource::open(&files, &pcap).map_err(Failure::misuse)?;
    source.set_rules(&config.capture.rules).map_err(Failure::misuse)?;
    let dissectors = Dissectors::new(dissect::builtin_with(config.engine.http_queries));
    let mut source = source.reading_payloads(Payloads::new(Arc::new(dissectors), PayloadLimits::default()));
    let epoch = netspectra_common::ports::Clock::now(&crate::run::SystemClock);
    let mut drain = Drain::new(node_name(&config).into(), epoch.0, CHUNK_FLOWS);
    let mut generations = 0u64;
    loop {
        let (back, generation) = tokio::task::spawn_blocking(move || {
            let generation = source.generation();
            (source, generation)
        })
        .await
        .context("reading was lost")?;
        source = back;
        let Some(generation) = generation.context("reading the capture")? else { break };
        generations += 1;
        publisher.publish(drain.cut(generation)).await.context("Kafka refused a generation")?;
    }
    tracing::info!(generations, frames = source.frames(), "Kafka has all of it");
    let damaged = source.reports().into_iter().find_map(|file| file.error);
    match damaged {
        Some(error) => Err(anyhow!(error).context("a file is damaged; what could be read of it is in Kafka").into()),
        None => Ok(ExitCode::SUCCESS),
    }
}
