//! What dissectors say, between the messages of the bus and the model.

use super::decode::{ProtoError, key, small};
use super::v1;
use crate::model::{
    DnsKind, DnsMessage, DnsQuestion, DnsRecord, HttpRequest, HttpResponse, Nanos, Observation, Observed, TlsClient,
    TlsServer,
};
use std::time::Duration;
use v1::observation::What;
use zerocopy::IntoBytes;

/// Protocol of what a later release's dissectors say and this one cannot read.
const UNKNOWN: &str = "unknown";

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn encode(observed: &Observed) -> v1::Observation {
    let what = match &observed.what {
        Observation::Dns(dns) => What::Dns(of_dns(dns)),
        Observation::HttpRequest(r) => What::HttpRequest(v1::HttpRequest {
            method: r.method.clone(),
            target: r.target.clone(),
            host: r.host.clone(),
            minor_version: r.minor_version.into(),
            user_agent: r.user_agent.clone(),
            content_type: r.content_type.clone(),
            content_length: r.content_length,
        }),
        Observation::HttpResponse(r) => What::HttpResponse(v1::HttpResponse {
            status: r.status.into(),
            minor_version: r.minor_version.into(),
            content_type: r.content_type.clone(),
            content_length: r.content_length,
            method: r.method.clone(),
            host: r.host.clone(),
            latency: r.latency.map(nanos),
        }),
        Observation::TlsClient(c) => What::TlsClient(v1::TlsClient {
            sni: c.sni.clone(),
            alpn: c.alpn.clone(),
            version: c.version.into(),
            ja4: c.ja4.clone(),
            quic: c.quic,
        }),
        Observation::TlsServer(s) => {
            What::TlsServer(v1::TlsServer { version: s.version.into(), cipher: s.cipher.into(), alpn: s.alpn.clone() })
        }
        Observation::Other { protocol, fields } => {
            let field = |(name, value): &(std::borrow::Cow<'static, str>, String)| v1::Field {
                name: name.to_string(),
                value: value.clone(),
            };
            What::Other(v1::Other { protocol: protocol.to_string(), fields: fields.iter().map(field).collect() })
        }
    };
    v1::Observation { at: observed.at.0, key: observed.key.as_bytes().to_vec(), what: Some(what) }
}

fn of_dns(dns: &DnsMessage) -> v1::Dns {
    let kind = match dns.kind {
        DnsKind::Dns => v1::DnsKind::Dns,
        DnsKind::Mdns => v1::DnsKind::Mdns,
        DnsKind::Llmnr => v1::DnsKind::Llmnr,
    };
    v1::Dns {
        kind: kind.into(),
        id: dns.id.into(),
        response: dns.response,
        opcode: dns.opcode.into(),
        rcode: dns.rcode.into(),
        truncated: dns.truncated,
        question: dns.question.as_ref().map(|q| v1::DnsQuestion {
            name: q.name.clone(),
            qtype: q.qtype.into(),
            qclass: q.qclass.into(),
        }),
        questions: dns.questions.into(),
        answers: dns.answers.into(),
        records: dns
            .records
            .iter()
            .map(|r| v1::DnsRecord { name: r.name.clone(), rtype: r.rtype.into(), ttl: r.ttl, data: r.data.clone() })
            .collect(),
        udp_size: dns.udp_size.map(u32::from),
        complete: dns.complete,
        repeated_query: dns.repeated,
        latency: dns.latency.map(nanos),
    }
}

pub(super) fn decode(observation: v1::Observation) -> Result<Observed, ProtoError> {
    let what = match observation.what {
        // Of a kind that a later release has: that something was said, when and by whom, is known all the same.
        None => Observation::Other { protocol: UNKNOWN.into(), fields: Vec::new() },
        Some(what) => known(what)?,
    };
    Ok(Observed { at: Nanos(observation.at), key: key(&observation.key)?, what })
}

fn known(what: What) -> Result<Observation, ProtoError> {
    Ok(match what {
        What::Dns(dns) => match dns_kind(dns.kind) {
            Some(kind) => Observation::Dns(Box::new(to_dns(kind, dns)?)),
            None => {
                Observation::Other { protocol: UNKNOWN.into(), fields: vec![("kind".into(), dns.kind.to_string())] }
            }
        },
        What::HttpRequest(r) => Observation::HttpRequest(Box::new(HttpRequest {
            method: r.method,
            target: r.target,
            host: r.host,
            minor_version: small("minor_version", r.minor_version, "0 to 255")?,
            user_agent: r.user_agent,
            content_type: r.content_type,
            content_length: r.content_length,
        })),
        What::HttpResponse(r) => Observation::HttpResponse(Box::new(HttpResponse {
            status: short("status", r.status)?,
            minor_version: small("minor_version", r.minor_version, "0 to 255")?,
            content_type: r.content_type,
            content_length: r.content_length,
            method: r.method,
            host: r.host,
            latency: r.latency.map(Duration::from_nanos),
        })),
        What::TlsClient(c) => Observation::TlsClient(Box::new(TlsClient {
            sni: c.sni,
            alpn: c.alpn,
            version: short("version", c.version)?,
            ja4: c.ja4,
            quic: c.quic,
        })),
        What::TlsServer(s) => Observation::TlsServer(Box::new(TlsServer {
            version: short("version", s.version)?,
            cipher: short("cipher", s.cipher)?,
            alpn: s.alpn,
        })),
        What::Other(other) => Observation::Other {
            protocol: other.protocol.into(),
            fields: other.fields.into_iter().map(|f| (f.name.into(), f.value)).collect(),
        },
    })
}

fn short(field: &'static str, found: u32) -> Result<u16, ProtoError> {
    small(field, found, "0 to 65,535")
}

fn dns_kind(kind: i32) -> Option<DnsKind> {
    Some(match v1::DnsKind::try_from(kind).ok()? {
        v1::DnsKind::Dns => DnsKind::Dns,
        v1::DnsKind::Mdns => DnsKind::Mdns,
        v1::DnsKind::Llmnr => DnsKind::Llmnr,
    })
}

fn to_dns(kind: DnsKind, dns: v1::Dns) -> Result<DnsMessage, ProtoError> {
    let question = |q: v1::DnsQuestion| {
        Ok::<_, ProtoError>(DnsQuestion {
            name: q.name,
            qtype: short("qtype", q.qtype)?,
            qclass: short("qclass", q.qclass)?,
        })
    };
    let record = |r: v1::DnsRecord| {
        Ok::<_, ProtoError>(DnsRecord { name: r.name, rtype: short("rtype", r.rtype)?, ttl: r.ttl, data: r.data })
    };
    Ok(DnsMessage {
        kind,
        id: short("id", dns.id)?,
        response: dns.response,
        opcode: small("opcode", dns.opcode, "0 to 255")?,
        rcode: short("rcode", dns.rcode)?,
        truncated: dns.truncated,
        question: dns.question.map(question).transpose()?,
        questions: short("questions", dns.questions)?,
        answers: short("answers", dns.answers)?,
        records: dns.records.into_iter().map(record).collect::<Result<_, _>>()?,
        udp_size: dns.udp_size.map(|size| short("udp_size", size)).transpose()?,
        complete: dns.complete,
        repeated: dns.repeated_query,
        latency: dns.latency.map(Duration::from_nanos),
    })
}
