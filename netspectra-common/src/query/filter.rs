use crate::schema::Dimension;
use std::net::IpAddr;

/// A condition on rows. The empty conjunction, `Filter::ALL`, holds for every row.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All hold.
    And(Vec<Filter>),
    /// One holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A comparison.
    Is(Predicate),
}

impl Filter {
    /// Every row.
    pub const ALL: Self = Self::And(Vec::new());
}

/// A comparison of one or several dimensions with a value; it holds when one of them matches.
///
/// `ip = x` is `[SrcIp, DstIp]`, `port = x` is `[SrcPort, DstPort]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// Any of these.
    pub any_of: Vec<Dimension>,
    /// How.
    pub op: CmpOp,
    /// With one of these (one for an order comparison, one or more for equality and `in`).
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
