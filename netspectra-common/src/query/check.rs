//! Whether a plan can be run.

use super::filter::{bits, network};
use super::source::{peers_of, windows_know};
use super::{CmpOp, Filter, MAX_FILTER_DEPTH, Metric, Plan, PlanError, Predicate, Quantity, Query, Value};
use crate::model::{Nanos, TimeRange};
use crate::schema::{Dimension, ValueKind};
use std::time::Duration;

/// Rows of an answer, at most.
pub const MAX_LIMIT: usize = 10_000;
/// Quantiles of a question, at most.
const MAX_QUANTILES: usize = 100;
/// The longest step: a leap year.
const MAX_STEP: Duration = Duration::from_secs(366 * 86_400);

impl Plan {
    /// Checks everything that can be known without data. [`super::Partial::new`] does it too.
    ///
    /// # Errors
    /// [`PlanError::Argument`] with the name of the argument as requests have it (`from`, `filter`, `limit`, `by`, `of`,
    /// `q`, `step`); [`PlanError::Unanswerable`] for a question that nothing recorded answers.
    pub fn validate(&self) -> Result<(), PlanError> {
        let TimeRange { from, to } = self.range;
        if from >= to {
            return Err(wrong("from", at(from), format!("a time before `to`, which is {}", at(to))));
        }
        match &self.query {
            Query::Flows { limit, .. } => {
                check_limit(*limit)?;
                check_filter(&self.filter, Rows::Flows)
            }
            Query::Alerts { limit, .. } => {
                check_limit(*limit)?;
                check_filter(&self.filter, Rows::Alerts)
            }
            Query::Messages { limit, .. } => {
                check_limit(*limit)?;
                check_filter(&self.filter, Rows::Messages)
            }
            Query::Top { by, metric, limit, .. } => {
                check_limit(*limit)?;
                check_dimensions("by", by, 1)?;
                if *metric == Metric::Peers && peers_of(by).is_none() {
                    let found: Vec<_> = by.iter().map(|d| d.name()).collect();
                    return Err(wrong("by", found.join(","), "src_ip or dst_ip with metric `peers`"));
                }
                check_filter(&self.filter, Rows::Rollups)
            }
            Query::Series { step, by } => {
                check_dimensions("by", by, 0)?;
                check_filter(&self.filter, Rows::Rollups)?;
                check_step(*step, self.filter.is_all() && windows_know(by))
            }
            Query::Cardinality { of } => {
                check_dimensions("of", of, 1)?;
                check_filter(&self.filter, Rows::Rollups)
            }
            Query::Quantiles { of, q } => {
                check_quantiles(q)?;
                match of {
                    Quantity::FlowDuration | Quantity::ServerRtt | Quantity::ClientRtt => {
                        check_filter(&self.filter, Rows::Flows)
                    }
                    Quantity::PacketSize | Quantity::DnsLatency if self.filter.is_all() => Ok(()),
                    Quantity::DnsLatency => Err(PlanError::Unanswerable(
                        "`dns_latency` cannot be filtered: it is counted per window, not per flow; leave `filter` out"
                            .into(),
                    )),
                    Quantity::PacketSize => Err(PlanError::Unanswerable(
                        "`packet_size` cannot be filtered: frame lengths are counted per window, not per flow; leave \
                         `filter` out, or ask for `top` by bytes and by packets and divide"
                            .into(),
                    )),
                }
            }
            Query::Ledger if self.filter.is_all() => Ok(()),
            Query::Ledger => Err(PlanError::Unanswerable(
                "the ledger cannot be filtered: it counts frames that are in no flow too; leave `filter` out".into(),
            )),
        }
    }
}

/// Which rows a filter is for.
#[derive(Clone, Copy)]
enum Rows {
    Flows,
    Rollups,
    Alerts,
    Messages,
}

impl Rows {
    const fn have(self, d: Dimension) -> bool {
        match self {
            Self::Flows => d.in_flows(),
            Self::Rollups => d.in_rollups(),
            Self::Alerts => d.in_alerts(),
            Self::Messages => d.in_messages(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flow records",
            Self::Rollups => "top, series and cardinality",
            Self::Alerts => "alerts",
            Self::Messages => "messages",
        }
    }

    fn dimensions(self) -> String {
        let names: Vec<_> = Dimension::ALL.into_iter().filter(|d| self.have(*d)).map(Dimension::name).collect();
        names.join(", ")
    }
}

fn wrong(argument: &'static str, found: impl Into<String>, expected: impl Into<String>) -> PlanError {
    PlanError::Argument { argument, found: found.into(), expected: expected.into() }
}

fn at(time: Nanos) -> String {
    time.to_string()
}

fn check_limit(limit: usize) -> Result<(), PlanError> {
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(());
    }
    Err(wrong("limit", limit.to_string(), format!("a number in 1..={MAX_LIMIT}")))
}

