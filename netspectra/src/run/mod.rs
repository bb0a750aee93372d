//! `netspectra run`: capture, engine, store and API in one process.
//!
//! Everything that can fail is made first; only then are tasks started. At the end the source stops first, then the bus
//! drains through the engine into the store, then the API closes.

pub(crate) mod capture;
pub(crate) mod health;
pub(crate) mod instance;
pub(crate) mod least;
mod live;
pub(crate) mod metrics;
mod reload;
mod series;
pub(crate) mod source;
pub(crate) mod token;

use crate::cli::RunArgs;
use crate::config::{self, Config};
use crate::{Failure, Outcome, output, overflow};
use anyhow::{Context, anyhow, bail};
use capture::{CaptureThread, CapturedSource};
use health::State;
use netspectra_agent::drain::Drain;
use netspectra_agent::loader::Loader;
use netspectra_agent::source::xdp::{default_route_interface, list_interfaces};
use netspectra_agent::{privilege, run as agent};
use netspectra_api::{Auth, Deps, Limits};
use netspectra_common::model::{Ledger, Nanos, TimeRange};
use netspectra_common::ports::{Clock, Store};
use netspectra_common::query::{Answer, Filter, Plan, Query, answer};
use netspectra_engine::enrich::Enrichment;
use netspectra_engine::store::embedded::{Config as StoreConfig, EmbeddedStore};
use netspectra_engine::task::{EngineTask, in_process_bus};
use netspectra_engine::{EngineConfig, EngineStats};
use series::Series;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Length of a generation.
pub(crate) const GENERATION: Duration = Duration::from_secs(1);
/// Flows in one message.
pub(crate) const CHUNK_FLOWS: usize = 16_384;
/// Generations that may wait for the engine; more make generations longer, not lost.
const BUS_GENERATIONS: usize = 4;
/// Folder, in that of the data, of what is open.
const JOURNAL: &str = "journal";
/// How often the store seals and forgets.
const MAINTENANCE: Duration = Duration::from_secs(30);
/// Between two looks at whether files of addresses have changed.
const REFRESH: Duration = Duration::from_secs(60);

