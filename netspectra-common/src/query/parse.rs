//! The filter language.
//!
//! ```text
//! filter     = [ or ]
//! or         = and { ("or" | "||") and }
//! and        = unary { ("and" | "&&") unary }
//! unary      = ("not" | "!") unary | "(" or ")" | comparison
//! comparison = name ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") value
//!            | name ["not"] "in" ( value | "(" value { "," value } ")" )
//! value      = address [ "/" bits ] | number [ ".." number ] | word | '"' text '"'
//! ```

use super::filter::{CmpOp, Filter, Predicate, Value, mask};
use crate::schema::{Dimension, ValueKind, protocol_number};
use std::net::IpAddr;

/// Nesting that is read.
const MAX_DEPTH: usize = 64;
/// Length of a filter that is read, bytes.
const MAX_LEN: usize = 8192;
/// Values of a list that are read.
const MAX_VALUES: usize = 1024;

/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub struct ParseError {
    /// What was expected and found.
    pub message: String,
    /// 1-based, characters.
    pub column: usize,
}

impl ParseError {
    /// The filter's text with a caret below the place.
    pub fn render(&self, text: &str) -> String {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line}\n{}^ {}", " ".repeat(self.column.saturating_sub(1)), self.message)
    }
}

/// Reads a filter expression; empty text is [`Filter::ALL`].
///
/// # Errors
/// The first thing that is wrong, with its column.
pub fn parse_filter(text: &str) -> Result<Filter, ParseError> {
    if text.len() > MAX_LEN {
        return Err(ParseError {
            message: format!("the filter has {} bytes: expected at most {MAX_LEN}", text.len()),
            column: 1,
        });
    }
    let tokens = tokenize(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, end: text.chars().count() + 1 };
    if tokens.is_empty() {
        return Ok(Filter::ALL);
    }
    let filter = parser.or(0)?;
    match parser.peek() {
        None => Ok(filter),
        Some(t) => Err(error(t.column, format!("expected `and`, `or` or the end, found `{}`", t.text))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
    column: usize,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }
}

fn error(column: usize, message: impl Into<String>) -> ParseError {
    ParseError { message: message.into(), column }
}

fn tokenize(text: &str) -> Result<Vec<Token>, ParseError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let (c, column) = (chars[i], i + 1);
        let push = |tokens: &mut Vec<Token>, text: String, quoted| tokens.push(Token { text, quoted, column });
        if c.is_whitespace() {
            i += 1;
        } else if c == '"' {
            let mut value = String::new();
            i += 1;
            loop {
                match chars.get(i) {
                    None => return Err(error(column, "this quote is not closed: expected `\"`")),
                    Some('"') => break,
                    Some('\\') if matches!(chars.get(i + 1), Some('"' | '\\')) => {
                        value.push(chars[i + 1]);
                        i += 2;
                    }
                    Some(c) => {
                        value.push(*c);
                        i += 1;
                    }
                }
            }
            i += 1;
            push(&mut tokens, value, true);
        } else if matches!(c, '(' | ')' | ',') {
            push(&mut tokens, c.to_string(), false);
            i += 1;
        } else if matches!(c, '=' | '!' | '<' | '>' | '&' | '|') {
            let two: String = chars[i..(i + 2).min(chars.len())].iter().collect();
            let operator = if ["==", "!=", "<=", ">=", "&&", "||"].contains(&two.as_str()) { two } else { c.into() };
            if matches!(operator.as_str(), "&" | "|") {
                return Err(error(column, format!("expected `{c}{c}`, found `{c}`")));
            }
            i += operator.len();
            push(&mut tokens, operator, false);
        } else {
            let from = i;
            while i < chars.len() && !chars[i].is_whitespace() && !"\"(),=!<>&|".contains(chars[i]) {
                i += 1;
            }
            push(&mut tokens, chars[from..i].iter().collect(), false);
        }
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Column after the text.
    end: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, what: &str) -> Result<&'a Token, ParseError> {
        let token = self.peek().ok_or_else(|| error(self.end, format!("expected {what}, found the end")))?;
        self.at += 1;
        Ok(token)
    }

    fn eat(&mut self, words: &[&str]) -> bool {
        let hit = self.peek().is_some_and(|t| words.iter().any(|w| t.is(w)));
        self.at += usize::from(hit);
        hit
    }

    fn or(&mut self, depth: usize) -> Result<Filter, ParseError> {
        let mut any = vec![self.and(depth)?];
        while self.eat(&["or", "||"]) {
            any.push(self.and(depth)?);
        }
        Ok(if any.len() == 1 { any.swap_remove(0) } else { Filter::Or(any) })
    }

    fn and(&mut self, depth: usize) -> Result<Filter, ParseError> {
        let mut all = vec![self.unary(depth)?];
        while self.eat(&["and", "&&"]) {
            all.push(self.unary(depth)?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Filter::And(all) })
    }

    fn unary(&mut self, depth: usize) -> Result<Filter, ParseError> {
        if depth >= MAX_DEPTH {
            let column = self.peek().map_or(self.end, |t| t.column);
            return Err(error(column, format!("nested deeper than {MAX_DEPTH}: expected a simpler filter")));
        }
        if self.eat(&["not", "!"]) {
            return Ok(Filter::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.eat(&["("]) {
            let inner = self.or(depth + 1)?;
            let close = self.take("`)`")?;
            if !close.is(")") {
                return Err(error(close.column, format!("expected `)`, found `{}`", close.text)));
            }
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, ParseError> {
        let name = self.take("a dimension, `not` or `(`")?;
        let any_of = dimensions(name)?;
        let kind = any_of[0].kind();
        let operator = self.take("a comparison (`=`, `!=`, `<`, `<=`, `>`, `>=`, `in`)")?;
        let (op, negated, list) = match operator.text.to_ascii_lowercase().as_str() {
            "=" | "==" => (CmpOp::Eq, false, false),
            "!=" => (CmpOp::Eq, true, false),
            "<" => (CmpOp::Lt, false, false),
            "<=" => (CmpOp::Le, false, false),
            ">" => (CmpOp::Gt, false, false),
            ">=" => (CmpOp::Ge, false, false),
            "in" => (CmpOp::Eq, false, true),
            "not" => {
                let word = self.take("`in`")?;
                if !word.is("in") {
                    return Err(error(word.column, format!("expected `in` after `not`, found `{}`", word.text)));
                }
                (CmpOp::Eq, true, true)
            }
            _ => {
                let message = format!(
                    "expected a comparison (`=`, `!=`, `<`, `<=`, `>`, `>=`, `in`) after `{}`, found `{}`",
                    name.text, operator.text
                );
                return Err(error(operator.column, message));
            }
        };
        if op != CmpOp::Eq && !matches!(kind, ValueKind::U16) {
            let message =
                format!("`{}` has no order: expected `=`, `!=` or `in`, found `{}`", name.text, operator.text);
            return Err(error(operator.column, message));
        }
        let mut values = Vec::new();
        if list && self.eat(&["("]) {
            loop {
                values.push(self.value(&name.text, kind)?);
                if values.len() > MAX_VALUES {
                    return Err(error(name.column, format!("more than {MAX_VALUES} values in one list")));
                }
                let next = self.take("`,` or `)`")?;
                if next.is(")") {
                    break;
                }
                if !next.is(",") {
                    return Err(error(next.column, format!("expected `,` or `)`, found `{}`", next.text)));
                }
            }
        } else {
            let column = self.peek().map_or(self.end, |t| t.column);
            values.push(self.value(&name.text, kind)?);
            if op != CmpOp::Eq && matches!(values[0], Value::Range(..)) {
                return Err(error(column, "a range has no order: expected one number, or `in`"));
            }
        }
        let is = Filter::Is(Predicate { any_of, op, values });
        Ok(if negated { Filter::Not(Box::new(is)) } else { is })
    }

    fn value(&mut self, name: &str, kind: ValueKind) -> Result<Value, ParseError> {
        let expected = match kind {
            ValueKind::Address => "an address or block (10.0.0.1, 10.0.0.0/8, 2001:db8::/32)".to_owned(),
            ValueKind::U16 => "a number from 0 to 65535, or a range (8000..8080)".to_owned(),
            ValueKind::Proto => "a protocol, by name (tcp, udp, icmp ...) or number from 0 to 255".to_owned(),
            ValueKind::Word(words) => format!("one of {}", words.join(", ")),
            ValueKind::Text => "a name".to_owned(),
        };
        let token = self.take(&format!("{expected} for `{name}`"))?;
        let wrong = || error(token.column, format!("`{name}` takes {expected}, found `{}`", token.text));
        if !token.quoted
            && ["(", ")", ",", "=", "==", "!=", "<", "<=", ">", ">=", "!", "&&", "||"].contains(&token.text.as_str())
        {
            return Err(wrong());
        }
        match kind {
            ValueKind::Address => net(&token.text).ok_or_else(wrong),
            ValueKind::U16 => numbers(&token.text, u16::MAX).ok_or_else(wrong),
            ValueKind::Proto => {
                let by_name = protocol_number(&token.text.to_ascii_lowercase()).map(|n| Value::Number(u16::from(n)));
                by_name.or_else(|| numbers(&token.text, u16::from(u8::MAX))).ok_or_else(wrong)
            }
            ValueKind::Word(words) => {
                let word = token.text.to_ascii_lowercase();
                if words.contains(&word.as_str()) { Ok(Value::Text(word)) } else { Err(wrong()) }
            }
            ValueKind::Text => Ok(Value::Text(token.text.clone())),
        }
    }
}

/// The dimensions that a name stands for.
fn dimensions(name: &Token) -> Result<Vec<Dimension>, ParseError> {
    let word = name.text.to_ascii_lowercase();
    match word.as_str() {
        "ip" | "host" => return Ok(vec![Dimension::SrcIp, Dimension::DstIp]),
        "port" => return Ok(vec![Dimension::SrcPort, Dimension::DstPort]),
        _ => {}
    }
    if !name.quoted
        && let Some(d) = Dimension::from_name(&word)
    {
        return Ok(vec![d]);
    }
    let known: Vec<&str> = ["ip", "port"].into_iter().chain(Dimension::ALL.iter().map(|d| d.name())).collect();
    let near = known.iter().min_by_key(|k| distance(k, &word)).filter(|k| distance(k, &word) <= 3);
    let hint = near.map(|k| format!(", did you mean `{k}`?")).unwrap_or_default();
    Err(error(name.column, format!("`{}` is no dimension{hint} known are {}", name.text, known.join(", "))))
}

/// Levenshtein distance. Cost: the product of the lengths, both short here.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

fn net(text: &str) -> Option<Value> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    (bits <= longest).then(|| Value::Net(mask(address, bits), bits))
}

fn numbers(text: &str, most: u16) -> Option<Value> {
    let one = |t: &str| {
        let n = match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
            Some(hex) => u16::from_str_radix(hex, 16).ok()?,
            None => t.parse().ok()?,
        };
        (n <= most).then_some(n)
    };
    match text.split_once("..") {
        Some((low, high)) => {
            let (low, high) = (one(low)?, one(high)?);
            (low <= high).then_some(Value::Range(low, high))
        }
        None => one(text).map(Value::Number),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn expressions_are_read_and_written_back_the_same() {
        for (text, written) in [
            ("", ""),
            ("src_ip in 10.0.0.0/8 and dst_port = 443", "src_ip = 10.0.0.0/8 and dst_port = 443"),
            ("SRC_IP = 10.1.2.3/8", "src_ip = 10.0.0.0/8"),
            ("not (proto = udp or port in 1..1024)", "not (proto = udp or port = 1..1024)"),
            ("dst_port not in (80, 443, 8000..8080)", "not dst_port in (80, 443, 8000..8080)"),
            ("ip = 2001:db8::/32 || host = 192.0.2.1", "ip = 2001:db8::/32 or ip = 192.0.2.1"),
            ("!proto == 6 && vlan >= 10", "not proto = tcp and vlan >= 10"),
            ("iface = \"my \\\"if\\\"\"", "iface = \"my \\\"if\\\"\""),
            ("ether_type = 0x0806", "ether_type = 2054"),
            (
                "a or b",
                "!`a` is no dimension, did you mean `ip`? known are ip, port, src_ip, dst_ip, src_port, dst_port, proto, ether_type, vlan, iface, node, direction, state, end_reason (column 1)",
            ),
            (
                "src_ip = ",
                "!expected an address or block (10.0.0.1, 10.0.0.0/8, 2001:db8::/32) for `src_ip`, found the end (column 10)",
            ),
            (
                "src_prt = 5",
                "!`src_prt` is no dimension, did you mean `src_port`? known are ip, port, src_ip, dst_ip, src_port, dst_port, proto, ether_type, vlan, iface, node, direction, state, end_reason (column 1)",
            ),
            (
                "dst_port = 70000",
                "!`dst_port` takes a number from 0 to 65535, or a range (8000..8080), found `70000` (column 12)",
            ),
            ("proto < 6", "!`proto` has no order: expected `=`, `!=` or `in`, found `<` (column 7)"),
            ("state = open", "!`state` takes one of active, closed, timed_out, found `open` (column 9)"),
            ("(vlan = 1", "!expected `)`, found the end (column 10)"),
            ("vlan = 1 vlan = 2", "!expected `and`, `or` or the end, found `vlan` (column 10)"),
            ("iface = \"x", "!this quote is not closed: expected `\"` (column 9)"),
            ("vlan = 1 & vlan = 2", "!expected `&&`, found `&` (column 10)"),
            (
                "src_ip = 10.0.0.0/33",
                "!`src_ip` takes an address or block (10.0.0.1, 10.0.0.0/8, 2001:db8::/32), found `10.0.0.0/33` (column 10)",
            ),
        ] {
            match (parse_filter(text), written.strip_prefix('!')) {
                (Ok(f), None) => {
                    assert_eq!(f.to_string(), written, "{text}");
                    assert_eq!(parse_filter(&f.to_string()).unwrap(), f, "{text}");
                }
                (Err(e), Some(expected)) => assert_eq!(e.to_string(), expected, "{text}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(parse_filter(&format!("{}vlan = 1{}", "(".repeat(63), ")".repeat(63))).is_ok());
        let deep = parse_filter(&format!("{}vlan = 1{}", "(".repeat(65), ")".repeat(65))).unwrap_err();
        assert_eq!(deep.message, "nested deeper than 64: expected a simpler filter");
        assert!(parse_filter(&"x".repeat(9000)).unwrap_err().message.starts_with("the filter has 9000 bytes"));
    }

    #[test]
    fn an_error_points_into_the_text() {
        let text = "vlan = 1 and proto < 6";
        let rendered = parse_filter(text).unwrap_err().render(text);
        assert_eq!(rendered.lines().nth(1).unwrap().find('^'), text.find('<'));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            if let Ok(f) = parse_filter(&text) {
                proptest::prop_assert_eq!(parse_filter(&f.to_string()).unwrap(), f);
            }
        }
    }
}
