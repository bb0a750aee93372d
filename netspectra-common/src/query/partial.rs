//! Partials: what one part of the data says to a plan. They merge in any order into the same answer.

use super::answer::{
    Answer, CardinalityAnswer, FlowsAnswer, GroupKey, LedgerAnswer, QuantilesAnswer, SeriesAnswer, SeriesPoint,
    TopAnswer, TopRow,
};
use super::keys;
use super::plan::{FlowCursor, MAX_GROUPS, MAX_POINTS, Metric, Plan, PlanError, Quantity, Query, Source};
use crate::abi::Counter;
use crate::model::{EndReason, FlowRecord, Ledger, LedgerEntry, Nanos, Resolution, Rollup, TimeRange, WindowState};
use crate::schema::Dimension;
use crate::sketch::{Estimate, Hll, Quantiles, TopK};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

/// Distinct values that are counted exactly before a sketch takes over.
const EXACT_DISTINCT: usize = 4096;

/// What one part of the data says to a plan. Folding checks range and filter itself: callers may deliver more rows.
#[derive(Clone, Debug)]
pub struct Partial {
    state: State,
    /// What the rows folded cover.
    covered: Option<TimeRange>,
    /// Set when a bound was met; the answer is this error then.
    refused: Option<PlanError>,
}

#[derive(Clone, Debug)]
enum State {
    /// At most one more than the page's limit, to know whether there is another page.
    Flows(BinaryHeap<Reverse<Ordered>>, usize),
    /// Exact sums by group.
    Groups(HashMap<GroupKey, u64>),
    Sketch(Box<TopK>),
    Series(BTreeMap<(GroupKey, Nanos), (Counter, u64)>),
    Distinct(Distinct),
    Quantiles(Box<Quantiles>),
    Ledger(Box<Ledger>, u64),
}

/// A record in the order of answers.
#[derive(Clone, Debug)]
struct Ordered(FlowRecord);

impl Ordered {
    fn position(&self) -> FlowCursor {
        FlowCursor::of(&self.0)
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.position() == other.position()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position().cmp(&other.position())
    }
}

/// Exact while there are few, a sketch beyond. The sketch gets the same bytes as the windows' sketches.
#[derive(Clone, Debug)]
enum Distinct {
    Few(HashSet<Vec<u8>>),
    Many(Box<Hll>),
}

impl Distinct {
    fn insert(&mut self, key: Vec<u8>) {
        match self {
            Self::Few(set) => {
                set.insert(key);
                if set.len() > EXACT_DISTINCT {
                    let mut hll = Hll::default();
                    set.iter().for_each(|k| hll.insert(k));
                    *self = Self::Many(Box::new(hll));
                }
            }
            Self::Many(hll) => hll.insert(&key),
        }
    }

    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Few(set)) => set.into_iter().for_each(|k| self.insert(k)),
            (Self::Many(mine), Self::Many(theirs)) => mine.merge(&theirs),
            (Self::Few(mine), Self::Many(mut theirs)) => {
                mine.iter().for_each(|k| theirs.insert(k));
                *self = Self::Many(theirs);
            }
        }
    }
}

