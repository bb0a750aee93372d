//! Filters as text.

use super::filter::bits;
use super::{CmpOp, Filter, Predicate, Value};
use crate::schema::{Dimension, EITHER, ValueKind, protocol_name};
use std::fmt::{self, Display, Formatter, Write};

/// The text that reads back as the same filter, for every filter that came from text (up to the length that is read).
///
/// Others, such as a disjunction of one, are written as an equivalent one. [`Filter::ALL`] is the empty text, and `all`
/// inside a larger filter.
impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL { Ok(()) } else { write(f, self, Level::Or) }
    }
}

/// How tightly the place binds where a filter is written.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    /// The whole text, or inside parentheses.
    Or,
    /// A part of `or`.
    And,
    /// A part of `and`, or what `not` negates.
    Unary,
}

fn write(f: &mut Formatter<'_>, filter: &Filter, place: Level) -> fmt::Result {
    match filter {
        Filter::And(parts) => match &parts[..] {
            [] => f.write_str("all"),
            [only] => write(f, only, place),
            _ => join(f, parts, " and ", place > Level::And, Level::Unary),
        },
        Filter::Or(parts) => match &parts[..] {
            [] => f.write_str("not all"),
            [only] => write(f, only, place),
            _ => join(f, parts, " or ", place > Level::Or, Level::And),
        },
        Filter::Not(inner) => match &**inner {
            Filter::Is(p) if p.op == CmpOp::Eq && name(&p.any_of).is_some() => comparison(f, p, true),
            Filter::Is(_) | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => {
                f.write_str("not ")?;
                write(f, inner, Level::Unary)
            }
        },
        Filter::Is(p) if name(&p.any_of).is_some() => comparison(f, p, false),
        Filter::Is(p) => {
            let one = |d: &Dimension| Filter::Is(Predicate { any_of: vec![*d], ..p.clone() });
            write(f, &Filter::Or(p.any_of.iter().map(one).collect()), place)
        }
    }
}

/// `inner` is where a part stands. A part that is a chain of the same word keeps its parentheses: it is another filter.
fn join(f: &mut Formatter<'_>, parts: &[Filter], word: &str, parentheses: bool, inner: Level) -> fmt::Result {
    if parentheses {
        f.write_char('(')?;
    }
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        write(f, part, inner)?;
    }
    if parentheses { f.write_char(')') } else { Ok(()) }
}

/// The name of a set of dimensions, when it has one.
fn name(any_of: &[Dimension]) -> Option<&'static str> {
    match any_of {
        [one] => Some(one.name()),
        // The last one: `host` reads back as `ip`.
        any_of => EITHER.iter().rev().find(|(_, both)| both == any_of).map(|(name, _)| *name),
    }
}

fn comparison(f: &mut Formatter<'_>, p: &Predicate, negated: bool) -> fmt::Result {
    f.write_str(name(&p.any_of).unwrap_or_default())?;
    let kind = p.any_of.first().map(|d| d.kind());
    let order = match p.op {
        CmpOp::Lt => "<",
        CmpOp::Le => "<=",
        CmpOp::Gt => ">",
        CmpOp::Ge => ">=",
        CmpOp::Eq => match &p.values[..] {
            [Value::Range(..)] => {
                f.write_str(if negated { " not in " } else { " in " })?;
                return value(f, kind, &p.values[0]);
            }
            [_] if negated => "!=",
            [_] => "=",
            several => {
                f.write_str(if negated { " not in (" } else { " in (" })?;
                for (i, v) in several.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    value(f, kind, v)?;
                }
                return f.write_char(')');
            }
        },
    };
    write!(f, " {order} ")?;
    p.values.iter().try_for_each(|v| value(f, kind, v))
}

fn value(f: &mut Formatter<'_>, kind: Option<ValueKind>, value: &Value) -> fmt::Result {
    match value {
        Value::Net(address, prefix) if *prefix == bits(*address) => write!(f, "{address}"),
        Value::Net(address, prefix) => write!(f, "{address}/{prefix}"),
        Value::Number(number) => {
            let named = u8::try_from(*number).ok().filter(|_| kind == Some(ValueKind::Proto)).and_then(protocol_name);
            match named {
                Some(name) => f.write_str(name),
                None => write!(f, "{number}"),
            }
        }
        Value::Range(low, high) => write!(f, "{low}..{high}"),
        Value::Text(word) if matches!(kind, Some(ValueKind::Word(_))) => f.write_str(word),
        Value::Text(text) => {
            f.write_char('"')?;
            for c in text.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
            f.write_char('"')
        }
    }
}
