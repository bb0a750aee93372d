//! One message. The format is read by the crate `domain`; this decides what is kept of it.

use domain::base::iana::Class;
use domain::base::name::ParsedName;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;
use netspectra_common::model::{DnsKind, DnsMessage, DnsQuestion, DnsRecord};
use std::fmt::{self, Display, Write};

/// Header of a message (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;
/// Bytes kept of a record's data.
const MAX_DATA: usize = 256;
/// Multicast DNS's unicast-response and cache-flush bit in a class (RFC 6762 section 18.12).
const MDNS_BIT: u16 = 0x8000;

/// Whether a header may be one of DNS: Z is zero (RFC 1035) and the operation is assigned (RFC 8490 is the latest).
pub(super) fn is_plausible(header: &[u8; HEADER]) -> bool {
    let flags = u16::from_be_bytes([header[2], header[3]]);
    flags & 0x0040 == 0 && matches!(flags >> 11 & 0xf, 0 | 1 | 2 | 4 | 5 | 6)
}

/// Reads as much of a message as is there; `None` when there is no header of one.
pub(super) fn parse(bytes: &[u8], kind: DnsKind) -> Option<DnsMessage> {
    if !is_plausible(bytes.first_chunk()?) {
        return None;
    }
    let message = Message::from_slice(bytes).ok()?;
    let (header, counts) = (message.header(), message.header_counts());
    let opt = message.opt();
    let mut rcode = u16::from(header.rcode().to_int());
    if let Some(opt) = &opt {
        rcode = opt.rcode(header).to_int();
    }
    let question = message.question().next().and_then(Result::ok).map(|q| DnsQuestion {
        name: name(&q.qname()),
        qtype: q.qtype().to_int(),
        qclass: class(q.qclass(), kind),
    });
    let (records, complete) = records(message);
    Some(DnsMessage {
        kind,
        id: header.id(),
        response: header.qr(),
        opcode: header.opcode().to_int(),
        rcode: if header.qr() { rcode } else { 0 },
        truncated: header.tc(),
        question,
        questions: counts.qdcount(),
        answers: counts.ancount(),
        records,
        udp_size: opt.map(|o| o.udp_payload_size()),
        complete,
        repeated: false,
        latency: None,
    })
}

/// The first records of the answer section, and whether the section could be walked to its end.
fn records(message: &Message<[u8]>) -> (Vec<DnsRecord>, bool) {
    let Ok(section) = message.answer() else { return (Vec::new(), false) };
    let mut records = Vec::new();
    for record in section {
        let Ok(record) = record else { return (records, false) };
        if records.len() < DnsMessage::MAX_RECORDS {
            records.push(DnsRecord {
                name: name(&record.owner()),
                rtype: record.rtype().to_int(),
                ttl: record.ttl().as_secs(),
                data: data(&record),
            });
        }
    }
    (records, true)
}

/// In presentation format; empty when the data are malformed.
fn data(record: &ParsedRecord<'_, [u8]>) -> String {
    let Ok(record) = record.to_any_record::<AllRecordData<_, ParsedName<_>>>() else { return String::new() };
    let mut text = Short(String::new());
    // An error means that the bound was reached.
    let _ = write!(text, "{}", record.data());
    text.0
}

/// Text of at most [`MAX_DATA`] bytes.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = MAX_DATA.saturating_sub(self.0.len());
        if s.len() <= room {
            self.0.push_str(s);
            return Ok(());
        }
        self.0.push_str(&s[..s.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

fn name(name: &dyn Display) -> String {
    let text = name.to_string();
    if text.is_empty() { ".".into() } else { text }
}

fn class(class: Class, kind: DnsKind) -> u16 {
    match kind {
        DnsKind::Mdns => class.to_int() & !MDNS_BIT,
        DnsKind::Dns | DnsKind::Llmnr => class.to_int(),
    }
}
