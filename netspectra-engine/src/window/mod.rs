//! The open windows of one node.
//!
//! A generation belongs, whole, to the windows that contain its begin: it cannot be cut, and so totals stay exact. One
//! that begins before a window that is closed already goes to the oldest window that is not (and is counted as late).
//! A window may be written in several parts (memory limits, a clock that was set): parts of a window add up, as the
//! windows of several nodes do.

mod keys;
mod rows;
mod sketch;
#[cfg(test)]
mod tests;

pub(crate) use rows::{Row, RowKey, Rows};
#[cfg(feature = "clickhouse")]
pub(crate) use sketch::merge_states;

use crate::engine::{Points, Wanted};
use netspectra_common::model::{Counter, Nanos, Resolution, SizeHistogram, WindowSketches, WindowState};
use netspectra_common::ports::StoreBatch;
use netspectra_common::sketch::Quantiles;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every resolution has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) total: Counter,
    pub(crate) new_flows: u64,
    pub(crate) protocols: BTreeMap<Option<u8>, Counter>,
}

impl Sums {
    fn merge(&mut self, other: &Self) {
        self.total.add(other.total);
        self.new_flows += other.new_flows;
        for (proto, counter) in &other.protocols {
            self.protocols.entry(*proto).or_default().add(*counter);
        }
    }

    fn state(&self, node: &Arc<str>, start: u64, resolution: Resolution) -> WindowState {
        WindowState {
            node: node.clone(),
            resolution,
            start: Nanos(start),
            total: self.total,
            new_flows: self.new_flows,
            protocols: self.protocols.clone(),
            sketches: None,
        }
    }
}

/// An open window of ten seconds: everything else is derived from these.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) sums: Sums,
    pub(crate) rows: Rows,
    sizes: Quantiles,
    durations: Quantiles,
    server_rtts: Quantiles,
    client_rtts: Quantiles,
    dns_latencies: Quantiles,
}

impl Open {
    fn sketches(&self) -> WindowSketches {
        let mut sketches = WindowSketches {
            packet_size: self.sizes.clone(),
            flow_duration: self.durations.clone(),
            server_rtt: self.server_rtts.clone(),
            client_rtt: self.client_rtts.clone(),
            dns_latency: self.dns_latencies.clone(),
            ..WindowSketches::default()
        };
        sketch::feed(&mut sketches, &self.rows);
        sketches
    }

    /// Adds frame sizes and flow durations, in seconds, of a generation.
    pub(crate) fn measure(&mut self, sizes: &SizeHistogram, durations: impl Iterator<Item = f64>) {
        sizes.lengths().for_each(|(length, frames)| self.sizes.add(length, frames));
        durations.for_each(|d| self.durations.add(d, 1));
    }

    /// Adds round-trip times, in microseconds, that became known in a generation, and takes them.
    pub(crate) fn take_rtts(&mut self, server: &mut Vec<u32>, client: &mut Vec<u32>) {
        let seconds = |micros: u32| f64::from(micros) / 1e6;
        server.drain(..).for_each(|micros| self.server_rtts.add(seconds(micros), 1));
        client.drain(..).for_each(|micros| self.client_rtts.add(seconds(micros), 1));
    }

    /// Adds the times of DNS answers, in seconds.
    pub(crate) fn answer(&mut self, latencies: impl Iterator<Item = f64>) {
        latencies.for_each(|latency| self.dns_latencies.add(latency, 1));
    }
}

/// The part of an open minute whose ten-second windows are closed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Minute {
    sums: Sums,
    sketches: WindowSketches,
}

/// The windows that a generation belongs to, by their begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    s1: u64,
    s10: u64,
    /// One of the windows it belongs to is closed.
    pub(crate) late: bool,
}

/// The open windows of one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Windows {
    /// Windows that end here or earlier are closed.
    closed_until: u64,
    s1: BTreeMap<u64, Sums>,
    s10: BTreeMap<u64, Open>,
    s60: BTreeMap<u64, Minute>,
}

impl Windows {
    /// Where a generation that begins at `start` belongs.
    pub(crate) fn place(&self, start: Nanos) -> Place {
        let closed_until = Nanos(self.closed_until);
        let [s1, s10] = [Resolution::S1, Resolution::S10].map(|r| {
            let (at, oldest) = (start.floor(r.duration()), closed_until.floor(r.duration()));
            (at.max(oldest).0, at < oldest)
        });
        Place { s1: s1.0, s10: s10.0, late: s1.1 || s10.1 }
    }

    /// The ten-second window at `place`, opened if need be.
    pub(crate) fn open(&mut self, place: Place) -> &mut Open {
        self.s10.entry(place.s10).or_default()
    }

    /// Counts a generation's sums.
    pub(crate) fn count(&mut self, place: Place, sums: &Sums) {
        self.s1.entry(place.s1).or_default().merge(sums);
        self.open(place).sums.merge(sums);
    }

    /// Closes the windows that ended at `until` or before, for good.
    pub(crate) fn close(
        &mut self,
        node: &Arc<str>,
        until: Nanos,
        points: &Points,
        wanted: Wanted,
        batch: &mut StoreBatch,
    ) {
        self.closed_until = self.closed_until.max(until.0);
        self.write(node, self.closed_until, points, wanted, batch);
    }

