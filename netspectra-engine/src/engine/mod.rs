//! The engine: from the messages of the bus to what is stored, as a function of the log.

mod config;
mod inbox;
mod intake;
mod payload;
mod points;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;

pub use config::{EngineConfig, Wanted};
pub(crate) use points::{Ends, Points, direction_of};
pub use snapshot::SnapshotError;
pub use stats::EngineStats;

use crate::detect::{self, NodeDetectors};
use crate::dissect::{self, Dissectors, Prefixes};
use crate::lifecycle::{Events, FlowTable, normalise};
use crate::window::{Place, RowKey, Sums, Windows};
use hashbrown::HashMap;
use inbox::{Closed, Complete, Inbox};
use netspectra_common::abi::{FLAG_SYN_SEEN, Obs};
use netspectra_common::detect::{DetectorKind, Seen};
use netspectra_common::dissect::Dissector;
use netspectra_common::model::{
    BusMessage, Counter, EndReason, Family, FlowDelta, FlowRecord, Interface, LedgerEntry, Manifest, Nanos, Observed,
    SizeHistogram, TimeRange,
};
use netspectra_common::ports::StoreBatch;
use netspectra_common::registry::Registry;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Interface slots that [`Obs`] can name.
const SLOTS: usize = Obs::MAX_IFACE as usize + 1;
/// Flows of which first bytes were seen whose sessions are kept.
const PREFIX_FLOWS: usize = 65_536;
/// Flow records of a batch at the end of an input.
const ENDING_RECORDS: usize = 4_096;
/// A slot that the manifest does not name.
const UNNAMED: u32 = u32::MAX;
/// More lateness would keep an unbounded number of one-second windows open.
const MOST_LATENESS: Duration = Duration::from_secs(3600);

/// The observed interfaces of a node, interned.
#[derive(Debug)]
struct Slots {
    interfaces: Vec<Interface>,
    points: Box<[u32; SLOTS]>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// Log time.
    time: Nanos,
    /// Begin of the last generation: what ends without one is booked there.
    last_start: Nanos,
    inbox: Inbox,
    /// Messages of all nodes when this one was ended as silent.
    ended: Option<u64>,
    detectors: NodeDetectors,
    #[serde(skip)]
    payload: payload::Events,
    pub(crate) windows: Windows,
    #[serde(skip)]
    slots: Option<Slots>,
    /// Rows and open windows, as they are in the engine's totals.
    #[serde(skip)]
    counted: (usize, usize),
}

/// Turns deltas into flow records, roll-ups and windows.
///
/// Sans-IO: a function of what was applied before and the message; no clock, no socket. Each node has its own log time,
/// the latest end of its manifests, so a node whose clock is wrong spoils no other. The deltas of a generation count
/// when its manifest comes, all at once. What a batch holds is no longer live, and the other way round.
///
/// Cost: two hash look-ups a delta; memory is bounded by [`EngineConfig`].
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: EngineConfig,
    prefixes: Prefixes,
    kinds: Vec<Arc<dyn DetectorKind>>,
    pub(crate) nodes: Vec<Node>,
    by_name: HashMap<Arc<str>, u32>,
    pub(crate) points: Points,
    pub(crate) flows: FlowTable,
    events: Events,
    stats: EngineStats,
    pending: usize,
    open_rows: usize,
    open_windows: usize,
    /// Messages so far: the order in which chunks began to wait.
    messages: u64,
    ending: Ending,
}

/// How far an end of everything has come.
#[derive(Debug, Default)]
struct Ending {
    node: u32,
    /// The flows of that node that are left, once they are known.
    flows: Option<Vec<(u64, u32)>>,
}

impl Engine {
    /// An engine that has seen nothing, with the dissectors that come with NetSpectra.
    pub fn new(config: EngineConfig) -> Self {
        let dissectors = dissect::builtin_with(config.http_queries);
        Self::with_dissectors(config, dissectors)
    }

