use super::lex::{Token, What};
use super::name::{Name, nearest};
use super::{ParseError, Value};
use crate::query::filter::bits;
use crate::schema::{Dimension, PROTOCOLS, ValueKind, protocol_number};
use std::net::IpAddr;

/// Reads `token` as a value of `name`.
pub(super) fn read(name: &Name, token: &Token) -> Result<Value, ParseError> {
    match token.what {
        What::Word => {}
        What::Quoted if name.kind == ValueKind::Text => return Ok(Value::Text(token.text.clone())),
        What::Quoted => {}
        What::Open | What::Close | What::Comma | What::Bang | What::And | What::Or | What::Compare(_) | What::End => {
            return Err(token.error(format!(
                "expected {} for `{}`, found {}",
                expected(name),
                name.text,
                token.found()
            )));
        }
    }
    match name.kind {
        ValueKind::Address => address(name, token),
        ValueKind::U16 | ValueKind::U32 | ValueKind::Proto => numbers(name, token),
        ValueKind::Word(words) => word(name, token, words),
        ValueKind::Text => Ok(Value::Text(token.text.clone())),
    }
}

/// What a value of `name` looks like.
fn expected(name: &Name) -> String {
    match name.kind {
        ValueKind::Address => "an address or a block such as `10.0.0.0/8`".into(),
        ValueKind::U16 | ValueKind::U32 => format!("a number in 0..={} or a range such as `1..1024`", largest(name)),
        ValueKind::Proto => "a protocol number in 0..=255 or name such as `tcp`".into(),
        ValueKind::Word(words) => format!("one of {}", words.join(", ")),
        ValueKind::Text => "a text such as `\"eth0\"`".into(),
    }
}

fn wrong(name: &Name, token: &Token) -> ParseError {
    token.error(format!("`{}` is no value of `{}`: expected {}", token.short(), name.text, expected(name)))
}

/// The largest legal number.
fn largest(name: &Name) -> u32 {
    match name.kind {
        ValueKind::Proto => 255,
        // Twelve bits in the tag (IEEE 802.1Q).
        ValueKind::U16 if name.first == Dimension::Vlan => 4095,
        ValueKind::U16 => u16::MAX.into(),
        ValueKind::U32 | ValueKind::Address | ValueKind::Word(_) | ValueKind::Text => u32::MAX,
    }
}

fn address(name: &Name, token: &Token) -> Result<Value, ParseError> {
    let (ip, prefix) = match token.text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (&*token.text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| wrong(name, token))?;
    let prefix = match prefix {
        None => Some(bits(ip)),
        Some(digits) => decimal(digits).and_then(|n| u8::try_from(n).ok()),
    };
    prefix.and_then(|prefix| Value::net(ip, prefix)).ok_or_else(|| {
        token.error(format!("`{}` has an impossible prefix length: expected 0..={}", token.short(), bits(ip)))
    })
}

fn numbers(name: &Name, token: &Token) -> Result<Value, ParseError> {
    let one = |text: &str| {
        let named = if name.kind == ValueKind::Proto { protocol_number(&text.to_ascii_lowercase()) } else { None };
        named.map(u32::from).or_else(|| number(text).filter(|n| *n <= largest(name)))
    };
    let Some((low, high)) = token.text.split_once("..") else {
        return one(&token.text).map(Value::Number).ok_or_else(|| unknown_number(name, token));
    };
    let (Some(low), Some(high)) = (one(low), one(high)) else { return Err(wrong(name, token)) };
    if low > high {
        return Err(token.error(format!("`{}` is an empty range: expected the lower end first", token.short())));
    }
    Ok(Value::Range(low, high))
}

fn unknown_number(name: &Name, token: &Token) -> ParseError {
    let near = match name.kind {
        ValueKind::Proto => nearest(&token.text, PROTOCOLS.iter().map(|(_, name)| *name)),
        ValueKind::Address | ValueKind::U16 | ValueKind::U32 | ValueKind::Word(_) | ValueKind::Text => None,
    };
    let mut error = wrong(name, token);
    if let Some(near) = near {
        error.message.push_str(&format!("; did you mean `{near}`?"));
    }
    error
}

fn word(name: &Name, token: &Token, words: &[&'static str]) -> Result<Value, ParseError> {
    match words.iter().find(|w| w.eq_ignore_ascii_case(&token.text)) {
        Some(word) => Ok(Value::Text((*word).into())),
        None => Err(wrong(name, token)),
    }
}

/// A decimal number, or a hexadecimal one behind `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => decimal(text),
    }
}

/// Digits only: no sign, which `parse` alone would take.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
