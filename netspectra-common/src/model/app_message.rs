use super::{DnsKind, Nanos, Observation};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A message of an application protocol as stores keep it and questions find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppMessage {
    /// Its own: a function of the log, so a replay gives the same.
    pub id: u64,
    /// Node that saw it.
    pub node: Arc<str>,
    /// Time of the packet with the message's last byte that was needed.
    pub at: Nanos,
    /// Sender; inside tunnels the innermost one.
    pub src_ip: Option<IpAddr>,
    /// Receiver.
    pub dst_ip: Option<IpAddr>,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// Outer VLAN identifier.
    pub vlan: Option<u16>,
    /// What it is about, see [`Observation::subject`]: kept, because filters compare it.
    pub name: Option<String>,
    /// What was said.
    pub what: Observation,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// DNS query.
    Query,
    /// HTTP request.
    Request,
    /// DNS or HTTP response.
    Response,
    /// TLS ClientHello.
    ClientHello,
    /// TLS ServerHello.
    ServerHello,
    /// A protocol was recognised by its first bytes.
    Recognised,
}

impl MessageKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Query, Self::Request, Self::Response, Self::ClientHello, Self::ServerHello, Self::Recognised];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Request => "request",
            Self::Response => "response",
            Self::ClientHello => "client_hello",
            Self::ServerHello => "server_hello",
            Self::Recognised => "recognised",
        }
    }
}

impl Observation {
    /// The protocol's name: `dns`, `mdns`, `llmnr`, `http`, `tls`, `quic`, or that of another dissector.
    pub fn protocol(&self) -> &str {
        match self {
            Self::Dns(message) => match message.kind {
                DnsKind::Dns => "dns",
                DnsKind::Mdns => "mdns",
                DnsKind::Llmnr => "llmnr",
            },
            Self::HttpRequest(_) | Self::HttpResponse(_) => "http",
            Self::TlsClient(hello) if hello.quic.is_some() => "quic",
            Self::TlsClient(_) | Self::TlsServer(_) => "tls",
            Self::Other { protocol, .. } => protocol,
        }
    }

    /// Which message of the protocol.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Dns(message) if message.response => MessageKind::Response,
            Self::Dns(_) => MessageKind::Query,
            Self::HttpRequest(_) => MessageKind::Request,
            Self::HttpResponse(_) => MessageKind::Response,
            Self::TlsClient(_) => MessageKind::ClientHello,
            Self::TlsServer(_) => MessageKind::ServerHello,
            Self::Other { .. } => MessageKind::Recognised,
        }
    }

    /// What it is about, in lower case: the name asked for (DNS), the host (HTTP), the server name (TLS).
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::Dns(message) => message.question.as_ref().map(|q| &q.name),
            Self::HttpRequest(request) => request.host.as_ref(),
            Self::HttpResponse(response) => response.host.as_ref(),
            Self::TlsClient(hello) => hello.sni.as_ref(),
            Self::TlsServer(_) | Self::Other { .. } => None,
        }
        .map(|name| name.to_ascii_lowercase())
    }

    /// Response code of a DNS response, status of an HTTP response.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Dns(message) => message.response.then_some(message.rcode),
            Self::HttpResponse(response) => Some(response.status),
            Self::HttpRequest(_) | Self::TlsClient(_) | Self::TlsServer(_) | Self::Other { .. } => None,
        }
    }

    /// Of a response whose query or request was seen: the time since then.
    pub fn latency(&self) -> Option<Duration> {
        match self {
            Self::Dns(message) => message.latency,
            Self::HttpResponse(response) => response.latency,
            Self::HttpRequest(_) | Self::TlsClient(_) | Self::TlsServer(_) | Self::Other { .. } => None,
        }
    }
}
