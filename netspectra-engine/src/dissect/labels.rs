//! Protocols that are recognised, not read: a flow gets a label, and a banner where the protocol begins with one.

use netspectra_common::dissect::{Claim, Dissector, Next, Session, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::wire::proto;
use std::borrow::Cow;

/// Bytes of a banner.
const MAX_BANNER: usize = 255;

/// What tells a protocol.
#[derive(Clone, Copy, Debug)]
struct Mark {
    protocol: &'static str,
    transport: u8,
    /// Ports of which one must be an end's; none for any.
    ports: &'static [u16],
    /// Bytes at offsets; all must be there.
    bytes: &'static [(usize, &'static [u8])],
    /// The first line says who speaks.
    banner: bool,
}

const TCP: u8 = proto::TCP;
const UDP: u8 = proto::UDP;

/// SSH (RFC 4253 section 4.2), SMTP (RFC 5321 section 4.2), FTP (RFC 959 section 5.4), HTTP/2 with prior knowledge
/// (RFC 9113 section 3.4); DHCP (RFC 2131 section 3), SSDP (UPnP 2.0 section 1.3). NTP has no fixed bytes.
const MARKS: [Mark; 8] = [
    Mark { protocol: "ssh", transport: TCP, ports: &[], bytes: &[(0, b"SSH-")], banner: true },
    Mark { protocol: "smtp", transport: TCP, ports: &[25, 465, 587, 2525], bytes: &[(0, b"220")], banner: true },
    Mark { protocol: "ftp", transport: TCP, ports: &[21, 2121], bytes: &[(0, b"220")], banner: true },
    Mark { protocol: "http2", transport: TCP, ports: &[], bytes: &[(0, b"PRI * HTTP/2.0\r\n")], banner: false },
    Mark { protocol: "dhcp", transport: UDP, ports: &[67, 68], bytes: &[(236, &[99, 130, 83, 99])], banner: false },
    Mark { protocol: "ssdp", transport: UDP, ports: &[1900], bytes: &[(0, b"M-SEARCH ")], banner: false },
    Mark { protocol: "ssdp", transport: UDP, ports: &[1900], bytes: &[(0, b"NOTIFY ")], banner: false },
    Mark { protocol: "ssdp", transport: UDP, ports: &[1900], bytes: &[(0, b"HTTP/1.1 200")], banner: false },
];

/// Length of an NTP header, and its port (RFC 5905).
const NTP_HEADER: usize = 48;
const NTP_PORT: u16 = 123;
const NTP: Mark = Mark { protocol: "ntp", transport: UDP, ports: &[NTP_PORT], bytes: &[], banner: false };

/// SSH, SMTP, FTP, HTTP/2, DHCP, NTP and SSDP: once a flow.
#[derive(Clone, Copy, Debug)]
pub struct Labels;

impl Mark {
    fn claim(&self, key: &FlowKey, first: &[u8]) -> Claim {
        let at_port = self.ports.is_empty() || self.ports.iter().any(|p| key.src_port == *p || key.dst_port == *p);
        if key.proto != self.transport || !at_port {
            return Claim::No;
        }
        let mut claim = Claim::Yes;
        for (at, bytes) in self.bytes {
            let there = first.get(*at..).unwrap_or_default();
            if !there.iter().zip(*bytes).all(|(a, b)| a == b) {
                return Claim::No;
            }
            if there.len() < bytes.len() {
                claim = Claim::NeedMore;
            }
        }
        claim
    }
}

/// NTP: version 1 to 4, a mode that is not reserved.
fn is_ntp(key: &FlowKey, first: &[u8]) -> bool {
    let leap_version_mode = first.first().copied().unwrap_or(0);
    let (version, mode) = (leap_version_mode >> 3 & 7, leap_version_mode & 7);
    let at_port = key.src_port == NTP_PORT || key.dst_port == NTP_PORT;
    key.proto == UDP && at_port && first.len() >= NTP_HEADER && matches!(version, 1..=4) && matches!(mode, 1..=5)
}