fn check_dimensions(argument: &'static str, list: &[Dimension], least: usize) -> Result<(), PlanError> {
    let names = || list.iter().map(|d| d.name()).collect::<Vec<_>>().join(",");
    if list.len() < least {
        return Err(wrong(argument, "empty", format!("at least one of {}", Rows::Rollups.dimensions())));
    }
    if let Some(d) = list.iter().find(|d| !d.in_rollups()) {
        return Err(wrong(argument, d.name(), format!("some of {}", Rows::Rollups.dimensions())));
    }
    if list.iter().enumerate().any(|(i, d)| list[..i].contains(d)) {
        return Err(wrong(argument, names(), "each dimension once"));
    }
    Ok(())
}

fn check_step(step: Duration, windows: bool) -> Result<(), PlanError> {
    let unit = if windows { 1 } else { 10 };
    let whole = step.subsec_nanos() == 0 && step.as_secs().is_multiple_of(unit);
    if whole && !step.is_zero() && step <= MAX_STEP {
        return Ok(());
    }
    let why = if windows { "" } else { " (1 s unfiltered, and ungrouped, by `proto` or by `node`)" };
    let found = format!("{} s", step.as_secs_f64());
    Err(wrong("step", found, format!("a multiple of {unit} s{why}, at most {} s", MAX_STEP.as_secs())))
}

fn check_quantiles(q: &[f64]) -> Result<(), PlanError> {
    if q.is_empty() || q.len() > MAX_QUANTILES {
        return Err(wrong("q", format!("a list of {}", q.len()), format!("1..={MAX_QUANTILES} numbers in 0..=1")));
    }
    match q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
        Some(q) => Err(wrong("q", q.to_string(), "numbers in 0..=1")),
        None => Ok(()),
    }
}

fn check_filter(filter: &Filter, rows: Rows) -> Result<(), PlanError> {
    // What text can make: a chain of `or`, in it one of `and`, at each level of parentheses, and the comparison.
    check_part(filter, rows, 2 * (MAX_FILTER_DEPTH + 1) + 1)
}

fn check_part(filter: &Filter, rows: Rows, depth: usize) -> Result<(), PlanError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(wrong("filter", "too deep", format!("at most {MAX_FILTER_DEPTH} levels")));
    };
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().try_for_each(|f| check_part(f, rows, depth)),
        Filter::Not(inner) => check_part(inner, rows, depth),
        Filter::Is(predicate) => check_predicate(predicate, rows),
    }
}

fn check_predicate(predicate: &Predicate, rows: Rows) -> Result<(), PlanError> {
    let Predicate { any_of, op, values } = predicate;
    if any_of.is_empty() || values.is_empty() {
        return Err(wrong("filter", "a comparison of nothing", "at least one dimension and one value"));
    }
    if *op != CmpOp::Eq && !matches!(values[..], [Value::Number(_)]) {
        return Err(wrong("filter", "an order comparison with something else", "one number"));
    }
    for d in any_of {
        if !rows.have(*d) {
            let expected = format!("dimensions of {}: {}", rows.name(), rows.dimensions());
            return Err(wrong("filter", format!("a condition on `{}`", d.name()), expected));
        }
        if let Some(value) = values.iter().find(|v| !fits(*d, v)) {
            return Err(wrong("filter", format!("`{}` compared with {value:?}", d.name()), d.doc()));
        }
    }
    Ok(())
}

fn fits(d: Dimension, value: &Value) -> bool {
    match (d.kind(), value) {
        (ValueKind::Address, Value::Net(ip, prefix)) => *prefix <= bits(*ip) && network(*ip, *prefix) == *ip,
        (ValueKind::U32, Value::Number(_)) | (ValueKind::Text, Value::Text(_)) => true,
        (ValueKind::U16, Value::Number(n)) => *n <= u32::from(u16::MAX),
        (ValueKind::U16, Value::Range(low, high)) => low <= high && *high <= u32::from(u16::MAX),
        (ValueKind::U32, Value::Range(low, high)) => low <= high,
        (ValueKind::Proto, Value::Number(n)) => *n <= 255,
        (ValueKind::Proto, Value::Range(low, high)) => low <= high && *high <= 255,
        (ValueKind::Word(words), Value::Text(word)) => words.contains(&&**word),
        (
            ValueKind::Address
            | ValueKind::U16
            | ValueKind::U32
            | ValueKind::Proto
            | ValueKind::Word(_)
            | ValueKind::Text,
            Value::Net(..) | Value::Number(_) | Value::Range(..) | Value::Text(_),
        ) => false,
    }
}
