//! Filters as conditions of SQL, so that rows that no answer has stay in the server. Names are the schema's, values are bound.
//!
//! A condition holds for exactly the rows that the filter holds for: below `NOT` too much would be too little. SQL knows
//! three truth values and filters two; a condition without `NOT` that is not true only because a value is missing is NULL, and
//! what negates it therefore takes NULL as false.

use clickhouse::query::Query as Sql;
use netspectra_common::query::{CmpOp, Filter, Predicate, Value};
use netspectra_common::schema::Dimension;
use std::net::{IpAddr, Ipv6Addr};

/// A condition, and what is bound in it.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// Begins with ` AND`, or is empty.
    text: String,
    bound: Vec<Bound>,
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Address(Ipv6Addr),
    Number(u32),
    Text(String),
}

impl Condition {
    /// That of `filter`, whose dimensions the table has: they are called as its columns.
    pub(super) fn of(filter: &Filter) -> Self {
        let mut this = Self::default();
        if !filter.is_all() {
            let text = this.part(filter);
            this.text = format!(" AND {text}");
        }
        this
    }

    /// What is added to a `WHERE`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Binds the values.
    pub(super) fn bind(&self, sql: Sql) -> Sql {
        self.bound.iter().enumerate().fold(sql, |sql, (n, value)| {
            let name = format!("f{n}");
            match value {
                Bound::Address(address) => sql.param(&name, address.to_string()),
                Bound::Number(number) => sql.param(&name, number),
                Bound::Text(text) => sql.param(&name, text),
            }
        })
    }

