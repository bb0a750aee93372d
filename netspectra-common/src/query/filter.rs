use crate::schema::Dimension;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A condition on rows. The empty conjunction, `Filter::ALL`, holds for every row.
///
/// Two values only: a comparison does not hold for a row that has no value there (a non-IP frame has no `src_ip`, no
/// `proto` and no ports), and what negates it therefore does. So `src_ip != 10.0.0.1` holds for ARP, as does
/// `not src_ip = 10.0.0.1`: every row is on one side of a filter and its negation.
///
/// [`Display`](std::fmt::Display) writes the text that [`parse_filter`](super::parse_filter) reads.
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

    /// Whether it looks at one of `dimensions`.
    pub fn looks_at(&self, dimensions: &[Dimension]) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.looks_at(dimensions)),
            Self::Not(inner) => inner.looks_at(dimensions),
            Self::Is(predicate) => predicate.any_of.iter().any(|d| dimensions.contains(d)),
        }
    }

    /// Whether this is plainly no condition: [`Filter::ALL`], or a conjunction of nothing else.
    pub fn is_all(&self) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(Self::is_all),
            Self::Or(_) | Self::Not(_) | Self::Is(_) => false,
        }
    }

    /// Whether `row` satisfies the filter. Cost: no allocation; at worst one comparison per value.
    pub fn matches(&self, row: &impl Row) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|f| f.matches(row)),
            Self::Or(parts) => parts.iter().any(|f| f.matches(row)),
            Self::Not(inner) => !inner.matches(row),
            Self::Is(predicate) => predicate.matches(row),
        }
    }
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

impl Predicate {
    fn matches(&self, row: &impl Row) -> bool {
        self.any_of.iter().any(|d| self.values.iter().any(|v| holds(row, *d, self.op, v)))
    }
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
    ///
    /// IPv4-mapped addresses and blocks are written as IPv4; an IPv6 block never holds an IPv4 address.
    Net(IpAddr, u8),
    /// A number: port, protocol, VLAN, EtherType, tunnel identifier.
    Number(u32),
    /// An inclusive range of numbers.
    Range(u32, u32),
    /// A word or text.
    Text(String),
}

impl Value {
    /// The block of `prefix` bits that `address` is in, in the form that [`Value::Net`] asks for.
    ///
    /// `None` when the address has fewer bits than `prefix`.
    pub fn net(address: IpAddr, prefix: u8) -> Option<Self> {
        let (address, prefix) = match address {
            IpAddr::V6(v6) if prefix >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), prefix - 96),
                None => (address, prefix),
            },
            IpAddr::V4(_) | IpAddr::V6(_) => (address, prefix),
        };
        (prefix <= bits(address)).then(|| Self::Net(network(address, prefix), prefix))
    }
}

/// What filters and groupings see of a row.
pub trait Row {
    /// The value of a numeric dimension; `None` where the row has none.
    fn number(&self, d: Dimension) -> Option<u32>;
    /// The value of an address dimension.
    fn address(&self, d: Dimension) -> Option<IpAddr>;
    /// The value of a text dimension.
    fn text(&self, d: Dimension) -> Option<&str>;
}

fn holds(row: &impl Row, d: Dimension, op: CmpOp, value: &Value) -> bool {
    match value {
        Value::Net(net, prefix) => op == CmpOp::Eq && row.address(d).is_some_and(|ip| contains(*net, *prefix, ip)),
        Value::Text(text) => op == CmpOp::Eq && row.text(d).is_some_and(|t| t == text),
        Value::Range(low, high) => op == CmpOp::Eq && row.number(d).is_some_and(|n| (*low..=*high).contains(&n)),
        Value::Number(number) => row.number(d).is_some_and(|n| match op {
            CmpOp::Eq => n == *number,
            CmpOp::Lt => n < *number,
            CmpOp::Le => n <= *number,
            CmpOp::Gt => n > *number,
            CmpOp::Ge => n >= *number,
        }),
    }
}

/// Whether the block `net/prefix` holds `ip`.
fn contains(net: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_ipv4() == net.is_ipv4() && network(ip, prefix) == net
}

/// Bits of an address of this family.
pub(super) const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `address` with all but its first `prefix` bits zero.
pub(super) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & !host).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !host).into()
        }
    }
}
