//! JA4, a fingerprint of TLS clients, by FoxIO's published specification (BSD 3-Clause,
//! <https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>).

use super::hello::{Offer, extension};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Hash of nothing.
const NONE: &str = "000000000000";

/// Values that clients send so that servers learn to ignore unknown ones (RFC 8701).
pub(super) fn is_grease(value: u16) -> bool {
    let [hi, lo] = value.to_be_bytes();
    hi == lo && lo & 0x0f == 0x0a
}

/// The fingerprint `a_b_c` of `offer`.
pub(super) fn fingerprint(offer: &Offer, quic: bool) -> String {
    let known = |list: &[u16]| list.iter().copied().filter(|v| !is_grease(*v)).collect::<Vec<_>>();
    let (mut ciphers, mut extensions) = (known(&offer.ciphers), known(&offer.extensions));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{}{}{}{:02}{:02}{}",
        if quic { 'q' } else { 't' },
        version(offer.version()),
        if offer.extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' },
        ciphers.len().min(99),
        extensions.len().min(99),
        alpn(offer.alpn.first().map_or(&[], Vec::as_slice)),
    );
    ciphers.sort_unstable();
    extensions.retain(|e| !matches!(*e, extension::SERVER_NAME | extension::ALPN));
    extensions.sort_unstable();
    let mut rest = list(&extensions);
    let algorithms = known(&offer.signature_algorithms);
    if !algorithms.is_empty() {
        let _ = write!(rest, "_{}", list(&algorithms));
    }
    let has_extensions = !extensions.is_empty();
    let _ = write!(text, "_{}_{}", hash(&list(&ciphers)), if has_extensions { hash(&rest) } else { NONE.to_owned() });
    text
}

fn version(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the first protocol; of its hexadecimal digits where those are no letters or digits.
fn alpn(first: &[u8]) -> String {
    let (Some(&begin), Some(&end)) = (first.first(), first.last()) else { return "00".into() };
    if begin.is_ascii_alphanumeric() && end.is_ascii_alphanumeric() {
        return [char::from(begin), char::from(end)].iter().collect();
    }
    format!("{:x}{:x}", begin >> 4, end & 0x0f)
}

fn list(values: &[u16]) -> String {
    values.iter().map(|v| format!("{v:04x}")).collect::<Vec<_>>().join(",")
}

/// The first twelve hexadecimal digits of the SHA-256.
fn hash(text: &str) -> String {
    if text.is_empty() {
        return NONE.into();
    }
    Sha256::digest(text.as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_specifications_example_has_its_fingerprint() {
        let offer = Offer {
            legacy_version: 0x0303,
            versions: vec![0x1a1a, 0x0304, 0x0303],
            ciphers: vec![
                0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
                0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
                0xff01, 0x000b, 0x000a, 0x0015, 0x4a4a,
            ],
            signature_algorithms: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            ..Offer::default()
        };
        assert_eq!(fingerprint(&offer, false), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert!(fingerprint(&offer, true).starts_with("q13d"));
    }

    #[test]
    fn what_is_absent_has_its_place_holder() {
        let offer = Offer { legacy_version: 0x0301, ..Offer::default() };
        assert_eq!(fingerprint(&offer, false), "t10i000000_000000000000_000000000000");
        for (protocol, expected) in [(&b""[..], "00"), (b"h2", "h2"), (b"x", "xx"), (&[0xab], "ab"), (b"h\xcd", "6d")] {
            assert_eq!(alpn(protocol), expected);
        }
    }
}
