//! The one catalogue of dimensions: names, meaning, and where each can be used.
//!
//! The filter language, group-by, the API's documentation and the stores take their words from here.

use crate::wire::Tunnel;
use serde::{Deserialize, Serialize};

/// A property of a flow that can be filtered by and grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Sender (roll-ups) or initiator (flow records).
    SrcIp,
    /// Receiver or responder.
    DstIp,
    /// Port of the source.
    SrcPort,
    /// Port of the destination.
    DstPort,
    /// IANA protocol number or name.
    Proto,
    /// EtherType.
    EtherType,
    /// Outer VLAN identifier.
    Vlan,
    /// Kind of tunnel that the five-tuple is from inside of.
    Tunnel,
    /// The tunnel's identifier: VNI, GRE key, TEID.
    TunnelId,
    /// Interface name.
    Iface,
    /// Node name.
    Node,
    /// `ingress` or `egress`.
    Direction,
    /// Country of the source, ISO 3166-1, two letters in upper case; none where it is not known.
    SrcCountry,
    /// Country of the destination.
    DstCountry,
    /// Autonomous system of the source; none where it is not known.
    SrcAs,
    /// Autonomous system of the destination.
    DstAs,
    /// Local network of the source, as the configuration calls it; none for other addresses.
    SrcNetwork,
    /// Local network of the destination.
    DstNetwork,
    /// Name that a DNS answer gave the source; none where none was seen.
    SrcName,
    /// Name that a DNS answer gave the destination.
    DstName,
    /// Kubernetes pod of the source; none for other addresses.
    SrcPod,
    /// Kubernetes pod of the destination.
    DstPod,
    /// Namespace of the pod of the source.
    SrcNamespace,
    /// Namespace of the pod of the destination.
    DstNamespace,
    /// What the pod of the source belongs to, as `Deployment/web`.
    SrcWorkload,
    /// What the pod of the destination belongs to.
    DstWorkload,
    /// Process of the source's socket, where the source is the host itself.
    SrcProcess,
    /// Process of the destination's socket, where that is the host itself.
    DstProcess,
    /// Control group of the source's socket.
    SrcCgroup,
    /// Control group of the destination's socket.
    DstCgroup,
    /// Service by protocol and port, as `dns` or `https`; none for ports without one.
    Service,
    /// One in how many flows of its kind was counted.
    Sampling,
    /// Flow state; flow records only.
    State,
    /// End reason; flow records only.
    EndReason,
    /// Application protocol; messages only.
    App,
    /// Kind of message; messages only.
    Message,
    /// What a message is about; messages only.
    Name,
    /// Response code or status; messages only.
    Code,
    /// Detector; alerts only.
    Detector,
    /// Severity; alerts only.
    Severity,
    /// Where an incident is; alerts only.
    Phase,
    /// Who an incident is about; alerts only.
    Subject,
}

