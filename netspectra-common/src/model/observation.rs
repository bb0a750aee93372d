//! What payloads say: messages of application protocols, as dissectors read them.

use super::{FlowKey, Nanos};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// One message of an application protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Time of the packet with the message's last byte that was needed, Unix time.
    pub at: Nanos,
    /// The sender's direction of the flow; inside tunnels the innermost one.
    pub key: FlowKey,
    /// What was said.
    pub what: Observation,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// A DNS query or response.
    Dns(Box<DnsMessage>),
    /// The head of an HTTP/1.x request.
    HttpRequest(Box<HttpRequest>),
    /// The head of an HTTP/1.x response.
    HttpResponse(Box<HttpResponse>),
    /// A TLS ClientHello, over TCP or in QUIC.
    TlsClient(Box<TlsClient>),
    /// A TLS ServerHello.
    TlsServer(Box<TlsServer>),
    /// Anything else: a protocol that was recognised, and what a dissector outside this list read of it.
    Other {
        /// The protocol's name, in lower case.
        protocol: Cow<'static, str>,
        /// Name and value of each field.
        fields: Vec<(Cow<'static, str>, String)>,
    },
}

/// Which of the protocols with DNS's message format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsKind {
    /// RFC 1035.
    Dns,
    /// Multicast DNS, RFC 6762.
    Mdns,
    /// RFC 4795.
    Llmnr,
}

/// A DNS message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsMessage {
    /// Protocol.
    pub kind: DnsKind,
    /// Identifier.
    pub id: u16,
    /// QR.
    pub response: bool,
    /// OPCODE: 0 for a query, 4 NOTIFY, 5 UPDATE.
    pub opcode: u8,
    /// Response code, with EDNS's upper bits where the message has them (RFC 6891 section 6.1.3); 0 in a query.
    pub rcode: u16,
    /// TC: the sender cut the message.
    pub truncated: bool,
    /// The first question, when there is one and it could be read.
    pub question: Option<DnsQuestion>,
    /// Questions by the header.
    pub questions: u16,
    /// Records of the answer section by the header.
    pub answers: u16,
    /// Records of the answer section that were read, at most [`DnsMessage::MAX_RECORDS`].
    pub records: Vec<DnsRecord>,
    /// EDNS: the sender's UDP payload size.
    pub udp_size: Option<u16>,
    /// False when the bytes ended, or were malformed, before the end of the answer section.
    pub complete: bool,
    /// A query that equals one which is still without a response.
    pub repeated: bool,
    /// In a response whose query was seen: the time since the first such query.
    #[serde(rename = "latency_ns", with = "nanoseconds")]
    pub latency: Option<Duration>,
}

impl DnsMessage {
    /// Answer records that are kept of one message.
    pub const MAX_RECORDS: usize = 32;
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsQuestion {
    /// In presentation format, without the final dot; `.` for the root.
    pub name: String,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS; mDNS's unicast-response bit is left out.
    pub qclass: u16,
}

/// A record of the answer section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// Owner, in presentation format.
    pub name: String,
    /// TYPE.
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// In presentation format, cut at 256 bytes; empty when it could not be read.
    pub data: String,
}

/// The head of an HTTP request. Texts are cut at 1,024 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Method.
    pub method: String,
    /// Request target, as it was sent or without its query.
    pub target: String,
    /// The `Host` field, or the authority of an absolute target.
    pub host: Option<String>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The `User-Agent` field.
    pub user_agent: Option<String>,
    /// The `Content-Type` field.
    pub content_type: Option<String>,
    /// The `Content-Length` field.
    pub content_length: Option<u64>,
}

/// The head of an HTTP response. Texts are cut at 1,024 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The `Content-Type` field.
    pub content_type: Option<String>,
    /// The `Content-Length` field.
    pub content_length: Option<u64>,
    /// Method of the request that it answers, when that was seen.
    pub method: Option<String>,
    /// Host of that request.
    pub host: Option<String>,
    /// From the end of that request's head to the end of this head; `None` for an interim response (1xx).
    #[serde(rename = "latency_ns", with = "nanoseconds")]
    pub latency: Option<Duration>,
}

/// A ClientHello.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsClient {
    /// Server name (RFC 6066 section 3).
    pub sni: Option<String>,
    /// Offered application protocols (RFC 7301), in the client's order.
    pub alpn: Vec<String>,
    /// Highest version offered, as on the wire: 0x0303 is TLS 1.2, 0x0304 TLS 1.3.
    pub version: u16,
    /// Fingerprint by the JA4 specification.
    pub ja4: String,
    /// Version of QUIC that carried it; `None` over TCP.
    pub quic: Option<u32>,
}

/// A ServerHello.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsServer {
    /// Version that the server chose, as on the wire.
    pub version: u16,
    /// Cipher suite that it chose.
    pub cipher: u16,
    /// Application protocol that it chose, where that is not encrypted.
    pub alpn: Option<String>,
}

/// The usual name of a TLS version, `0x...` for an unknown one.
pub fn tls_version_name(version: u16) -> Cow<'static, str> {
    match version {
        0x0002 => "SSL 2.0".into(),
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        other => format!("0x{other:04x}").into(),
    }
}

/// A length of time as nanoseconds.
mod nanoseconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}
