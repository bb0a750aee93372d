//! From a batch to samples: a function of the batch, so that whoever sends it sends the same bytes.

use super::config::{RemoteWriteConfig, RemoteWriteConfigError};
use super::proto::{TimeSeries, encode};
use netspectra_common::model::{
    Counter, Direction, Ledger, LedgerEntry, Nanos, Resolution, Rollup, WindowSketches, WindowState,
};
use netspectra_common::ports::StoreBatch;
use netspectra_common::schema::protocol_name;
use netspectra_common::sketch::{Estimate, Quantiles};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The samples of one node and one moment, encoded as a piece of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) bytes: Vec<u8>,
    pub(super) samples: usize,
    /// The moment, milliseconds since 1970.
    pub(super) at: i64,
}

/// Which series there are.
#[derive(Debug)]
pub(super) struct Shape {
    protocols: BTreeSet<u8>,
    ports: BTreeSet<u16>,
    sketches: bool,
    quantiles: Vec<(f64, String)>,
    labels: Vec<(String, String)>,
}

/// What tells series of roll-ups apart. At most 3 x (protocols + 2) x (ports + 1) a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// `None`: not known (files).
    is_ingress: Option<bool>,
    proto: Proto,
    /// `None`: none of those that are asked for.
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proto {
    Ip(u8),
    NonIp,
    Other,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    counted: Counter,
    new_flows: u64,
}

/// What is said of one node at one moment.
#[derive(Debug, Default)]
struct Moment<'a> {
    rows: BTreeMap<Key, Sums>,
    windows: Vec<&'a WindowSketches>,
    ledger: Option<(Ledger, u64)>,
}

impl Shape {
    pub(super) fn new(config: &RemoteWriteConfig) -> Result<Self, RemoteWriteConfigError> {
        Ok(Self {
            protocols: config.protocol_numbers()?,
            ports: config.ports.iter().copied().collect(),
            sketches: config.sketches,
            quantiles: config.quantiles.iter().map(|q| (*q, q.to_string())).collect(),
            labels: config.labels.clone().into_iter().collect(),
        })
    }

    /// The samples of `batch`, in the order of their times; `folded` grows by the rows that went to `other`.
    ///
    /// Cost: a pass over the roll-ups.
    pub(super) fn units(&self, batch: &StoreBatch, folded: &mut u64) -> Vec<Unit> {
        let mut ends: HashMap<&str, Nanos> = HashMap::new();
        for entry in &batch.ledger {
            let end = ends.entry(&*entry.node).or_default();
            *end = entry.end.max(*end);
        }
        let mut moments: BTreeMap<(i64, &str), Moment<'_>> = BTreeMap::new();
        // The end of the window, or of what the log says when the window was written before it ended: its parts have times
        // of their own then, and none is in the future.
        let of_window = |node: &str, start: Nanos| {
            let end = start.plus(Resolution::S10.duration());
            millis(ends.get(node).map_or(end, |log| end.min(*log)))
        };
        for rows in batch.rollups.chunk_by(|a, b| a.window == b.window && a.node == b.node) {
            let moment = moments.entry((of_window(&rows[0].node, rows[0].window), &*rows[0].node)).or_default();
            for row in rows {
                let key = self.key(row);
                *folded += u64::from(key.proto == Proto::Other);
                let sums = moment.rows.entry(key).or_default();
                sums.counted.add(Counter::new(row.packets, row.bytes));
                sums.new_flows = sums.new_flows.wrapping_add(row.new_flows);
            }
        }
        let wanted = |window: &&WindowState| self.sketches && window.resolution == Resolution::S10;
        for window in batch.windows.iter().filter(wanted) {
            let moment = moments.entry((of_window(&window.node, window.start), &*window.node)).or_default();
            moment.windows.extend(window.sketches.as_deref());
        }
        for entry in &batch.ledger {
            let end = ends.get(&*entry.node).copied().unwrap_or(entry.end);
            moments.entry((millis(end), &*entry.node)).or_default().count(entry);
        }
        moments.into_iter().map(|((at, node), moment)| self.unit(node, at, &moment)).collect()
    }

    fn key(&self, row: &Rollup) -> Key {
        let proto = match row.src_ip {
            None => Proto::NonIp,
            Some(_) if self.protocols.contains(&row.proto) => Proto::Ip(row.proto),
            Some(_) => Proto::Other,
        };
        let of_either = [row.src_port, row.dst_port].into_iter().filter(|port| self.ports.contains(port));
        Key { is_ingress: row.direction.map(|d| d == Direction::Ingress), proto, port: of_either.min() }
    }

