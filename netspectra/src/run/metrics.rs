//! `/metrics`: counters of capture, engine and store, read when they are asked for.

use super::health::State;
use super::series::Series;
use netspectra_common::abi::LossReason;
use netspectra_common::model::{Counter, Direction, EndReason};
use netspectra_common::sketch::OverflowSummary;
use netspectra_engine::EngineStats;
use netspectra_engine::detect;
#[cfg(feature = "cluster")]
use netspectra_engine::remote_write::RemoteWriteStats;
use netspectra_engine::store::embedded::EmbeddedStore;
use netspectra_engine::task::LiveView;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::watch;

/// How often the engine is asked for its counters.
const SAMPLE: Duration = Duration::from_secs(1);

/// The registry of the process; the API adds its own metrics.
pub(crate) fn registry(
    state: Arc<State>,
    engine: watch::Receiver<EngineStats>,
    store: Arc<EmbeddedStore>,
    series: Series,
) -> Registry {
    let mut registry = build_info();
    registry.register_collector(Box::new(Process { state, engine, store, series }));
    registry
}

/// A registry that says which version this is.
pub(crate) fn build_info() -> Registry {
    let mut registry = Registry::default();
    let info = Family::<Vec<(String, String)>, Gauge<u64, AtomicU64>>::default();
    info.get_or_create(&vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("netspectra_build", "Version of this process", info);
    registry
}

/// Samples the engine's counters until it or their last reader is gone.
pub(crate) async fn sample(engine: LiveView, to: watch::Sender<EngineStats>) {
    while let Ok(stats) = engine.stats().await {
        if to.send(stats).is_err() {
            return;
        }
        tokio::time::sleep(SAMPLE).await;
    }
}

struct Process {
    state: Arc<State>,
    engine: watch::Receiver<EngineStats>,
    store: Arc<EmbeddedStore>,
    series: Series,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Writer(&mut encoder);
        out.agent(&self.state)?;
        let e = self.engine.borrow().clone();
        out.engine(&e)?;

        let s = self.store.stats();
        out.gauge("netspectra_store_segments", "Sealed segments", s.segments)?;
        out.gauge("netspectra_store_segment_bytes", "Bytes of sealed segments", s.segment_bytes)?;
        out.gauge("netspectra_store_log_bytes", "Bytes of the open segment's log", s.log_bytes)?;
        out.gauge("netspectra_store_memory_rows", "Rows in memory", s.memory_rows)?;
        out.counter("netspectra_store_appended_rows", "Rows appended and acknowledged", s.appended_rows)?;
        out.counter("netspectra_store_append_failures", "Batches refused", s.append_failures)?;
        out.counter("netspectra_store_seals", "Times the open segment was sealed", s.seals)?;
        out.counter("netspectra_store_retired_rows", "Rows that retention deleted", s.retired_rows)?;
        let damaged = [("frame", s.damaged_frames), ("segment", s.damaged_segments)];
        out.counters("netspectra_store_damaged", "Damage found at the start and put aside", "what", &damaged)?;
        self.series.encode(&mut out)
    }
}