impl Partial {
    /// The partial of no rows.
    ///
    /// # Errors
    /// When the plan is not legal.
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        plan.validate()?;
        let windows = matches!(plan.source(), Source::Windows(_));
        let state = match &plan.query {
            Query::Flows { limit, .. } => State::Flows(BinaryHeap::new(), limit + 1),
            Query::Top { .. } if windows => State::Sketch(Box::default()),
            Query::Top { .. } => State::Groups(HashMap::new()),
            Query::Series { .. } => State::Series(BTreeMap::new()),
            Query::Cardinality { .. } if windows => State::Distinct(Distinct::Many(Box::default())),
            Query::Cardinality { .. } => State::Distinct(Distinct::Few(HashSet::new())),
            Query::Quantiles { .. } => State::Quantiles(Box::default()),
            Query::Ledger => State::Ledger(Box::default(), 0),
        };
        Ok(Self { state, covered: None, refused: None })
    }

    /// Folds one flow record.
    pub fn fold_flow(&mut self, plan: &Plan, row: &FlowRecord) {
        if plan.source() != Source::Flows
            || !plan.range.overlaps(row.first_seen, row.last_seen)
            || !plan.filter.matches(row)
        {
            return;
        }
        match (&mut self.state, &plan.query) {
            (State::Flows(heap, most), Query::Flows { after, .. }) => {
                let position = FlowCursor::of(row);
                if after.is_some_and(|after| position >= after) {
                    return;
                }
                if heap.len() >= *most {
                    if heap.peek().is_some_and(|Reverse(smallest)| position <= smallest.position()) {
                        return;
                    }
                    heap.pop();
                }
                heap.push(Reverse(Ordered(row.clone())));
            }
            (State::Quantiles(sketch), Query::Quantiles { of: Quantity::FlowDuration, .. })
                if !matches!(row.end_reason, EndReason::None | EndReason::ActiveTimeout) =>
            {
                sketch.add(row.last_seen.since(row.flow_start).as_secs_f64(), 1);
                self.cover(row.first_seen, Nanos(row.last_seen.0.saturating_add(1)));
            }
            _ => {}
        }
    }

    /// Folds one roll-up row.
    pub fn fold_rollup(&mut self, plan: &Plan, row: &Rollup) {
        let end = row.window.plus(Resolution::S10.duration());
        if plan.source() != Source::Rollups || !overlaps(plan.range, row.window, end) || !plan.filter.matches(row) {
            return;
        }
        match (&mut self.state, &plan.query) {
            (State::Groups(groups), Query::Top { by, metric, .. }) => {
                let value = match metric {
                    Metric::Bytes => row.bytes,
                    Metric::Packets => row.packets,
                    Metric::Flows => row.new_flows,
                };
                let key: GroupKey = by.iter().map(|d| keys::group_text(row, *d)).collect();
                if let Some(sum) = groups.get_mut(&key) {
                    *sum = sum.saturating_add(value);
                } else if groups.len() >= MAX_GROUPS {
                    self.refused = Some(too_many(MAX_GROUPS, "groups"));
                } else {
                    groups.insert(key, value);
                }
            }
            (State::Series(points), Query::Series { step, by }) => {
                let key: GroupKey = by.iter().map(|d| keys::group_text(row, *d)).collect();
                let counter = Counter::new(row.packets, row.bytes);
                if !add_point(points, key, row.window.floor(*step), counter, row.new_flows) {
                    self.refused = Some(too_many(MAX_POINTS, "points"));
                }
            }
            (State::Distinct(distinct), Query::Cardinality { of }) => {
                if let Some(key) = distinct_key(row, of) {
                    distinct.insert(key);
                }
            }
            _ => return,
        }
        self.cover(row.window, end);
    }

    /// Folds one window; of the plan's resolution only.
    pub fn fold_window(&mut self, plan: &Plan, window: &WindowState) {
        let end = window.start.plus(window.resolution.duration());
        if plan.source() != Source::Windows(window.resolution) || !overlaps(plan.range, window.start, end) {
            return;
        }
        match (&mut self.state, &plan.query) {
            (State::Series(points), Query::Series { step, by }) => {
                let start = window.start.floor(*step);
                let fits = if by.is_empty() {
                    add_point(points, GroupKey::new(), start, window.total, window.new_flows)
                } else {
                    window.protocols.iter().all(|(proto, counter)| {
                        let key = vec![proto.map(keys::proto_text).unwrap_or_default()];
                        add_point(points, key, start, *counter, 0)
                    })
                };
                if !fits {
                    self.refused = Some(too_many(MAX_POINTS, "points"));
                }
            }
            (state, query) => {
                let Some(sketches) = &window.sketches else { return };
                match (state, query) {
                    (State::Sketch(top), Query::Top { by, metric, .. }) => top.merge(match (by.as_slice(), metric) {
                        ([Dimension::SrcIp], Metric::Packets) => &sketches.top_src_packets,
                        ([Dimension::DstIp], Metric::Packets) => &sketches.top_dst_packets,
                        ([Dimension::SrcIp], _) => &sketches.top_src_bytes,
                        ([Dimension::DstIp], _) => &sketches.top_dst_bytes,
                        _ => &sketches.top_dst_port_bytes,
                    }),
                    (State::Distinct(Distinct::Many(hll)), Query::Cardinality { of }) => {
                        hll.merge(match of.as_slice() {
                            [Dimension::SrcIp] => &sketches.src_ips,
                            [Dimension::DstIp] => &sketches.dst_ips,
                            [Dimension::SrcIp, _] => &sketches.pairs,
                            _ => &sketches.dst_ports,
                        })
                    }
                    (State::Quantiles(quantiles), Query::Quantiles { of, .. }) => quantiles.merge(match of {
                        Quantity::PacketSize => &sketches.packet_size,
                        Quantity::FlowDuration => &sketches.flow_duration,
                    }),
                    _ => return,
                }
            }
        }
        self.cover(window.start, end);
    }

    /// Folds one ledger entry.
    pub fn fold_ledger(&mut self, plan: &Plan, entry: &LedgerEntry) {
        if let State::Ledger(ledger, generations) = &mut self.state
            && overlaps(plan.range, entry.start, entry.end.max(Nanos(entry.start.0 + 1)))
        {
            ledger.merge(&entry.ledger);
            *generations += 1;
            self.cover(entry.start, entry.end);
        }
    }

    /// Merges another partial of the same plan.
    pub fn merge(&mut self, other: Self) {
        self.refused = self.refused.take().or(other.refused);
        if let Some(range) = other.covered {
            self.cover(range.from, range.to);
        }
        match (&mut self.state, other.state) {
            (State::Flows(mine, most), State::Flows(theirs, _)) => {
                mine.extend(theirs);
                while mine.len() > *most {
                    mine.pop();
                }
            }
            (State::Groups(mine), State::Groups(theirs)) => {
                for (key, value) in theirs {
                    let sum = mine.entry(key).or_default();
                    *sum = sum.saturating_add(value);
                }
                if mine.len() > MAX_GROUPS {
                    self.refused = Some(too_many(MAX_GROUPS, "groups"));
                }
            }
            (State::Sketch(mine), State::Sketch(theirs)) => mine.merge(&theirs),
            (State::Series(mine), State::Series(theirs)) => {
                for ((key, start), (counter, flows)) in theirs {
                    if !add_point(mine, key, start, counter, flows) {
                        self.refused = Some(too_many(MAX_POINTS, "points"));
                    }
                }
            }
            (State::Distinct(mine), State::Distinct(theirs)) => mine.merge(theirs),
            (State::Quantiles(mine), State::Quantiles(theirs)) => mine.merge(&theirs),
            (State::Ledger(mine, n), State::Ledger(theirs, m)) => {
                mine.merge(&theirs);
                *n += m;
            }
            // Partials of one plan have one kind of state.
            _ => {
                self.refused = Some(PlanError::Unanswerable("partials of different plans were merged".into()));
            }
        }
    }

    fn cover(&mut self, from: Nanos, to: Nanos) {
        let covered = self.covered.get_or_insert(TimeRange { from, to });
        covered.from = covered.from.min(from);
        covered.to = covered.to.max(to);
    }
}