/// The kind of values of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Address or CIDR.
    Address,
    /// 0..=65535.
    U16,
    /// 0..=4294967295.
    U32,
    /// Protocol number or name.
    Proto,
    /// One of a list of words.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 42] = [
        Self::SrcIp,
        Self::DstIp,
        Self::SrcPort,
        Self::DstPort,
        Self::Proto,
        Self::EtherType,
        Self::Vlan,
        Self::Tunnel,
        Self::TunnelId,
        Self::Iface,
        Self::Node,
        Self::Direction,
        Self::SrcCountry,
        Self::DstCountry,
        Self::SrcAs,
        Self::DstAs,
        Self::SrcNetwork,
        Self::DstNetwork,
        Self::SrcName,
        Self::DstName,
        Self::SrcPod,
        Self::DstPod,
        Self::SrcNamespace,
        Self::DstNamespace,
        Self::SrcWorkload,
        Self::DstWorkload,
        Self::SrcProcess,
        Self::DstProcess,
        Self::SrcCgroup,
        Self::DstCgroup,
        Self::Service,
        Self::Sampling,
        Self::State,
        Self::EndReason,
        Self::App,
        Self::Message,
        Self::Name,
        Self::Code,
        Self::Detector,
        Self::Severity,
        Self::Phase,
        Self::Subject,
    ];

    /// The name in filters, group-by and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SrcIp => "src_ip",
            Self::DstIp => "dst_ip",
            Self::SrcPort => "src_port",
            Self::DstPort => "dst_port",
            Self::Proto => "proto",
            Self::EtherType => "ether_type",
            Self::Vlan => "vlan",
            Self::Tunnel => "tunnel",
            Self::TunnelId => "tunnel_id",
            Self::Iface => "iface",
            Self::Node => "node",
            Self::Direction => "direction",
            Self::SrcCountry => "src_country",
            Self::DstCountry => "dst_country",
            Self::SrcAs => "src_as",
            Self::DstAs => "dst_as",
            Self::SrcNetwork => "src_network",
            Self::DstNetwork => "dst_network",
            Self::SrcName => "src_name",
            Self::DstName => "dst_name",
            Self::SrcPod => "src_pod",
            Self::DstPod => "dst_pod",
            Self::SrcNamespace => "src_namespace",
            Self::DstNamespace => "dst_namespace",
            Self::SrcWorkload => "src_workload",
            Self::DstWorkload => "dst_workload",
            Self::SrcProcess => "src_process",
            Self::DstProcess => "dst_process",
            Self::SrcCgroup => "src_cgroup",
            Self::DstCgroup => "dst_cgroup",
            Self::Service => "service",
            Self::Sampling => "sampling",
            Self::State => "state",
            Self::EndReason => "end_reason",
            Self::App => "app",
            Self::Message => "message",
            Self::Name => "name",
            Self::Code => "code",
            Self::Detector => "detector",
            Self::Severity => "severity",
            Self::Phase => "phase",
            Self::Subject => "subject",
        }
    }

    /// The dimension called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// One sentence for documentation.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::SrcIp => "source address: the sender in top and series, the initiator in flows",
            Self::DstIp => "destination address: the receiver in top and series, the responder in flows",
            Self::SrcPort => "source port, 0 where the protocol has none; non-IP frames have no value",
            Self::DstPort => "destination port, 0 where the protocol has none; non-IP frames have no value",
            Self::Proto => "IP protocol, number or name (tcp, udp, icmp, icmpv6, sctp ...); non-IP frames have none",
            Self::EtherType => "EtherType, 0x0800 for IPv4",
            Self::Vlan => "outer VLAN identifier",
            Self::Tunnel => "tunnel that the five-tuple is from inside of; none for outer five-tuples",
            Self::TunnelId => "VNI, GRE key or TEID of the tunnel",
            Self::Iface => "interface, or name of the capture file",
            Self::Node => "node that saw the traffic",
            Self::Direction => "ingress or egress at the observation point (not in flows)",
            Self::SrcCountry => {
                "country of the source, ISO 3166-1, two letters in upper case; none where it is not known"
            }
            Self::DstCountry => "country of the destination",
            Self::SrcAs => "autonomous system of the source; none where it is not known",
            Self::DstAs => "autonomous system of the destination",
            Self::SrcNetwork => "local network of the source, as the configuration calls it; none for other addresses",
            Self::DstNetwork => "local network of the destination",
            Self::SrcName => {
                "name that a DNS answer gave the source; none where none was seen (see docs/enrichment.md)"
            }
            Self::DstName => "name that a DNS answer gave the destination",
            Self::SrcPod => "Kubernetes pod of the source; none for other addresses",
            Self::DstPod => "Kubernetes pod of the destination",
            Self::SrcNamespace => "namespace of the pod of the source",
            Self::DstNamespace => "namespace of the pod of the destination",
            Self::SrcWorkload => "what the pod of the source belongs to, as Deployment/web",
            Self::DstWorkload => "what the pod of the destination belongs to",
            Self::SrcProcess => "process of the source's socket, where the source is the host itself",
            Self::DstProcess => "process of the destination's socket, where that is the host itself",
            Self::SrcCgroup => "control group of the source's socket",
            Self::DstCgroup => "control group of the destination's socket",
            Self::Service => "service by protocol and port, as dns or https; none for ports without one",
            Self::Sampling => {
                "one in how many flows of its kind was counted, by a rule of the capture; 1 where all were"
            }
            Self::State => "active, closed or timed_out (flows only)",
            Self::EndReason => "why the record was written (flows only)",
            Self::App => {
                "application protocol: dns, mdns, llmnr, http, tls, quic, or that of a plug-in (messages only)"
            }
            Self::Message => "which message of its protocol (messages only)",
            Self::Name => "in lower case: name asked for (DNS), host (HTTP), server name (TLS) (messages only)",
            Self::Code => "response code (DNS) or status (HTTP) of a response (messages only)",
            Self::Detector => "name of the detector (alerts only)",
            Self::Severity => "low, medium or high (alerts only)",
            Self::Phase => "open, updated or closed (alerts only)",
            Self::Subject => "whom the incident is about, as in its alerts (alerts only)",
        }
    }

    /// The kind of its values.
    pub const fn kind(self) -> ValueKind {
        match self {
            Self::SrcIp | Self::DstIp => ValueKind::Address,
            Self::SrcPort | Self::DstPort | Self::EtherType | Self::Vlan | Self::Code => ValueKind::U16,
            Self::Proto => ValueKind::Proto,
            Self::TunnelId | Self::SrcAs | Self::DstAs | Self::Sampling => ValueKind::U32,
            Self::Tunnel => ValueKind::Word(&TUNNELS),
            Self::Iface
            | Self::Node
            | Self::SrcCountry
            | Self::DstCountry
            | Self::SrcNetwork
            | Self::DstNetwork
            | Self::SrcName
            | Self::DstName
            | Self::SrcPod
            | Self::DstPod
            | Self::SrcNamespace
            | Self::DstNamespace
            | Self::SrcWorkload
            | Self::DstWorkload
            | Self::SrcProcess
            | Self::DstProcess
            | Self::SrcCgroup
            | Self::DstCgroup
            | Self::Service
            | Self::App
            | Self::Name
            | Self::Detector
            | Self::Subject => ValueKind::Text,
            Self::Direction => ValueKind::Word(&["ingress", "egress"]),
            Self::State => ValueKind::Word(&["active", "closed", "timed_out"]),
            Self::EndReason => ValueKind::Word(&[
                "none",
                "idle_timeout",
                "active_timeout",
                "fin",
                "rst",
                "end_of_input",
                "lack_of_resources",
            ]),
            Self::Message => {
                ValueKind::Word(&["query", "request", "response", "client_hello", "server_hello", "recognised"])
            }
            Self::Severity => ValueKind::Word(&["low", "medium", "high"]),
            Self::Phase => ValueKind::Word(&["open", "updated", "closed"]),
        }
    }

    /// What documentation says of it.
    pub const fn info(self) -> DimensionInfo {
        let (kind, values) = match self.kind() {
            ValueKind::Address => ("address", None),
            ValueKind::U16 | ValueKind::U32 => ("number", None),
            ValueKind::Proto => ("protocol", None),
            ValueKind::Word(words) => ("word", Some(words)),
            ValueKind::Text => ("text", None),
        };
        DimensionInfo {
            name: self.name(),
            doc: self.doc(),
            kind,
            values,
            flows: self.in_flows(),
            rollups: self.in_rollups(),
            messages: self.in_messages(),
            alerts: self.in_alerts(),
        }
    }

    /// Whether roll-ups have it (top, series, cardinality).
    pub const fn in_rollups(self) -> bool {
        !matches!(self, Self::State | Self::EndReason) && !self.is_told()
    }

    /// Whether flow records have it.
    pub const fn in_flows(self) -> bool {
        !matches!(self, Self::Direction) && !self.is_told()
    }

    /// Whether messages of application protocols have it.
    pub const fn in_messages(self) -> bool {
        matches!(
            self,
            Self::SrcIp
                | Self::DstIp
                | Self::SrcPort
                | Self::DstPort
                | Self::Proto
                | Self::Vlan
                | Self::Node
                | Self::App
                | Self::Message
                | Self::Name
                | Self::Code
        )
    }

    /// Whether alerts have it.
    pub const fn in_alerts(self) -> bool {
        matches!(self, Self::Node | Self::Detector | Self::Severity | Self::Phase | Self::Subject)
    }

    /// Whether only messages or alerts have it, nothing that counts packets.
    const fn is_told(self) -> bool {
        matches!(
            self,
            Self::App
                | Self::Message
                | Self::Name
                | Self::Code
                | Self::Detector
                | Self::Severity
                | Self::Phase
                | Self::Subject
        )
    }
}