pub(crate) fn main(args: RunArgs) -> Outcome {
    let mut config = Config::load(&args).map_err(Failure::misuse)?;
    if args.dump {
        output::print(&toml::to_string(&config).context("the configuration cannot be written")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        output::error("netspectra: the configuration is good");
        return Ok(ExitCode::SUCCESS);
    }
    if config.capture.interfaces.is_empty() {
        config.capture.interfaces = vec![default_interface().map_err(Failure::misuse)?];
    }
    let live_view = !args.no_live && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    init_log(live_view);
    // What the arguments name: a failure here is the caller's to mend, and nothing was attached.
    let user = least::user(config.capture.user.as_deref())?;
    least::make_folder(&config.store.data_dir, user)?;
    // No thread but this one until now: the loader's process begins as this one is, all threads have what is left.
    fix_privileges()?;
    let instance = instance::name(&node_name(&config), &config.store.data_dir);
    let loader = source::start_loader(&config.capture, &instance)?;
    let listener = std::net::TcpListener::bind(config.api.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("cannot listen on `{}`: name a free address with --listen", config.api.listen))
        .map_err(Failure::misuse)?;
    let reading = privilege::for_reading_maps().context("privileges cannot be told")?;
    let kept = least::give_up(&config.store.data_dir, user, reading)?;
    let capture = CaptureThread::start(reading)?;
    privilege::keep_only(kept).context("privileges cannot be given up")?;
    on_runtime(serve(config, args, live_view, listener, Hands { capture, loader, instance }))
}

/// Nothing that this process starts or executes has more privilege than it has.
///
/// # Errors
/// The kernel's.
pub(crate) fn fix_privileges() -> anyhow::Result<()> {
    privilege::gain_nothing_more().and_then(|()| privilege::pass_nothing_on()).context("privileges cannot be fixed")
}

/// By what traffic is captured.
pub(crate) struct Hands {
    /// Reads what was counted.
    pub(crate) capture: CaptureThread,
    /// Loads and attaches the programs.
    pub(crate) loader: Loader,
    /// The name of what is pinned.
    pub(crate) instance: String,
}

impl Hands {
    /// Opens the source.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays attached then.
    pub(crate) fn open(self, asked: config::Capture) -> Result<CapturedSource, Failure> {
        self.capture.open(self.loader, asked, self.instance)
    }
}

/// Runs `part` on a runtime of its own.
pub(crate) fn on_runtime(part: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(part);
    // What still blocks (a query that was cut off) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

pub(crate) async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on `{address}`: name a free address with --listen"))
        .map_err(Failure::misuse)
}

/// The API alone, until somebody asks for the end.
pub(crate) async fn serve_api(listener: tokio::net::TcpListener, deps: Deps, mut signals: EndSignals) -> Outcome {
    let (close, closing) = watch::channel(false);
    let mut api = tokio::spawn(netspectra_api::serve(listener, deps, closed(closing)));
    tokio::select! {
        () = signals.come() => {}
        r = &mut api => return Err(part("api", r.map(|r| r.map_err(anyhow::Error::new))).into()),
    }
    let _ = close.send(true);
    api.await.context("the API task was lost")?.context("the API did not end well")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn default_interface() -> anyhow::Result<String> {
    default_route_interface().ok_or_else(|| {
        let present: Vec<String> = list_interfaces().into_iter().map(|(_, name)| format!("`{name}`")).collect();
        anyhow!(
            "there is no default route to tell which interface to watch: name it with --iface; there are {}",
            present.join(", ")
        )
    })
}

/// Log lines go to standard error; under the live view only warnings do.
pub(crate) fn init_log(live_view: bool) {
    let default = if live_view { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("NETSPECTRA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // Who reads the log may go before us: that is no reason to end.
        .log_internal_errors(false)
        .init();
}

/// The system's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Nanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

async fn serve(
    config: Config,
    args: RunArgs,
    live_view: bool,
    listener: std::net::TcpListener,
    hands: Hands,
) -> Outcome {
    let mut signals = EndSignals::watch()?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the listener cannot be waited for")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let store = Arc::new(open_store(&config).map_err(Failure::misuse)?);
    let token_file = config.token_file();
    let token = token::load_or_make(&token_file).map_err(Failure::misuse)?;
    let auth =
        Auth::bearer([&token]).with_context(|| format!("the token in `{}` is not usable", token_file.display()))?;
    let hangups = reload::signals()?;
    let series = Series::start(&config)?;
    let engine_config = engine_config(&config)?;
    let refreshing = tokio::spawn(refresh(engine_config.enrich.clone()));
    let engine = EngineTask::recover(engine_config, series.beside(store.clone()), &config.store.data_dir.join(JOURNAL))
        .await
        .map_err(Failure::misuse)?;
    let asked = config.capture.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let source = hands.open(asked)?;
        let facts = source.with(|s| (s.rules_handle(), s.epoch(), s.mode(), s.next_generation(), s.previous()));
        Ok::<_, Failure>((source, facts.context("the capture did not begin")?))
    });
    let (source, (rules, epoch, mode, next, previous)) = opened.await.context("the capture was lost")??;
    let reloads = tokio::spawn(reload::on_signals(hangups, args, config.clone(), rules));

    let (bus, inbox) = in_process_bus(BUS_GENERATIONS);
    let view: Arc<dyn Store> = Arc::new(engine.view());
    let clock = Arc::new(SystemClock);
    let state = Arc::new(State::new(mode));
    let (stats_to, stats) = watch::channel(EngineStats::default());
    let sampler = tokio::spawn(metrics::sample(engine.live(), stats_to));
    let deps = Deps {
        store: view.clone(),
        live: None,
        board: None,
        clock: clock.clone(),
        auth,
        health: state.clone(),
        metrics: metrics::registry(state.clone(), stats, store.clone(), series.clone()),
        limits: Limits::default(),
    };

    let (stop, stopped) = watch::channel(false);
    let (close_api, api_closed) = watch::channel(false);
    let drain = Drain::new(node_name(&config).into(), epoch.0, CHUNK_FLOWS)
        .from_generation(next, previous)
        .reading_hints(source::hints());
    let capture = agent::run(
        source,
        drain,
        Arc::new(state.watch(Arc::new(bus))),
        GENERATION,
        stopped.clone(),
        CapturedSource::detach,
    );
    let mut capture = tokio::spawn(capture);
    let mut engine = tokio::spawn(engine.run(inbox));
    let mut api = tokio::spawn(netspectra_api::serve(listener, deps, closed(api_closed)));
    let upkeep = tokio::spawn(upkeep(store.clone(), clock.clone(), stopped.clone()));
    tracing::info!(token_file = %token_file.display(), "listening on http://{address} with bearer token {token}");
    let screen =
        live_view.then(|| tokio::spawn(live::show(view.clone(), clock.clone(), address, token.clone(), stopped)));

    // Until somebody asks for the end, or a part ends by itself, which is a failure.
    let ended_early = tokio::select! {
        () = signals.come() => None,
        r = &mut capture => Some(part("capture", r.map(|r| r.map_err(anyhow::Error::new)))),
        r = &mut engine => Some(part("engine", r.map(|r| r.map(drop).map_err(anyhow::Error::new)))),
        r = &mut api => Some(part("api", r.map(|r| r.map_err(anyhow::Error::new)))),
    };
    let _ = stop.send(true);
    if let Some(screen) = screen {
        let _ = screen.await;
    }
    if let Some(error) = ended_early {
        return Err(error.into());
    }
    tracing::info!("ending: detaching and writing what is open");
    capture.await.context("the capture task was lost")?.context("the capture did not end well")?;
    engine.await.context("the engine task was lost")?.context("the engine did not end well")?;
    series.close().await;
    let _ = upkeep.await;
    sampler.abort();
    reloads.abort();
    refreshing.abort();
    let ledger = ledger_since(&*store, epoch).await?;
    let _ = close_api.send(true);
    api.await.context("the API task was lost")?.context("the API did not end well")?;
    report(&ledger);
    Ok(ExitCode::SUCCESS)
}

fn open_store(config: &Config) -> anyhow::Result<EmbeddedStore> {
    let settings = StoreConfig {
        retention_age: Duration::from_secs(config.store.retention_hours.saturating_mul(3600)),
        retention_bytes: config.store.retention_mib << 20,
        ..StoreConfig::default()
    };
    EmbeddedStore::open(&config.store.data_dir, settings)
        .with_context(|| format!("cannot open the store in `{}`", config.store.data_dir.display()))
}

/// # Errors
/// What is to be known of addresses cannot be.
pub(crate) fn engine_config(config: &Config) -> Result<EngineConfig, Failure> {
    Ok(EngineConfig {
        idle_timeout: Duration::from_secs(config.engine.idle_timeout_seconds),
        active_timeout: Duration::from_secs(config.engine.active_timeout_seconds),
        max_flows: config.engine.max_flows,
        keep_messages: config.engine.keep_messages,
        http_queries: config.engine.http_queries,
        max_names: config.engine.max_names,
        names_hold: Duration::from_secs(config.engine.names_hold_seconds),
        enrich: Enrichment::open(&config.enrich).map_err(Failure::misuse)?,
        detect: config.detect.clone(),
        ..EngineConfig::default()
    })
}

/// Reads files of addresses again when they change, and asks for the pods of Kubernetes, for as long as it is let.
pub(crate) async fn refresh(enrichment: Enrichment) {
    tokio::join!(refresh_files(enrichment.clone()), enrichment.follow_pods());
}

async fn refresh_files(enrichment: Enrichment) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let again = enrichment.clone();
        match tokio::task::spawn_blocking(move || again.refresh()).await {
            Ok(Ok(true)) => tracing::info!("what is known of addresses was read again"),
            Ok(Err(error)) => {
                let error = output::chain(&anyhow::Error::new(error));
                tracing::warn!(error, "a file of addresses changed and cannot be used: what was known stays");
            }
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}

pub(crate) fn node_name(config: &Config) -> String {
    config.node.clone().unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if name.trim().is_empty() { "localhost".into() } else { name.trim().to_owned() }
    })
}

