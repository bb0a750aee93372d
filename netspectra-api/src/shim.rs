//! The one place where the API touches the words of the query core: time texts, record fields, checks, answers.

use netspectra_common::model::{Counter, FlowRecord, Nanos};
use netspectra_common::query::{
    Answer, Completeness, Filter, LedgerAnswer, ParseError, Partial, Plan, PlanError, Query, answer, parse_filter,
};
use serde::Serialize;
use std::time::Duration;

/// Reads a filter expression; the empty text holds for every row.
pub(crate) fn filter(text: &str) -> Result<Filter, ParseError> {
    if text.trim().is_empty() {
        return Ok(Filter::ALL);
    }
    let mut open = Vec::new();
    for (i, c) in text.chars().enumerate() {
        let column = i + 1;
        match c {
            '(' => open.push(column),
            ')' if open.pop().is_none() => {
                return Err(ParseError { message: "`)` without its `(`".into(), column });
            }
            _ => {}
        }
    }
    if let Some(column) = open.pop() {
        return Err(ParseError { message: "`(` is not closed".into(), column });
    }
    parse_filter(text)
}

/// Checks what the parameters alone do not show.
pub(crate) fn validate(plan: &Plan) -> Result<(), PlanError> {
    if let Query::Series { step, by } = &plan.query {
        let whole = if by.is_empty() && plan.filter == Filter::ALL { 1 } else { 10 };
        if step.is_zero() || step.subsec_nanos() != 0 || step.as_secs() % whole != 0 {
            return Err(PlanError::Argument {
                argument: "step",
                found: format!("{} s", step.as_secs_f64()),
                expected: format!("a multiple of {whole} s (10 s where there is a filter or a grouping)"),
            });
        }
    }
    Ok(())
}

/// The answer of merged partials.
pub(crate) fn finish(plan: &Plan, partial: Partial) -> Result<Answer, PlanError> {
    answer(plan, partial)
}

/// What the ledger of a range says about other answers of the same range.
pub(crate) fn completeness(ledger: &LedgerAnswer) -> Completeness {
    let accounted = ledger.ledger.accounted();
    let mut lost = Counter::default();
    for reason in &ledger.ledger.reasons {
        lost.add(*reason);
    }
    Completeness {
        seen_packets: ledger.ledger.seen.packets,
        seen_bytes: ledger.ledger.seen.bytes,
        accounted_packets: accounted.packets,
        accounted_bytes: accounted.bytes,
        without_flow_packets: lost.packets,
        without_flow_bytes: lost.bytes,
        complete: lost.is_zero() && ledger.ledger.residual() == (0, 0),
    }
}

/// Reads a time: RFC 3339, Unix seconds (with a fraction), `now`, `now-1h`, `-15m`.
///
/// # Errors
/// What was expected.
pub(crate) fn time(text: &str, now: Nanos) -> Result<Nanos, String> {
    let refuse = || {
        format!(
            "`{text}` is not a time: expected RFC 3339, Unix seconds, `now`, `now-1h` or `-15m` (ms, s, m, h, d, w)"
        )
    };
    let relative = text.strip_prefix("now").unwrap_or(if text.starts_with('-') { text } else { "?" });
    if relative.is_empty() {
        return Ok(now);
    }
    match relative.split_at_checked(1) {
        Some(("-", span)) => return duration(span).map(|d| now.minus(d)).ok_or_else(refuse),
        Some(("+", span)) => return duration(span).map(|d| now.plus(d)).ok_or_else(refuse),
        _ => {}
    }
    let at = if text.contains('T') || text.contains('t') { civil(text) } else { seconds(text) };
    at.map(Nanos).ok_or_else(refuse)
}

/// Reads a length of time: `10s`, `1m`, `1h`, `500ms`, `1d`, `1w`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    // Within what nanoseconds since the epoch can say.
    number.checked_mul(millis).filter(|ms| *ms <= u64::MAX / 1_000_000).map(Duration::from_millis)
}

/// Unix seconds with at most nine decimals.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(Nanos::PER_SECOND)?.checked_add(nanos(fraction)?)
}

/// The nanoseconds of a decimal fraction's digits.
fn nanos(digits: &str) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().ok()? * 10u64.pow(9 - digits.len() as u32))
}