/// Names that stand for either end of a flow in filters.
pub const EITHER: [(&str, [Dimension; 2]); 9] = [
    ("host", [Dimension::SrcIp, Dimension::DstIp]),
    ("ip", [Dimension::SrcIp, Dimension::DstIp]),
    ("port", [Dimension::SrcPort, Dimension::DstPort]),
    ("hostname", [Dimension::SrcName, Dimension::DstName]),
    ("pod", [Dimension::SrcPod, Dimension::DstPod]),
    ("namespace", [Dimension::SrcNamespace, Dimension::DstNamespace]),
    ("workload", [Dimension::SrcWorkload, Dimension::DstWorkload]),
    ("process", [Dimension::SrcProcess, Dimension::DstProcess]),
    ("cgroup", [Dimension::SrcCgroup, Dimension::DstCgroup]),
];

/// The sketches of a window, as fields of its stored form are called.
pub const SKETCHES: [&str; 17] = [
    "src_ips",
    "dst_ips",
    "ips",
    "dst_ports",
    "pairs",
    "flows",
    "top_src_bytes",
    "top_dst_bytes",
    "top_src_packets",
    "top_dst_packets",
    "top_dst_port_bytes",
    "packet_size",
    "flow_duration",
    "server_rtt",
    "client_rtt",
    "dns_latency",
    "peers",
];