    /// An engine that has seen nothing, with dissectors of the caller's choice.
    pub fn with_dissectors(config: EngineConfig, dissectors: Registry<dyn Dissector>) -> Self {
        Self {
            prefixes: Prefixes::new(Dissectors::new(dissectors), PREFIX_FLOWS),
            kinds: detect::builtin(&config.detect),
            points: Points::new(config.enrich.clone()),
            config,
            nodes: Vec::new(),
            by_name: HashMap::new(),
            flows: FlowTable::new(),
            events: Events::default(),
            stats: EngineStats::default(),
            pending: 0,
            open_rows: 0,
            open_windows: 0,
            messages: 0,
            ending: Ending::default(),
        }
    }

    /// Applies one message. A manifest that was not seen before closes its generation: the batch holds its ledger and
    /// whatever flows and windows ended. Everything else gives `None`.
    ///
    /// Of one node the chunks of a generation come before its manifest, and generations in order. Messages that come
    /// again change nothing. Cost: a manifest takes time for its generation's deltas, other messages next to none.
    pub fn apply(&mut self, message: &BusMessage) -> Option<StoreBatch> {
        self.messages += 1;
        match message {
            BusMessage::Chunk(chunk) => {
                self.keep(chunk);
                None
            }
            BusMessage::Payload { of, seen } => {
                self.keep_payloads(of, seen);
                None
            }
            BusMessage::Observed { of, said } => {
                self.keep_observed(of, said);
                None
            }
            BusMessage::Sockets { of, seen } => {
                self.keep_sockets(of, seen);
                None
            }
            BusMessage::Manifest(manifest) => self.close_generation(manifest),
        }
    }

    /// Ends everything: flows that FIN or RST ended as closed, others with `end_of_input`, and all windows.
    ///
    /// Chunks without a manifest are given up and counted. The engine can go on afterwards. Memory: all records at once;
    /// [`finish_some`](Self::finish_some) gives the same in pieces.
    pub fn finish(&mut self) -> StoreBatch {
        let mut batch = StoreBatch::default();
        while let Some(some) = self.finish_some() {
            batch.absorb(some);
        }
        sort(&mut batch.flows);
        batch
    }

    /// Ends everything as [`finish`](Self::finish) does, one node after the other and at most 4,096 flows at a time, until there
    /// is `None`; nothing else is applied in between. A node's records are in their order over all its batches; its windows are
    /// in the last one.
    pub fn finish_some(&mut self) -> Option<StoreBatch> {
        let Ending { node: at, flows } = std::mem::take(&mut self.ending);
        if at as usize >= self.nodes.len() {
            return None;
        }
        let mut flows = flows.unwrap_or_else(|| {
            let dropped = self.nodes[at as usize].inbox.give_up(None);
            self.drop_pending(&dropped);
            self.flows.ending(at, &self.points, &mut self.events)
        });
        let mut batch = StoreBatch::default();
        let some = (&mut flows, ENDING_RECORDS);
        self.flows.end_some(some, EndReason::EndOfInput, &self.points, &mut self.events);
        let is_last = flows.is_empty();
        if is_last {
            self.close_node(at, EndReason::EndOfInput, &mut batch);
            self.ending.node = at + 1;
        } else {
            self.take_ended(at, &mut batch);
            self.ending = Ending { node: at, flows: Some(flows) };
        }
        sort(&mut batch.flows);
        self.judge(at, is_last, &[], &mut batch);
        Some(batch)
    }

    /// Ends everything of the node called `name`, from which nothing comes any more: flows with `idle_timeout`, and all
    /// windows. Chunks without a manifest are given up and counted. Should it speak again, that is counted as before; its
    /// place may be taken by another one when there are too many. `None` when nobody is called so.
    pub fn end_node(&mut self, name: &str) -> Option<StoreBatch> {
        let at = *self.by_name.get(name)?;
        let dropped = self.nodes[at as usize].inbox.give_up(None);
        self.drop_pending(&dropped);
        let mut batch = StoreBatch::default();
        self.close_node(at, EndReason::IdleTimeout, &mut batch);
        self.nodes[at as usize].ended = Some(self.messages);
        sort(&mut batch.flows);
        self.judge(at, true, &[], &mut batch);
        Some(batch)
    }

