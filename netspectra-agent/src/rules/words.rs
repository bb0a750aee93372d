//! Ports and protocols in rules.

use netspectra_common::schema::protocol_number;
use std::ops::RangeInclusive;

/// The word for frames that are not IP.
pub(super) const NON_IP: &str = "non_ip";

/// `443` or `8000-8999`.
pub(super) fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then_some(low..=high)
}

/// A number, or a name of the schema in any case.
pub(super) fn protocol(text: &str) -> Option<u8> {
    text.parse().ok().or_else(|| protocol_number(&text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_or_refused() {
        assert_eq!((ports("443"), ports("80 - 90")), (Some(443..=443), Some(80..=90)));
        assert_eq!((ports("90-80"), ports("65536"), ports("http")), (None, None, None));
        assert_eq!(
            (protocol("UDP"), protocol("47"), protocol("256"), protocol("nothing")),
            (Some(17), Some(47), None, None)
        );
    }
}