/// Names of the tunnels.
pub const TUNNELS: [&str; Tunnel::ALL.len()] = {
    let mut names = [""; Tunnel::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Tunnel::ALL[at].name();
        at += 1;
    }
    names
};

/// A dimension as documentation shows it; serializes to a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DimensionInfo {
    /// [`Dimension::name`].
    pub name: &'static str,
    /// [`Dimension::doc`].
    pub doc: &'static str,
    /// `address`, `number`, `protocol`, `word` or `text`.
    pub kind: &'static str,
    /// The words of a `word`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<&'static [&'static str]>,
    /// Whether flow records have it.
    pub flows: bool,
    /// Whether top, series and cardinality have it.
    pub rollups: bool,
    /// Whether messages have it.
    pub messages: bool,
    /// Whether alerts have it.
    pub alerts: bool,
}

/// Every dimension, for documentation: serializes to a JSON array.
pub fn catalogue() -> Vec<DimensionInfo> {
    Dimension::ALL.into_iter().map(Dimension::info).collect()
}

/// Names of the IP protocols that are written as names; others are written as numbers.
pub const PROTOCOLS: [(u8, &str); 13] = [
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (6, "tcp"),
    (17, "udp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (89, "ospf"),
    (112, "vrrp"),
    (132, "sctp"),
];

/// The name of protocol `proto`, when it has one here.
pub fn protocol_name(proto: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(n, _)| *n == proto).map(|(_, name)| *name)
}

