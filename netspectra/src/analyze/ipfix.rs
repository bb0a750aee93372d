//! Flow records as an IPFIX file (RFC 5655): messages of RFC 7011, biflows of RFC 5103.
//!
//! One template for each of IPv4, IPv6 and everything else, in the first message. Times are milliseconds, which every collector
//! reads. Octet counts are of layer 3 (IE 1) and of layer 2 (IE 352). What has no value is 0.

use super::out::Out;
use netspectra_common::model::{EndReason, FlowRecord, InitiatorBy};
use std::io::Write;
use std::net::IpAddr;

/// Messages are closed beyond this size; a record more fits into 65,535 bytes.
const MESSAGE: usize = 16 * 1024;
const HEADER: usize = 16;
const VERSION: u16 = 10;
const TEMPLATE_SET: u16 = 2;
/// Private enterprise number of reverse elements (RFC 5103 section 6.1).
const REVERSE: u32 = 29_305;
/// Variable length (RFC 7011 section 7).
const VARIABLE: u16 = 65_535;

const V4: u16 = 256;
const V6: u16 = 257;
const OTHER: u16 = 258;

/// An information element of the IANA registry, or its reverse, and its length.
struct Element {
    id: u16,
    length: u16,
    is_reverse: bool,
}

const fn forward(id: u16, length: u16) -> Element {
    Element { id, length, is_reverse: false }
}

const fn reverse(id: u16, length: u16) -> Element {
    Element { id, length, is_reverse: true }
}

/// What every record ends with, in the order of [`rest`].
const REST: [Element; 19] = [
    forward(7, 2),   // sourceTransportPort
    forward(11, 2),  // destinationTransportPort
    forward(4, 1),   // protocolIdentifier
    forward(256, 2), // ethernetType
    forward(243, 2), // dot1qVlanId
    forward(245, 2), // dot1qCustomerVlanId
    forward(152, 8), // flowStartMilliseconds
    forward(153, 8), // flowEndMilliseconds
    forward(2, 8),   // packetDeltaCount
    forward(1, 8),   // octetDeltaCount
    forward(352, 8), // layer2OctetDeltaCount
    reverse(2, 8),
    reverse(1, 8),
    reverse(352, 8),
    forward(136, 1),       // flowEndReason
    forward(239, 1),       // biflowDirection
    forward(148, 8),       // flowId
    forward(311, 8),       // samplingProbability, float64
    forward(82, VARIABLE), // interfaceName
];

/// What records of a template begin with: addresses, ICMP's type and code, TCP's flags of both directions.
const fn begin(template: u16) -> &'static [Element] {
    const OF_V4: [Element; 5] = [forward(8, 4), forward(12, 4), forward(32, 2), forward(6, 2), reverse(6, 2)];
    const OF_V6: [Element; 5] = [forward(27, 16), forward(28, 16), forward(139, 2), forward(6, 2), reverse(6, 2)];
    match template {
        V4 => &OF_V4,
        V6 => &OF_V6,
        _ => &[],
    }
}

/// Writes records as they come; memory is that of a message.
pub(super) struct Ipfix {
    out: Out,
    message: Vec<u8>,
    /// Template and begin of the data set that is open.
    set: Option<(u16, usize)>,
    /// Data records before this message, and in it (RFC 7011 section 3.1).
    sequence: u32,
    records: u32,
    /// Seconds: of the latest packet so far, so that the same flows are the same file.
    time: u32,
}

impl Ipfix {
    pub(super) fn new(out: Out) -> Self {
        let mut message = vec![0; HEADER];
        for template in [V4, V6, OTHER] {
            let at = message.len();
            message.extend([TEMPLATE_SET, 0].iter().flat_map(|word| word.to_be_bytes()));
            let elements: Vec<&Element> = begin(template).iter().chain(&REST).collect();
            message.extend(template.to_be_bytes());
            message.extend((elements.len() as u16).to_be_bytes());
            for element in elements {
                let enterprise = if element.is_reverse { 0x8000 } else { 0 };
                message.extend((element.id | enterprise).to_be_bytes());
                message.extend(element.length.to_be_bytes());
                if element.is_reverse {
                    message.extend(REVERSE.to_be_bytes());
                }
            }
            close_set(&mut message, at);
        }
        Self { out, message, set: None, sequence: 0, records: 0, time: 0 }
    }