/// `2026-01-31T12:00:00.5+02:00`, RFC 3339 section 5.6; leap seconds are refused.
fn civil(text: &str) -> Option<u64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| {
        let part = &text[from..to];
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let b = text.as_bytes();
    if !(b[4] == b'-' && b[7] == b'-' && b[10].eq_ignore_ascii_case(&b't') && b[13] == b':' && b[16] == b':') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = *days.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if day < 1 || day > last || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = &text[19..];
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let fraction = if zone == 0 { 0 } else { nanos(rest[..zone].strip_prefix('.')?)? };
    let zone = match &rest.as_bytes()[zone..] {
        [b'Z' | b'z'] => 0,
        [sign, _, _, b':', _, _] => {
            let at = 19 + zone;
            let (h, m) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if h > 23 || m > 59 {
                return None;
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    // Days since 1970-01-01 of the proleptic Gregorian calendar, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    let at = ((days * 24 + hour) * 60 + minute) * 60 + second - zone;
    u64::try_from(at).ok()?.checked_mul(Nanos::PER_SECOND)?.checked_add(fraction)
}

/// RFC 3339 in UTC with nanoseconds.
pub(crate) fn rfc3339(at: Nanos) -> String {
    let (secs, nanos) = (at.0 / Nanos::PER_SECOND, at.0 % Nanos::PER_SECOND);
    let (days, day_secs) = (secs / 86_400, secs % 86_400);
    // Civil date from the day number, counting years from March, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (h, m, s) = (day_secs / 3600, day_secs / 60 % 60, day_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
}

/// A flow record as JSON.
#[derive(Serialize)]
pub(crate) struct FlowJson {
    src_ip: Option<String>,
    dst_ip: Option<String>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ether_type: u16,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    vlan: Option<u16>,
    inner_vlan: Option<u16>,
    tunnel: Option<String>,
    tunnel_id: Option<u32>,
    packets: u64,
    bytes: u64,
    l3_bytes: u64,
    reverse_packets: u64,
    reverse_bytes: u64,
    reverse_l3_bytes: u64,
    tcp_flags: u16,
    reverse_tcp_flags: u16,
    first_seen: String,
    last_seen: String,
    flow_start: String,
    state: &'static str,
    end_reason: &'static str,
    initiator_by: &'static str,
    node: String,
    iface: String,
    flow_id: String,
}

/// The JSON form of `r`.
pub(crate) fn flow_json(r: &FlowRecord) -> FlowJson {
    FlowJson {
        src_ip: r.src_ip.map(|ip| ip.to_string()),
        dst_ip: r.dst_ip.map(|ip| ip.to_string()),
        src_port: r.src_port,
        dst_port: r.dst_port,
        proto: r.proto,
        ether_type: r.ether_type,
        icmp_type: r.icmp_type,
        icmp_code: r.icmp_code,
        vlan: r.vlan,
        inner_vlan: r.inner_vlan,
        tunnel: r.tunnel.as_deref().map(str::to_owned),
        tunnel_id: r.tunnel_id,
        packets: r.packets,
        bytes: r.bytes,
        l3_bytes: r.l3_bytes,
        reverse_packets: r.reverse_packets,
        reverse_bytes: r.reverse_bytes,
        reverse_l3_bytes: r.reverse_l3_bytes,
        tcp_flags: r.tcp_flags,
        reverse_tcp_flags: r.reverse_tcp_flags,
        first_seen: rfc3339(r.first_seen),
        last_seen: rfc3339(r.last_seen),
        flow_start: rfc3339(r.flow_start),
        state: r.state.name(),
        end_reason: r.end_reason.name(),
        initiator_by: r.initiator_by.name(),
        node: r.node.to_string(),
        iface: r.iface.to_string(),
        flow_id: format!("{:016x}", r.flow_id),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NOW: Nanos = Nanos(1_769_860_800_000_000_000);

    #[test]
    fn times_are_read_in_every_documented_form() {
        for (text, nanos) in [
            ("now", NOW.0),
            ("-15m", NOW.0 - 900 * Nanos::PER_SECOND),
            ("now-1h", NOW.0 - 3_600 * Nanos::PER_SECOND),
            ("now+500ms", NOW.0 + 500_000_000),
            ("0", 0),
            ("1769860800", NOW.0),
            ("1769860800.25", NOW.0 + 250_000_000),
            ("2026-01-31T12:00:00Z", NOW.0),
            ("2026-01-31t12:00:00.000000001z", NOW.0 + 1),
            ("2026-01-31T13:30:00+01:30", NOW.0),
            ("2024-02-29T00:00:00Z", 1_709_164_800 * Nanos::PER_SECOND),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(time(text, NOW), Ok(Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "nowhere",
            "now-",
            "now-1",
            "-",
            "-1y",
            "1e9",
            "1.",
            ".5",
            "1769860800.0000000001",
            "2023-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00+0100",
            "2026-00-31T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "99999999999999999999",
            "now\u{e9}",
            "2026-01-31T12:00:00\u{e9}",
        ] {
            // A span without a unit is in seconds.
            assert_eq!(time(text, NOW).is_err(), text != "now-1", "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (NOW.0 + 5, "2026-01-31T12:00:00.000000005Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(rfc3339(Nanos(nanos)), text);
            assert_eq!(time(text, NOW).unwrap(), Nanos(nanos));
        }
    }
}