    /// Writes what is in the open windows and empties them. They stay open: more may come, as a further part.
    pub(crate) fn spill(&mut self, node: &Arc<str>, points: &Points, wanted: Wanted, batch: &mut StoreBatch) {
        self.write(node, u64::MAX, points, wanted, batch);
    }

    /// Forgets which windows are closed: time starts again.
    pub(crate) fn reopen(&mut self) {
        self.closed_until = 0;
    }

    fn write(&mut self, node: &Arc<str>, until: u64, points: &Points, wanted: Wanted, batch: &mut StoreBatch) {
        for (start, sums) in take_ended(&mut self.s1, until, Resolution::S1) {
            batch.windows.push(sums.state(node, start, Resolution::S1));
        }
        for (start, open) in take_ended(&mut self.s10, until, Resolution::S10) {
            if wanted == Wanted::Everything {
                batch.rollups.extend(open.rows.iter().map(|row| row.rollup(Nanos(start), points)));
            }
            let sketches = open.sketches();
            let minute = self.s60.entry(minute_of(start)).or_default();
            minute.sums.merge(&open.sums);
            minute.sketches.merge(&sketches);
            let state = open.sums.state(node, start, Resolution::S10);
            batch.windows.push(WindowState { sketches: Some(Box::new(sketches)), ..state });
        }
        for (start, minute) in take_ended(&mut self.s60, until, Resolution::S60) {
            let state = minute.sums.state(node, start, Resolution::S60);
            batch.windows.push(WindowState { sketches: Some(Box::new(minute.sketches)), ..state });
        }
    }

    /// Open windows.
    pub(crate) fn len(&self) -> usize {
        self.s1.len() + self.s10.len() + self.minutes().len()
    }

    /// Rows in open windows.
    pub(crate) fn row_count(&self) -> usize {
        self.s10.values().map(|o| o.rows.len()).sum()
    }

    /// Rows with the begin of their window.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Nanos, &Row)> {
        self.s10.iter().flat_map(|(start, open)| open.rows.iter().map(|row| (Nanos(*start), row)))
    }

    /// The begin of the oldest open window.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        [self.s1.keys().next(), self.s10.keys().next(), self.s60.keys().next()]
            .into_iter()
            .flatten()
            .min()
            .map(|s| Nanos(*s))
    }

    /// The open windows that satisfy `wanted`, as they would be written now.
    ///
    /// Cost: as closing them, when `with_sketches`; otherwise small, and their sketches are empty.
    pub(crate) fn states<'a>(
        &'a self,
        node: &'a Arc<str>,
        with_sketches: bool,
        wanted: impl Fn(Resolution, Nanos) -> bool + 'a,
    ) -> Vec<WindowState> {
        let mut states = Vec::new();
        for (start, sums) in self.s1.iter().filter(|(s, _)| wanted(Resolution::S1, Nanos(**s))) {
            states.push(sums.state(node, *start, Resolution::S1));
        }
        let minutes = self.minutes();
        let mut of_tens = BTreeMap::new();
        for (start, open) in &self.s10 {
            let minute = Nanos(minute_of(*start));
            if !wanted(Resolution::S10, Nanos(*start)) && !wanted(Resolution::S60, minute) {
                continue;
            }
            let sketches = if with_sketches { open.sketches() } else { WindowSketches::default() };
            of_tens.insert(*start, sketches);
        }
        for (start, open) in self.s10.iter().filter(|(s, _)| wanted(Resolution::S10, Nanos(**s))) {
            let sketches = of_tens.get(start).cloned().unwrap_or_default();
            let state = open.sums.state(node, *start, Resolution::S10);
            states.push(WindowState { sketches: Some(Box::new(sketches)), ..state });
        }
        for start in minutes.into_iter().filter(|s| wanted(Resolution::S60, Nanos(*s))) {
            let mut minute = self.s60.get(&start).cloned().unwrap_or_default();
            for (ten, open) in self.s10.iter().filter(|(ten, _)| minute_of(**ten) == start) {
                minute.sums.merge(&open.sums);
                if let Some(sketches) = of_tens.get(ten) {
                    minute.sketches.merge(sketches);
                }
            }
            let state = minute.sums.state(node, start, Resolution::S60);
            states.push(WindowState { sketches: Some(Box::new(minute.sketches)), ..state });
        }
        states
    }

    /// The begins of the open minutes.
    fn minutes(&self) -> Vec<u64> {
        let mut minutes: Vec<u64> = self.s60.keys().copied().chain(self.s10.keys().map(|s| minute_of(*s))).collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }
}

fn minute_of(start: u64) -> u64 {
    Nanos(start).floor(Resolution::S60.duration()).0
}

/// Takes the windows that ended at `until` or before; all of them for `u64::MAX`.
fn take_ended<T>(windows: &mut BTreeMap<u64, T>, until: u64, resolution: Resolution) -> BTreeMap<u64, T> {
    if until == u64::MAX {
        return std::mem::take(windows);
    }
    let open = windows.split_off(&Nanos(until).floor(resolution.duration()).0);
    std::mem::replace(windows, open)
}