    /// Counters and sizes.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            active_flows: self.flows.len(),
            open_rollup_rows: self.open_rows,
            open_windows: self.open_windows,
            pending_deltas: self.pending,
            nodes: self.nodes.len(),
            detectors_refused: self.nodes.iter().map(|node| node.detectors.refused()).sum(),
            ..self.stats.clone()
        }
    }

    /// The time that live rows cover: from the oldest open window or first unwritten packet to the latest log time.
    /// `None` when nothing is live. Cost: a pass over the flows.
    pub fn extent(&self) -> Option<TimeRange> {
        let windows = self.nodes.iter().filter_map(|n| n.windows.oldest());
        let from = windows.chain(self.flows.iter().map(|f| f.part().0)).min()?;
        let to = self.nodes.iter().map(|n| n.time).max().unwrap_or(from);
        Some(TimeRange { from, to: to.max(from.plus(Duration::from_nanos(1))) })
    }

    fn close_generation(&mut self, manifest: &Manifest) -> Option<StoreBatch> {
        let at = self.node(&manifest.id.node)?;
        let (closed, dropped) = self.nodes[at as usize].inbox.close(manifest);
        self.drop_pending(&dropped);
        let complete = match closed {
            Closed::New(complete) => complete,
            Closed::Again { altered } => {
                self.stats.duplicate_generations += 1;
                self.stats.altered_generations += u64::from(altered);
                self.nodes[at as usize].payload = payload::Events::default();
                return None;
            }
        };
        self.stats.generations += 1;
        self.stats.missing_generations += complete.skipped;
        self.stats.chain_breaks += u64::from(complete.chain_break);
        self.stats.missing_chunks += complete.missing;
        self.stats.unnamed_chunks += complete.unnamed;
        let mut batch = StoreBatch { closed_by: Some(manifest.id.clone()), ..StoreBatch::default() };
        if manifest.start.plus(self.config.clock_step) < self.nodes[at as usize].time {
            self.stats.clock_steps += 1;
            self.close_node(at, EndReason::EndOfInput, &mut batch);
            self.nodes[at as usize].windows.reopen();
            self.nodes[at as usize].time = Nanos(0);
            self.points.forget(&manifest.id.node);
        }
        self.nodes[at as usize].last_start = manifest.start;
        let place = self.nodes[at as usize].windows.place(manifest.start);
        self.stats.late_generations += u64::from(place.late);

        // Rows that are made from here on have the names that this generation's answers give.
        let observed = self.take_said(at, manifest);
        // What was silent until now is over before the new deltas can wake it.
        self.advance(at, manifest.start);
        let mut sums = self.count(at, place, manifest, &complete);
        self.flows.settle(&self.points, &mut self.events);
        self.advance(at, manifest.end);
        self.take_events(at, place, &mut sums, manifest, &mut batch);
        self.time_answers(at, place, &observed);

        let node = &mut self.nodes[at as usize];
        let until = node.time.minus(self.config.lateness.min(MOST_LATENESS));
        node.windows.close(&node.name, until, &self.points, self.config.wanted, &mut batch);
        batch.ledger.push(LedgerEntry {
            node: node.name.clone(),
            epoch: manifest.id.epoch,
            generation: manifest.id.generation,
            start: manifest.start,
            end: manifest.end,
            ledger: manifest.ledger.clone(),
            nics: manifest.nics.clone(),
            chain_break: complete.chain_break,
        });
        if manifest.last {
            self.close_node(at, EndReason::EndOfInput, &mut batch);
        }
        self.keep_limits(at, &mut batch);
        sort(&mut batch.flows);
        self.judge(at, manifest.last, &observed, &mut batch);
        if self.config.keep_messages {
            batch.messages = payload::messages(&manifest.id.node, observed);
        }
        Some(batch)
    }

    /// Asks the detectors of node `at` what they say of its `batch`, and, when its input ended, what they leave open.
    fn judge(&mut self, at: u32, ended: bool, observed: &[Observed], batch: &mut StoreBatch) {
        let Node { name, time, detectors, .. } = &mut self.nodes[at as usize];
        let StoreBatch { flows, windows, .. } = &*batch;
        let seen = Seen { node: name, now: *time, flows, windows, observed };
        let mut alerts = detectors.observe(&self.kinds, &seen);
        if ended {
            alerts.extend(detectors.end(&self.kinds, *time));
        }
        alerts.iter().for_each(|alert| self.stats.count_alert(alert));
        batch.alerts.extend(alerts);
    }

    /// Adds a kind of detector beside those of the configuration; one of the same name takes its place. Before the first message.
    #[must_use]
    pub fn with_detector(mut self, kind: Arc<dyn DetectorKind>) -> Self {
        self.kinds.retain(|known| known.name() != kind.name());
        self.kinds.push(kind);
        self
    }

    /// Counts the deltas of a generation into rows and flows; returns the sums.
    fn count(&mut self, at: u32, place: Place, manifest: &Manifest, complete: &Complete) -> Sums {
        let mut sums = Sums::default();
        if complete.chunks.iter().all(|c| c.deltas.is_empty()) {
            return sums;
        }
        let mut slots = self.slots(at, &manifest.interfaces);
        let Node { name, windows, .. } = &mut self.nodes[at as usize];
        let mut rows = (self.config.wanted != Wanted::Records).then(|| &mut windows.open(place).rows);
        let mut protocols = Box::new([Counter::default(); 257]);
        // A SYN that reuses the ports of a closed flow must be seen before the answers to it.
        for opening in [true, false] {
            for FlowDelta { key, stats, sampling } in complete.chunks.iter().flat_map(|c| &c.deltas) {
                if (stats.tcp_flags & FLAG_SYN_SEEN != 0) != opening {
                    continue;
                }
                let obs = Obs(key.obs);
                let point = &mut slots.points[usize::from(obs.iface()) % SLOTS];
                if *point == UNNAMED {
                    *point = self.points.intern(name, &format!("#{}", obs.iface()).into(), false);
                }
                let point = *point;
                let direction = obs.direction() as u8;
                let counter = Counter::new(stats.packets, stats.bytes);
                let proto = if key.family == Family::NonIp as u8 { 256 } else { usize::from(key.proto) };
                protocols[proto].add(counter);
                sums.total.add(counter);
                if let Some(rows) = &mut rows {
                    let row = RowKey::of(key, point, self.points.direction(point, direction)).sampled(*sampling);
                    rows.add(row, stats);
                }
                self.flows.add(
                    normalise(key, point),
                    (at, direction),
                    (stats, *sampling),
                    (&self.config, &self.points),
                    &mut self.events,
                );
                self.stats.deltas += 1;
            }
        }
        for (proto, counter) in protocols.iter().enumerate().filter(|(_, c)| !c.is_zero()) {
            sums.protocols.insert(u8::try_from(proto).ok(), *counter);
        }
        self.nodes[at as usize].slots = Some(slots);
        sums
    }

    /// Moves log time forward to `to` and writes the flows that are due then.
    fn advance(&mut self, at: u32, to: Nanos) {
        let time = &mut self.nodes[at as usize].time;
        *time = (*time).max(to);
        self.flows.expire(at, *time, (&self.config, &self.points), &mut self.events);
    }

    /// Books what happened to flows in the windows of the generation, and moves the records to `batch`.
    fn take_events(&mut self, at: u32, place: Place, sums: &mut Sums, manifest: &Manifest, batch: &mut StoreBatch) {
        if self.config.wanted == Wanted::Records {
            self.take_records(batch);
            return self.events.forget();
        }
        let windows = &mut self.nodes[at as usize].windows;
        let events = &mut self.events;
        sums.new_flows = events.began.len() as u64;
        if !sums.protocols.is_empty() || sums.new_flows > 0 {
            windows.count(place, sums);
        }
        let is_silent =
            manifest.sizes.0.is_empty() && events.has_no_rtts() && events.records.iter().all(|r| duration(r).is_none());
        if !is_silent || sums.new_flows > 0 {
            let open = windows.open(place);
            open.measure(&manifest.sizes, events.records.iter().filter_map(duration));
            open.take_rtts(&mut events.server_rtts, &mut events.client_rtts);
            events.began.drain(..).for_each(|row| open.rows.begin_flow(row));
        }
        self.take_records(batch);
    }

    /// Moves the records that were written to `batch`.
    fn take_records(&mut self, batch: &mut StoreBatch) {
        let events = &mut self.events;
        events.records.iter().for_each(|record| self.stats.count_export(record.end_reason));
        if batch.flows.is_empty() {
            std::mem::swap(&mut batch.flows, &mut events.records);
        } else {
            batch.flows.append(&mut events.records);
        }
    }

    /// Writes all flows and windows of a node, with `reason` where FIN or RST did not end a flow.
    fn close_node(&mut self, at: u32, reason: EndReason, batch: &mut StoreBatch) {
        self.flows.end_all(at, reason, &self.points, &mut self.events);
        self.take_ended(at, batch);
        let node = &mut self.nodes[at as usize];
        node.windows.spill(&node.name, &self.points, self.config.wanted, batch);
        self.recount(at);
    }

    /// Books flows that ended outside of a generation in the window of the last one, and moves their records to `batch`.
    fn take_ended(&mut self, at: u32, batch: &mut StoreBatch) {
        let node = &mut self.nodes[at as usize];
        if !self.events.records.is_empty() && self.config.wanted != Wanted::Records {
            let place = node.windows.place(node.last_start);
            let ended = self.events.records.iter().filter_map(duration);
            let open = node.windows.open(place);
            open.measure(&SizeHistogram::default(), ended);
            open.take_rtts(&mut self.events.server_rtts, &mut self.events.client_rtts);
        }
        self.take_records(batch);
        if self.config.wanted == Wanted::Records {
            self.events.forget();
        }
    }

    /// Holds the bounds on windows, rows and names after a generation of node `at`.
    fn keep_limits(&mut self, at: u32, batch: &mut StoreBatch) {
        self.recount(at);
        if self.open_rows > self.config.max_rollup_rows || self.open_windows > self.config.max_open_windows {
            // Only this node's have grown, so with them gone the bound holds as it did before.
            self.stats.spills += 1;
            let node = &mut self.nodes[at as usize];
            node.windows.spill(&node.name, &self.points, self.config.wanted, batch);
            self.recount(at);
        }
        if self.points.want_collection() {
            let rows = self.nodes.iter().flat_map(|n| n.windows.rows().map(|(_, row)| row.key.point));
            self.points.collect(rows.chain(self.flows.iter().map(|f| f.key.point)));
            self.nodes.iter_mut().for_each(|n| n.slots = None);
        }
    }

    /// Brings the totals of rows and windows up to date with node `at`.
    fn recount(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        let (rows, windows) = std::mem::replace(&mut node.counted, (node.windows.row_count(), node.windows.len()));
        self.open_rows = self.open_rows + node.counted.0 - rows;
        self.open_windows = self.open_windows + node.counted.1 - windows;
    }

    /// Interned `interfaces` of node `at`; [`UNNAMED`] for slots that are not among them.
    fn slots(&mut self, at: u32, interfaces: &[Interface]) -> Slots {
        let node = &mut self.nodes[at as usize];
        if let Some(slots) = node.slots.take().filter(|s| s.interfaces == interfaces) {
            return slots;
        }
        let mut points = Box::new([UNNAMED; SLOTS]);
        for i in interfaces.iter().filter(|i| i.slot <= Obs::MAX_IFACE) {
            points[usize::from(i.slot)] = self.points.intern(&node.name, &i.name, i.ifindex == 0);
        }
        Slots { interfaces: interfaces.to_vec(), points }
    }
}

/// Seconds from the first to the last packet of a flow that ended with `record`.
fn duration(record: &FlowRecord) -> Option<f64> {
    match record.end_reason {
        EndReason::None | EndReason::ActiveTimeout => None,
        EndReason::IdleTimeout
        | EndReason::Fin
        | EndReason::Rst
        | EndReason::EndOfInput
        | EndReason::LackOfResources => Some(record.last_seen.since(record.flow_start).as_secs_f64()),
    }
}

/// The order of records in a batch.
fn sort(flows: &mut [FlowRecord]) {
    // Keys beside places are sorted, and each record is moved once: records are large.
    flows.sort_by_cached_key(|f| (f.first_seen, f.flow_id, f.last_seen));
}
