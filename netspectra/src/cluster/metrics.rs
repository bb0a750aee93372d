//! `/metrics` of agents and engines.

use super::merging::MergingStats;
use crate::run::health::State;
use crate::run::metrics::{Writer, build_info};
use netspectra_agent::bus::kafka::PublisherStats;
use netspectra_engine::bus::kafka::MemberStats;
use netspectra_engine::detect;
use netspectra_engine::partition::{Delays, PartitionSet, PartitionStats};
use netspectra_engine::redis_board::LiveBoard;
use netspectra_engine::remote_write::RemoteWrite;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) fn agent_registry(state: Arc<State>, bus: Arc<PublisherStats>) -> Registry {
    let mut registry = build_info();
    registry.register_collector(Box::new(Agent { state, bus }));
    registry
}

struct Agent {
    state: Arc<State>,
    bus: Arc<PublisherStats>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agent")
    }
}

impl Collector for Agent {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(&mut encoder);
        out.agent(&self.state)?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bus = &self.bus;
        out.counter(
            "netspectra_agent_bus_messages",
            "Messages that Kafka has acknowledged",
            read(&bus.delivered_messages),
        )?;
        out.counter("netspectra_agent_bus_bytes", "Bytes of these, before compression", read(&bus.delivered_bytes))?;
        out.counter(
            "netspectra_agent_bus_resent_generations",
            "Generations sent again",
            read(&bus.resent_generations),
        )?;
        out.counter("netspectra_agent_bus_errors", "Errors of connections and brokers", read(&bus.errors))?;
        out.counter("netspectra_agent_bus_wait_milliseconds", "Time spent waiting for Kafka", read(&bus.waited_ms))
    }
}

/// What an engine's metrics are read from.
pub(super) struct Watched {
    pub(super) set: PartitionSet,
    pub(super) member: Arc<Mutex<MemberStats>>,
    pub(super) merged: Arc<MergingStats>,
    pub(super) board: Option<LiveBoard>,
    pub(super) remote: Option<RemoteWrite>,
}

pub(super) fn engine_registry(watched: Watched) -> Registry {
    let mut registry = build_info();
    registry.register_collector(Box::new(watched));
    registry
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(&mut encoder);
        let stats = self.set.stats();
        out.gauge("netspectra_engine_partitions", "Partitions that are this engine's", stats.len() as u64)?;
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lag = member.lag.values().sum();
        out.gauge("netspectra_engine_lag_messages", "Messages in the log that were not read yet", lag)?;
        out.counter("netspectra_engine_rebalances", "Times that a partition was taken away", member.rebalances)?;
        let sum = |of: fn(&PartitionStats) -> u64| stats.values().map(of).sum::<u64>();
        out.counter("netspectra_engine_messages", "Messages applied", sum(|s| s.messages))?;
        out.counter("netspectra_engine_dead_letters", "Messages that could not be read", sum(|s| s.poison))?;
        out.counter("netspectra_engine_ticks", "Ticks written where nobody else wrote", sum(|s| s.ticks))?;
        out.counter("netspectra_engine_blocks", "Blocks written", sum(|s| s.blocks))?;
        out.counter("netspectra_engine_blocks_again", "Blocks that the store had already", sum(|s| s.blocks_again))?;
        out.counter("netspectra_engine_rows", "Flow records and roll-ups written", sum(|s| s.rows))?;
        out.counter("netspectra_engine_states", "States kept", sum(|s| s.states))?;
        out.counter("netspectra_engine_store_retries", "Calls of the store that failed for now", sum(|s| s.retries))?;
        out.gauge("netspectra_engine_active_flows", "Flows being watched", sum(|s| s.engine.active_flows as u64))?;
        out.counter("netspectra_engine_deltas", "Flow deltas counted", sum(|s| s.engine.deltas))?;
        out.counter("netspectra_engine_generations", "Generations counted", sum(|s| s.engine.generations))?;
        let found = |name: &str| stats.values().map(|s| s.engine.incidents.get(name).copied().unwrap_or(0)).sum();
        out.incidents(&detect::NAMES.map(|name| (name, found(name))), sum(|s| s.engine.detectors_refused))?;
        let delays = |of: fn(&PartitionStats) -> &Delays| {
            stats.values().map(of).fold(Delays::default(), |mut sum, delays| {
                sum.merge(delays);
                sum
            })
        };
        let help = "Time from the brokers to being counted, of each message";
        out.delays("netspectra_engine_read_delay_seconds", help, &delays(|s| &s.read_delay))?;
        let help = "Time from the brokers to the store, of the first message of each block";
        out.delays("netspectra_engine_store_delay_seconds", help, &delays(|s| &s.store_delay))?;
        let irregular = [
            ("duplicate_generation", sum(|s| s.engine.duplicate_generations)),
            ("missing_generation", sum(|s| s.engine.missing_generations)),
            ("missing_chunk", sum(|s| s.engine.missing_chunks)),
            ("late_generation", sum(|s| s.engine.late_generations)),
            ("clock_step", sum(|s| s.engine.clock_steps)),
        ];
        out.counters("netspectra_engine_irregularities", "Things that should not happen often", "kind", &irregular)?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let made = [("minute", read(&self.merged.minutes)), ("hour", read(&self.merged.hours))];
        out.counters("netspectra_engine_merged_windows", "Windows made of those of all nodes", "length", &made)?;
        let failures = read(&self.merged.failures);
        out.counter("netspectra_engine_merge_failures", "Times that windows could not be merged", failures)?;
        if let Some(board) = &self.board {
            let board = board.stats();
            out.counter("netspectra_engine_board_published", "States that Redis has taken", board.published)?;
            out.counter("netspectra_engine_board_failures", "States that Redis did not take", board.failed)?;
        }
        if let Some(remote) = &self.remote {
            out.remote_write(&remote.stats())?;
        }
        Ok(())
    }
}
