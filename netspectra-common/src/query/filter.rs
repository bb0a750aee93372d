//! Conditions on rows, and their evaluation.

use super::PlanError;
use crate::schema::{Dimension, ValueKind, protocol_name};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A condition on rows. The empty conjunction, [`Filter::ALL`], holds for every row.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All hold.
    And(Vec<Filter>),
    /// One holds.
    Or(Vec<Filter>),
    /// It does not hold. A row without the value (a non-IP frame has no `src_ip`) is no match for a comparison, so it
    /// is a match for the comparison's negation.
    Not(Box<Filter>),
    /// A comparison.
    Is(Predicate),
}

/// A comparison of one or several dimensions with values; it holds when one of the dimensions matches one of the values.
///
/// `ip = x` is `[SrcIp, DstIp]`, `port = x` is `[SrcPort, DstPort]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// Any of these, all of one kind.
    pub any_of: Vec<Dimension>,
    /// How.
    pub op: CmpOp,
    /// With one of these (exactly one for an order comparison).
    pub values: Vec<Value>,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmpOp {
    /// Equals (or lies in) one of the values. `!=` is `Not(Is(Eq))`.
    Eq,
    /// Less than.
    Lt,
    /// At most.
    Le,
    /// More than.
    Gt,
    /// At least.
    Ge,
}

/// A value in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address block; a single address is /32 or /128. The address's host bits are zero.
    Net(IpAddr, u8),
    /// A number: port, protocol, VLAN, EtherType.
    Number(u16),
    /// An inclusive range of numbers.
    Range(u16, u16),
    /// A word or text.
    Text(String),
}

/// What filters and groupings see of a row.
pub trait Row {
    /// The value of a numeric dimension; `None` where the row has none.
    fn number(&self, d: Dimension) -> Option<u16>;
    /// The value of an address dimension.
    fn address(&self, d: Dimension) -> Option<IpAddr>;
    /// The value of a text dimension.
    fn text(&self, d: Dimension) -> Option<&str>;
}

impl Filter {
    /// Every row.
    pub const ALL: Self = Self::And(Vec::new());

    /// Whether it holds for every row because it has no condition.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::And(all) if all.is_empty())
    }

    /// Whether the condition holds for `row`. Cost: at most one comparison for each value of the filter.
    pub fn matches<R: Row + ?Sized>(&self, row: &R) -> bool {
        match self {
            Self::And(all) => all.iter().all(|f| f.matches(row)),
            Self::Or(any) => any.iter().any(|f| f.matches(row)),
            Self::Not(inner) => !inner.matches(row),
            Self::Is(p) => p.any_of.iter().any(|d| p.holds(*d, row)),
        }
    }

    /// Checks that every dimension exists for the rows that `exists` describes.
    ///
    /// # Errors
    /// The first dimension that does not, by name.
    pub fn check(&self, exists: fn(Dimension) -> bool, rows: &str) -> Result<(), PlanError> {
        match self {
            Self::And(some) | Self::Or(some) => some.iter().try_for_each(|f| f.check(exists, rows)),
            Self::Not(inner) => inner.check(exists, rows),
            Self::Is(p) => match p.any_of.iter().find(|d| !exists(**d)) {
                None => Ok(()),
                Some(d) => Err(PlanError::Unanswerable(format!(
                    "`{}` is not a dimension of {rows}: leave it out of the filter",
                    d.name()
                ))),
            },
        }
    }
}

impl Predicate {
    fn holds<R: Row + ?Sized>(&self, d: Dimension, row: &R) -> bool {
        match d.kind() {
            ValueKind::Address => row.address(d).is_some_and(|a| {
                self.values.iter().any(|v| matches!(v, Value::Net(net, bits) if contains(*net, *bits, a)))
            }),
            ValueKind::U16 | ValueKind::Proto => {
                row.number(d).is_some_and(|n| self.values.iter().any(|v| compare(self.op, n, v)))
            }
            ValueKind::Word(_) | ValueKind::Text => {
                row.text(d).is_some_and(|t| self.values.iter().any(|v| matches!(v, Value::Text(w) if w == t)))
            }
        }
    }
}

fn compare(op: CmpOp, n: u16, value: &Value) -> bool {
    match (op, value) {
        (CmpOp::Eq, Value::Number(v)) => n == *v,
        (CmpOp::Eq, Value::Range(low, high)) => (*low..=*high).contains(&n),
        (CmpOp::Lt, Value::Number(v)) => n < *v,
        (CmpOp::Le, Value::Number(v)) => n <= *v,
        (CmpOp::Gt, Value::Number(v)) => n > *v,
        (CmpOp::Ge, Value::Number(v)) => n >= *v,
        (CmpOp::Eq | CmpOp::Lt | CmpOp::Le | CmpOp::Gt | CmpOp::Ge, Value::Net(..) | Value::Text(_))
        | (CmpOp::Lt | CmpOp::Le | CmpOp::Gt | CmpOp::Ge, Value::Range(..)) => false,
    }
}

/// `address` with all but its first `bits` bits zero.
pub(super) fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(a) & keep))
        }
        IpAddr::V6(a) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(a) & keep))
        }
    }
}

/// Families do not mix: an IPv4 address is in no IPv6 block.
fn contains(net: IpAddr, bits: u8, address: IpAddr) -> bool {
    net.is_ipv4() == address.is_ipv4() && mask(address, bits) == net
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, some: &[Self], word: &str| {
            for (n, inner) in some.iter().enumerate() {
                if n > 0 {
                    write!(f, " {word} ")?;
                }
                match inner {
                    Self::And(_) | Self::Or(_) => write!(f, "({inner})")?,
                    Self::Not(_) | Self::Is(_) => write!(f, "{inner}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::And(all) => list(f, all, "and"),
            Self::Or(any) => list(f, any, "or"),
            Self::Not(inner) => match &**inner {
                Self::And(_) | Self::Or(_) => write!(f, "not ({inner})"),
                Self::Not(_) | Self::Is(_) => write!(f, "not {inner}"),
            },
            Self::Is(p) => write!(f, "{p}"),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.any_of.as_slice() {
            [Dimension::SrcIp, Dimension::DstIp] => "ip",
            [Dimension::SrcPort, Dimension::DstPort] => "port",
            [d, ..] => d.name(),
            [] => "?",
        };
        let op = match self.op {
            CmpOp::Eq => "=",
            CmpOp::Lt => "<",
            CmpOp::Le => "<=",
            CmpOp::Gt => ">",
            CmpOp::Ge => ">=",
        };
        let proto = self.any_of.first() == Some(&Dimension::Proto);
        let value = |v: &Value| match v {
            Value::Net(a, bits) if *bits == if a.is_ipv4() { 32 } else { 128 } => a.to_string(),
            Value::Net(a, bits) => format!("{a}/{bits}"),
            Value::Number(n) if proto => {
                u8::try_from(*n).ok().and_then(protocol_name).map_or_else(|| n.to_string(), str::to_owned)
            }
            Value::Number(n) => n.to_string(),
            Value::Range(low, high) => format!("{low}..{high}"),
            Value::Text(t) if !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || "._-:#".contains(c)) => {
                t.clone()
            }
            Value::Text(t) => format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        match self.values.as_slice() {
            [one] => write!(f, "{name} {op} {}", value(one)),
            many => write!(f, "{name} in ({})", many.iter().map(value).collect::<Vec<_>>().join(", ")),
        }
    }
}