/// The protocol called `name` (lower case).
pub fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(_, n)| *n == name).map(|(number, _)| *number)
}

/// The kinds of a record's values, as JSON has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Unsigned integer.
    Integer,
    /// Unsigned integer or null.
    IntegerOrNull,
    /// Text.
    Text,
    /// Text or null.
    TextOrNull,
    /// RFC 3339.
    Time,
    /// Number.
    Number,
    /// Object whose fields depend on the row.
    Object,
    /// List of texts.
    Texts,
}

/// A field of a row as JSON, NDJSON and CSV show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: FieldKind,
    /// One sentence for documentation.
    pub doc: &'static str,
}

const fn field(name: &'static str, kind: FieldKind, doc: &'static str) -> Field {
    Field { name, kind, doc }
}

/// The fields of a flow record, in the order in which they are written.
pub const FLOW_FIELDS: [Field; 57] = [
    field("src_ip", FieldKind::TextOrNull, "initiator's address; null for non-IP"),
    field("dst_ip", FieldKind::TextOrNull, "responder's address; null for non-IP"),
    field("src_port", FieldKind::Integer, "initiator's port, 0 where there is none"),
    field("dst_port", FieldKind::Integer, "responder's port, 0 where there is none"),
    field("proto", FieldKind::IntegerOrNull, "IANA protocol number after extension headers; null for non-IP"),
    field("ether_type", FieldKind::Integer, "EtherType, 2048 for IPv4; 0 for LLC"),
    field("icmp_type", FieldKind::IntegerOrNull, "ICMP type of the initiator's packets; null where it is not known"),
    field("icmp_code", FieldKind::IntegerOrNull, "ICMP code of the initiator's packets; null where it is not known"),
    field("vlan", FieldKind::IntegerOrNull, "outer VLAN identifier"),
    field("inner_vlan", FieldKind::IntegerOrNull, "second VLAN identifier"),
    field("tunnel", FieldKind::TextOrNull, "tunnel that the five-tuple was taken from inside of"),
    field("tunnel_id", FieldKind::IntegerOrNull, "VNI, GRE key or TEID"),
    field("packets", FieldKind::Integer, "initiator's packets"),
    field("bytes", FieldKind::Integer, "initiator's bytes on the wire, link header included, FCS not"),
    field("l3_bytes", FieldKind::Integer, "initiator's bytes by the IP header"),
    field("reverse_packets", FieldKind::Integer, "responder's packets"),
    field("reverse_bytes", FieldKind::Integer, "responder's bytes on the wire"),
    field("reverse_l3_bytes", FieldKind::Integer, "responder's bytes by the IP header"),
    field("tcp_flags", FieldKind::Integer, "OR of the initiator's TCP flags (FIN 1, SYN 2, RST 4, PSH 8, ACK 16 ...)"),
    field("reverse_tcp_flags", FieldKind::Integer, "OR of the responder's TCP flags"),
    field("retransmitted", FieldKind::Integer, "initiator's TCP segments that repeat what was seen before"),
    field("reverse_retransmitted", FieldKind::Integer, "responder's TCP segments that repeat what was seen before"),
    field("out_of_order", FieldKind::Integer, "initiator's TCP segments that fill a gap within 3 ms"),
    field("reverse_out_of_order", FieldKind::Integer, "responder's TCP segments that fill a gap within 3 ms"),
    field("zero_windows", FieldKind::Integer, "initiator's TCP segments that announce a window of 0"),
    field("reverse_zero_windows", FieldKind::Integer, "responder's TCP segments that announce a window of 0"),
    field(
        "server_rtt_us",
        FieldKind::IntegerOrNull,
        "microseconds from SYN to SYN+ACK; null where one was not seen or the SYN came twice",
    ),
    field(
        "client_rtt_us",
        FieldKind::IntegerOrNull,
        "microseconds from SYN+ACK to the initiator's ACK; null where one was not seen or the SYN+ACK came twice",
    ),
    field("first_seen", FieldKind::Time, "first packet of this record, RFC 3339"),
    field("last_seen", FieldKind::Time, "last packet of this record, RFC 3339"),
    field("flow_start", FieldKind::Time, "first packet of the flow, earlier where the active timeout cut it"),
    field("state", FieldKind::Text, "active, closed or timed_out"),
    field(
        "end_reason",
        FieldKind::Text,
        "none, idle_timeout, active_timeout, fin, rst, end_of_input or lack_of_resources",
    ),
    field("initiator_by", FieldKind::Text, "how the initiator was told: syn, first_packet or port"),
    field("node", FieldKind::Text, "node that saw it"),
    field("iface", FieldKind::Text, "interface, or name of the capture file"),
    field("flow_id", FieldKind::Text, "identity of the flow, the same in all its records; 16 hexadecimal digits"),
    field("src_country", FieldKind::TextOrNull, "country of the initiator, ISO 3166-1; null where it is not known"),
    field("dst_country", FieldKind::TextOrNull, "country of the responder"),
    field("src_as", FieldKind::IntegerOrNull, "autonomous system of the initiator; null where it is not known"),
    field("dst_as", FieldKind::IntegerOrNull, "autonomous system of the responder"),
    field("src_network", FieldKind::TextOrNull, "local network of the initiator, as the configuration calls it"),
    field("dst_network", FieldKind::TextOrNull, "local network of the responder"),
    field(
        "sampling",
        FieldKind::Integer,
        "one in so many flows of its kind was counted, by a rule of the capture (the highest of the flow's rules, when they changed); 1: all",
    ),
    field("src_name", FieldKind::TextOrNull, "name that a DNS answer gave the initiator; null where none was seen"),
    field("dst_name", FieldKind::TextOrNull, "name that a DNS answer gave the responder"),
    field("src_pod", FieldKind::TextOrNull, "Kubernetes pod of the initiator; null for other addresses"),
    field("dst_pod", FieldKind::TextOrNull, "Kubernetes pod of the responder"),
    field("src_namespace", FieldKind::TextOrNull, "namespace of the initiator's pod"),
    field("dst_namespace", FieldKind::TextOrNull, "namespace of the responder's pod"),
    field("src_workload", FieldKind::TextOrNull, "what the initiator's pod belongs to, as Deployment/web"),
    field("dst_workload", FieldKind::TextOrNull, "what the responder's pod belongs to"),
    field("src_process", FieldKind::TextOrNull, "process of the initiator's socket, where that is the host itself"),
    field("dst_process", FieldKind::TextOrNull, "process of the responder's socket, where that is the host itself"),
    field("src_cgroup", FieldKind::TextOrNull, "control group of the initiator's socket"),
    field("dst_cgroup", FieldKind::TextOrNull, "control group of the responder's socket"),
    field(
        "service",
        FieldKind::TextOrNull,
        "service by protocol and port, as dns or https; null for ports without one",
    ),
];