    pub(super) fn write(&mut self, records: &[FlowRecord]) -> anyhow::Result<()> {
        for record in records {
            self.record(record);
            if self.message.len() >= MESSAGE {
                self.close_message()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if self.records > 0 || self.sequence == 0 {
            self.close_message()?;
        }
        Ok(self.out.flush()?)
    }

    fn record(&mut self, r: &FlowRecord) {
        let template = match (r.src_ip, r.dst_ip) {
            (Some(IpAddr::V4(_)), Some(IpAddr::V4(_))) => V4,
            (Some(IpAddr::V6(_)), Some(IpAddr::V6(_))) => V6,
            _ => OTHER,
        };
        if self.set.is_none_or(|(open, _)| open != template) {
            self.close_set();
            self.set = Some((template, self.message.len()));
            self.message.extend(template.to_be_bytes());
            self.message.extend([0, 0]);
        }
        let m = &mut self.message;
        if template != OTHER {
            for ip in [r.src_ip, r.dst_ip] {
                match ip {
                    Some(IpAddr::V4(ip)) => m.extend(ip.octets()),
                    Some(IpAddr::V6(ip)) => m.extend(ip.octets()),
                    None => {}
                }
            }
            m.extend([r.icmp_type.unwrap_or(0), r.icmp_code.unwrap_or(0)]);
            m.extend(r.tcp_flags.to_be_bytes());
            m.extend(r.reverse_tcp_flags.to_be_bytes());
        }
        rest(m, r);
        self.records += 1;
        self.time = self.time.max(u32::try_from(r.last_seen.0 / 1_000_000_000).unwrap_or(u32::MAX));
    }

    fn close_set(&mut self) {
        if let Some((_, at)) = self.set.take() {
            close_set(&mut self.message, at);
        }
    }

    fn close_message(&mut self) -> anyhow::Result<()> {
        self.close_set();
        let length = self.message.len() as u16;
        let header: Vec<u8> = [VERSION.to_be_bytes(), length.to_be_bytes()]
            .concat()
            .into_iter()
            .chain(self.time.to_be_bytes())
            .chain(self.sequence.to_be_bytes())
            .chain([0; 4])
            .collect();
        self.message[..HEADER].copy_from_slice(&header);
        self.out.write_all(&self.message)?;
        self.message.truncate(HEADER);
        // Modulo 2^32, as the RFC has it.
        self.sequence = self.sequence.wrapping_add(self.records);
        self.records = 0;
        Ok(())
    }
}

/// The values of [`REST`].
fn rest(m: &mut Vec<u8>, r: &FlowRecord) {
    m.extend(r.src_port.to_be_bytes());
    m.extend(r.dst_port.to_be_bytes());
    m.push(r.proto);
    m.extend(r.ether_type.to_be_bytes());
    m.extend(r.vlan.unwrap_or(0).to_be_bytes());
    m.extend(r.inner_vlan.unwrap_or(0).to_be_bytes());
    for number in [
        r.first_seen.0 / 1_000_000,
        r.last_seen.0 / 1_000_000,
        r.packets,
        r.l3_bytes,
        r.bytes,
        r.reverse_packets,
        r.reverse_l3_bytes,
        r.reverse_bytes,
    ] {
        m.extend(number.to_be_bytes());
    }
    m.push(match r.end_reason {
        EndReason::None => 0,
        EndReason::IdleTimeout => 1,
        EndReason::ActiveTimeout => 2,
        EndReason::Fin | EndReason::Rst => 3,
        EndReason::EndOfInput => 4,
        EndReason::LackOfResources => 5,
    });
    m.push(match r.initiator_by {
        InitiatorBy::Syn | InitiatorBy::FirstPacket => 1,
        InitiatorBy::Port => 0,
    });
    m.extend(r.flow_id.to_be_bytes());
    m.extend((1.0 / f64::from(r.sampling)).to_be_bytes());
    // Interface names have at most 15 bytes; of anything longer the begin.
    let name = &r.iface.as_bytes()[..r.iface.len().min(254)];
    m.push(name.len() as u8);
    m.extend(name);
}

/// Writes the length of the set that begins at `at`.
fn close_set(message: &mut [u8], at: usize) {
    let length = (message.len() - at) as u16;
    message[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
}