/// Ctrl-C and SIGTERM, from the moment at which this is made: a part makes it before it says that it is there.
pub(crate) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Signals end nothing by themselves from now on.
    ///
    /// # Errors
    /// The process can have no handlers.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
        })
    }

    /// Waits until one has come.
    pub(crate) async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

pub(crate) async fn closed(mut signal: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = signal.wait_for(|closed| *closed).await;
}

/// Seals and forgets while the process runs.
async fn upkeep(store: Arc<EmbeddedStore>, clock: Arc<SystemClock>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = tokio::time::sleep(MAINTENANCE) => {}
            _ = stop.changed() => return,
        }
        if let Err(error) = store.maintain(clock.now()).await {
            tracing::warn!(error = %output::chain(&anyhow::Error::new(error)), "the store could not be tidied up");
        }
    }
}

/// A part that ended before it was told to.
pub(crate) fn part(name: &str, result: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match result {
        Ok(Ok(())) => anyhow!("the {name} ended by itself"),
        Ok(Err(e)) => e.context(format!("the {name} failed")),
        Err(e) => anyhow!(e).context(format!("the {name} failed")),
    }
}

/// Where every frame of this run went.
async fn ledger_since(store: &dyn Store, epoch: Nanos) -> anyhow::Result<Ledger> {
    let range = TimeRange { from: epoch, to: Nanos(u64::MAX) };
    let plan = Plan { range, filter: Filter::ALL, query: Query::Ledger };
    match answer(&plan, store.query(&plan).await?)? {
        Answer::Ledger(l) => Ok(l.ledger),
        Answer::Flows(_)
        | Answer::Alerts(_)
        | Answer::Messages(_)
        | Answer::Top(_)
        | Answer::Series(_)
        | Answer::Cardinality(_)
        | Answer::Quantiles(_) => {
            bail!("the store answered another question")
        }
    }
}

/// The ledger, for people.
fn report(ledger: &Ledger) {
    let accounted = ledger.accounted();
    let (packets, bytes) = ledger.residual();
    output::error(&format!(
        "ledger: seen {} packets, {} bytes; accounted {} packets, {} bytes; unaccounted {packets} packets, {bytes} bytes",
        ledger.seen.packets, ledger.seen.bytes, accounted.packets, accounted.bytes
    ));
    for reason in netspectra_common::abi::LossReason::ALL {
        let c = ledger.reasons[reason];
        if !c.is_zero() {
            output::error(&format!(
                "ledger: without a flow, {}: {} packets, {} bytes",
                reason.name(),
                c.packets,
                c.bytes
            ));
        }
    }
    for line in ledger.overflow.iter().flat_map(|o| overflow::lines(o)) {
        output::error(&format!("ledger: without room in the flow table, {line}"));
    }
}