/// The answer to `plan` that `partial`, merged from all parts of the data, gives.
///
/// # Errors
/// When a bound was met on the way.
pub fn answer(plan: &Plan, partial: Partial) -> Result<Answer, PlanError> {
    if let Some(refused) = partial.refused {
        return Err(refused);
    }
    let range = partial.covered.unwrap_or(plan.range);
    Ok(match (partial.state, &plan.query) {
        (State::Flows(heap, _), Query::Flows { limit, .. }) => {
            let mut items: Vec<FlowRecord> = heap.into_sorted_vec().into_iter().map(|Reverse(o)| o.0).collect();
            let more = items.len() > *limit;
            items.truncate(*limit);
            let next = items.last().filter(|_| more).map(FlowCursor::of);
            Answer::Flows(FlowsAnswer { items, next })
        }
        (State::Groups(groups), Query::Top { limit, .. }) => {
            let total = groups.values().fold(0u64, |sum, v| sum.saturating_add(*v));
            let mut rows: Vec<(u64, GroupKey)> =
                groups.into_iter().filter(|(_, v)| *v > 0).map(|(k, v)| (v, k)).collect();
            rows.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            rows.truncate(*limit);
            let items = rows.into_iter().map(|(v, key)| TopRow { key, value: Estimate::exact(v as f64) }).collect();
            Answer::Top(TopAnswer { range, items, total })
        }
        (State::Sketch(top), Query::Top { by, limit, .. }) => {
            let mut items: Vec<TopRow> = top
                .top(*limit)
                .into_iter()
                .filter_map(|e| Some(TopRow { key: sketch_key(by, &e.key)?, value: e.value }))
                .collect();
            items.sort_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate).then_with(|| a.key.cmp(&b.key)));
            Answer::Top(TopAnswer { range, items, total: top.total() })
        }
        (State::Series(points), Query::Series { step, .. }) => {
            let points = points
                .into_iter()
                .map(|((key, start), (c, new_flows))| SeriesPoint {
                    start,
                    key,
                    packets: c.packets,
                    bytes: c.bytes,
                    new_flows,
                })
                .collect();
            Answer::Series(SeriesAnswer { range, step_seconds: step.as_secs(), points })
        }
        (State::Distinct(distinct), _) => {
            let value = match distinct {
                Distinct::Few(set) => Estimate::exact(set.len() as f64),
                Distinct::Many(hll) => hll.estimate(),
            };
            Answer::Cardinality(CardinalityAnswer { range, value })
        }
        (State::Quantiles(sketch), Query::Quantiles { q, .. }) => {
            let items = q.iter().filter_map(|q| sketch.quantile(*q).map(|v| (*q, v))).collect();
            Answer::Quantiles(QuantilesAnswer { range, count: sketch.count(), items })
        }
        (State::Ledger(ledger, generations), _) => Answer::Ledger(LedgerAnswer { range, ledger: *ledger, generations }),
        _ => return Err(PlanError::Unanswerable("the partial is of another plan".into())),
    })
}