/// The mark that claims, or needs more.
fn find(key: &FlowKey, first: &[u8]) -> (Claim, Option<Mark>) {
    if is_ntp(key, first) {
        return (Claim::Yes, Some(NTP));
    }
    let mut answer = Claim::No;
    for mark in MARKS {
        match mark.claim(key, first) {
            Claim::Yes => return (Claim::Yes, Some(mark)),
            Claim::NeedMore => answer = Claim::NeedMore,
            Claim::No => {}
        }
    }
    (answer, None)
}

impl Dissector for Labels {
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim {
        find(key, first).0
    }

    fn open(&self, key: &FlowKey) -> Box<dyn Session> {
        Box::new(LabelSession { key: *key, mark: None, banner: [Vec::new(), Vec::new()] })
    }
}

struct LabelSession {
    key: FlowKey,
    mark: Option<Mark>,
    /// The first line so far, by [`Side`].
    banner: [Vec<u8>; 2],
}

fn label(protocol: &'static str, banner: Option<&[u8]>) -> Observation {
    let text = |b: &[u8]| (Cow::Borrowed("banner"), String::from_utf8_lossy(b).trim_end().to_owned());
    Observation::Other { protocol: Cow::Borrowed(protocol), fields: banner.map(text).into_iter().collect() }
}

impl Session for LabelSession {
    fn stream(&mut self, side: Side, bytes: &[u8], _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let line = &mut self.banner[side as usize];
        let room = MAX_BANNER.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.mark.is_none() {
            self.mark = find(&self.key, line).1;
        }
        let Some(mark) = self.mark else { return Next::More };
        let end = line.iter().position(|b| *b == b'\n');
        if mark.banner && end.is_none() && line.len() < MAX_BANNER {
            return Next::More;
        }
        let banner = line.get(..end.unwrap_or(line.len())).filter(|_| mark.banner);
        say(label(mark.protocol, banner));
        Next::Done
    }

    fn gap(&mut self, _: Side, missing: u64) -> Next {
        if missing == 0 { Next::More } else { Next::Done }
    }

    fn datagram(&mut self, _: Side, bytes: &[u8], _: u32, _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        if let Some(mark) = find(&self.key, bytes).1 {
            say(label(mark.protocol, None));
        }
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(proto: u8, dst_port: u16) -> FlowKey {
        FlowKey { proto, dst_port, src_port: 40_000, ..FlowKey::default() }
    }

    #[test]
    fn each_protocol_is_told_by_its_bytes_and_not_by_its_port_alone() {
        let mut dhcp = vec![1; 236];
        dhcp.extend([99, 130, 83, 99]);
        let mut ntp = vec![0x23];
        ntp.resize(48, 0);
        for (protocol, proto, port, bytes) in [
            ("ssh", TCP, 2222, &b"SSH-2.0-x\r\n"[..]),
            ("smtp", TCP, 25, b"220 mail.example.org ESMTP\r\n"),
            ("ftp", TCP, 21, b"220 ready\r\n"),
            ("http2", TCP, 8080, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("dhcp", UDP, 67, &dhcp),
            ("ntp", UDP, 123, &ntp),
            ("ssdp", UDP, 1900, b"M-SEARCH * HTTP/1.1\r\n"),
        ] {
            assert_eq!(find(&key(proto, port), bytes).1.map(|m| m.protocol), Some(protocol));
            assert_ne!(Labels.claims(&key(proto, port), b"~~~~"), Claim::Yes, "{protocol}");
        }
        assert_eq!(Labels.claims(&key(TCP, 80), b"220 x\r\n"), Claim::No);
    }

    #[test]
    fn a_banner_is_said_once_however_it_is_cut() {
        for cut in 1..20 {
            let mut said = Vec::new();
            let mut session = Labels.open(&key(TCP, 22));
            for piece in b"SSH-2.0-OpenSSH_9.2\r\nmore".chunks(cut) {
                if session.stream(Side::Reverse, piece, Nanos(1), &mut |o| said.push(o)) == Next::Done {
                    break;
                }
            }
            assert_eq!(said, [label("ssh", Some(b"SSH-2.0-OpenSSH_9.2"))], "{cut}");
        }
    }
}
