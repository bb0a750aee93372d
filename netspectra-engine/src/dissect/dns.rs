use netspectra_common::ports::{Dissector, Observation};

/// Header of a DNS message (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// DNS over UDP: whether a message asks or answers, and with which code. Names are not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Dissector for Dns {
    fn dissect(&self, prefix: &[u8], _len: u32) -> Option<Observation> {
        let header: &[u8; HEADER] = prefix.first_chunk()?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        // Z must be zero in all queries and responses.
        if flags & 0x0040 != 0 {
            return None;
        }
        Some(if flags & 0x8000 == 0 {
            Observation::DnsQuery
        } else {
            Observation::DnsResponse { rcode: (flags & 0x000f) as u8 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16) -> Vec<u8> {
        let [hi, lo] = flags.to_be_bytes();
        vec![0x12, 0x34, hi, lo, 0, 1, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn queries_and_responses_are_told_apart() {
        assert_eq!(Dns.dissect(&message(0x0100), 40), Some(Observation::DnsQuery));
        assert_eq!(Dns.dissect(&message(0x8183), 40), Some(Observation::DnsResponse { rcode: 3 }));
    }

    #[test]
    fn what_is_no_dns_gives_nothing() {
        assert_eq!(Dns.dissect(&message(0x0100)[..11], 11), None);
        assert_eq!(Dns.dissect(&message(0x0040), 40), None);
        assert_eq!(Dns.dissect(&[], 0), None);
    }
}