pub(crate) struct Writer<'a, 'b>(pub(crate) &'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    /// What capture counted.
    pub(crate) fn agent(&mut self, state: &State) -> fmt::Result {
        let ledger = state.ledger();
        self.counter("netspectra_agent_seen_packets", "Packets that the hooks saw", ledger.seen.packets)?;
        self.counter("netspectra_agent_seen_bytes", "Bytes that the hooks saw", ledger.seen.bytes)?;
        let accounted = ledger.accounted();
        self.counter("netspectra_agent_accounted_packets", "Packets in a record or under a reason", accounted.packets)?;
        self.counter("netspectra_agent_accounted_bytes", "Bytes in a record or under a reason", accounted.bytes)?;
        let reasons = LossReason::ALL.map(|r| (r.name(), ledger.reasons[r].packets));
        self.counters("netspectra_agent_without_flow_packets", "Packets without a flow record", "reason", &reasons)?;
        self.counter(
            "netspectra_agent_orphan_fragments",
            "Later fragments without their first",
            ledger.orphan_fragments,
        )?;

        if let Some(overflow) = &ledger.overflow {
            self.overflow(overflow)?;
        }
        Ok(())
    }

    /// What the engine counted.
    pub(crate) fn engine(&mut self, e: &EngineStats) -> fmt::Result {
        self.gauge("netspectra_engine_active_flows", "Flows being watched", e.active_flows as u64)?;
        self.gauge("netspectra_engine_open_windows", "Open windows", e.open_windows as u64)?;
        self.gauge("netspectra_engine_open_rollup_rows", "Roll-up rows of open windows", e.open_rollup_rows as u64)?;
        self.counter("netspectra_engine_deltas", "Flow deltas counted", e.deltas)?;
        self.counter("netspectra_engine_generations", "Generations counted", e.generations)?;
        let exported = EndReason::ALL.map(|r| (r.name(), e.exported_for(r)));
        self.counters("netspectra_engine_records", "Flow records written", "reason", &exported)?;
        let refused = [
            ("duplicate_chunk", e.duplicate_chunks),
            ("duplicate_generation", e.duplicate_generations),
            ("unnamed_chunk", e.unnamed_chunks),
            ("abandoned_chunk", e.abandoned_chunks),
            ("refused_message", e.refused_messages),
        ];
        self.counters("netspectra_engine_dropped_messages", "Messages that were not counted", "reason", &refused)?;
        let irregular = [
            ("late_generation", e.late_generations),
            ("missing_generation", e.missing_generations),
            ("missing_chunk", e.missing_chunks),
            ("chain_break", e.chain_breaks),
            ("altered_generation", e.altered_generations),
            ("clock_step", e.clock_steps),
            ("spill", e.spills),
        ];
        self.counters("netspectra_engine_irregularities", "Things that should not happen", "kind", &irregular)?;

        let incidents = detect::NAMES.map(|name| (name, e.incidents.get(name).copied().unwrap_or(0)));
        self.incidents(&incidents, e.detectors_refused)?;
        let dns =
            [("query", e.dns_queries), ("answer", e.dns_answers), ("error", e.dns_errors), ("not_dns", e.not_dns)];
        self.counters(
            "netspectra_engine_dns_messages",
            "Payloads at the DNS port, by their first bytes",
            "kind",
            &dns,
        )?;
        Ok(())
    }

    /// What remote write sent, and what it could not send.
    #[cfg(feature = "cluster")]
    pub(crate) fn remote_write(&mut self, r: &RemoteWriteStats) -> fmt::Result {
        let samples = [("sent", r.sent), ("rejected", r.rejected), ("dropped", r.dropped), ("ahead", r.ahead)];
        self.counters("netspectra_remote_write_samples", "Samples, by what became of them", "result", &samples)?;
        self.counter("netspectra_remote_write_retries", "Requests that were not taken for now", r.retries)?;
        self.counter(
            "netspectra_remote_write_folded_rows",
            "Roll-ups that are in the protocol `other`",
            r.folded_rows,
        )?;
        self.gauge("netspectra_remote_write_queue_samples", "Samples that wait", r.waiting)?;
        self.gauge("netspectra_remote_write_queue_bytes", "Memory of these", r.waiting_bytes)?;
        let since = r.since_success.as_secs();
        self.gauge("netspectra_remote_write_since_success_seconds", "Since the receiver took samples", since)
    }

    /// What detectors found.
    pub(crate) fn incidents(&mut self, incidents: &[(&'static str, u64)], refused: u64) -> fmt::Result {
        self.counters("netspectra_engine_incidents", "Anomalies that were found", "detector", incidents)?;
        let help = "Candidates for which detectors had no room: what became of them is not known";
        self.counter("netspectra_engine_detectors_refused", help, refused)
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = ConstCounter::new(value);
        metric.encode(self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?)
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = ConstGauge::new(value);
        metric.encode(self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?)
    }

    /// A histogram of seconds.
    #[cfg(feature = "cluster")]
    pub(crate) fn delays(
        &mut self,
        name: &str,
        help: &str,
        delays: &netspectra_engine::partition::Delays,
    ) -> fmt::Result {
        let bounds = netspectra_engine::partition::Delays::BOUNDS.iter().map(|millis| *millis as f64 / 1e3);
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(delays.counts).collect();
        let count = delays.counts.iter().sum();
        let mut metric = self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Histogram)?;
        metric.encode_histogram::<[(&str, &str); 0]>(delays.sum.as_secs_f64(), count, &buckets, None)
    }

    pub(crate) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?;
        for (value, n) in values {
            ConstCounter::new(*n).encode(family.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }

    /// Packets without room in a flow table: not there until there are some.
    fn overflow(&mut self, overflow: &OverflowSummary) -> fmt::Result {
        for (name, help, of) in [
            (
                "netspectra_agent_overflow_packets",
                "Packets without room in a flow table",
                (|c| c.packets) as fn(Counter) -> u64,
            ),
            ("netspectra_agent_overflow_bytes", "Bytes without room in a flow table", |c| c.bytes),
        ] {
            let mut family = self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?;
            for (direction, protocol, counter) in overflow.protocols() {
                let direction = if direction == Direction::Ingress { "ingress" } else { "egress" };
                let protocol = protocol.map_or_else(|| "non_ip".to_owned(), |p| p.to_string());
                let labels = [("direction", direction), ("proto", protocol.as_str())];
                ConstCounter::new(of(counter)).encode(family.encode_family(&labels)?)?;
            }
        }
        let sources = overflow.sources();
        let bounds = [("low", sources.low), ("estimate", sources.estimate), ("high", sources.high)];
        let (name, help) = ("netspectra_agent_overflow_sources", "Distinct sources without room in a flow table");
        let mut family = self.0.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?;
        for (bound, value) in bounds {
            ConstGauge::new(value).encode(family.encode_family(&[("bound", bound)])?)?;
        }
        Ok(())
    }
}