    fn part(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::And(parts) => self.joined(parts, " AND ", "1"),
            Filter::Or(parts) => self.joined(parts, " OR ", "0"),
            Filter::Not(inner) => format!("NOT ifNull({}, 0)", self.part(inner)),
            Filter::Is(predicate) => self.predicate(predicate),
        }
    }

    fn joined(&mut self, parts: &[Filter], with: &str, of_none: &str) -> String {
        if parts.is_empty() {
            return of_none.to_owned();
        }
        let parts: Vec<String> = parts.iter().map(|part| self.part(part)).collect();
        format!("({})", parts.join(with))
    }

    fn predicate(&mut self, Predicate { any_of, op, values }: &Predicate) -> String {
        let mut parts = Vec::with_capacity(any_of.len() * values.len());
        for dimension in any_of {
            parts.extend(values.iter().map(|value| self.comparison(*dimension, *op, value)));
        }
        format!("({})", parts.join(" OR "))
    }

    fn comparison(&mut self, dimension: Dimension, op: CmpOp, value: &Value) -> String {
        let column = dimension.name();
        let text = match value {
            Value::Net(address, prefix) => self.net(column, *address, *prefix),
            Value::Text(text) => {
                let bound = self.bound(Bound::Text(text.clone()));
                format!("{column} = {bound}")
            }
            Value::Range(low, high) => {
                let (low, high) = (self.bound(Bound::Number(*low)), self.bound(Bound::Number(*high)));
                format!("({column} >= {low} AND {column} <= {high})")
            }
            Value::Number(number) => {
                let bound = self.bound(Bound::Number(*number));
                let op = match op {
                    CmpOp::Eq => "=",
                    CmpOp::Lt => "<",
                    CmpOp::Le => "<=",
                    CmpOp::Gt => ">",
                    CmpOp::Ge => ">=",
                };
                format!("{column} {op} {bound}")
            }
        };
        // Frames that are not IP have no ports and no protocol; their columns have zeros.
        match dimension {
            Dimension::SrcPort | Dimension::DstPort | Dimension::Proto => format!("(src_ip IS NOT NULL AND {text})"),
            // What is not known is empty text, which no filter means.
            Dimension::SrcCountry
            | Dimension::DstCountry
            | Dimension::SrcNetwork
            | Dimension::DstNetwork
            | Dimension::SrcName
            | Dimension::DstName
            | Dimension::SrcPod
            | Dimension::DstPod
            | Dimension::SrcNamespace
            | Dimension::DstNamespace
            | Dimension::SrcWorkload
            | Dimension::DstWorkload
            | Dimension::SrcProcess
            | Dimension::DstProcess
            | Dimension::SrcCgroup
            | Dimension::DstCgroup
            | Dimension::Service => {
                format!("({column} != '' AND {text})")
            }
            Dimension::SrcIp
            | Dimension::DstIp
            | Dimension::SrcAs
            | Dimension::DstAs
            | Dimension::Sampling
            | Dimension::EtherType
            | Dimension::Vlan
            | Dimension::Tunnel
            | Dimension::TunnelId
            | Dimension::Iface
            | Dimension::Node
            | Dimension::Direction
            | Dimension::State
            | Dimension::EndReason
            | Dimension::App
            | Dimension::Message
            | Dimension::Name
            | Dimension::Code
            | Dimension::Detector
            | Dimension::Severity
            | Dimension::Phase
            | Dimension::Subject => text,
        }
    }

    /// Whether a column lies in a block. IPv4 is mapped into IPv6, and no block of IPv6 holds it.
    fn net(&mut self, column: &str, address: IpAddr, prefix: u8) -> String {
        let (first, bits) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), u32::from(prefix) + 96),
            IpAddr::V6(v6) => (v6, u32::from(prefix)),
        };
        let host = u128::MAX.checked_shr(bits).unwrap_or(0);
        let last = Ipv6Addr::from_bits(first.to_bits() | host);
        if first == last {
            // Equality is what the index over addresses knows.
            let bound = self.bound(Bound::Address(first));
            return format!("{column} = {bound}");
        }
        let (low, high) = (self.bound(Bound::Address(first)), self.bound(Bound::Address(last)));
        let inside = format!("{column} >= {low} AND {column} <= {high}");
        match address {
            IpAddr::V4(_) => format!("({inside})"),
            IpAddr::V6(_) => {
                let not_v4 = format!(
                    "NOT ({column} >= toIPv6('::ffff:0.0.0.0') AND {column} <= toIPv6('::ffff:255.255.255.255'))"
                );
                format!("({inside} AND {not_v4})")
            }
        }
    }

    /// The place in the text of a bound value.
    fn bound(&mut self, value: Bound) -> String {
        let kind = match value {
            Bound::Address(_) => "IPv6",
            Bound::Number(_) => "UInt32",
            Bound::Text(_) => "String",
        };
        let place = format!("{{f{}:{kind}}}", self.bound.len());
        self.bound.push(value);
        place
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use netspectra_common::query::parse_filter;

    fn condition(filter: &str) -> Condition {
        Condition::of(&parse_filter(filter).unwrap())
    }

    #[test]
    fn values_are_bound_and_never_in_the_text() {
        let c = condition("iface = \"x' OR 1=1 --\" and not (src_ip in 10.0.0.0/8 or dst_port in 1..1024)");
        assert_eq!(
            c.text(),
            " AND ((iface = {f0:String}) AND NOT ifNull((((src_ip >= {f1:IPv6} AND src_ip <= {f2:IPv6})) OR \
             ((src_ip IS NOT NULL AND (dst_port >= {f3:UInt32} AND dst_port <= {f4:UInt32})))), 0))"
        );
        let v6 = |text: &str| Bound::Address(text.parse().unwrap());
        let text = Bound::Text("x' OR 1=1 --".into());
        let numbers = [Bound::Number(1), Bound::Number(1024)];
        let [low, high] = numbers;
        assert_eq!(c.bound, [text, v6("::ffff:10.0.0.0"), v6("::ffff:10.255.255.255"), low, high]);
    }

    #[test]
    fn no_filter_is_no_condition_and_one_address_is_an_equality() {
        assert_eq!(condition("").text(), "");
        assert_eq!(condition("src_ip = 2001:db8::1").text(), " AND (src_ip = {f0:IPv6})");
        assert_eq!(condition("src_ip = 10.0.0.1").bound, [Bound::Address("::ffff:10.0.0.1".parse().unwrap())]);
    }
}