    fn unit(&self, node: &str, at: i64, moment: &Moment<'_>) -> Unit {
        let mut out = Out { shape: self, node, at, series: Vec::new() };
        for (key, sums) in &moment.rows {
            out.row(*key, *sums);
        }
        match &moment.windows[..] {
            [] => {}
            [one] => out.sketches(one),
            [first, rest @ ..] => {
                let mut all = (*first).clone();
                rest.iter().for_each(|more| all.merge(more));
                out.sketches(&all);
            }
        }
        if let Some((ledger, chain_breaks)) = &moment.ledger {
            out.ledger(ledger, *chain_breaks);
        }
        let samples = out.series.len();
        Unit { bytes: encode(out.series), samples, at }
    }
}

impl Moment<'_> {
    fn count(&mut self, entry: &LedgerEntry) {
        let (ledger, chain_breaks) = self.ledger.get_or_insert_default();
        ledger.merge(&entry.ledger);
        *chain_breaks += u64::from(entry.chain_break);
    }
}

/// Where the samples of one node and moment go.
struct Out<'a> {
    shape: &'a Shape,
    node: &'a str,
    at: i64,
    series: Vec<TimeSeries>,
}

impl Out<'_> {
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut all = vec![("__name__", name), ("node", self.node)];
        all.extend(labels);
        all.extend(self.shape.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.series.push(TimeSeries::new(&all, value, self.at));
    }

    fn row(&mut self, key: Key, sums: Sums) {
        let proto: Cow<'_, str> = match key.proto {
            Proto::Ip(number) => protocol_name(number).map_or_else(|| number.to_string().into(), Cow::Borrowed),
            Proto::NonIp => "non_ip".into(),
            Proto::Other => "other".into(),
        };
        let port = key.port.map_or_else(|| "other".to_owned(), |port| port.to_string());
        let mut labels = vec![("proto", &*proto)];
        if let Some(is_ingress) = key.is_ingress {
            labels.push(("direction", if is_ingress { "ingress" } else { "egress" }));
        }
        if !self.shape.ports.is_empty() {
            labels.push(("port", &port));
        }
        self.sample("netspectra_window_packets", &labels, sums.counted.packets as f64);
        self.sample("netspectra_window_bytes", &labels, sums.counted.bytes as f64);
        self.sample("netspectra_window_new_flows", &labels, sums.new_flows as f64);
    }

    fn sketches(&mut self, sketches: &WindowSketches) {
        self.estimate("netspectra_window_distinct_sources", None, sketches.src_ips.estimate());
        self.estimate("netspectra_window_distinct_destinations", None, sketches.dst_ips.estimate());
        self.estimate("netspectra_window_distinct_pairs", None, sketches.pairs.estimate());
        self.quantiles("netspectra_window_server_rtt_seconds", &sketches.server_rtt);
        self.quantiles("netspectra_window_client_rtt_seconds", &sketches.client_rtt);
        self.quantiles("netspectra_window_dns_latency_seconds", &sketches.dns_latency);
    }

    /// Nothing where nothing was measured.
    fn quantiles(&mut self, name: &str, values: &Quantiles) {
        for (q, text) in &self.shape.quantiles {
            if let Some(estimate) = values.quantile(*q) {
                self.estimate(name, Some(text), estimate);
            }
        }
    }

    fn estimate(&mut self, name: &str, quantile: Option<&str>, estimate: Estimate) {
        let Estimate { estimate, low, high, confidence: _ } = estimate;
        for (bound, value) in [("estimate", estimate), ("high", high), ("low", low)] {
            let labels: Vec<_> =
                [("bound", bound)].into_iter().chain(quantile.map(|text| ("quantile", text))).collect();
            self.sample(name, &labels, value);
        }
    }

    /// `seen` and `flows` always; other places only when there is something.
    fn ledger(&mut self, ledger: &Ledger, chain_breaks: u64) {
        self.sample("netspectra_ledger_seen_packets", &[], ledger.seen.packets as f64);
        self.sample("netspectra_ledger_seen_bytes", &[], ledger.seen.bytes as f64);
        let records = [("flows".into(), &ledger.flows), ("non_ip".into(), &ledger.non_ip)];
        let places = records.into_iter().chain(ledger.reasons.named());
        for (place, counter) in places.filter(|(place, counter)| place == "flows" || !counter.is_zero()) {
            self.sample("netspectra_ledger_packets", &[("place", &place)], counter.packets as f64);
            self.sample("netspectra_ledger_bytes", &[("place", &place)], counter.bytes as f64);
        }
        for (name, count) in [
            ("netspectra_ledger_chain_breaks", chain_breaks),
            ("netspectra_ledger_events_lost", ledger.events_lost),
            ("netspectra_ledger_orphan_fragments", ledger.orphan_fragments),
        ] {
            if count > 0 {
                self.sample(name, &[], count as f64);
            }
        }
    }
}

fn millis(at: Nanos) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}