/// Whether `[start, end)` shares an instant with `range`.
fn overlaps(range: TimeRange, start: Nanos, end: Nanos) -> bool {
    start < range.to && end > range.from
}

fn too_many(most: usize, what: &str) -> PlanError {
    PlanError::Unanswerable(format!("the answer has more than {most} {what}: narrow the range or the filter"))
}

/// False when the series has too many points.
fn add_point(
    points: &mut BTreeMap<(GroupKey, Nanos), (Counter, u64)>,
    key: GroupKey,
    start: Nanos,
    counter: Counter,
    new_flows: u64,
) -> bool {
    let point = points.entry((key, start)).or_default();
    point.0.add(counter);
    point.1 = point.1.saturating_add(new_flows);
    points.len() <= MAX_POINTS
}

/// The value of `of` as bytes: as windows encode it where they do, else the texts with their lengths. `None` where the
/// row has none of the values.
fn distinct_key(row: &Rollup, of: &[Dimension]) -> Option<Vec<u8>> {
    match of {
        [Dimension::SrcIp] => row.src_ip.map(|a| keys::address(a).to_vec()),
        [Dimension::DstIp] => row.dst_ip.map(|a| keys::address(a).to_vec()),
        [Dimension::Proto, Dimension::DstPort] => row.src_ip.map(|_| keys::port(row.proto, row.dst_port).to_vec()),
        [Dimension::SrcIp, Dimension::DstIp] => Some(keys::pair(row.src_ip?, row.dst_ip?).to_vec()),
        _ => {
            let texts: Vec<String> = of.iter().map(|d| keys::group_text(row, *d)).collect();
            if texts.iter().all(String::is_empty) {
                return None;
            }
            let mut key = Vec::new();
            for text in texts {
                key.extend((text.len() as u32).to_be_bytes());
                key.extend(text.as_bytes());
            }
            Some(key)
        }
    }
}

/// The group key of a sketch's key.
fn sketch_key(by: &[Dimension], key: &[u8]) -> Option<GroupKey> {
    match (by, key) {
        ([_], _) => keys::decode_address(key).map(|a| vec![a.to_string()]),
        (_, [proto, high, low]) => Some(vec![keys::proto_text(*proto), u16::from_be_bytes([*high, *low]).to_string()]),
        _ => None,
    }
}
