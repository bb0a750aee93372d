//! What people and pipes see: the only place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is this module's purpose")]

use std::io::{self, Write};

/// Writes to standard output; a closed pipe (`| head`) ends quietly.
pub(crate) fn print(text: &str) -> io::Result<()> {
    write(text.as_bytes())
}

/// As [`print`], of bytes.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// A line for people.
pub(crate) fn error(line: &str) {
    eprintln!("{line}");
}

/// The error and its causes in one line, none of them twice.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    netspectra_common::report::chain(error.as_ref())
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(d);
    }
    text
}

/// Bytes with a binary unit.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// Bits per second with a decimal unit.
pub(crate) fn bit_rate(n: f64) -> String {
    scaled(n, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
}

fn scaled(mut n: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while n >= step && unit + 1 < units.len() {
        n /= step;
        unit += 1;
    }
    if unit == 0 { format!("{n:.0} {}", units[0]) } else { format!("{n:.2} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bit_rate(2_500_000.0), "2.50 Mbit/s");
    }

    #[test]
    fn a_cause_that_repeats_its_parent_is_printed_once() {
        let e = anyhow::anyhow!("disk full").context("cannot write: disk full");
        assert_eq!(chain(&e), "cannot write: disk full");
    }
}