/// The fields of an alert, in the order in which they are written.
pub const ALERT_FIELDS: [Field; 14] = [
    field("at", FieldKind::Time, "when it was said, by the log's time, RFC 3339"),
    field("phase", FieldKind::Text, "open, updated or closed: where the incident is"),
    field("severity", FieldKind::Text, "low, medium or high"),
    field("detector", FieldKind::Text, "name of the detector"),
    field("subject", FieldKind::Text, "whom it is about: an address, an address and a port, a name"),
    field("why", FieldKind::Text, "why it was raised, in a sentence"),
    field("first_seen", FieldKind::Time, "first packet of the incident that was counted, RFC 3339"),
    field("last_seen", FieldKind::Time, "last packet of it that was counted, RFC 3339"),
    field("score", FieldKind::Number, "its highest score so far, in the unit of threshold"),
    field("threshold", FieldKind::Number, "score from which on it is an alert"),
    field("evidence", FieldKind::Object, "the numbers that it rests on, by name"),
    field("flows", FieldKind::Texts, "flow_id of some of its flows"),
    field("node", FieldKind::Text, "node that saw it"),
    field("id", FieldKind::Text, "identity of the incident, the same in all that is said of it; 16 hexadecimal digits"),
];

/// The fields of a message of an application protocol, in the order in which they are written.
pub const MESSAGE_FIELDS: [Field; 15] = [
    field("at", FieldKind::Time, "time of the packet with the last byte of it that was needed, RFC 3339"),
    field("app", FieldKind::Text, "dns, mdns, llmnr, http, tls, quic, or the protocol of a plug-in"),
    field("message", FieldKind::Text, "query, request, response, client_hello, server_hello or recognised"),
    field("name", FieldKind::TextOrNull, "in lower case: name asked for (DNS), host (HTTP), server name (TLS)"),
    field("code", FieldKind::IntegerOrNull, "response code (DNS) or status (HTTP) of a response"),
    field("latency_us", FieldKind::IntegerOrNull, "microseconds since the query or request, where that was seen"),
    field("src_ip", FieldKind::TextOrNull, "sender; inside tunnels the innermost address"),
    field("dst_ip", FieldKind::TextOrNull, "receiver"),
    field("src_port", FieldKind::Integer, "sender's port"),
    field("dst_port", FieldKind::Integer, "receiver's port"),
    field("proto", FieldKind::IntegerOrNull, "IANA protocol number"),
    field("vlan", FieldKind::IntegerOrNull, "outer VLAN identifier"),
    field("detail", FieldKind::Object, "everything that was read of it; its fields depend on the protocol"),
    field("node", FieldKind::Text, "node that saw it"),
    field("id", FieldKind::Text, "its identity; 16 hexadecimal digits"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlertPhase, EndReason, FlowState, MessageKind, Severity};

    #[test]
    fn every_name_leads_back_to_its_dimension() {
        for d in Dimension::ALL {
            assert_eq!(Dimension::from_name(d.name()), Some(d));
            assert_eq!(serde_json::json!(d), d.name());
        }
        assert_eq!(Dimension::from_name("src"), None);
    }

    #[test]
    fn words_of_the_catalogue_are_the_names_in_records() {
        assert_eq!(Dimension::State.info().values, Some(&FlowState::ALL.map(FlowState::name)[..]));
        assert_eq!(Dimension::EndReason.info().values, Some(&EndReason::ALL.map(EndReason::name)[..]));
        assert_eq!(Dimension::Message.info().values, Some(&MessageKind::ALL.map(MessageKind::name)[..]));
        assert_eq!(Dimension::Severity.info().values, Some(&Severity::ALL.map(Severity::name)[..]));
        assert_eq!(Dimension::Phase.info().values, Some(&AlertPhase::ALL.map(AlertPhase::name)[..]));
    }

    #[test]
    fn a_dimension_documents_itself_as_json() {
        assert_eq!(
            serde_json::json!(Dimension::Direction.info()),
            serde_json::json!({
                "name": "direction",
                "doc": "ingress or egress at the observation point (not in flows)",
                "kind": "word",
                "values": ["ingress", "egress"],
                "flows": false,
                "rollups": true,
                "messages": false,
                "alerts": false,
            })
        );
        assert_eq!(catalogue().len(), Dimension::ALL.len());
        assert_eq!(serde_json::json!(Dimension::Vlan.info()).get("values"), None);
    }

    #[test]
    fn protocols_have_one_name_each() {
        for (number, name) in PROTOCOLS {
            assert_eq!((protocol_name(number), protocol_number(name)), (Some(name), Some(number)));
        }
        assert_eq!((protocol_name(255), protocol_number("quic")), (None, None));
    }
}
